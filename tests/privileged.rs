//! `Privileged Container Detected`: told by Docker or shown by the kernel, and what merely resembles it.

use std::{os::unix::fs::symlink, path::Path};

use serde_json::json;

use crate::{
    compose,
    dockerd::Dockerd,
    fixtures,
    ocsf::{activity, brief, command_line, container_id, fact, level, title},
    podman::Podman,
    pods::Pods,
    runc::{Bundle, Users},
    tocsin::Tocsin,
    watch::{Subject, Watch, titles_about},
};

const TITLE: &str = "Privileged Container Detected";
/// A user that no machine has an account or subordinate users for.
const ROOTLESS: u32 = 65533;

#[test]
fn a_privileged_container_is_told_from_its_twins() {
    let (Some(compose), Some(dockerd)) = (fixtures::require("compose"), Dockerd::start()) else {
        return;
    };
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

    // By the API alone, as programs do it and whoever finds it open.
    let by_api = json!({"Image": image, "Cmd": ["sleep", "1000"], "HostConfig": {"Privileged": true}});
    let by_api = dockerd.post("/containers/create?name=by-api", &by_api);
    let by_api = by_api["Id"].as_str().unwrap();
    dockerd.post(&format!("/containers/{by_api}/start"), &json!({}));
    let subject = Subject {
        id: by_api,
        name: "by-api",
        image,
    };
    watch.check(TITLE, &subject, |alert| level(alert) == "Medium");

    let service = format!("image: {image}, command: sleep 1000, network_mode: none");
    let project = format!("{{version: '2.4', services: {{db: {{privileged: true, {service}}}, web: {{{service}}}}}}}");
    let [composed, beside] = compose::up(&compose, &dockerd, &project, ["db", "web"]);
    let subject = Subject {
        id: &composed,
        name: "shop_db_1",
        image,
    };
    watch.check(TITLE, &subject, |alert| level(alert) == "Medium");

    let never_started = dockerd.create("never-started", &["--privileged"], &sleep);
    let unconfined = [
        "--security-opt",
        "seccomp=unconfined",
        "--security-opt",
        "apparmor=unconfined",
    ];
    let sys_admin = ["--cap-add", "SYS_ADMIN"];
    let socket = format!("{}:/var/run/docker.sock", dockerd.socket());
    // A volume may be made of anything.
    let of_root = ["--opt", "type=none", "--opt", "o=bind", "--opt", "device=/", "of-root"];
    dockerd.docker_ok(&[&["volume", "create"], &of_root[..]].concat());
    dockerd.docker_ok(&["volume", "create", "ordinary"]);
    // A link may lead anywhere.
    let links = tempfile::tempdir().unwrap();
    let [to_root, to_socket, to_run] =
        [("root", "/"), ("socket", &dockerd.socket()), ("run", "/run")].map(|(name, target)| {
            let link = links.path().join(name);
            symlink(target, &link).unwrap();
            format!("{}:/x", link.display())
        });
    let graded: [(&str, &[&str], &str); 12] = [
        ("all-capabilities", &["--cap-add", "ALL"], "Medium"),
        ("another-user", &["--privileged", "--user", "1000"], "Medium"),
        ("as-good", &[&sys_admin[..], &unconfined].concat(), "Medium"),
        ("over-the-node", &["--privileged", "--pid", "host"], "High"),
        ("root-mounted", &["--privileged", "--volume", "/:/host"], "High"),
        (
            "volume-of-root-mounted",
            &["--privileged", "--volume", "of-root:/x"],
            "High",
        ),
        (
            "ordinary-volume",
            &["--privileged", "--volume", "ordinary:/x"],
            "Medium",
        ),
        ("socket-mounted", &["--privileged", "--volume", &socket], "High"),
        ("link-to-root-mounted", &["--privileged", "--volume", &to_root], "High"),
        (
            "link-to-socket-mounted",
            &["--privileged", "--volume", &to_socket],
            "High",
        ),
        ("link-to-run-mounted", &["--privileged", "--volume", &to_run], "High"),
        ("sys-admin", &sys_admin, "Low"),
    ];
    let graded = graded.map(|(name, options, grade)| (name, dockerd.run(name, options, &sleep), grade));
    for (name, id, grade) in &graded {
        // What is mounted Docker says, or its files.
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

    let mut expected: Vec<(&str, &[&str])> = vec![
        (&before, &[TITLE]),
        (&after, &[TITLE]),
        (by_api, &[TITLE]),
        (&composed, &[TITLE]),
        (&beside, &[]),
        (&never_started, &[]),
    ];
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

    // And as a kubelet has it, by containerd alone: Docker knows nothing of it.
    let pods = Pods::new(&dockerd);
    let [pod, plain] = [&["--privileged"][..], &[]].map(|options| pods.run_to_end(options, &["true"]));
    watch.check_all(&[(&real.id, &[TITLE]), (&own.id, &[]), (&pod, &[TITLE]), (&plain, &[])]);
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
fn the_agents_own_container_is_excepted_by_its_cgroup_alone() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_busybox();
    // The agent with the libraries that it was linked against; the image needs none.
    let libraries = ["/lib", "/lib64", "/usr/lib"]
        .into_iter()
        .filter(|folder| Path::new(folder).exists());
    let mut volumes: Vec<_> = libraries.map(|folder| format!("{folder}:{folder}:ro")).collect();
    volumes.push(format!("{}:/tocsin:ro", env!("CARGO_BIN_EXE_tocsin")));
    let mut run = dockerd.command("docker");
    run.args([
        "run",
        "--name",
        "tocsin",
        "--privileged",
        "--pid",
        "host",
        "--network",
        "none",
    ]);
    run.args(volumes.iter().flat_map(|volume| ["--volume", volume]));
    run.args([image, "/tocsin", "run", "--format", "ocsf", "--config", "/dev/null"]);
    run.args(["--state-dir", "/state", "--docker-socket", "/nonexistent"]);
    let agent = Tocsin::spawn(&mut run, "watching");
    let own = dockerd.docker_ok(&["inspect", "--format", "{{.Id}}", "tocsin"]);
    let another = dockerd.run("tocsin-2", &["--privileged"], &[image, "sleep", "1000"]);
    agent.wait_for_alert(TITLE, |alert| container_id(alert) == another);
    let alerts = agent.alerts_after_quiet();
    assert_eq!(titles_about(&alerts, &own), [] as [&str; 0]);
    assert_eq!(titles_about(&alerts, &another), [TITLE]);
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
