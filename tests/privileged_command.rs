//! `Privileged command run in container`: what has more than its container, and commands that act on the node.

use std::process::Command;

use serde_json::{Value, json};

use crate::{
    dockerd::Dockerd,
    fixtures,
    ocsf::{brief, command_line, container_id, fact, level, title},
    podman::Podman,
    tocsin::Tocsin,
    watch::{Subject, Watch, titles_about},
};

const TITLE: &str = "Privileged command run in container";
const PRIVILEGED: &str = "Privileged Container Detected";
/// The number of the system call.
#[cfg(target_arch = "x86_64")]
const SETNS: u32 = 308;
#[cfg(not(target_arch = "x86_64"))]
const SETNS: u32 = 268;
/// A user that no machine has an account or subordinate users for.
const ROOTLESS: u32 = 65533;

/// Whether the alert is of that level and about a command that begins so.
fn is(grade: &'static str, line: &'static str) -> impl Fn(&Value) -> bool {
    move |alert| level(alert) == grade && command_line(alert).starts_with(line)
}

#[test]
fn more_than_the_container_could_ever_have_is_told() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_busybox();
    let sleep = [image, "sleep", "1000"];
    let standing = dockerd.run("standing", &[], &sleep);
    let watch = Watch::start(&dockerd);
    let started = dockerd.run("started", &[], &sleep);
    let restarted = dockerd.run("restarted", &[], &sleep);
    dockerd.docker_ok(&["restart", "--time", "0", &restarted]);
    let containers = [
        ("standing", &standing),
        ("started", &started),
        ("restarted", &restarted),
    ];
    for (name, id) in containers {
        // As health checks and people do: nothing beyond the container.
        dockerd.docker_ok(&["exec", id, "id"]);
        dockerd.docker_ok(&["exec", "--user", "1000", id, "ls"]);
        dockerd.docker_ok(&["exec", "--privileged", id, "sh", "-c", "true && ls && cat /dev/null"]);
        watch.check(TITLE, &Subject { id, name, image }, |alert| {
            is("Medium", "sh -c true")(alert)
                && fact(alert, "process.from_outside") == &json!(true)
                && fact(alert, "process.beyond_container") == &json!(["capabilities"])
                && fact(alert, "process.docker_exec") == &confirmation(alert, "privileged")
        });
    }
    // Without any client, and into a container that may do all already: only Docker's word tells.
    let privileged = dockerd.run("privileged", &["--privileged"], &sleep);
    let exec = json!({"Privileged": true, "Cmd": ["sh", "-c", "true by the API"]});
    let exec = dockerd.post(&format!("/containers/{privileged}/exec"), &exec);
    let exec = exec["Id"].as_str().unwrap();
    dockerd.post(&format!("/exec/{exec}/start"), &json!({"Detach": true}));
    watch.told.wait_for_alert(TITLE, |alert| {
        container_id(alert) == privileged && is("Medium", "sh -c true by the API")(alert)
    });
    let expected = containers.map(|(_, id)| (&**id, &[TITLE] as &[&str]));
    watch.check_all(&expected);
    assert_eq!(titles_about(&watch.told.alerts(), &privileged), [PRIVILEGED, TITLE]);
    assert_eq!(titles_about(&watch.untold.alerts(), &privileged), [PRIVILEGED]);
}

/// What Docker's word on a program that it was told to run is, for an agent that may ask it.
fn confirmation(alert: &Value, said: &str) -> Value {
    match fact(alert, "container.metadata").as_str() {
        Some("known") => json!(said),
        _ => Value::Null,
    }
}

#[test]
fn nsenter_from_the_node_comes_from_outside() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_busybox();
    let watch = Watch::start(&dockerd);
    let id = dockerd.run("entered", &[], &[image, "sleep", "1000"]);
    let pid = dockerd.docker_ok(&["inspect", "--format", "{{.State.Pid}}", &id]);
    let enter = ["--target", &pid, "--mount", "--pid", "--", "true", "sent-in"];
    let subject = Subject {
        id: &id,
        name: "entered",
        image,
    };
    // Of what stands, the first execution comes with the container's; this one comes after it.
    assert!(Command::new("nsenter").args(enter).status().unwrap().success());
    // Docker was told nothing, which tells this from what it was asked for.
    watch.check(TITLE, &subject, |alert| {
        is("Medium", "true sent-in")(alert) && fact(alert, "process.docker_exec") == &Value::Null
    });
    watch.check_all(&[(&id, &[TITLE])]);
    for agent in [&watch.told, &watch.untold] {
        let on_node = |alert: &Value| title(alert) == TITLE && command_line(alert).starts_with("nsenter --target");
        let told: Vec<_> = agent
            .alerts()
            .iter()
            .filter(|alert| on_node(alert))
            .map(brief)
            .collect();
        assert_eq!(told, [] as [String; 0], "the node's own nsenter");
    }
}

