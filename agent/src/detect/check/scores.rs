//! Whether a score holds: its name is its own, and all that it weighs can be matched.

use std::sync::Arc;

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

    fn score(&mut self, mut score: Score, field: Arc<str>, source: LogSource, place: &Place) -> Option<Compiled> {
        let scored = self.compile(&mut score.scored, source, "detection:", place)?;
        let mut signals = Vec::with_capacity(score.signals.len());
        for mut signal in score.signals {
            signals.push(CompiledSignal {
                hit: self.compile(&mut signal.hit, source, &signal.name, place)?,
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
}
