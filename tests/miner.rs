//! `Container with a miner image detected`: by the image's name, by what it is told, and by whom it asks.

use serde_json::json;

use crate::{
    dockerd::Dockerd,
    ocsf::{brief, container_id, container_name, fact, image, level, rule},
    tocsin::Tocsin,
    watch::{Watch, titles_about},
};

const TITLE: &str = "Container with a miner image detected";
const MINER: &str = "xmrig/xmrig";

#[test]
fn an_image_tagged_like_a_miner_is_told_from_its_twins() {
    let Some(dockerd) = Dockerd::start() else { return };
    let busybox = dockerd.import_busybox();
    let twins = ["itzg/minecraft-server", "minio/minio", "example/process-miner"];
    // Images of their own: whoever bears a miner's name as well is no twin of it.
    dockerd.docker_ok(&["tag", busybox, MINER]);
    for name in twins {
        dockerd.derive(busybox, name);
    }
    let digest = dockerd.docker_ok(&["image", "inspect", "--format", "{{.Id}}", MINER]);
    dockerd.docker_ok(&["tag", MINER, "shop/web"]);
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
    // Neither by the image's id nor by another name can it be hidden what the image is called.
    let hidden = [("by-id", &*digest), ("renamed", "shop/web")];
    let hidden = hidden.map(|(name, image)| dockerd.run_to_end(name, &["--network", "none"], &[image, "true"]));
    for id in &hidden {
        watch.told.wait_for_alert(TITLE, |alert| {
            let names = fact(alert, "container.image_names").to_string();
            container_id(alert) == id && names.contains("xmrig/xmrig:latest")
        });
    }
    let [game, storage, processes] = twins.map(|tag| {
        let name = tag.split('/').next_back().unwrap();
        dockerd.run_to_end(name, &["--network", "none"], &[tag, "true"])
    });
    let alerts = watch.told.alerts_after_quiet();
    let cases: [(_, &[&str]); 8] = [
        (&before, &[TITLE]),
        (&after, &[TITLE]),
        (&hidden[0], &[TITLE]),
        (&hidden[1], &[TITLE]),
        (&never_started, &[]),
        (&game, &[]),
        (&storage, &[]),
        (&processes, &[]),
    ];
    for (id, expected) in cases {
        assert_eq!(titles_about(&alerts, id), expected, "about {id}");
    }
}

#[test]
fn what_only_miners_are_told_gives_any_image_away() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_busybox();
    let watch = Watch::start(&dockerd);
    let none = ["--network", "none"];
    let pool = "stratum+tcp://203.0.113.9:3333";
    let secret = format!("POOL={pool}");
    let by_environment = [&none[..], &["--env", &secret]].concat();
    // The shape of a wallet of Monero.
    let wallet = format!("48{}", "A1b".repeat(31));
    let told = [
        dockerd.run_to_end("by-argument", &none, &[image, "false", "-o", pool, "-u", "w"]),
        dockerd.run_to_end("by-environment", &by_environment, &[image, "true"]),
        dockerd.run_to_end("by-wallet", &none, &[image, "false", "-u", &wallet]),
    ];
    for id in &told {
        let alert = watch.told.wait_for_alert(TITLE, |alert| container_id(alert) == *id);
        assert_eq!(
            (level(&alert), rule(&alert)),
            ("High", "miner-arguments"),
            "{}",
            brief(&alert)
        );
    }
    // Whoever gets in brings it along.
    let entered = dockerd.run("entered", &none, &[image, "sleep", "1000"]);
    let bring = format!("cp /bin/busybox /m; /m -o {pool}; true");
    dockerd.docker_ok(&["exec", "entered", "sh", "-c", &bring]);
    let alert = watch.told.wait_for_alert(TITLE, |alert| container_id(alert) == entered);
    assert_eq!(
        (level(&alert), rule(&alert)),
        ("High", "miner-process"),
        "{}",
        brief(&alert)
    );
    let twins = [
        dockerd.run_to_end("says-so", &none, &[image, "echo", "-o", pool]),
        dockerd.run_to_end("from-a-shell", &none, &[image, "sh", "-c", &format!("echo -o {pool}")]),
        dockerd.run_to_end("a-hash", &none, &[image, "false", &"4A1b".repeat(16)]),
    ];
    let alerts = watch.told.alerts_after_quiet();
    for id in &told {
        assert_eq!(titles_about(&alerts, id), [TITLE]);
    }
    for id in &twins {
        assert_eq!(titles_about(&alerts, id), [] as [&str; 0]);
    }
    let quoted = alerts.iter().filter(|alert| container_id(alert) == told[1]);
    assert!(
        quoted.into_iter().all(|alert| !alert.to_string().contains(pool)),
        "an environment is secret"
    );
}

#[test]
fn a_miners_image_that_asks_for_its_pool_is_worse() {
    let Some(dockerd) = Dockerd::start() else { return };
    let debian = dockerd.import_debian();
    dockerd.derive(debian, MINER);
    let watch = Watch::start(&dockerd);
    let ask = |name, image, host| {
        let options = ["--network", "none", "--dns", "127.0.0.1"];
        dockerd.run_to_end(name, &options, &[image, "curl", "--silent", "--max-time", "2", host])
    };
    let pool = "pool.supportxmr.com";
    let cases = [
        (ask("mines", MINER, pool), "Critical"),
        (ask("joined", debian, pool), "High"),
        (ask("idle", MINER, "example.org"), "High"),
    ];
    for (id, grade) in &cases {
        watch
            .told
            .wait_for_alert(TITLE, |alert| container_id(alert) == *id && level(alert) == *grade);
    }
    let innocent = ask("innocent", debian, "example.org");
    let alerts = watch.told.alerts_after_quiet();
    assert_eq!(titles_about(&alerts, &innocent), [] as [&str; 0]);
    assert_eq!(titles_about(&alerts, &cases[2].0), [TITLE]);
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
