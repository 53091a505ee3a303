//! The rules of the measured agent: many that never match, one that says it is ready, and one for every event.

use std::{fs, path::Path};

use anyhow::Result;

use super::storm::MARK;

/// What the probe's command line holds.
pub(super) const READY: &str = "tocsin-bench-ready";

/// A log source, and the field of it that bears a number.
const EXEC: (&str, &str) = ("process_creation", "CommandLine");
const REQUEST: (&str, &str) = ("network_connection", "http.path");

/// Writes `silent` rules that never match and the one that says the agent is ready; with `alerting` one for each exec and
/// one for each request.
pub(super) fn write(folder: &Path, silent: u32, alerting: bool) -> Result<()> {
    fs::create_dir_all(folder)?;
    for number in 0..silent {
        rule(
            folder,
            number,
            "Never in a bench",
            EXEC,
            &format!("no-such-argument-{number}"),
        )?;
    }
    rule(folder, silent, "Ready for a bench", EXEC, READY)?;
    if alerting {
        // The digits that follow begin with a nought.
        rule(folder, silent + 1, "Every exec of a bench", EXEC, &format!("{MARK}0"))?;
        rule(
            folder,
            silent + 2,
            "Every request of a bench",
            REQUEST,
            &format!("{MARK}0"),
        )?;
    }
    Ok(())
}

fn rule(folder: &Path, number: u32, title: &str, (category, field): (&str, &str), text: &str) -> Result<()> {
    let rule = format!(
        "title: {title} {number}
id: 00000000-0000-4000-8000-{number:012}
name: bench-{number}
status: test
description: Written by the bench.
logsource:
    product: linux
    category: {category}
detection:
    selection:
        {field}|contains: '{text}'
    condition: selection
level: high
"
    );
    fs::write(folder.join(format!("bench-{number}.yml")), rule)?;
    Ok(())
}
