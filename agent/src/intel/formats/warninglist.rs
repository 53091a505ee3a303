//! MISP's warninglists: addresses that a feed lists by mistake sooner or later, such as public name servers.

use serde::Deserialize;

use super::{Own, Reading};

#[derive(Deserialize)]
struct Warninglist {
    #[serde(rename = "type")]
    kind: String,
    list: Vec<String>,
}

pub(super) fn read(document: &[u8], reading: &mut Reading) -> Result<(), String> {
    let Warninglist { kind, list } =
        serde_json::from_slice(document).map_err(|error| format!("it is no warninglist: {error}"))?;
    if !["cidr", "string"].contains(&kind.as_str()) {
        return Err(format!(
            "it is a warninglist of the type {kind}, which lists no addresses"
        ));
    }
    for address in &list {
        reading.add(address, &Own::default());
    }
    Ok(())
}
