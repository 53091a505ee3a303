//! The sections `[feed.NAME]` of the configuration.

use std::{collections::BTreeMap, path::PathBuf};

use documented::{Documented, DocumentedFields};
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::config::values;

/// The feeds by their names.
pub type Feeds = BTreeMap<String, FeedSettings>;

/// A list of addresses that others know to be bad, or harmless, in a file that somebody keeps up to date
/// (docs/threat-feeds.md). There may be several, each under a name of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct FeedSettings {
    /// The file; empty: the feed is off.
    pub path: PathBuf,
    /// What the file is: plain (an address or network a line), csv, stix, misp, kunai, or auto to tell these by the file;
    /// warninglist: MISP's lists of what a feed must not turn into alerts.
    pub format: Format,
    /// How sure the feed is of what it lists, from 0 to 100, where it does not say so itself.
    #[serde(deserialize_with = "values::within::<0, 100, _, _>")]
    pub confidence: u8,
    /// Which connections with these addresses are suspicious: outbound, inbound or both.
    pub direction: Direction,
    /// The licence under which the feed may be used: `tocsin status` shows it.
    pub licence: String,
    /// What is older is not in force, and an alert says so; 0: it is never too old.
    #[serde(with = "values::duration")]
    pub max_age: SignedDuration,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            format: Format::Auto,
            confidence: 50,
            direction: Direction::Both,
            licence: String::new(),
            max_age: SignedDuration::from_hours(30 * 24),
        }
    }
}

/// Reads the sections. A name stands in paths of settings and in alerts, so it is a plain one.
pub fn feeds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Feeds, D::Error> {
    let feeds = Feeds::deserialize(deserializer)?;
    let is_plain = |name: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=64).contains(&name.len()) && name.bytes().all(fits)
    };
    match feeds.keys().find(|name| !is_plain(name)) {
        Some(name) => Err(D::Error::custom(format_args!(
            "{name} is no name of a feed: letters, digits, - and _"
        ))),
        None => Ok(feeds),
    }
}

/// What a feed's file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One of the next five, by what it begins with. Never a warninglist: no feed shall silence another.
    #[default]
    Auto,
    /// An address or network a line.
    Plain,
    /// Comma-separated values, such as those of abuse.ch.
    Csv,
    /// A STIX 2.1 bundle.
    Stix,
    /// Events of MISP, in JSON or as a table.
    Misp,
    /// Kunai's indicators, a JSON object a line.
    Kunai,
    /// A warninglist of MISP's.
    Warninglist,
}

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// This side opens it.
    Outbound,
    /// The other side opens it.
    Inbound,
    /// Either.
    #[default]
    Both,
}
