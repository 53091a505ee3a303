//! An alert as names with values, flat, for forms that know nothing else.

use rsigma_eval::EventValue;

use crate::alert::{Activity, Alert};

/// Of a list so many values are told.
const LONGEST_LIST: usize = 64;

/// Hands each fact of the alert to `take`: first what it is, then every field of its event, by the names that rules use.
/// A list's values come one by one, under one name.
pub(super) fn each(alert: &Alert, take: &mut dyn FnMut(&str, &str)) {
    let rule = &*alert.rule;
    take("alert.id", &alert.id.to_string());
    let activity = match alert.activity {
        Activity::Create => "create",
        Activity::Update => "update",
    };
    take("alert.activity", activity);
    take("alert.count", &alert.count.to_string());
    take("alert.first_seen", &alert.first_seen.to_string());
    take("rule.id", &rule.id.to_string());
    take("rule.name", &rule.name);
    take("rule.title", &rule.title);
    take("rule.level", rule.level.name());
    for tag in rule.tags.iter().take(LONGEST_LIST) {
        take("rule.tags", tag);
    }
    for (name, value) in alert.observed.fields() {
        each_value(name, &value, take);
    }
}

fn each_value(name: &str, value: &EventValue<'_>, take: &mut dyn FnMut(&str, &str)) {
    match value {
        EventValue::Str(text) => take(name, text),
        EventValue::Array(values) => {
            for value in values.iter().take(LONGEST_LIST) {
                each_value(name, value, take);
            }
        }
        EventValue::Null => {}
        EventValue::Int(_) | EventValue::Float(_) | EventValue::Bool(_) => {
            take(name, value.as_str().as_deref().unwrap_or_default());
        }
        EventValue::Map(_) => take(name, &value.to_json().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::samples;

    #[test]
    fn facts_are_flat_and_lists_repeat_their_name() {
        let alert = samples::exec();
        let mut facts = Vec::new();
        each(&alert, &mut |name, value| {
            facts.push((name.to_owned(), value.to_owned()));
        });
        let values = |wanted: &str| -> Vec<_> {
            let of_name = facts.iter().filter(|(name, _)| name == wanted);
            of_name.map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(values("alert.id"), [alert.id.to_string()]);
        assert_eq!(values("rule.title"), ["Process execution from temporary folder"]);
        assert_eq!(values("rule.level"), ["medium"]);
        assert_eq!(values("Image"), ["/tmp/x"]);
        assert_eq!(values("process.uid"), ["33"]);
        assert_eq!(values("container.id"), [samples::CONTAINER_ID]);
        assert_eq!(values("rule.tags").len(), 5, "{facts:?}");
        assert_eq!(values("container.mounts"), ["/"]);
        assert!(values("container.environment").is_empty(), "it is never quoted");
    }
}
