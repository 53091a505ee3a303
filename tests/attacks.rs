//! The harmless actions of Falco's event-generator, Atomic Red Team and Microsoft's attack simulation raise what they
//! should, and their twins nothing: a table, whose other form is `docs/attacks.md`.

mod containers;
mod daemons;
mod host;
mod page;
mod simulation;
mod stage;

use std::{collections::BTreeMap, fs};

use serde_json::Value;

use self::{page::page, stage::Stage};
use crate::{
    deadline::wait_until,
    ocsf::{activity, brief, level, title},
    tocsin::PATIENCE,
};

const PRIVILEGED: &str = "Privileged Container Detected";
const COMMAND: &str = "Privileged command run in container";
const DOCKER: &str = "Exposed Docker daemon detected";
const SSH: &str = "SSH server is running inside a container";
const MINER: &str = "Container with a miner image detected";
const API: &str = "Suspicious request to Kubernetes API";
const SCAN: &str = "Scan of the Kubernetes service network";
const FOLDER: &str = "Process execution from temporary folder";
const FILELESS: &str = "Fileless execution detected";
const DRIFT: &str = "Program that is not part of its image run in container";
const ROOT: &str = "Attempt to run high privilege command detected";
const SHELL: &str = "Web shell detected";

/// What somebody does, and what Tocsin says to it.
struct Action {
    /// The name of its container, and a mark in the command line of the shell that does it.
    name: &'static str,
    /// Who describes it, and under which name.
    origin: &'static str,
    does: &'static str,
    by: By,
    /// Each title with its highest level. None is silence.
    raises: &'static [(&'static str, &'static str)],
    /// Why, where the titles do not say it.
    because: &'static str,
}

/// Who does it.
enum By {
    /// A shell of root's on a machine of its own, in no container.
    Host(&'static str),
    /// A shell that a page of that machine starts, as `www-data`.
    Page(&'static str),
    /// A shell that a page starts in a container.
    Victim(&'static str),
    /// The same, by a script that arrives encoded and goes to bash.
    VictimEncoded(&'static str),
    /// A shell with Docker's client, where `run` runs a container of the action's name.
    Docker(&'static str),
    /// The same, before the agent starts.
    DockerBefore(&'static str),
    /// Another daemon, with these arguments.
    Daemon(&'static [&'static str]),
    /// Another daemon, with this daemon.json.
    ConfiguredDaemon(&'static str),
    /// Another daemon, which asks for a certificate.
    VerifyingDaemon(&'static [&'static str]),
}

/// The actions, as the page has them.
const GROUPS: [(&str, &[Action]); 4] = [
    ("In containers", containers::ACTIONS),
    ("Docker's own interface", daemons::ACTIONS),
    ("On the host, and below its web server", host::ACTIONS),
    ("Microsoft's attack simulation", simulation::ACTIONS),
];

fn actions() -> impl Iterator<Item = &'static Action> {
    GROUPS.iter().flat_map(|(_, actions)| *actions)
}

/// What was raised: each title with its highest level.
type Raised<'a> = BTreeMap<&'a str, &'a str>;

#[test]
fn known_actions_raise_what_they_should() {
    let Some(mut stage) = Stage::set() else { return };
    stage.perform();
    let expected = |action: &Action| action.raises.iter().copied().collect::<Raised>();
    // Some is raised when a server has come up, or by a look that takes its time.
    wait_until(PATIENCE, || {
        let alerts = stage.every.alerts();
        actions().all(|action| {
            let raised = raised(&stage, &alerts, action);
            expected(action)
                .iter()
                .all(|(title, level)| raised.get(title) == Some(level))
        })
    });
    let alerts = stage.every.alerts_after_quiet();
    let wrong: Vec<_> = actions()
        .filter(|action| raised(&stage, &alerts, action) != expected(action))
        .map(|action| {
            let about = alerts.iter().filter(|alert| stage.concerns(action, alert));
            let about: Vec<_> = about.map(brief).collect();
            format!(
                "{}: {:?} is raised: {about:#?}",
                action.name,
                raised(&stage, &alerts, action)
            )
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        actions().count(),
        wrong.join("\n")
    );
    let others: Vec<_> = stage.unexplained(&alerts).map(brief).collect();
    assert!(others.is_empty(), "{others:#?}");

    // Whoever counts repeats hears of each once.
    for action in actions().filter(|action| matches!(action.by, By::Docker(_) | By::DockerBefore(_))) {
        let alerts = stage.counted.alerts();
        let told = alerts
            .iter()
            .filter(|alert| stage.concerns(action, alert) && activity(alert) == "Create");
        let mut titles: Vec<_> = told.map(title).collect();
        titles.sort_unstable();
        let once: Vec<_> = expected(action).into_keys().collect();
        assert_eq!(titles, once, "{}", action.name);
    }
}

fn raised<'a>(stage: &Stage, alerts: &'a [Value], action: &Action) -> Raised<'a> {
    let mut raised = Raised::new();
    for alert in alerts.iter().filter(|alert| stage.concerns(action, alert)) {
        let highest = raised.entry(title(alert)).or_insert(level(alert));
        if rank(level(alert)) > rank(highest) {
            *highest = level(alert);
        }
    }
    raised
}

fn rank(level: &str) -> Option<usize> {
    ["Low", "Medium", "High", "Critical"]
        .iter()
        .position(|name| *name == level)
}

#[test]
fn the_page_says_what_is_tested() {
    if include_str!("../docs/attacks.md") != page() {
        let made = concat!(env!("CARGO_TARGET_TMPDIR"), "/attacks.md");
        fs::write(made, page()).unwrap();
        panic!("docs/attacks.md is not what the table says: take {made}");
    }
}
