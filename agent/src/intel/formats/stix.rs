//! STIX 2.1: the indicators of a bundle whose pattern is an address, or one of several.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Own, Reading};

#[derive(Deserialize)]
struct Bundle<'a> {
    #[serde(borrow)]
    objects: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    pattern: String,
    valid_until: Option<Timestamp>,
    confidence: Option<u8>,
    #[serde(default)]
    revoked: bool,
    #[serde(default)]
    indicator_types: Vec<String>,
    #[serde(default)]
    labels: Vec<String>,
}

/// A comparison of an address, and what it is compared with.
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?:ipv[46]-addr:value|network-traffic:(?:src|dst)_ref\.value)\s*(?:=|ISSUBSET)\s*'([^']*)'";
    Regex::new(pattern).expect("a regular expression")
});

/// What makes more of a pattern than alternatives: an address alone is no indicator then.
static MORE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(AND|FOLLOWEDBY|NOT)\b|!=").expect("a regular expression"));

static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"'[^']*'").expect("a regular expression"));

pub(super) fn read(document: &[u8], reading: &mut Reading) -> Result<(), String> {
    let bundle: Bundle<'_> =
        serde_json::from_slice(document).map_err(|error| format!("it is no bundle of STIX: {error}"))?;
    for object in bundle.objects {
        match serde_json::from_str::<Object>(object.get()) {
            Ok(object) if object.kind == "indicator" && !object.revoked => indicator(&object, reading),
            Ok(_) => {}
            Err(error) => reading.refuse(format_args!("an object of the bundle: {error}")),
        }
    }
    Ok(())
}

fn indicator(object: &Object, reading: &mut Reading) {
    let pattern = &object.pattern;
    let mut addresses = ADDRESS.captures_iter(pattern).map(|found| found.extract()).peekable();
    if addresses.peek().is_none() {
        return;
    }
    if MORE.is_match(&QUOTED.replace_all(pattern, "''")) {
        return reading.refuse(format_args!(
            "{pattern}: more than an address, which alone means nothing"
        ));
    }
    let tags = [&*object.indicator_types, &*object.labels].concat();
    let own = Own {
        confidence: object.confidence.filter(|sure| *sure <= 100),
        expires: object.valid_until,
        tags: &tags,
    };
    for (_, [address]) in addresses {
        reading.add(address, &own);
    }
}
