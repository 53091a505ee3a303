//! Whether a score holds: its name is its own, and all that it weighs can be matched.

use std::sync::Arc;

use rsigma_eval::{CompiledRule, compile_rule};
use rsigma_parser::{SigmaCollection, SigmaRule};

use super::Checker;
use crate::{
    detect::{
        document::{Place, Placed},
        logsource,
        problem::Severity,
        score::{Compiled, CompiledSignal, PREFIX, Score},
    },
    event::LogSource,
};

impl Checker {
    /// Checks the scores; of those that bear the same name, an operator's stands for ours.
    pub(super) fn scores(&mut self, mut scores: Vec<Placed<Score>>) {
        let own: Vec<String> = scores
            .iter()
            .filter(|score| !score.place.built_in)
            .map(|score| score.what.name.clone())
            .collect();
        scores.retain(|score| !score.place.built_in || !own.contains(&score.what.name));
        for Placed { what, place } in scores {
            let field: Arc<str> = format!("{PREFIX}{}", what.name).into();
            let mut known = self.parts.iter().flat_map(|part| &part.scores);
            if known.any(|score| score.field == field) {
                let reason = format!("another score bears the name {}", what.name);
                self.report(&place, Severity::Error, "name:", reason);
                continue;
            }
            match logsource::family(&what.scored.logsource) {
                Ok(source) => {
                    let score = self.score(what, field, source, &place);
                    self.parts[source as usize].scores.extend(score);
                }
                Err(reason) => self.report(&place, Severity::Note, "logsource:", reason),
            }
        }
    }

    fn score(&mut self, score: Score, field: Arc<str>, source: LogSource, place: &Place) -> Option<Compiled> {
        let scored = self.part_of_score(score.scored, source, "detection:", place)?;
        let mut signals = Vec::with_capacity(score.signals.len());
        for signal in score.signals {
            signals.push(CompiledSignal {
                hit: self.part_of_score(signal.hit, source, &signal.name, place)?,
                name: signal.name.into(),
                weight: signal.weight,
                why: signal.why,
            });
        }
        Some(Compiled {
            field,
            title: score.title,
            scored,
            signals,
        })
    }

    fn part_of_score(
        &mut self,
        mut sigma: SigmaRule,
        source: LogSource,
        near: &str,
        place: &Place,
    ) -> Option<CompiledRule> {
        self.expand(&mut sigma.detection, place)?;
        let collection = SigmaCollection {
            rules: vec![sigma.clone()],
            ..SigmaCollection::new()
        };
        if !self.fields_are_carried(&collection, source, place) {
            return None;
        }
        let compiled = compile_rule(&sigma);
        compiled
            .map_err(|error| self.report(place, Severity::Error, near, error.to_string()))
            .ok()
    }
}
