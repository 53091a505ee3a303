//! Samples: recorded events beside a rule file that its rules must match, or must not.

use std::{path::Path, sync::Arc, time::Instant};

use rsigma_parser::{CorrelationRule, SigmaRule};
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Match, Rules,
    document::{Documents, Place, Placed},
};
use crate::{
    enrich::{Node, Step},
    event::{Event, recorded::event_from_json},
    intel::{
        Feed, Intel, formats,
        settings::{FeedSettings, Format},
    },
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
    /// What teaches the baselines first, whether or not a rule matches it.
    #[serde(default)]
    history: Vec<Map<String, Value>>,
    /// What threat feeds say.
    #[serde(default)]
    feed: Vec<SampleFeed>,
    /// What happens, in order; an event without a time happens a second after the one before.
    events: Vec<Map<String, Value>>,
}

/// A threat feed of a sample.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SampleFeed {
    /// Addresses and networks.
    lists: Vec<String>,
    /// How sure it is of them.
    confidence: u8,
    /// It is a warninglist.
    warninglist: bool,
}

impl Default for SampleFeed {
    fn default() -> Self {
        Self {
            lists: Vec::new(),
            confidence: FeedSettings::default().confidence,
            warninglist: false,
        }
    }
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
/// correlate, those that give roles or teach, and their filters, but no others.
pub fn run(samples: &str, documents: &Documents, file: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let places = documents.places().filter(|(place, _)| *place.file == *file);
    let own: Vec<_> = places.map(|(_, id)| id).collect();
    let counts = !documents.about(file).correlations.is_empty();
    let (mut rules, _) = Rules::of(documents.about(file));
    for (number, line) in samples.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str::<Sample>(line) {
            Ok(sample) => {
                *(if sample.matches {
                    &mut outcome.matching
                } else {
                    &mut outcome.near_misses
                }) += 1;
                // What correlations counted is all that a sample can leave to the next; compiling takes its time.
                if counts {
                    (rules, _) = Rules::of(documents.about(file));
                }
                if let Err(failure) = try_sample(sample, &mut rules, &own) {
                    outcome.failures.push((number + 1, failure));
                }
            }
            Err(error) => outcome.failures.push((number + 1, format!("not a sample: {error}"))),
        }
    }
    outcome
}

fn try_sample(sample: Sample, rules: &mut Rules, own: &[Uuid]) -> Result<(), String> {
    let Sample {
        why,
        matches,
        history,
        feed,
        events,
    } = sample;
    let mut node = Node::default();
    node.learn_intel(Arc::new(intel(&feed)?));
    let mut happens = |events: Vec<Map<String, Value>>| {
        let mut fired = false;
        for (second, mut event) in events.into_iter().enumerate() {
            event.entry("time").or_insert_with(|| Value::from(second));
            let event = event_from_json(event).map_err(|error| format!("{why}: {error:#}"))?;
            let matches = judge(&mut node, rules, event);
            fired |= matches.iter().any(|found| own.contains(&found.rule.id));
        }
        Ok::<_, String>(fired)
    };
    happens(history)?;
    let fired = happens(events)?;
    match (matches, fired) {
        (true, false) => Err(format!("does not match, but must: {why}")),
        (false, true) => Err(format!("matches, but must not: {why}")),
        _ => Ok(()),
    }
}

/// The feeds of a sample.
fn intel(feeds: &[SampleFeed]) -> Result<Intel, String> {
    let feeds = feeds.iter().enumerate().map(|(number, feed)| {
        let settings = FeedSettings {
            confidence: feed.confidence,
            ..FeedSettings::default()
        };
        let contents = formats::read(&settings, &mut feed.lists.join("\n").as_bytes())?;
        let format = if feed.warninglist {
            Format::Warninglist
        } else {
            Format::Plain
        };
        let settings = FeedSettings { format, ..settings };
        Ok(Arc::new(Feed::new(&format!("feed-{number}"), settings, contents)))
    });
    Ok(Intel {
        feeds: feeds.collect::<Result<_, String>>()?,
    })
}

/// What the rules say to an event, of which the node remembers what they want to be remembered.
fn judge(node: &mut Node, rules: &mut Rules, event: Event) -> Vec<Match> {
    let Some(mut observed) = observe(node, event) else {
        return Vec::new();
    };
    observed.facts.baseline = node.baseline().recall(&observed).map(Arc::new);
    let matches = rules.judge(&mut observed);
    for found in &matches {
        if let (Some(role), Some(process)) = (&found.rule.role, &observed.process) {
            node.learn_role(process, role);
        }
    }
    if let Some(remembered) = &observed.facts.baseline {
        let taught = matches
            .iter()
            .any(|found| found.rule.teaches == Some(remembered.behaviour.kind));
        node.baseline().note(remembered, observed.event.time, taught);
    }
    matches
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
    /// What stands in one file, the rules that its correlations build upon, those that give roles or teach, and all lists,
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
            here(&placed.place) || named || gives_facts(&placed.what)
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

/// Whether a match gives other rules something to know.
fn gives_facts(rule: &SigmaRule) -> bool {
    let said = rule.custom_attributes.get("tocsin");
    said.is_some_and(|said| said.get("role").or(said.get("teaches")).is_some())
}

fn is_named(wanted: &[&str], id: Option<&str>, name: Option<&str>) -> bool {
    wanted
        .iter()
        .any(|reference| id == Some(*reference) || name == Some(*reference))
}
