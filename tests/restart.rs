//! dockerd goes away and comes back while the agent runs, and the agent ends.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    deadline::wait_for,
    dockerd::Dockerd,
    ocsf::{brief, container_id, container_name, exe, fact, image, title},
    programs::run_deleted,
    runc::{Bundle, Users},
    tocsin::Tocsin,
};

const TITLE: &str = "Privileged Container Detected";

#[test]
fn containers_have_names_again_when_dockerd_is_back() {
    let Some(mut dockerd) = Dockerd::start() else { return };
    let busybox = dockerd.import_busybox();
    let agent = Tocsin::start(&["--docker-socket", &dockerd.socket()]);
    let options = ["--privileged", "--network", "none"];
    let alert_about = |id: &str| agent.wait_for_alert(TITLE, |alert| container_id(alert) == id);

    let before = alert_about(&dockerd.run_to_end("before", &options, &[busybox, "true"]));
    assert_eq!(container_name(&before), "before", "{}", brief(&before));

    dockerd.stop();
    wait_for_log(&agent, "container runtime cannot be asked runtime=\"docker\"");
    agent.wait_for_alert("A source is down", |alert| {
        fact(alert, "health.detail").to_string().contains(&dockerd.socket())
    });
    let meanwhile = Bundle::new(&dockerd, Users::OfTheNode, &["true"]);
    meanwhile.run(&dockerd);
    let alone = alert_about(&meanwhile.id);
    assert_eq!(
        fact(&alone, "container.metadata"),
        &json!("unavailable"),
        "{}",
        brief(&alone)
    );

    dockerd.start_again();
    wait_for_log(&agent, "container runtime can be asked again runtime=\"docker\"");
    let after = alert_about(&dockerd.run_to_end("after", &options, &[busybox, "true"]));
    assert_eq!(
        (container_name(&after), image(&after)),
        ("after", busybox),
        "{}",
        brief(&after)
    );
    assert!(agent.stop().0.success());
}

#[test]
fn what_was_seen_before_the_end_is_judged() {
    let agent = Tocsin::start(&["--dedup", "0"]);
    let programs: Vec<String> = (0..100).map(|_| run_deleted("/dev/shm")).collect();
    let (status, alerts) = agent.stop();
    assert!(status.success());
    let seen: Vec<&str> = alerts.iter().map(exe).collect();
    for program in &programs {
        assert!(seen.contains(&&**program), "{} of {}", seen.len(), programs.len());
    }
}

#[test]
fn what_waits_for_dockerd_at_the_end_is_judged_without() {
    let Some(dockerd) = Dockerd::start() else { return };
    let agent = Tocsin::start(&["--docker-socket", &dockerd.socket()]);
    let pid = Pid::from_raw(dockerd.pid().cast_signed()).unwrap();
    let bundle = Bundle::new(&dockerd, Users::OfTheNode, &["true"]);
    kill_process(pid, Signal::STOP).unwrap();
    bundle.run(&dockerd);
    let (status, alerts) = agent.stop();
    kill_process(pid, Signal::CONT).unwrap();
    assert!(status.success());
    let about = alerts
        .iter()
        .find(|alert| title(alert) == TITLE && container_id(alert) == bundle.id);
    assert!(about.is_some(), "{alerts:#?}");
}

fn wait_for_log(agent: &Tocsin, text: &str) {
    wait_for(text, Duration::from_secs(15), || {
        agent.log().contains(text).then_some(())
    });
}
