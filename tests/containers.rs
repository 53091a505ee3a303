//! Containers of a real dockerd.

use crate::{dockerd::Dockerd, tls::Certificates};

#[test]
fn containers_run_plain_and_privileged() {
    let Some(dockerd) = Dockerd::start() else { return };
    let busybox = dockerd.import_busybox();
    dockerd.docker_ok(&["run", "--rm", busybox, "true"]);
    // `mount` needs what only a privileged container has.
    let mount = ["mount", "-t", "tmpfs", "tmpfs", "/tmp"];
    assert!(
        !dockerd
            .docker(&[&["run", "--rm", busybox], &mount[..]].concat())
            .status
            .success()
    );
    dockerd.docker_ok(&[&["run", "--rm", "--privileged", busybox], &mount[..]].concat());
    assert_eq!(dockerd.docker_ok(&["info", "--format", "{{.Driver}}"]), "overlay2");
}

#[test]
fn the_debian_image_has_its_servers() {
    let Some(dockerd) = Dockerd::start() else { return };
    let debian = dockerd.import_debian();
    dockerd.docker_ok(&["run", "--rm", debian, "/usr/sbin/sshd", "-t"]);
    dockerd.docker_ok(&[
        "run",
        "--rm",
        "--user",
        "www-data",
        debian,
        "php",
        "-r",
        "system('id');",
    ]);
    for program in ["nginx", "dropbear", "socat", "nc", "ip", "ps", "python3", "curl"] {
        dockerd.docker_ok(&["run", "--rm", debian, "bash", "-c", &format!("command -v {program}")]);
    }
}

#[test]
fn a_daemon_with_tls_verification_refuses_strangers() {
    let Some(first) = Dockerd::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Certificates {
        authority,
        server,
        client,
    } = Certificates::make(|| first.command("openssl"), folder.path());
    let file = |name: &str, path: &std::path::Path| format!("--{name}={}", path.display());
    let daemon = [
        file("tlscacert", &authority),
        file("tlscert", &server.0),
        file("tlskey", &server.1),
    ];
    let tcp = [
        "--tlsverify",
        &daemon[0],
        &daemon[1],
        &daemon[2],
        "-H",
        "tcp://127.0.0.1:2376",
    ];
    let dockerd = Dockerd::start_with(&tcp).expect("the first one had its packages");
    let ask = |arguments: &[String]| {
        let mut docker = dockerd.command_in_network("docker");
        docker
            .args(["-H", "tcp://127.0.0.1:2376"])
            .args(arguments)
            .arg("version")
            .output()
            .unwrap()
            .status
            .success()
    };
    let known = [
        file("tlscacert", &authority),
        file("tlscert", &client.0),
        file("tlskey", &client.1),
    ];
    assert!(
        ask(&[&["--tlsverify".into()], &known[..]].concat()),
        "a client with a certificate is served"
    );
    assert!(!ask(&["--tls".into()]), "one without is not");
    assert!(!ask(&[]), "nor one without TLS");
}
