//! One family's engine: what its rules are, and what they say to an event.

use std::{fmt, sync::Arc};

use rsigma_eval::{
    CorrelationConfig, CorrelationEngine, Engine, EvaluationResult, ResultBody, RuleExplanation, explain_rule,
};
use rsigma_parser::CorrelationRule;
use rustc_hash::FxHashMap;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Ask, Match, Rule,
    check::{Checked, Part},
    problem::{Problem, Severity},
    score::Scores,
};
use crate::{
    alert::redact::REDACTED,
    observed::{Observed, Scored, is_quotable},
};

/// How many groups all correlations of a family may count at once: an attacker chooses many of the values that they are
/// grouped by. At about 400 bytes a group this is 8 MiB.
const MOST_GROUPS: usize = 20_000;
/// How many events one group may keep, for the same reason; a correlation's threshold is far below.
const MOST_EVENTS_A_GROUP: usize = 10_000;

/// The rules of one log source.
pub(super) struct Family {
    /// Judges by the rules, and by what says which scores an event concerns.
    engine: Engine,
    /// Fed with what the engine found, so that an event that matches nothing costs it nothing.
    correlator: Option<Box<CorrelationEngine>>,
    correlations: Vec<CorrelationRule>,
    by_id: FxHashMap<String, Known>,
    scores: Scores,
}

struct Known {
    rule: Arc<Rule>,
    asks: Option<Ask>,
}

impl Family {
    /// Makes the engine.
    pub(super) fn of(part: Part) -> (Self, Vec<Problem>) {
        let Part {
            rules,
            correlations,
            filters,
            scores,
        } = part;
        let mut family = Self {
            engine: Engine::new(),
            correlator: None,
            correlations: Vec::new(),
            by_id: FxHashMap::default(),
            scores: Scores::of(scores),
        };
        let mut compiled: Vec<_> = rules.into_iter().map(|checked| family.take(checked)).collect();
        compiled.extend(family.scores.rules());
        family.engine.extend_compiled_rules(compiled);
        let mut problems = Vec::new();
        for filter in &filters {
            if let Err(error) = family.engine.apply_filter(&filter.what) {
                problems.push(filter.place.problem(Severity::Error, "filter:", error.to_string()));
            }
        }
        if !correlations.is_empty() {
            problems.extend(family.correlate(correlations));
        }
        (family, problems)
    }

    /// Remembers what to say of a rule, and hands on what matches.
    fn take<T>(&mut self, checked: Checked<T>) -> T {
        let Checked {
            what,
            rule,
            asks,
            place: _,
        } = checked;
        let rule = Arc::new(rule);
        self.by_id.insert(rule.id.to_string(), Known { rule, asks });
        what
    }

    fn correlate(&mut self, correlations: Vec<Checked<CorrelationRule>>) -> Vec<Problem> {
        let mut correlator = CorrelationEngine::new(CorrelationConfig {
            max_state_entries: MOST_GROUPS,
            max_group_entries: Some(MOST_EVENTS_A_GROUP),
            emit_detections: false,
            ..CorrelationConfig::default()
        });
        let mut problems = Vec::new();
        for checked in correlations {
            match correlator.add_correlation(&checked.what) {
                Ok(()) => {
                    let correlation = self.take(checked);
                    self.correlations.push(correlation);
                }
                Err(error) => problems.push(
                    checked
                        .place
                        .problem(Severity::Error, "correlation:", error.to_string()),
                ),
            }
        }
        self.correlator = Some(Box::new(correlator));
        problems
    }

    /// What the rules say to an event, whose facts gain what its scores come to; time is the event's own.
    pub(super) fn judge(&mut self, observed: &mut Observed) -> Vec<Match> {
        observed.facts.scores.clear();
        let mut found = self.engine.evaluate(observed);
        observed.facts.scores = self.scores.weigh(&found, observed);
        if !observed.facts.scores.is_empty() {
            // Few events are scored: a second look at those costs less than one at every event for the scores alone.
            found = self.engine.evaluate(observed);
        }
        // What is counted was counted when it matched first.
        let rejudged = &observed.facts.rejudged;
        let again: Vec<_> = found
            .extract_if(.., |result| self.is_one_of(rejudged, result))
            .collect();
        found.retain(|result| self.is_due(result, &observed.facts.judged_before));
        if found.is_empty() && again.is_empty() {
            return Vec::new();
        }
        let observed = &*observed;
        let found = match &mut self.correlator {
            Some(correlator) if !found.is_empty() => {
                correlator.process_with_detections(observed, found, observed.event.time.as_second())
            }
            _ => found,
        };
        let name = |result| self.name(result, &observed.facts.scores);
        found.into_iter().chain(again).filter_map(name).collect()
    }

    /// What the scores that concern an event come to.
    pub(super) fn weigh(&self, observed: &Observed) -> Vec<Scored> {
        self.scores.weigh(&self.engine.evaluate(observed), observed)
    }

