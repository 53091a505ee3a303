//! Scores: named signals that weigh for or against something. What they come to is a fact that rules judge.
//!
//! ```yaml
//! title: Web shell
//! name: web-shell                 # gives the field score.web-shell
//! logsource: {product: linux, category: process_creation}
//! detection:                      # which events are scored at all
//!     below_web_worker: {process.ancestor_roles: web-worker}
//!     condition: below_web_worker
//! signals:
//!     - name: shell
//!       weight: 3
//!       why: what a page has no need of
//!       detection:
//!           shell: {Image|endswith|expand: '%shells%'}
//!           condition: shell
//! ```

use std::sync::Arc;

use rsigma_eval::{CompiledRule, EvaluationResult, RuleExplanation, evaluate_rule, explain_rule};
use rsigma_parser::{SigmaRule, parse_sigma_yaml};
use serde::Deserialize;
use yaml_serde::{Mapping, Value};

use super::{
    document::Place,
    problem::{Problem, Severity},
};
use crate::observed::{Observed, Scored};

/// The key that makes a YAML document a score.
pub const KEY: &str = "signals:";

/// The beginning of the fields that scores give.
pub const PREFIX: &str = "score.";

/// A score as its document says it.
#[derive(Clone, Debug)]
pub struct Score {
    /// What is weighed.
    pub title: String,
    /// Its slug: the field is `score.` and this.
    pub name: String,
    /// Which events are scored.
    pub scored: SigmaRule,
    /// What is weighed.
    pub signals: Vec<Signal>,
}

/// Something that weighs.
#[derive(Clone, Debug)]
pub struct Signal {
    /// Its slug.
    pub name: String,
    /// How much; below 0 if it speaks against.
    pub weight: i32,
    /// What it tells an operator, in one line.
    pub why: String,
    /// When it is there.
    pub hit: SigmaRule,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    title: String,
    name: String,
    #[serde(rename = "description")]
    _description: String,
    #[serde(default, rename = "author")]
    _author: String,
    #[serde(default, rename = "references")]
    _references: Vec<String>,
    logsource: Value,
    detection: Value,
    signals: Vec<WrittenSignal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSignal {
    name: String,
    weight: i32,
    why: String,
    detection: Value,
}

/// Reads a score.
pub fn parse(place: &Place) -> Result<Score, Problem> {
    let written: Written =
        yaml_serde::from_str(&place.text).map_err(|error| place.yaml_problem("not a score", &error))?;
    let sigma = |near: &str, detection: Value| {
        let rule = sigma(&written.title, &written.logsource, detection);
        rule.map_err(|reason| place.problem(Severity::Error, near, reason))
    };
    let mut signals: Vec<Signal> = Vec::with_capacity(written.signals.len());
    for WrittenSignal {
        name,
        weight,
        why,
        detection,
    } in written.signals
    {
        if signals.iter().any(|known| known.name == name) {
            let reason = format!("two signals bear the name {name}");
            return Err(place.problem(Severity::Error, &name, reason));
        }
        signals.push(Signal {
            hit: sigma(&name, detection)?,
            name,
            weight,
            why,
        });
    }
    Ok(Score {
        scored: sigma("detection:", written.detection)?,
        title: written.title,
        name: written.name,
        signals,
    })
}

/// A rule of these parts: its parser takes nothing but a document's text.
fn sigma(title: &str, logsource: &Value, detection: Value) -> Result<SigmaRule, String> {
    let parts = [
        ("title", Value::from(title)),
        ("logsource", logsource.clone()),
        ("detection", detection),
    ];
    let document: Mapping = parts.into_iter().map(|(key, part)| (key.into(), part)).collect();
    let text = yaml_serde::to_string(&document).map_err(|error| error.to_string())?;
    let mut collection = parse_sigma_yaml(&text).map_err(|error| error.to_string())?;
    let reason = || {
        collection
            .errors
            .first()
            .cloned()
            .unwrap_or_else(|| "no detection".into())
    };
    match collection.rules.pop() {
        Some(rule) if collection.errors.is_empty() => Ok(rule),
        _ => Err(reason()),
    }
}

/// A score that holds.
#[derive(Debug)]
pub(super) struct Compiled {
    /// The field that it gives.
    pub field: Arc<str>,
    /// What is weighed.
    pub title: String,
    /// Which events are scored.
    pub scored: CompiledRule,
    /// What is weighed.
    pub signals: Vec<CompiledSignal>,
}

/// A signal that holds.
#[derive(Debug)]
pub(super) struct CompiledSignal {
    /// Its slug.
    pub name: Arc<str>,
    /// How much it weighs.
    pub weight: i32,
    /// What it tells an operator.
    pub why: String,
    /// When it is there.
    pub hit: CompiledRule,
}

/// The scores of one log source.
#[derive(Debug, Default)]
pub(super) struct Scores(Vec<Compiled>);

impl Scores {
    pub(super) fn of(all: Vec<Compiled>) -> Self {
        Self(all)
    }

