//! Every alert of an hour, told apart: the attack's, and those that people at work have raised.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use super::{node::OUTSIDE, site::ATTACK};
use crate::ocsf::{activity, brief, command_line, container_id, container_name, exe, level, rule, title};

/// What an hour has raised.
pub(crate) struct Report {
    attack: Vec<Value>,
    noise: Vec<Value>,
    /// Below medium: not meant to be read one by one.
    low: Vec<Value>,
    /// What else this machine does, which no step of the hour has asked for.
    elsewhere: Vec<Value>,
}

impl Report {
    /// Sorts the alerts; repeats are counted by the agent and left out here.
    pub(crate) fn new(alerts: &[Value]) -> Self {
        let mut report = Self {
            attack: Vec::new(),
            noise: Vec::new(),
            low: Vec::new(),
            elsewhere: Vec::new(),
        };
        for alert in alerts
            .iter()
            .filter(|alert| activity(alert) == "Create" && !is_canary(alert))
        {
            let kind = if is_attack(alert) {
                &mut report.attack
            } else if is_elsewhere(alert) {
                &mut report.elsewhere
            } else if ["Informational", "Low"].contains(&level(alert)) {
                &mut report.low
            } else {
                &mut report.noise
            };
            kind.push(alert.clone());
        }
        report
    }

    /// How many alerts of medium or above are not the attack's.
    pub(crate) fn noise(&self) -> usize {
        self.noise.len()
    }

    /// Whether the attack has raised a high alert of that title.
    pub(crate) fn attack_is_seen_by(&self, wanted: &str) -> bool {
        let high = |alert: &Value| ["High", "Critical"].contains(&level(alert));
        self.attack.iter().any(|alert| title(alert) == wanted && high(alert))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, form: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, alerts) in [
            ("of the attack", &self.attack),
            ("of medium or above beside it", &self.noise),
            ("below medium", &self.low),
            ("of what else runs on this machine", &self.elsewhere),
        ] {
            writeln!(form, "{} alerts {kind}", alerts.len())?;
            let mut rules: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for alert in alerts {
                rules.entry(rule(alert)).or_default().push(alert);
            }
            for (rule, alerts) in rules {
                writeln!(form, "    {:>3} {rule}", alerts.len())?;
                for alert in alerts {
                    writeln!(
                        form,
                        "        {} {:?} {} {}",
                        exe(alert),
                        command_line(alert),
                        container_name(alert),
                        ancestors(alert)
                    )?;
                }
            }
        }
        for alert in &self.noise {
            writeln!(form, "{}", brief(alert))?;
        }
        Ok(())
    }
}

/// Whether it is what the test itself raised to see that all is judged.
fn is_canary(alert: &Value) -> bool {
    exe(alert).starts_with("/dev/shm/.tmp")
}

/// Whether it is about a process of the machine itself: in no container, on no host of the test's, and not below the test.
fn is_elsewhere(alert: &Value) -> bool {
    let own_work = |process: &Value| {
        let line = process["cmd_line"].as_str().unwrap_or_default();
        process["pid"] == std::process::id() || line.contains(OUTSIDE)
    };
    let process = alert.pointer("/evidences/0/process");
    process.is_some_and(|process| {
        process["pid"] == process["namespace_pid"] && container_id(alert).is_empty() && !processes(alert).any(own_work)
    })
}

/// Whether one of the processes that led to an alert was told so by the intruder.
fn is_attack(alert: &Value) -> bool {
    lineage(alert).any(|line| line.contains(ATTACK))
}

/// An alert's process and those that led to it.
fn processes(alert: &Value) -> impl Iterator<Item = &Value> {
    let process = alert.pointer("/evidences/0/process");
    std::iter::successors(process, |process| process.get("parent_process"))
}

/// Their command lines.
fn lineage(alert: &Value) -> impl Iterator<Item = &str> {
    processes(alert).filter_map(|process| process["cmd_line"].as_str())
}

fn ancestors(alert: &Value) -> String {
    let lines: Vec<_> = lineage(alert)
        .skip(1)
        .map(|line| line.chars().take(60).collect::<String>())
        .collect();
    format!("< {}", lines.join(" < "))
}
