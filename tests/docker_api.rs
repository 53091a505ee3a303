//! `Exposed Docker daemon detected`: a daemon that answers everybody, and one that asks for a certificate.

use serde_json::json;

use crate::{
    dockerd::Dockerd,
    ocsf::{activity, brief, fact, level, pid, port, title},
    tls::Certificates,
    watch::Watch,
};

const TITLE: &str = "Exposed Docker daemon detected";
const PORT: u16 = 23750;

#[test]
fn an_open_daemon_is_told_from_one_that_asks_for_a_certificate() {
    let address = format!("tcp://127.0.0.1:{PORT}");
    let open = ["-H", &*address];
    let Some(before) = Dockerd::start_with(&open) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(|| before.command("openssl"), folder.path());
    let verified = [certificates.daemon_arguments(), open.map(String::from).to_vec()].concat();
    let verified: Vec<&str> = verified.iter().map(String::as_str).collect();
    let again = |arguments: &[&str]| Dockerd::start_with(arguments).expect("the first one had its packages");
    let verified_before = again(&verified);

    let watch = Watch::start(&before);
    let (after, verified_after) = (again(&open), again(&verified));
    for agent in [&watch.told, &watch.untold] {
        for (daemon, startup) in [(&before, true), (&after, false)] {
            let alert = agent.wait_for_alert(TITLE, |alert| pid(alert) == Some(daemon.pid().into()));
            assert_eq!(
                (level(&alert), port(&alert)),
                ("Medium", Some(PORT.into())),
                "on loopback: {}",
                brief(&alert)
            );
            assert_eq!(
                fact(&alert, "event.startup") == &json!(true),
                startup,
                "{}",
                brief(&alert)
            );
        }
        let alerts = agent.alerts_after_quiet();
        for (daemon, expected) in [(&before, 1), (&after, 1), (&verified_before, 0), (&verified_after, 0)] {
            let about = |alert: &&_| title(alert) == TITLE && pid(alert) == Some(daemon.pid().into());
            let raised: Vec<_> = alerts
                .iter()
                .filter(about)
                .filter(|alert| activity(alert) == "Create")
                .collect();
            assert_eq!(
                raised.len(),
                expected,
                "{:?}",
                raised.iter().map(|alert| brief(alert)).collect::<Vec<_>>()
            );
        }
    }
}
