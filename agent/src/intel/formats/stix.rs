//! STIX 2.1: the indicators of a bundle whose pattern is an address, or one of several.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::{Captures, Regex};
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
    valid_from: Option<Timestamp>,
    valid_until: Option<Timestamp>,
    confidence: Option<u8>,
    #[serde(default)]
    revoked: bool,
    #[serde(default)]
    indicator_types: Vec<String>,
    #[serde(default)]
    labels: Vec<String>,
}

/// Something that an address is compared with.
static PROPERTY: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?:ipv[46]-addr:value|network-traffic:(?:src|dst)_ref\.value)";
    Regex::new(pattern).expect("a regular expression")
});

/// Such a comparison: with one address, or with a set of which each will do.
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = format!(
        r"{}\s*(?:(?:=|ISSUBSET)\s*'([^']*)'|IN\s*\(([^)]*)\))",
        PROPERTY.as_str()
    );
    Regex::new(&pattern).expect("a regular expression")
});

/// What makes more of a pattern than alternatives: an address alone is no indicator then.
static MORE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(AND|FOLLOWEDBY|NOT)\b|!=").expect("a regular expression"));

static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"'[^']*'").expect("a regular expression"));

pub(super) fn read(document: &[u8], reading: &mut Reading) -> Result<(), String> {
    let bundle: Bundle<'_> =
        serde_json::from_slice(document).map_err(|error| format!("it is no bundle of STIX: {error}"))?;
    let now = Timestamp::now();
    for object in bundle.objects {
        match serde_json::from_str::<Object>(object.get()) {
            Ok(object) if object.kind == "indicator" && !object.revoked => indicator(&object, now, reading),
            Ok(_) => {}
            Err(error) => reading.refuse(format_args!("an object of the bundle: {error}")),
        }
    }
    Ok(())
}

fn indicator(object: &Object, now: Timestamp, reading: &mut Reading) {
    if object.valid_from.is_some_and(|from| from > now) {
        return reading.refuse(format_args!("{:?}: it is not valid yet", object.pattern));
    }
    let pattern = &object.pattern;
    let bare = QUOTED.replace_all(pattern, "''");
    if !PROPERTY.is_match(&bare) {
        return;
    }
    if MORE.is_match(&bare) {
        return reading.refuse(format_args!(
            "{pattern:?}: more than an address, which alone means nothing"
        ));
    }
    let addresses: Vec<_> = ADDRESS
        .captures_iter(pattern)
        .flat_map(|found| compared(&found))
        .collect();
    if addresses.is_empty() {
        return reading.refuse(format_args!("{pattern:?}: no comparison with an address that is known"));
    }
    let tags = [&*object.indicator_types, &*object.labels].concat();
    let own = Own {
        confidence: object.confidence.filter(|sure| *sure <= 100),
        expires: object.valid_until,
        tags: &tags,
    };
    for address in addresses {
        reading.add(address, &own);
    }
}

/// What a comparison names: an address, or those of a set.
fn compared<'a>(found: &Captures<'a>) -> Vec<&'a str> {
    let one = found.get(1).map(|one| one.as_str());
    let set = found.get(2).map_or("", |set| set.as_str());
    let of_set = QUOTED.find_iter(set).map(|quoted| quoted.as_str().trim_matches('\''));
    one.into_iter().chain(of_set).collect()
}