    /// The scores that the rules see.
    pub(super) fn scores(&self) -> &Scores {
        &self.scores
    }

    /// Whether a rule found that, rather than what concerns a score, and none of those that spoke before.
    fn is_due(&self, result: &EvaluationResult, before: &[Uuid]) -> bool {
        self.known(result).is_some_and(|known| !before.contains(&known.rule.id))
    }

    /// Whether one of these rules found that.
    fn is_one_of(&self, rules: &[Uuid], result: &EvaluationResult) -> bool {
        !rules.is_empty() && self.known(result).is_some_and(|known| rules.contains(&known.rule.id))
    }

    fn known(&self, result: &EvaluationResult) -> Option<&Known> {
        self.by_id.get(result.header.rule_id.as_deref()?)
    }

    fn name(&self, result: EvaluationResult, scores: &[Scored]) -> Option<Match> {
        let Known { rule, asks } = self.by_id.get(result.header.rule_id.as_deref()?)?;
        let mut matched = matched(result.body);
        // A sum alone says little: an alert that goes by one tells what it is made of.
        let told = |scored: &&Scored| matched.iter().any(|(field, _)| **field == *scored.field);
        let signals: Vec<&str> = scores.iter().filter(told).flat_map(Scored::signals).collect();
        if !signals.is_empty() && !matched.iter().any(|(field, _)| **field == *"signals") {
            matched.push(("signals".into(), signals.into()));
        }
        Some(Match {
            rule: Arc::clone(rule),
            matched,
            asks: *asks,
        })
    }

    /// The rules, by title.
    pub(super) fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let mut rules: Vec<_> = self.by_id.values().map(|known| &known.rule).collect();
        rules.sort_by(|one, other| (&one.title, one.level, one.id).cmp(&(&other.title, other.level, other.id)));
        rules.into_iter()
    }

    /// Whether a rule counts what others match.
    pub(super) fn is_correlation(&self, rule: &Rule) -> bool {
        let id = rule.id.to_string();
        self.correlations
            .iter()
            .any(|correlation| correlation.id.as_ref() == Some(&id))
    }

    /// Why a rule does or does not match; `None` for a correlation.
    pub(super) fn explain(&self, rule: &Rule, observed: &Observed) -> Option<RuleExplanation> {
        let id = rule.id.to_string();
        let compiled = self
            .engine
            .rules()
            .iter()
            .find(|compiled| compiled.id.as_deref() == Some(&id))?;
        Some(explain_rule(compiled, observed))
    }

    /// Whether a correlation counts.
    pub(super) fn counts(&self) -> bool {
        self.correlator.is_some()
    }

    /// Takes over what the same correlations of a former set have counted.
    pub(super) fn continue_from(&mut self, former: &Self) {
        let (Some(correlator), Some(past)) = (&mut self.correlator, &former.correlator) else {
            return;
        };
        let same = |id: &String| {
            let of = |family: &[CorrelationRule]| family.iter().find(|rule| rule.id.as_ref() == Some(id)).cloned();
            of(&former.correlations).is_some_and(|past| Some(past) == of(&self.correlations))
        };
        let mut state = past.export_state();
        state.windows.retain(|id, _| same(id));
        state.last_alert.retain(|id, _| same(id));
        correlator.import_state(state);
    }
}

/// The engine has no form to print; how many rules it holds says enough.
impl fmt::Debug for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Family")
            .field("rules", &self.by_id.len())
            .finish_non_exhaustive()
    }
}

/// The fields of a match, each once; of a correlation its groups and its count.
fn matched(body: ResultBody) -> Vec<(Box<str>, Value)> {
    let mut fields: Vec<(Box<str>, Value)> = Vec::new();
    match body {
        ResultBody::Detection(detection) => {
            for field in detection.matched_fields {
                if !fields.iter().any(|(name, _)| **name == *field.field) {
                    let value = if is_quotable(&field.field) {
                        field.value
                    } else {
                        names_alone(field.value)
                    };
                    fields.push((field.field.into(), value));
                }
            }
        }
        ResultBody::Correlation(correlation) => {
            let groups = correlation.group_key.into_iter();
            fields.extend(groups.map(|(name, value)| (name.into(), value.into())));
            fields.push((
                correlation.correlation_type.as_str().into(),
                correlation.aggregated_value.into(),
            ));
        }
    }
    fields
}

/// What can be quoted of `NAME=value` where the values are secret.
fn names_alone(value: Value) -> Value {
    match value {
        Value::String(text) => match text.split_once('=') {
            Some((name, _)) => format!("{name}={REDACTED}").into(),
            None => REDACTED.into(),
        },
        Value::Array(values) => values.into_iter().map(names_alone).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => REDACTED.into(),
    }
}
