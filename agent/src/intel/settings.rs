//! The sections `[feed.NAME]` of the configuration.

mod source;

use std::{collections::BTreeMap, path::PathBuf};

use documented::{Documented, DocumentedFields};
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use url::Url;

pub use self::source::{Source, may_be_fetched, parse as parse_address};
use crate::config::values;

/// The feeds by their names.
pub type Feeds = BTreeMap<String, FeedSettings>;

/// A list of addresses that others know to be bad, or harmless (docs/threat-feeds.md). There may be several, each under a
/// name of its own, with one source each: `path`, `url` or `taxii`; without one it is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct FeedSettings {
    /// A file that somebody else keeps up to date.
    pub path: PathBuf,
    /// An `https://` address that the feed is fetched from (`http://` only from this machine itself).
    #[serde(with = "source::address")]
    pub url: Option<Url>,
    /// The address of a collection on a TAXII 2.1 server, such as `https://taxii.example/api/collections/ID/`.
    #[serde(with = "source::address")]
    pub taxii: Option<Url>,
    /// How often a feed is fetched, 5m at least; at once at SIGHUP.
    #[serde(serialize_with = "values::duration::serialize", deserialize_with = "every")]
    pub every: SignedDuration,
    /// What is fetched may have so many MiB, unpacked.
    #[serde(deserialize_with = "values::within::<1, 512, _, _>")]
    pub max_mib: u64,
    /// The file of headers that requests bear, such as `Auth-Key: …`, a line each; empty: none.
    #[serde(with = "values::optional_path")]
    pub headers_file: Option<PathBuf>,
    /// The file of a token that requests bear (`Authorization: Bearer …`); empty: none.
    #[serde(with = "values::optional_path")]
    pub token_file: Option<PathBuf>,
    /// The file of `USER:PASSWORD` that requests bear (`Authorization: Basic …`); empty: none.
    #[serde(with = "values::optional_path")]
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) of the authorities that are trusted; empty: the node's own.
    #[serde(with = "values::optional_path")]
    pub ca: Option<PathBuf>,
    /// What the feed is: plain (an address or network a line), csv, stix, misp, kunai, or auto to tell these by how it
    /// begins; warninglist: MISP's lists of what a feed must not turn into alerts.
    pub format: Format,
    /// How sure the feed is of what it lists, from 0 to 100, where it does not say so itself.
    #[serde(deserialize_with = "values::within::<0, 100, _, _>")]
    pub confidence: u8,
    /// Which connections with these addresses are suspicious: outbound, inbound or both.
    pub direction: Direction,
    /// The licence under which the feed may be used: `tocsin status` shows it.
    pub licence: String,
    /// What was not written, or confirmed by its server, for so long is not in force, and an alert says so; 0: it always is;
    /// empty: 30d, and 0 for a warninglist, without which what it silences would alert.
    #[serde(with = "values::optional_duration")]
    pub max_age: Option<SignedDuration>,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            url: None,
            taxii: None,
            every: SignedDuration::from_hours(1),
            max_mib: 64,
            headers_file: None,
            token_file: None,
            password_file: None,
            ca: None,
            format: Format::Auto,
            confidence: 50,
            direction: Direction::Both,
            licence: String::new(),
            max_age: None,
        }
    }
}

impl FeedSettings {
    /// How old may be what is in force; `None`: however old.
    pub fn max_age(&self) -> Option<SignedDuration> {
        const USUAL: SignedDuration = SignedDuration::from_hours(30 * 24);
        let usual = match self.format {
            Format::Warninglist => SignedDuration::ZERO,
            Format::Auto | Format::Plain | Format::Csv | Format::Stix | Format::Misp | Format::Kunai => USUAL,
        };
        Some(self.max_age.unwrap_or(usual)).filter(|age| !age.is_zero())
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

/// What does not go together in a feed's settings: the setting, and why.
pub fn contradictions(feeds: &Feeds) -> Vec<(String, String)> {
    let of_feed = |(name, feed): (&String, &FeedSettings)| {
        let found = feed.contradictions().into_iter();
        found
            .map(|(key, reason)| (format!("feed.{name}.{key}"), reason))
            .collect::<Vec<_>>()
    };
    feeds.iter().flat_map(of_feed).collect()
}

/// Who provides a feed for nothing is not asked all the time.
const OFTEN: SignedDuration = SignedDuration::from_mins(5);

fn every<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
    let every = values::duration::deserialize(deserializer)?;
    if every < OFTEN {
        return Err(D::Error::custom("that is too often: 5m at least"));
    }
    Ok(every)
}

/// What a feed is.
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
