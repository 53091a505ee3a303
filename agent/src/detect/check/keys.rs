//! What the engine's index must not go by.
//!
//! Of all that a rule demands, the index takes the most exact value for the key under which it finds the rule, and asks
//! nobody how rare that value is. Nearly every execution of a node has some values: a rule that is found by one of them is
//! evaluated for all, and each event's list of capabilities would be looked up name by name.

use rsigma_eval::{CompiledMatcher, CompiledRule};

use super::matchers::each;

/// The fields of such values.
const COMMON: &[&str] = &[
    "process.capabilities",
    "process.capabilities_bounding",
    "process.seccomp",
    "process.stderr",
    "process.stdin",
    "process.stdout",
];

/// Keeps these fields from being keys. The index looks behind no negation; two of them say what was said before.
pub(super) fn hide_common(rule: &mut CompiledRule) {
    each(rule, &mut |field, matcher| {
        if field.is_some_and(|field| COMMON.contains(&field)) {
            let hidden = std::mem::replace(matcher, CompiledMatcher::Null);
            *matcher = CompiledMatcher::Not(Box::new(CompiledMatcher::Not(Box::new(hidden))));
        }
    });
}
