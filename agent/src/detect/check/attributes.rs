//! What a rule says beyond Sigma, under `tocsin:`.

use std::{collections::HashMap, sync::Arc};

use serde::Deserialize;

use super::Checker;
use crate::{
    detect::{Ask, document::Place, problem::Severity, texts},
    event::baseline::BehaviourKind,
};

/// What our custom attribute `tocsin` can say.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    ask: Option<String>,
    teaches: Option<BehaviourKind>,
    role: Option<Arc<str>>,
    #[serde(default)]
    subject: Vec<String>,
    #[serde(default)]
    texts: Vec<String>,
    #[serde(default)]
    compatibility: Vec<String>,
}

/// What a rule says by it.
#[derive(Debug)]
pub(in crate::detect) struct Said {
    /// A match asks, rather than being an alert.
    pub asks: Option<Ask>,
    /// A match gives a role, rather than being an alert.
    pub role: Option<Arc<str>>,
    /// A match may teach this, rather than being an alert.
    pub teaches: Option<BehaviourKind>,
    /// The fields that tell one subject from another.
    pub subject: Vec<String>,
    /// What an executable is to be searched for.
    pub texts: Vec<Box<str>>,
    /// What others call the finding.
    pub compatibility: Vec<String>,
}

impl Checker {
    /// What `tocsin: {…}` says; `None` if it cannot be understood.
    pub(in crate::detect) fn attributes(
        &mut self,
        attributes: &HashMap<String, yaml_serde::Value>,
        place: &Place,
    ) -> Option<Said> {
        let written = attributes.get("tocsin").cloned();
        let written = match written.map(yaml_serde::from_value::<Attributes>).transpose() {
            Ok(written) => written.unwrap_or_default(),
            Err(error) => {
                self.report(
                    place,
                    Severity::Error,
                    "tocsin:",
                    format!("not an attribute of ours: {error}"),
                );
                return None;
            }
        };
        let Attributes {
            ask,
            role,
            teaches,
            subject,
            texts,
            compatibility,
        } = written;
        if let Some(id) = compatibility.iter().find(|id| !is_type_id(id)) {
            let reason = format!("{id:?} is no alert type id: letters, digits, dots, dashes and underscores");
            self.report(place, Severity::Error, "compatibility:", reason);
            return None;
        }
        let refused = match &role {
            Some(_) if ask.is_some() => Some("a rule either asks or gives a role"),
            Some(name) if name.is_empty() => Some("the role has no name"),
            _ => None,
        };
        if let Some(reason) = refused {
            self.report(place, Severity::Error, "role:", reason);
            return None;
        }
        let asks = match ask {
            Some(name) => Some(self.question(&name, place)?),
            None => None,
        };
        let texts = texts::check(&texts, &self.lists, asks);
        let texts = texts
            .map_err(|reason| self.report(place, Severity::Error, "texts:", reason))
            .ok()?;
        Some(Said {
            asks,
            role,
            teaches,
            subject,
            texts,
            compatibility,
        })
    }

    /// The question of that name, if somebody answers it.
    fn question(&mut self, name: &str, place: &Place) -> Option<Ask> {
        let asks = Ask::by_name(name);
        if asks.is_none() {
            let reason = format!("nobody answers the question {name}");
            self.report(place, Severity::Error, "ask:", reason);
        }
        asks
    }
}

/// Whether a text can be somebody's id of a kind of alert: it stands in lists parted by commas.
fn is_type_id(id: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    !id.is_empty() && id.chars().all(allowed)
}
