//! Lists: many values under one name, which rules quote as `%name%` behind the modifier `expand`.
//!
//! A file of lists is a pySigma pipeline that has `vars` and at most the transformation `value_placeholders`, so that
//! other Sigma tools can convert the rules that quote it. That transformation is done here: the library's own would also
//! touch values that bear a `%` without the modifier.

use std::collections::BTreeMap;

use rsigma_parser::{Detection, DetectionItem, Modifier, SigmaString, SigmaValue};
use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::{
    document::{Place, Placed},
    expressions::with_ascii_classes,
    problem::{Problem, Severity},
};

/// The key that makes a YAML document a file of lists.
pub const KEY: &str = "vars:";

/// The lists of one document.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lists {
    /// What the document is called.
    pub name: String,
    /// Its place among other pipelines, which lists do not need: kept for other tools.
    #[serde(default, rename = "priority")]
    _priority: i64,
    /// Each list by its name.
    pub vars: BTreeMap<String, Vec<String>>,
    #[serde(default, rename = "transformations")]
    _transformations: Vec<Transformation>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transformation {
    #[serde(default, rename = "id")]
    _id: String,
    #[serde(rename = "type")]
    _kind: Kind,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    ValuePlaceholders,
}

/// Reads the lists of a document.
pub fn parse(place: &Place) -> Result<Lists, Problem> {
    let lists: Lists =
        yaml_serde::from_str(&place.text).map_err(|error| place.yaml_problem("not a file of lists", &error))?;
    match lists.vars.iter().find(|(_, values)| values.is_empty()) {
        Some((name, _)) => Err(place.problem(Severity::Error, name, format!("the list {name} is empty"))),
        None => Ok(lists),
    }
}

/// Every list, by its name. Documents that give a list of the same name extend each other.
#[derive(Debug, Default)]
pub(super) struct Known(FxHashMap<String, Vec<String>>);

impl Known {
    /// Merges the lists of all documents.
    pub(super) fn of(documents: &[Placed<Lists>]) -> Self {
        let mut known = FxHashMap::<String, Vec<String>>::default();
        for (name, values) in documents.iter().flat_map(|placed| &placed.what.vars) {
            let list = known.entry(name.clone()).or_default();
            let new = values.iter().filter(|value| !list.contains(value)).cloned();
            list.extend(new.collect::<Vec<_>>());
        }
        Self(known)
    }

    /// Puts the lists in the place of their names, and writes what the engine would read otherwise than Sigma means it. The
    /// error is a name that is no list's.
    pub(super) fn expand<'a>(&self, detections: impl IntoIterator<Item = &'a mut Detection>) -> Result<(), String> {
        detections
            .into_iter()
            .try_for_each(|detection| each_item(detection, &mut |item| self.item(item)))
    }

    /// The texts with the lists in the place of their names, each once. The error is a name that is no list's.
    pub(super) fn texts(&self, texts: &[String]) -> Result<Vec<String>, String> {
        let mut expanded = Vec::new();
        for text in texts {
            for one in self.text(text)? {
                if !expanded.contains(&one) {
                    expanded.push(one);
                }
            }
        }
        Ok(expanded)
    }

    fn item(&self, item: &mut DetectionItem) -> Result<(), String> {
        if item.field.has_modifier(Modifier::Expand) {
            // Several regular expressions of which any may match are one, which takes a fraction of the memory and time.
            let one = item.field.has_modifier(Modifier::Re) && !item.field.has_modifier(Modifier::All);
            let mut values = Vec::new();
            for value in item.values.drain(..) {
                match value {
                    SigmaValue::String(text) if one => values.push(string(&self.expression(&text.original)?)),
                    SigmaValue::String(text) => {
                        values.extend(self.text(&text.original)?.iter().map(|text| string(text)));
                    }
                    other => values.push(other),
                }
            }
            item.values = values;
            item.field.modifiers.retain(|modifier| *modifier != Modifier::Expand);
        }
        if item.field.has_modifier(Modifier::Re) {
            for value in &mut item.values {
                if let SigmaValue::String(text) = value {
                    *value = string(&with_ascii_classes(&text.original));
                }
            }
        }
        anchor(item);
        Ok(())
    }

    /// The text once for each value of the list that it quotes first, and so on with the rest of it.
    fn text(&self, text: &str) -> Result<Vec<String>, String> {
        let Some((before, name, after)) = quotation(text) else {
            return Ok(vec![text.to_owned()]);
        };
        let values = self.list(name)?;
        let ends = self.text(after)?;
        let with = |value: &String| {
            ends.iter()
                .map(|end| format!("{before}{value}{end}"))
                .collect::<Vec<_>>()
        };
        Ok(values.iter().flat_map(with).collect())
    }

    /// The regular expression with alternatives in the place of each list that it quotes.
    fn expression(&self, text: &str) -> Result<String, String> {
        let Some((before, name, after)) = quotation(text) else {
            return Ok(text.to_owned());
        };
        let alternatives = self.list(name)?.join("|");
        Ok(format!("{before}(?:{alternatives}){}", self.expression(after)?))
    }

    fn list(&self, name: &str) -> Result<&[String], String> {
        self.0.get(name).map(Vec::as_slice).ok_or_else(|| name.to_owned())
    }
}

