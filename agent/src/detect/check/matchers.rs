//! What a compiled rule compares, each with the field that it looks at.

use rsigma_eval::{CompiledDetection, CompiledDetectionItem, CompiledMatcher, CompiledRule};

/// Does something to every comparison of a rule; one that looks at all fields has none.
pub(super) fn each(rule: &mut CompiledRule, change: &mut impl FnMut(Option<&str>, &mut CompiledMatcher)) {
    for detection in rule.detections.values_mut() {
        each_of(detection, change);
    }
}

fn each_of(detection: &mut CompiledDetection, change: &mut impl FnMut(Option<&str>, &mut CompiledMatcher)) {
    match detection {
        CompiledDetection::AllOf(items) => {
            for CompiledDetectionItem { field, matcher, .. } in items {
                change(field.as_deref(), matcher);
            }
        }
        CompiledDetection::AnyOf(parts) | CompiledDetection::And(parts) => {
            for part in parts {
                each_of(part, change);
            }
        }
        CompiledDetection::Keywords(matcher) => change(None, matcher),
        CompiledDetection::ArrayMatch { body, .. } => each_of(body, change),
        CompiledDetection::Conditional { named, .. } => {
            for part in named.values_mut() {
                each_of(part, change);
            }
        }
    }
}
