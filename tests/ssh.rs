//! `SSH server is running inside a container`: whoever listens, by the executable, and none who merely bears the name.

use crate::{
    dockerd::Dockerd,
    ocsf::{level, port},
    watch::{Subject, Watch},
};

const TITLE: &str = "SSH server is running inside a container";
const SSHD: [&str; 3] = ["/usr/sbin/sshd", "-D", "-e"];

#[test]
fn an_ssh_server_in_a_container_is_told_from_its_clients() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let alone = ["--network", "none"];
    let start = |name, command: &[&str]| dockerd.run(name, &alone, &[&[image], command].concat());
    let before = start("before", &SSHD);
    dockerd.wait_for_listener(&before, 22);

    let watch = Watch::start(&dockerd);
    let after = start("after", &SSHD);
    let dropbear = "mkdir -p /etc/dropbear && exec dropbear -F -E -R -p 2222";
    let dropbear = start("dropbear", &["sh", "-c", dropbear]);
    for (id, name, wanted) in [
        (&before, "before", 22),
        (&after, "after", 22),
        (&dropbear, "dropbear", 2222),
    ] {
        watch.check(TITLE, &Subject { id, name, image }, |alert| {
            port(alert) == Some(wanted) && level(alert) == "Medium"
        });
    }

    let twins: [(&str, &[&str]); 4] = [
        ("test-only", &["/usr/sbin/sshd", "-t"]),
        ("client", &["ssh", "-o", "BatchMode=yes", "-p", "2222", "127.0.0.1"]),
        ("keygen", &["ssh-keygen", "-q", "-N", "", "-f", "/root/key"]),
        (
            "another-server",
            &["bash", "-c", "exec -a sshd timeout 1 nc -l -p 22 127.0.0.1"],
        ),
    ];
    let silent = twins.map(|(name, command)| dockerd.run_to_end(name, &alone, &[&[image], command].concat()));
    let mut expected: Vec<(&str, &[&str])> = [&before, &after, &dropbear]
        .map(|id| (&**id, &[TITLE] as &[&str]))
        .to_vec();
    expected.extend(silent.iter().map(|id| (&**id, &[] as &[&str])));
    watch.check_all(&expected);
}