/// The first `%name%` of a text, with what stands before and behind it.
fn quotation(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('%')?;
    let (name, after) = rest.split_once('%')?;
    Some((before, name, after))
}

/// What is wrong with a name that no list bears.
pub(super) fn unknown(name: &str) -> String {
    format!("there is no list of the name {name}")
}

/// Does something to every item of a detection, until it fails.
fn each_item(
    detection: &mut Detection,
    change: &mut impl FnMut(&mut DetectionItem) -> Result<(), String>,
) -> Result<(), String> {
    match detection {
        Detection::AllOf(items) => items.iter_mut().try_for_each(change),
        Detection::AnyOf(parts) | Detection::And(parts) => {
            parts.iter_mut().try_for_each(|part| each_item(part, change))
        }
        Detection::ArrayMatch { body, .. } => each_item(body, change),
        Detection::Conditional { named, .. } => named.values_mut().try_for_each(|part| each_item(part, change)),
        // Without a field there is no modifier.
        Detection::Keywords(_) => Ok(()),
    }
}

/// Writes `startswith` and `endswith` as a wildcard where their values hold wildcards, since the engine (0.23) anchors
/// such values at the wrong end.
fn anchor(item: &mut DetectionItem) {
    let wild = |value: &SigmaValue| matches!(value, SigmaValue::String(text) if !text.is_plain());
    let ends = [(Modifier::StartsWith, "", "*"), (Modifier::EndsWith, "*", "")];
    let meant = ends
        .into_iter()
        .find(|(modifier, ..)| item.field.has_modifier(*modifier));
    let Some((modifier, before, after)) = meant.filter(|_| item.values.iter().any(wild)) else {
        return;
    };
    item.field.modifiers.retain(|known| *known != modifier);
    for value in &mut item.values {
        if let SigmaValue::String(text) = value {
            *value = string(&format!("{before}{}{after}", text.original));
        }
    }
}

fn string(text: &str) -> SigmaValue {
    SigmaValue::String(SigmaString::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&[&str], &str>) {
        let list = |name: &str, values: &[&str]| (name.to_owned(), values.iter().map(ToString::to_string).collect());
        let known = Known(
            [list("shells", &["/sh", "/bash"]), list("bin", &["/bin"])]
                .into_iter()
                .collect(),
        );
        let expected = expected.map(|texts| texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(known.text(text), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn lists_in_a_regular_expression_are_alternatives() {
        let known = Known(
            [("a".to_owned(), vec!["x".to_owned(), "y|z".to_owned()])]
                .into_iter()
                .collect(),
        );
        let expression = known.expression("^%a%,%a%$");
        assert_eq!(expression.as_deref(), Ok("^(?:x|y|z),(?:x|y|z)$"));
        assert_eq!(known.expression("100%"), Ok("100%".to_owned()));
        assert_eq!(known.expression("%b%"), Err("b".to_owned()));
    }

    #[test]
    fn names_between_signs_become_what_they_stand_for() {
        check("%shells%", Ok(&["/sh", "/bash"]));
        check("/usr%bin%%shells%-*", Ok(&["/usr/bin/sh-*", "/usr/bin/bash-*"]));
        check("no name", Ok(&["no name"]));
        check("100% of it", Ok(&["100% of it"]));
        check("%nothing%", Err("nothing"));
    }
}
