//! Kunai's indicators: a JSON object a line, of which `value` may be an address.

use serde::Deserialize;

use super::{Own, Reading, network};

#[derive(Deserialize)]
struct Indicator {
    value: String,
    /// Where it comes from.
    #[serde(default)]
    source: String,
    /// Its kind, which only some writers say.
    #[serde(default, rename = "type")]
    kind: String,
}

pub(super) fn line(reading: &mut Reading, line: &str) {
    if line.is_empty() {
        return;
    }
    let indicator: Indicator = match serde_json::from_str(line) {
        Ok(indicator) => indicator,
        Err(error) => return reading.refuse(error),
    };
    let address = indicator.value.split('|').next().unwrap_or_default();
    // Names, addresses of pages and digests are indicators too.
    if network(address).is_none() && !indicator.kind.starts_with("ip") {
        return;
    }
    let source = Some(indicator.source).filter(|source| !source.is_empty());
    let own = Own {
        tags: &source.into_iter().collect::<Vec<_>>(),
        ..Own::default()
    };
    reading.add(address, &own);
}
