//! One copy of every expression, however many rules hold it: a list of names stands in a dozen of them, and what an
//! expression compiles to takes some 10 KiB.

use regex::{Regex, RegexSet};
use rsigma_eval::{CompiledMatcher, CompiledRule};
use rustc_hash::FxHashMap;

use super::matchers::each;

/// The expressions that were met so far.
#[derive(Default)]
pub(super) struct Shared {
    expressions: FxHashMap<String, Regex>,
    sets: FxHashMap<Vec<String>, RegexSet>,
}

impl Shared {
    /// Puts the copy that is there already in the place of each expression of a rule.
    pub(super) fn rule(&mut self, rule: &mut CompiledRule) {
        each(rule, &mut |_, matcher| self.matcher(matcher));
    }

    fn matcher(&mut self, matcher: &mut CompiledMatcher) {
        match matcher {
            CompiledMatcher::Regex(expression) => {
                let known = self.expressions.entry(expression.as_str().to_owned());
                *expression = known.or_insert_with(|| expression.clone()).clone();
            }
            CompiledMatcher::RegexSetMatch { set, .. } => {
                let known = self.sets.entry(set.patterns().to_vec());
                *set = known.or_insert_with(|| set.clone()).clone();
            }
            CompiledMatcher::Not(inner) | CompiledMatcher::TimestampPart { inner, .. } => self.matcher(inner),
            CompiledMatcher::AnyOf(parts)
            | CompiledMatcher::AllOf(parts)
            | CompiledMatcher::CaseInsensitiveGroup { children: parts, .. } => {
                for part in parts {
                    self.matcher(part);
                }
            }
            _ => {}
        }
    }
}
