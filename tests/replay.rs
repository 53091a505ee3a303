//! `tocsin replay`, on events of a test's own.

use std::{
    fs,
    path::Path,
    process::{ExitStatus, Output},
};

use serde_json::Value;

use crate::tocsin::Tocsin;

/// What a replay came to.
pub(crate) struct Replay {
    pub(crate) status: ExitStatus,
    pub(crate) alerts: Vec<Value>,
    /// What it said on standard error.
    pub(crate) said: String,
}

/// Replays a file of events with these further arguments. The node's own configuration has no say.
pub(crate) fn replay(file: &Path, arguments: &[&str]) -> Replay {
    let mut command = Tocsin::command();
    command.args([
        "replay",
        "--source",
        "events",
        "--config",
        "/dev/null",
        "--format",
        "ocsf",
    ]);
    let Output { status, stdout, stderr } = command.args(arguments).arg(file).output().expect("the replay starts");
    let text = String::from_utf8(stdout).expect("alerts are text");
    let said = String::from_utf8_lossy(&stderr).into_owned();
    let alert = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{said}"));
    Replay {
        status,
        alerts: text.lines().map(alert).collect(),
        said,
    }
}

/// The alerts that these events raise, with these further arguments.
pub(crate) fn alerts_of(events: &[Value], arguments: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder for the events");
    let file = folder.path().join("events.jsonl");
    let lines = events.iter().map(|event| format!("{event}\n"));
    fs::write(&file, lines.collect::<String>()).expect("the events are written");
    let Replay { status, alerts, said } = replay(&file, arguments);
    assert!(status.success(), "{said}");
    assert!(said.starts_with(&format!("{} events, ", events.len())), "{said}");
    alerts
}
