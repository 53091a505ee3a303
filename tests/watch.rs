//! Two agents at once over one dockerd: one that may ask it, and one that has the kernel's word alone.

use std::env;

use serde_json::{Value, json};

use crate::{
    dockerd::Dockerd,
    ocsf::{activity, brief, command_line, container_id, container_name, exe, fact, image, title},
    tocsin::Tocsin,
};

/// The two agents.
pub(crate) struct Watch {
    /// It reads the daemon's socket.
    pub(crate) told: Tocsin,
    /// It has no socket to read.
    pub(crate) untold: Tocsin,
}

/// A container that a test has started.
pub(crate) struct Subject<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) image: &'a str,
}

impl Watch {
    /// Starts both.
    pub(crate) fn start(dockerd: &Dockerd) -> Self {
        Self {
            told: Tocsin::start(&["--docker-socket", &dockerd.socket()]),
            untold: Tocsin::start(&["--docker-socket", "/nonexistent"]),
        }
    }

    /// Waits until both have raised that alert about the container, and gives what both say.
    pub(crate) fn wait_for(&self, wanted: &str, subject: &Subject, is_it: impl Fn(&Value) -> bool) -> [Value; 2] {
        [&self.told, &self.untold]
            .map(|agent| agent.wait_for_alert(wanted, |alert| container_id(alert) == subject.id && is_it(alert)))
    }

    /// Checks that both agents raise that alert about the container, with all that they can know of it.
    pub(crate) fn check(&self, wanted: &str, subject: &Subject, is_it: impl Fn(&Value) -> bool) {
        let [told, untold] = self.wait_for(wanted, subject, is_it);
        assert_eq!(
            (container_name(&told), image(&told)),
            (subject.name, subject.image),
            "{}",
            brief(&told)
        );
        assert_eq!(fact(&told, "container.metadata"), &json!("known"), "{}", brief(&told));
        assert_eq!(
            fact(&untold, "container.metadata"),
            &json!("unavailable"),
            "{}",
            brief(&untold)
        );
        // Events wait for the runtime's files as long as for a runtime: not for ever.
        let name = container_name(&untold);
        assert!(name.is_empty() || name == subject.name, "{}", brief(&untold));
    }

    /// Once all is judged: checks that about these containers each agent has raised exactly these titles, once each, and
    /// nothing about the runtime itself, which runs again from memory or a sealed copy on its way into a container.
    pub(crate) fn check_all(&self, expected: &[(&str, &[&str])]) {
        for agent in [&self.told, &self.untold] {
            let alerts = agent.alerts_after_quiet();
            let of_runtime =
                |alert: &&Value| exe(alert).ends_with("/runc") || command_line(alert).ends_with("runc init");
            // A checkout below /tmp makes the fixtures' runc a program from a temporary folder, which it is right to say.
            let only_for_its_place =
                |alert: &&Value| fact(alert, "process.exe_kind").is_null() && in_fixtures(exe(alert));
            let of_runtime = alerts.iter().filter(of_runtime);
            let of_runtime: Vec<_> = of_runtime.filter(|alert| !only_for_its_place(alert)).collect();
            assert!(of_runtime.is_empty(), "{:#?}", briefs(&of_runtime));
            for (id, titles) in expected {
                let raised = titles_about(&alerts, id);
                assert_eq!(raised, *titles, "about {id}: {:#?}", briefs(&about(&alerts, id)));
            }
        }
    }
}

fn in_fixtures(path: &str) -> bool {
    env::var("TOCSIN_FIXTURES").is_ok_and(|fixtures| path.starts_with(&fixtures))
}

/// The titles of the alerts about a container, sorted, without updates.
pub(crate) fn titles_about<'a>(alerts: &'a [Value], id: &str) -> Vec<&'a str> {
    let created = about(alerts, id)
        .into_iter()
        .filter(|alert| activity(alert) == "Create");
    let mut titles: Vec<_> = created.map(title).collect();
    titles.sort_unstable();
    titles
}

fn about<'a>(alerts: &'a [Value], id: &str) -> Vec<&'a Value> {
    alerts.iter().filter(|alert| container_id(alert) == id).collect()
}

fn briefs(alerts: &[&Value]) -> Vec<String> {
    alerts.iter().map(|alert| brief(alert)).collect()
}