#[test]
fn commands_that_act_on_the_node_are_told_from_their_twins() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_busybox();
    let watch = Watch::start(&dockerd);
    let busybox = fixtures::require("busybox").unwrap();
    // No program of such a name need do what the real one does: that it is called is what counts.
    let debugfs = format!("{}:/usr/sbin/debugfs:ro", busybox.join("bin/busybox").display());
    let bad: [(&str, &[&str], &[&str], &str); 10] = [
        ("nsenter", &[], &["nsenter", "-t", "1", "-m", "--", "true"], "High"),
        ("insmod", &[], &["insmod", "/no.ko"], "High"),
        ("mknod", &[], &["mknod", "/disk", "b", "254", "0"], "High"),
        (
            "core-pattern",
            &[],
            &["sh", "-c", "echo '|/x' > /proc/sys/kernel/core_pattern"],
            "High",
        ),
        ("modprobe", &[], &["modprobe", "msr"], "Medium"),
        ("mount", &[], &["mount", "-t", "tmpfs", "tmpfs", "/tmp"], "Low"),
        ("unshare", &[], &["unshare", "-m", "true"], "Low"),
        ("debugfs", &["--volume", &debugfs], &["/usr/sbin/debugfs", "-V"], "High"),
        (
            "release-agent",
            &[],
            &["sh", "-c", "echo /x > /sys/fs/cgroup/rdma/release_agent"],
            "High",
        ),
        (
            "chroot",
            &["--volume", "/:/mnt:ro"],
            &["chroot", "/mnt", "/bin/true"],
            "Low",
        ),
    ];
    let ran = bad.map(|(name, options, command, grade)| {
        let command = [&[image], command].concat();
        (name, dockerd.run_to_end(name, options, &command), grade)
    });
    for (name, id, grade) in &ran {
        let subject = Subject { id, name, image };
        let [told, untold] = watch.wait_for(TITLE, &subject, |_| true);
        // Docker says that the node's root is mounted.
        let by_mount = *name == "chroot";
        assert_eq!(level(&told), if by_mount { "High" } else { grade }, "{}", brief(&told));
        assert!(level(&untold) == *grade || by_mount, "{}", brief(&untold));
    }
    let good: [(&str, &[&str]); 8] = [
        ("nsenter-help", &["nsenter", "--help"]),
        ("chroot-help", &["chroot", "--help"]),
        ("insmod-help", &["insmod", "--help"]),
        ("mount-list", &["mount"]),
        ("scratch", &["sh", "-c", "echo x > /tmp/release_agent"]),
        ("pipe", &["mknod", "/pipe", "p"]),
        ("read", &["cat", "/proc/sys/kernel/core_pattern"]),
        ("plain", &["true"]),
    ];
    let silent = good.map(|(name, command)| dockerd.run_to_end(name, &[], &[&[image], command].concat()));
    let mut expected: Vec<(&str, &[&str])> = ran.iter().map(|(_, id, _)| (&**id, &[TITLE] as &[&str])).collect();
    expected.extend(silent.iter().map(|id| (&**id, &[] as &[&str])));
    watch.check_all(&expected);
}

#[test]
fn who_leaves_for_the_nodes_files_is_told_whatever_the_tool_is_called() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let watch = Watch::start(&dockerd);
    let mut outside = Command::new("sleep").arg("1000").spawn().unwrap();
    let script = format!(
        "open F, '/proc/{}/ns/mnt' or die; syscall({SETNS}, fileno(F), 0) and die; exec '/bin/true', 'out-of-it'",
        outside.id()
    );
    let options = ["--privileged", "--pid", "host"];
    let id = dockerd.run_to_end("leaving", &options, &[image, "perl", "-e", &script]);
    outside.kill().unwrap();
    outside.wait().unwrap();
    let subject = Subject {
        id: &id,
        name: "leaving",
        image,
    };
    watch.check(TITLE, &subject, is("Critical", "/bin/true out-of-it"));

    // Or by Docker, which does all that it is asked for through its socket.
    let client = fixtures::require("docker").unwrap().join("usr/bin/docker");
    let client = format!("{}:/usr/bin/docker:ro", client.display());
    let socket = format!("{}:/var/run/docker.sock", dockerd.socket());
    let with_client = ["--volume", &client, "--volume", &socket];
    let commands = dockerd.run_to_end("commands", &with_client, &[image, "docker", "ps"]);
    let asks = dockerd.run_to_end("asks", &with_client, &[image, "docker", "--version"]);
    let [told, untold] =
        [&watch.told, &watch.untold].map(|agent| agent.wait_for_alert(TITLE, |alert| container_id(alert) == commands));
    assert_eq!((level(&told), command_line(&told)), ("Medium", "docker ps"));
    // That the socket is mounted Docker says, or its files if they are found in time.
    assert!(["Medium", "Low"].contains(&level(&untold)), "{}", brief(&untold));
    watch.check_all(&[(&id, &[PRIVILEGED, TITLE]), (&commands, &[TITLE]), (&asks, &[])]);
}

#[test]
fn root_of_a_rootless_container_acts_on_nothing() {
    let (Some(rootful), Some(rootless)) = (Podman::of_root(), Podman::of_user(ROOTLESS)) else {
        return;
    };
    let agent = Tocsin::start(&["--docker-socket", "/nonexistent"]);
    let mount = ["mount", "-t", "tmpfs", "tmpfs", "/tmp"];
    let privileged = ["--privileged"];
    let [on_node, own] = [rootful, rootless].map(|podman| podman.run_to_end(&privileged, &mount));
    agent.wait_for_alert(TITLE, |alert| container_id(alert) == on_node);
    let alerts = agent.alerts_after_quiet();
    assert_eq!(titles_about(&alerts, &on_node), [PRIVILEGED, TITLE]);
    assert_eq!(titles_about(&alerts, &own), [] as [&str; 0]);
}
