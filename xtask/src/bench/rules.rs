//! The rules of the measured agent: many that never match, one that says it is ready, and one for every event.

use std::{fs, path::Path};

use anyhow::Result;

use super::storm::MARK;

/// What the probe's command line holds.
pub(super) const READY: &str = "tocsin-bench-ready";

/// Writes `silent` rules that never match and the one that says the agent is ready; with `alerting` one for each exec.
pub(super) fn write(folder: &Path, silent: u32, alerting: bool) -> Result<()> {
    fs::create_dir_all(folder)?;
    for number in 0..silent {
        rule(
            folder,
            number,
            "Never in a bench",
            &format!("no-such-argument-{number}"),
        )?;
    }
    rule(folder, silent, "Ready for a bench", READY)?;
    if alerting {
        // The digits that follow begin with a nought.
        rule(folder, silent + 1, "Every exec of a bench", &format!("{MARK}0"))?;
    }
    Ok(())
}

fn rule(folder: &Path, number: u32, title: &str, argument: &str) -> Result<()> {
    let text = format!(
        "title: {title} {number}
id: 00000000-0000-4000-8000-{number:012}
name: bench-{number}
status: test
description: Written by the bench.
logsource:
    product: linux
    category: process_creation
detection:
    selection:
        CommandLine|contains: '{argument}'
    condition: selection
level: high
"
    );
    fs::write(folder.join(format!("bench-{number}.yml")), text)?;
    Ok(())
}
