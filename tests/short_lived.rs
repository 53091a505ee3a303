//! Containers that live for a moment: none of their executions goes unseen or unattributed.

use std::{
    collections::HashSet,
    fs::{self, File},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{deadline::wait_for, dockerd::Dockerd, tocsin::Tocsin};

const CONTAINERS: usize = 400;
/// As many as two processors can start at a time.
const AT_ONCE: usize = 4;

#[test]
fn every_short_lived_container_is_seen() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_busybox();
    let recording = Tocsin::record(&["--docker-socket", &dockerd.socket()]);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("created");
    // Docker's own word; followed live, since the daemon remembers only its last 256 events.
    let created = ["--since", "1m", "--filter", "event=create", "--format", "{{.ID}}"];
    let mut events = dockerd
        .command("docker")
        .arg("events")
        .args(created)
        .stdin(Stdio::null())
        .stdout(File::create(&log).unwrap())
        .spawn()
        .unwrap();

    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                for _ in 0..CONTAINERS / AT_ONCE {
                    dockerd.docker_ok(&["run", "--rm", "--network", "none", image, "true"]);
                }
            });
        }
    });
    println!("{CONTAINERS} containers took {:?}", started.elapsed());
    let created = wait_for("event of every container", Duration::from_secs(15), || {
        let text = fs::read_to_string(&log).unwrap();
        let ids: HashSet<String> = text.lines().map(str::to_owned).collect();
        (ids.len() == CONTAINERS).then_some(ids)
    });
    events.kill().unwrap();
    events.wait().unwrap();

    let seen = wait_for_last(&recording, &created);
    let missed: Vec<_> = created.difference(&seen).collect();
    assert!(
        missed.is_empty(),
        "{} of {CONTAINERS} containers' executions were not seen: {missed:#?}\n{}",
        missed.len(),
        recording.log()
    );
}

/// The containers whose execution was recorded, once all are there or no more come.
fn wait_for_last(recording: &Tocsin, created: &HashSet<String>) -> HashSet<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = executed(&recording.alerts());
        if created.is_subset(&seen) || Instant::now() > deadline {
            return seen;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn executed(events: &[Value]) -> HashSet<String> {
    let executions = events
        .iter()
        .filter(|event| event["category"] == "process_creation" && event["CommandLine"] == "true");
    let ids = executions.filter_map(|event| event.get("container.id").and_then(Value::as_str));
    ids.map(str::to_owned).collect()
}
