//! `Privileged Container Detected`: told by Docker or shown by the kernel, and what merely resembles it.

use serde_json::json;

use crate::{
    dockerd::Dockerd,
    ocsf::{activity, brief, command_line, container_id, fact, level, title},
    podman::Podman,
    runc::{Bundle, Users},
    tocsin::Tocsin,
    watch::{Subject, Watch, titles_about},
};

const TITLE: &str = "Privileged Container Detected";
/// A user that no machine has an account or subordinate users for.
const ROOTLESS: u32 = 65533;

#[test]
fn a_privileged_container_is_told_from_its_twins() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_busybox();
    let sleep = [image, "sleep", "1000"];
    let before = dockerd.run("before", &["--privileged"], &sleep);
    let watch = Watch::start(&dockerd);
    let after = dockerd.run("after", &["--privileged"], &sleep);
    for (id, name, startup) in [(&before, "before", true), (&after, "after", false)] {
        let subject = Subject { id, name, image };
        watch.check(TITLE, &subject, |alert| {
            (fact(alert, "event.startup") == &json!(true)) == startup
        });
    }

    let never_started = dockerd.create("never-started", &["--privileged"], &sleep);
    let unconfined = [
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "apparmor=unconfined",
    ];
    let sys_admin = ["--cap-add", "SYS_ADMIN"];
    let graded: [(&str, &[&str], &str); 5] = [
        ("all-capabilities", &["--cap-add", "ALL"], "Medium"),
        ("another-user", &["--privileged", "--user", "1000"], "Medium"),
        ("as-good", &[&sys_admin[..], &unconfined].concat(), "Medium"),
        ("over-the-node", &["--privileged", "--pid", "host"], "High"),
        ("sys-admin", &sys_admin, "Low"),
    ];
    let graded = graded.map(|(name, options, grade)| (name, dockerd.run(name, options, &sleep), grade));
    for (name, id, grade) in &graded {
        watch.check(TITLE, &Subject { id, name, image }, |alert| level(alert) == *grade);
    }
    let near: [(&str, &[&str]); 4] = [
        ("net-admin", &["--cap-add", "NET_ADMIN"]),
        ("host-pid", &["--pid", "host"]),
        ("unconfined", &unconfined),
        ("plain", &[]),
    ];
    let silent = near.map(|(name, options)| dockerd.run(name, options, &sleep));
    dockerd.docker_ok(&["restart", "--time", "0", &after]);

    let mut expected: Vec<(&str, &[&str])> = vec![(&before, &[TITLE]), (&after, &[TITLE]), (&never_started, &[])];
    expected.extend(graded.iter().map(|(_, id, _)| (&**id, &[TITLE] as &[&str])));
    expected.extend(silent.iter().map(|id| (&**id, &[] as &[&str])));
    watch.check_all(&expected);

    // The restart was counted, not told anew.
    let (status, alerts) = watch.told.stop();
    assert!(status.success());
    let repeats = alerts
        .iter()
        .filter(|alert| title(alert) == TITLE && container_id(alert) == after && activity(alert) == "Update");
    let counts: Vec<_> = repeats.map(|alert| &alert["count"]).collect();
    assert_eq!(counts, [&json!(2)]);
}

#[test]
fn all_capabilities_of_a_user_namespace_are_not_privilege() {
    let Some(dockerd) = Dockerd::start() else { return };
    let watch = Watch::start(&dockerd);
    let [real, own] = [Users::OfTheNode, Users::OfItsOwn].map(|users| Bundle::new(&dockerd, users, &["true"]));
    real.run(&dockerd);
    own.run(&dockerd);
    let marker = format!("user-namespace-{}", std::process::id());
    let unshare = ["--user", "--map-root-user", "sh", "-c", "true", &marker];
    let status = std::process::Command::new("unshare").args(unshare).status().unwrap();
    assert!(status.success());

    watch.check_all(&[(&real.id, &[TITLE]), (&own.id, &[])]);
    for alert in watch.told.alerts().iter().chain(&watch.untold.alerts()) {
        let about_unshare = title(alert) == TITLE && command_line(alert).contains(&marker);
        assert!(!about_unshare, "{}", brief(alert));
    }
}

#[test]
fn privilege_in_a_rootless_podman_is_not_privilege_on_the_node() {
    let (Some(rootful), Some(rootless)) = (Podman::of_root(), Podman::of_user(ROOTLESS)) else {
        return;
    };
    let without_docker = ["--docker-socket", "/nonexistent"];
    let (agent, recording) = (Tocsin::start(&without_docker), Tocsin::record(&without_docker));
    let cases = [(rootful, true, [TITLE].as_slice()), (rootless, false, &[])];
    let ran = cases.map(|(podman, on_node, titles)| (podman.run_to_end(&["--privileged"], &["true"]), on_node, titles));

    for (id, on_node, _) in &ran {
        let event = recording.wait_for_event("execution in the container", |event| {
            event["container.id"] == **id && event["CommandLine"] == "true"
        });
        let facts = ["process.host_user_namespace", "process.full_capabilities"].map(|name| &event[name]);
        assert_eq!(facts, [&json!(on_node); 2], "{event:#}");
        assert_eq!(event["process.seccomp"], "disabled", "{event:#}");
    }
    let alerts = agent.alerts_after_quiet();
    for (id, _, titles) in &ran {
        assert_eq!(titles_about(&alerts, id), *titles);
    }
}

#[test]
fn who_leaves_the_cgroup_stays_in_the_container() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_busybox();
    let recording = Tocsin::record(&["--docker-socket", &dockerd.socket()]);
    // Out of every hierarchy that could tell: the unified one and, where they exist, two of the older ones.
    let leave = "mkdir /unified && mount -t cgroup2 cgroup2 /unified && echo $$ > /unified/cgroup.procs
                 for old in memory pids; do
                     mkdir /$old && mount -t cgroup -o $old cgroup /$old && echo $$ > /$old/cgroup.procs
                 done
                 exec env after=escape true";
    let options = ["--privileged", "--network", "none", "--cgroupns", "host"];
    let id = dockerd.run_to_end("escaping", &options, &[image, "sh", "-c", leave]);
    let inside = recording.wait_for_event("first execution of the container", |event| {
        event["container.id"] == *id
            && event["CommandLine"]
                .as_str()
                .is_some_and(|line| line.starts_with("sh -c"))
    });
    assert_ne!(inside["container.escaped_cgroup"], json!(true), "{inside:#}");
    let escaped = recording.wait_for_event("execution after the escape", |event| {
        event["container.id"] == *id && event["CommandLine"] == "true"
    });
    assert_eq!(escaped["container.escaped_cgroup"], json!(true), "{escaped:#}");
    assert_eq!(escaped["container.name"], "escaping", "{escaped:#}");
    assert!(!escaped["process.cgroup"].to_string().contains(&id), "{escaped:#}");
}
