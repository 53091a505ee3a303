//! Samples: recorded events beside a rule file that its rules must match, or must not.

use std::{path::Path, time::Instant};

use rsigma_parser::{CorrelationRule, SigmaRule};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Rules,
    document::{Documents, Place, Placed},
};
use crate::{
    enrich::{Node, Step},
    event::{Event, recorded::event_from_json},
    observed::Observed,
};

/// One line of a sample file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What it shows.
    pub why: String,
    /// Whether the rules beside it match.
    #[serde(rename = "match")]
    pub matches: bool,
    /// What happens, in order; an event without a time happens a second after the one before.
    events: Vec<Map<String, Value>>,
}

/// How the samples of one file went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many samples must match.
    pub matching: usize,
    /// How many must not.
    pub near_misses: usize,
    /// What went otherwise: the line, counted from 1, and what was found.
    pub failures: Vec<(usize, String)>,
}

impl Outcome {
    /// What is missing for the samples to show anything: a rule needs one that matches, and one that just does not.
    pub fn lacking(&self) -> Option<&'static str> {
        match (self.matching, self.near_misses) {
            (0, 0) => Some("no samples"),
            (0, _) => Some("no sample that must match"),
            (_, 0) => Some("no near miss"),
            _ => None,
        }
    }
}

/// Runs the samples that stand beside a rule file. Each meets the file's rules afresh, with the rules that they
/// correlate, those that give roles, and their filters, but no others.
pub fn run(samples: &str, documents: &Documents, file: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let afresh = || Rules::of(documents.about(file)).0;
    let mut rules = afresh();
    for (number, line) in samples.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str::<Sample>(line) {
            Ok(sample) => {
                *(if sample.matches {
                    &mut outcome.matching
                } else {
                    &mut outcome.near_misses
                }) += 1;
                if rules.count() {
                    rules = afresh();
                }
                if let Err(failure) = try_sample(sample, &mut rules, documents, file) {
                    outcome.failures.push((number + 1, failure));
                }
            }
            Err(error) => outcome.failures.push((number + 1, format!("not a sample: {error}"))),
        }
    }
    outcome
}

fn try_sample(sample: Sample, rules: &mut Rules, documents: &Documents, file: &Path) -> Result<(), String> {
    let Sample { why, matches, events } = sample;
    let own = documents
        .places()
        .filter(|(place, _)| *place.file == *file)
        .map(|(_, id)| id);
    let own: Vec<_> = own.collect();
    let (mut node, mut fired) = (Node::default(), false);
    for (second, mut event) in events.into_iter().enumerate() {
        event.entry("time").or_insert_with(|| Value::from(second));
        let event = event_from_json(event).map_err(|error| format!("{why}: {error:#}"))?;
        let Some(mut observed) = observe(&mut node, event) else {
            continue;
        };
        for found in rules.judge(&mut observed) {
            fired |= own.contains(&found.rule.id);
            if let (Some(role), Some(process)) = (&found.rule.role, &observed.process) {
                node.learn_role(process, role);
            }
        }
    }
    match (matches, fired) {
        (true, false) => Err(format!("does not match, but must: {why}")),
        (false, true) => Err(format!("matches, but must not: {why}")),
        _ => Ok(()),
    }
}

/// An event with all that the node knows of it by the events before; nothing of one that no rule judges.
fn observe(node: &mut Node, event: Event) -> Option<Observed> {
    match node.observe(event, Instant::now()) {
        Step::Learned => None,
        Step::Ready(observed) => Some(observed),
        Step::Awaits(container, observed) => Some(node.resume(&container, observed)),
        Step::Undescribed(container, observed) => Some(node.resume(&container.id, observed)),
    }
}

impl Documents {
    /// What stands in one file, the rules that its correlations build upon, those that give roles, and all lists,
    /// scores, filters and overrides.
    fn about(&self, file: &Path) -> Self {
        let here = |place: &Place| *place.file == *file;
        let mut wanted: Vec<&str> = Vec::new();
        let mut correlations: Vec<Placed<_>> = Vec::new();
        loop {
            let before = correlations.len();
            for placed in &self.correlations {
                let named = is_named(&wanted, placed.what.id.as_deref(), placed.what.name.as_deref());
                let taken = correlations
                    .iter()
                    .any(|taken: &Placed<CorrelationRule>| taken.what == placed.what);
                if (here(&placed.place) || named) && !taken {
                    wanted.extend(placed.what.rules.iter().map(String::as_str));
                    correlations.push(placed.clone());
                }
            }
            if correlations.len() == before {
                break;
            }
        }
        let rules = self.rules.iter();
        let rules = rules.filter(|placed| {
            let named = is_named(&wanted, placed.what.id.as_deref(), placed.what.name.as_deref());
            here(&placed.place) || named || gives_role(&placed.what)
        });
        Self {
            rules: rules.cloned().collect(),
            correlations,
            filters: self.filters.clone(),
            overrides: self.overrides.clone(),
            lists: self.lists.clone(),
            scores: self.scores.clone(),
        }
    }
}

fn gives_role(rule: &SigmaRule) -> bool {
    let said = rule.custom_attributes.get("tocsin");
    said.is_some_and(|said| said.get("role").is_some())
}

fn is_named(wanted: &[&str], id: Option<&str>, name: Option<&str>) -> bool {
    wanted
        .iter()
        .any(|reference| id == Some(*reference) || name == Some(*reference))
}
