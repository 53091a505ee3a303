//! `Container with a miner image detected`: by the image's name, which only the runtime can tell.

use serde_json::json;

use crate::{
    dockerd::Dockerd,
    ocsf::{brief, container_id, container_name, fact, image},
    tocsin::Tocsin,
    watch::{Watch, titles_about},
};

const TITLE: &str = "Container with a miner image detected";
const MINER: &str = "xmrig/xmrig";

#[test]
fn an_image_tagged_like_a_miner_is_told_from_its_twins() {
    let Some(dockerd) = Dockerd::start() else { return };
    let busybox = dockerd.import_busybox();
    let twins = ["itzg/minecraft-server", "minio/minio"];
    for tag in [&[MINER], &twins[..]].concat() {
        dockerd.docker_ok(&["tag", busybox, tag]);
    }
    let before = dockerd.run("before", &[], &[MINER, "sleep", "1000"]);
    let watch = Watch::start(&dockerd);
    let after = dockerd.run_to_end("after", &["--network", "none"], &[MINER, "true"]);
    for (id, name, startup) in [(&before, "before", true), (&after, "after", false)] {
        let alert = watch.told.wait_for_alert(TITLE, |alert| container_id(alert) == id);
        assert_eq!(
            (container_name(&alert), image(&alert)),
            (name, MINER),
            "{}",
            brief(&alert)
        );
        assert_eq!(
            fact(&alert, "event.startup") == &json!(true),
            startup,
            "{}",
            brief(&alert)
        );
    }
    let never_started = dockerd.create("never-started", &[], &[MINER, "true"]);
    let [game, storage] = twins.map(|tag| {
        let name = tag.split('/').next().unwrap();
        dockerd.run_to_end(name, &["--network", "none"], &[tag, "true"])
    });
    let alerts = watch.told.alerts_after_quiet();
    let cases: [(_, &[&str]); 5] = [
        (&before, &[TITLE]),
        (&after, &[TITLE]),
        (&never_started, &[]),
        (&game, &[]),
        (&storage, &[]),
    ];
    for (id, expected) in cases {
        assert_eq!(titles_about(&alerts, id), expected, "about {id}");
    }
}

#[test]
fn doctor_says_what_is_lost_without_a_runtime() {
    let doctor = Tocsin::command()
        .args(["doctor", "--config", "/dev/null", "--docker-socket", "/nonexistent"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(doctor.status.success(), "{said}");
    let names = |text: &str| {
        said.lines()
            .any(|line| line.starts_with("none") || line.starts_with("off") && line.contains(text))
    };
    assert!(names("/nonexistent"), "{said}");
    assert!(names(TITLE), "{said}");
}
