//! `docs/attacks.md`: the table for people.

use std::fmt::Write as _;

use super::{Action, GROUPS};

const HEAD: &str = "\
# Known attacks

What Tocsin says to the harmless actions of three collections that others test their detections with:
[Falco's event-generator](https://github.com/falcosecurity/event-generator) (EG),
[Atomic Red Team](https://github.com/redcanaryco/atomic-red-team) (ART) and Microsoft's
[attack simulation](https://github.com/microsoft/Defender-for-Cloud-Attack-Simulation) for containers; *ours* are not in any
of them, and *twins* resemble them and are no attack. A test does each anew, with Debian's own programs, and it raises
exactly what stands here. This page is made from that test's table (`tests/attacks/`).

A level is the highest that was raised. One action may well raise several alerts of a title, which are told apart by their
subject, and are counted when they repeat.

Left out is what those collections themselves call dangerous, such as downloads from the Internet, scans of other people's
networks and shells for strangers, and all that concerns threat feeds.
";

/// All of it.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    for (title, actions) in GROUPS {
        write!(
            page,
            "\n## {title}\n\n| action | from | raises | why |\n|---|---|---|---|\n"
        )
        .unwrap();
        for action in actions {
            row(&mut page, action);
        }
    }
    page
}

fn row(page: &mut String, action: &Action) {
    let Action {
        origin, does, because, ..
    } = action;
    let raised = action
        .raises
        .iter()
        .map(|(title, level)| format!("{title} ({})", level.to_lowercase()));
    let raised = raised.collect::<Vec<_>>().join("; ");
    let raised = if raised.is_empty() { "nothing" } else { &raised };
    writeln!(page, "| {does} | {origin} | {raised} | {because} |").unwrap();
}
