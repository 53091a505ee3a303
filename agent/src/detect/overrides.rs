//! Overrides: an operator's word on somebody else's rule, by its id.
//!
//! ```yaml
//! tocsin_override:
//!   id: 3f1b1f0e-8a57-4a9d-9a53-0f6a55c0a3d1
//!   enabled: false
//! ```

use serde::Deserialize;
use uuid::Uuid;

use super::{
    document::Place,
    problem::{Problem, Severity},
};
use crate::alert::Level;

/// The key that makes a YAML document an override.
pub const KEY: &str = "tocsin_override:";

/// What is to be otherwise than the rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// The rule.
    pub id: Uuid,
    /// Whether it is in force.
    pub enabled: Option<bool>,
    /// How much a match matters.
    pub level: Option<Level>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    tocsin_override: Written,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    enabled: Option<bool>,
    level: Option<String>,
}

/// Reads an override.
pub fn parse(place: &Place) -> Result<Override, Problem> {
    let document: Document =
        yaml_serde::from_str(&place.text).map_err(|error| place.yaml_problem("not an override", &error))?;
    let Written { id, enabled, level } = document.tocsin_override;
    let refuse = |near: &str, reason: String| place.problem(Severity::Error, near, reason);
    if enabled.is_none() && level.is_none() {
        return Err(refuse(
            KEY,
            "the override changes nothing: give it enabled or level".into(),
        ));
    }
    Ok(Override {
        id: Uuid::try_parse(&id).map_err(|_| refuse(&id, format!("{id} is not a UUID")))?,
        enabled,
        level: level
            .map(|level| level.parse().map_err(|reason| refuse("level:", reason)))
            .transpose()?,
    })
}
