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

/// What they hold at few executions alone, so that it is a key as good as any.
const RARE: &[&str] = &["internet-socket"];

/// Keeps these fields from being keys. The index looks behind no negation; two of them say what was said before.
pub(super) fn hide_common(rule: &mut CompiledRule) {
    each(rule, &mut |field, matcher| {
        if field.is_some_and(|field| COMMON.contains(&field)) && is_common(matcher) {
            let hidden = std::mem::replace(matcher, CompiledMatcher::Null);
            *matcher = CompiledMatcher::Not(Box::new(CompiledMatcher::Not(Box::new(hidden))));
        }
    });
}

fn is_common(matcher: &CompiledMatcher) -> bool {
    match matcher {
        CompiledMatcher::Exact { value, .. } => !RARE.contains(&value.as_str()),
        CompiledMatcher::AnyOf(parts) | CompiledMatcher::CaseInsensitiveGroup { children: parts, .. } => {
            parts.iter().any(is_common)
        }
        // What demands nothing of a field but its absence is no key, and the engine knows it by its kind alone.
        CompiledMatcher::Null => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use rsigma_eval::compile_rule;
    use rsigma_parser::parse_sigma_yaml;

    use super::*;

    /// Whether that demand can be a key.
    fn check(demand: &str, expected: bool) {
        let detection = format!("detection: {{a: {demand}, condition: a}}");
        let text = format!("title: t\nlogsource: {{category: process_creation}}\n{detection}");
        let collection = parse_sigma_yaml(&text).expect("a rule");
        let mut rule = compile_rule(&collection.rules[0]).expect("a rule");
        hide_common(&mut rule);
        let mut hidden = false;
        each(&mut rule, &mut |_, matcher| {
            hidden |= matches!(matcher, CompiledMatcher::Not(_));
        });
        assert_eq!(!hidden, expected, "{demand}");
    }

    #[test]
    fn what_most_executions_have_is_no_key() {
        check("{process.capabilities: SYS_ADMIN}", false);
        check("{process.stdin: pipe}", false);
        check("{process.stdin: [internet-socket, socket]}", false);
        check("{process.stdin: internet-socket}", true);
        check("{process.stdin: null}", true);
        check("{Image: /usr/bin/nc}", true);
    }
}
