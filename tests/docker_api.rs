//! `Exposed Docker daemon detected`: every way to expose one, before the agent and after it, and what looks like one.
//!
//! One agent asks what it suspects, the other may not and goes by configuration.

mod daemons;
mod neighbours;

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::{daemons::Daemons, neighbours::Neighbours};
use crate::{
    dockerd::Dockerd,
    fixtures,
    ocsf::{activity, brief, container_id, exe, fact, level, pid, port, title},
    podman::Podman,
    tls::Certificates,
    tocsin::{PATIENCE, Tocsin},
};

const TITLE: &str = "Exposed Docker daemon detected";

/// Without this word, Docker waits for fifteen seconds before it serves everybody.
const PLAIN: &str = "--tls=false";

/// Ports, each of one thing.
mod at {
    pub(super) const WILDCARD: u16 = 4243;
    pub(super) const LOOPBACK: u16 = 23750;
    pub(super) const PRIVATE: u16 = 4244;
    pub(super) const FILE: u16 = 4343;
    pub(super) const TLS: u16 = 2376;
    pub(super) const UNVERIFIED: u16 = 23760;
    pub(super) const INHERITED: u16 = 4444;
    pub(super) const PODMAN: u16 = 8888;
    pub(super) const RELAY: u16 = 9001;
    pub(super) const CONNECTED: u16 = 9002;
    pub(super) const PER_REQUEST: u16 = 9003;
    pub(super) const NO_DAEMON: u16 = 9004;
    pub(super) const OTHER_CLIENT: u16 = 9005;
    pub(super) const WEB: u16 = 2375;
    pub(super) const SWARM: [u16; 2] = [2377, 7946];
}

/// Who an alert must be about.
enum Who {
    Process(u32),
    /// In a network of its own, where no other listens at that port.
    Program(&'static str),
}

/// A listener, and the level of the one alert about it.
struct Case {
    what: &'static str,
    who: Who,
    port: u16,
    /// By the agent that asks; by the one that does not.
    levels: [Option<&'static str>; 2],
    /// It was seen as what it is when the agents started.
    at_startup: bool,
}

impl Case {
    fn is_meant(&self, alert: &Value) -> bool {
        let is_by = match &self.who {
            Who::Process(process) => pid(alert) == Some((*process).into()),
            Who::Program(name) => {
                exe(alert).ends_with(name) && (fact(alert, "event.startup") == &json!(true)) == self.at_startup
            }
        };
        is_by && port(alert) == Some(self.port.into())
    }

    fn expected(&self, agent: usize) -> Vec<(&'static str, bool)> {
        let level = self.levels[agent];
        level.map(|level| (level, self.at_startup)).into_iter().collect()
    }
}

#[test]
fn a_daemon_is_found_however_it_is_told_whom_to_serve() {
    let (Some(podman), Some(maker)) = (Podman::of_root(), Dockerd::start()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(|| maker.command("openssl"), folder.path());
    let Some(before) = Daemons::start(&certificates, &podman) else {
        return;
    };
    let agents = Agents::start(&maker);
    let after = Daemons::start(&certificates, &podman).unwrap();
    agents.check(&[before.cases(true), after.cases(false)]);
}

#[test]
fn what_forwards_to_a_daemons_socket_is_found_under_any_name() {
    let Some(before) = Neighbours::start() else { return };
    let agents = Agents::start(&before.daemon);
    let after = Neighbours::start().unwrap();
    before.use_proxy();
    after.use_proxy();
    agents.check(&[before.cases(true), after.cases(false)]);
}

#[test]
fn a_daemon_in_a_container_is_as_exposed_as_its_port() {
    let (Some(fixture), Some(dockerd)) = (fixtures::require("docker"), Dockerd::start()) else {
        return;
    };
    let image = dockerd.import_debian();
    let agent = Tocsin::start(&["--docker-socket", &dockerd.socket()]);
    let programs = format!("{}:/docker:ro", fixture.display());
    let inner = format!(
        "export PATH=/docker/programs:$PATH LD_LIBRARY_PATH=/docker/usr/lib/x86_64-linux-gnu
         exec dockerd {PLAIN} --host tcp://0.0.0.0:{} --storage-driver vfs --bridge none --iptables=false --ip6tables=false",
        at::WEB
    );
    let start = |name: &str, options: &[&str]| {
        let options = [&["--privileged", "--volume", &programs], options].concat();
        let id = dockerd.run(name, &options, &[image, "sh", "-c", &inner]);
        dockerd.wait_for_listener(&id, at::WEB);
        id
    };
    let published = format!("{0}:{0}", at::WEB);
    let cases = [
        (start("published", &["--publish", &published]), "Critical"),
        (start("beside-others", &[]), "High"),
    ];
    for (id, expected) in &cases {
        let alert = agent.wait_for_alert(TITLE, |alert| container_id(alert) == id);
        assert_eq!(
            (level(&alert), port(&alert)),
            (*expected, Some(at::WEB.into())),
            "{}",
            brief(&alert)
        );
    }
}

/// One that asks what it suspects, and knows the daemon's containers; one that may not ask, and knows none.
struct Agents([Tocsin; 2]);

impl Agents {
    fn start(dockerd: &Dockerd) -> Self {
        Self([
            Tocsin::start(&["--docker-socket", &dockerd.socket()]),
            Tocsin::start(&["--docker-socket", "/nonexistent", "--no-probe"]),
        ])
    }

    /// Checks that each raises exactly the alerts that it should, each once.
    fn check(&self, cases: &[Vec<Case>]) {
        let cases: Vec<&Case> = cases.iter().flatten().collect();
        for (index, agent) in self.0.iter().enumerate() {
            let all_raised = || {
                let alerts = agent.alerts();
                let is_raised = |case: &&Case| case.levels[index].is_none() || !raised(&alerts, case).is_empty();
                cases.iter().all(is_raised)
            };
            let deadline = Instant::now() + PATIENCE;
            while !all_raised() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(50));
            }
            let alerts = agent.alerts_after_quiet();
            let found: Vec<_> = cases.iter().map(|case| (case.what, raised(&alerts, case))).collect();
            let expected = cases.iter().map(|case| (case.what, case.expected(index)));
            assert_eq!(found, expected.collect::<Vec<_>>(), "agent {index}");
            let ours = alerts.iter().filter(|alert| is_ours(alert, &cases));
            let others = ours.filter(|alert| !cases.iter().any(|case| case.is_meant(alert)));
            let others: Vec<_> = others.map(brief).collect();
            assert!(others.is_empty(), "agent {index}: {others:#?}");
        }
    }
}

/// Of the alerts about that, the level, and whether it was there when the agent started.
fn raised<'a>(alerts: &'a [Value], case: &Case) -> Vec<(&'a str, bool)> {
    let about = alerts
        .iter()
        .filter(|alert| title(alert) == TITLE && activity(alert) == "Create" && case.is_meant(alert));
    about
        .map(|alert| (level(alert), fact(alert, "event.startup") == &json!(true)))
        .collect()
}

/// Whether an alert is about a port of this test, and not about something else of this machine.
fn is_ours(alert: &Value, cases: &[&Case]) -> bool {
    let is_our_port = cases.iter().any(|case| port(alert) == Some(case.port.into()));
    title(alert) == TITLE && is_our_port
}
