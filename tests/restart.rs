//! dockerd goes away and comes back while the agent runs.

use std::time::Duration;

use serde_json::json;

use crate::{
    deadline::wait_for,
    dockerd::Dockerd,
    ocsf::{brief, container_id, container_name, fact, image},
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

fn wait_for_log(agent: &Tocsin, text: &str) {
    wait_for(text, Duration::from_secs(15), || {
        agent.log().contains(text).then_some(())
    });
}
