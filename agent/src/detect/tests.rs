//! What loads, what is refused and why, and what a loaded set says to events.

mod refusals;
mod correlations;
mod exceptions;
mod matches;
mod sigmahq;

use super::*;
use crate::event::recorded::event_from_line;

const LOGIN: &str = "
title: Failed login
id: 11111111-1111-4111-8111-111111111111
name: failed-login
logsource: {product: linux, category: process_creation}
detection:
    selection: {Image: /bin/login}
    condition: selection
level: low
";

const MANY: &str = "
title: Many failed logins
id: 22222222-2222-4222-8222-222222222222
correlation:
    type: event_count
    rules: [failed-login]
    group-by: [User]
    timespan: 1m
    condition: {gte: 3}
level: high
";

pub(super) fn file(name: &str, text: &str) -> RuleFile {
    RuleFile {
        path: name.into(),
        text: text.trim_start().to_owned(),
        built_in: name.starts_with("built-in"),
    }
}

/// Loads documents, each as a file of its own called `0.yml`, `1.yml`…
pub(super) fn load_all(documents: &[&str]) -> (Rules, Vec<String>) {
    let files = documents.iter().enumerate();
    let files: Vec<_> = files
        .map(|(number, text)| file(&format!("{number}.yml"), text))
        .collect();
    let (rules, problems) = load(&files, Timestamp::UNIX_EPOCH);
    (rules, problems.iter().map(ToString::to_string).collect())
}

fn observed(line: &str) -> Observed {
    event_from_line(line).unwrap().into()
}

fn login(user: &str, second: u32) -> Observed {
    observed(&format!(
        r#"{{"time":{second},"category":"process_creation","Image":"/bin/login","User":"{user}"}}"#
    ))
}

fn titles(rules: &mut Rules, event: &mut Observed) -> Vec<String> {
    rules
        .judge(event)
        .iter()
        .map(|found| found.rule.title.to_string())
        .collect()
}

/// Loading `documents` reports exactly `expected`, and leaves so many rules in force.
fn check(documents: &[&str], expected: &[&str], in_force: usize) {
    let (rules, problems) = load_all(documents);
    assert_eq!(problems, expected);
    assert_eq!(rules.iter().count(), in_force);
}