    /// The scores, by their fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|score| (&*score.field, &*score.title))
    }

    /// Rules that say which scores an event concerns, for the engine that looks at the event in any case. Their ids are
    /// the scores' fields.
    pub(super) fn rules(&self) -> impl Iterator<Item = CompiledRule> {
        self.0.iter().map(|score| CompiledRule {
            id: Some(score.field.to_string()),
            ..score.scored.clone()
        })
    }

    /// What the scores come to whose rules are among those that matched.
    pub(super) fn weigh(&self, matched: &[EvaluationResult], observed: &Observed) -> Vec<Scored> {
        let concerned = |score: &&Compiled| {
            let mut ids = matched.iter().map(|result| result.header.rule_id.as_deref());
            ids.any(|id| id == Some(&*score.field))
        };
        let scores = self.0.iter().filter(concerned);
        scores.map(|score| score.weigh(observed)).collect()
    }

    /// Why each score came to what it did.
    pub(super) fn explain(&self, observed: &Observed) -> Vec<ScoreExplanation> {
        self.0.iter().map(|score| score.explain(observed)).collect()
    }
}

impl Compiled {
    fn weigh(&self, observed: &Observed) -> Scored {
        let hit = self
            .signals
            .iter()
            .filter(|signal| evaluate_rule(&signal.hit, observed).is_some());
        let (weights, signals): (Vec<_>, Vec<_>) = hit
            .map(|signal| (i64::from(signal.weight), Arc::clone(&signal.name)))
            .unzip();
        Scored {
            field: Arc::clone(&self.field),
            sum: weights.iter().sum(),
            signals,
        }
    }

    fn explain(&self, observed: &Observed) -> ScoreExplanation {
        let scored = explain_rule(&self.scored, observed);
        let sum = scored.matched.then(|| self.weigh(observed).sum);
        let signals = self.signals.iter().map(|signal| SignalExplanation {
            name: Arc::clone(&signal.name),
            weight: signal.weight,
            why: signal.why.clone(),
            hit: explain_rule(&signal.hit, observed),
        });
        ScoreExplanation {
            field: Arc::clone(&self.field),
            sum,
            scored,
            signals: signals.collect(),
        }
    }
}

/// Why a score came to what it did.
#[derive(Debug)]
pub struct ScoreExplanation {
    /// Its field.
    pub field: Arc<str>,
    /// What it came to; `None` if the event is not scored.
    pub sum: Option<i64>,
    /// Why the event is scored, or is not.
    pub scored: RuleExplanation,
    /// Each signal.
    pub signals: Vec<SignalExplanation>,
}

/// Why a signal is there or is not.
#[derive(Debug)]
pub struct SignalExplanation {
    /// Its slug.
    pub name: Arc<str>,
    /// How much it weighs.
    pub weight: i32,
    /// What it tells an operator.
    pub why: String,
    /// Why it is there or is not.
    pub hit: RuleExplanation,
}

#[cfg(test)]
mod tests;
