//! What others know of addresses: threat feeds, and warninglists of what a feed must not turn into alerts.
//!
//! Nothing here opens a file: `sources::feeds` does, and tells the stream what it read.

pub mod settings;
pub mod list;
pub mod refused;
pub mod formats;

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use jiff::Timestamp;

use self::{
    list::{List, Tags},
    refused::Refused,
    settings::{Direction, FeedSettings, Format},
};

/// Every feed that is configured.
#[derive(Clone, Debug, Default)]
pub struct Intel {
    /// The feeds, in the order of their names.
    pub feeds: Vec<Arc<Feed>>,
}

/// A feed as it is in force.
#[derive(Debug)]
pub struct Feed {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What was said of it when it was read.
    pub settings: FeedSettings,
    /// The state of its file when somebody last looked; of one that is fetched, of the file that is kept.
    pub stamp: Option<Stamp>,
    /// What is in force: what the source last said that could be understood.
    pub contents: Arc<Contents>,
    /// When it last said so: a file was written then, a server asked.
    pub fresh: Option<Timestamp>,
    /// When its server was last asked by an agent before this one.
    pub asked: Option<Timestamp>,
    /// Why what the source has now is not in force.
    pub broken: Option<String>,
    /// The same once it is worth telling, or why what is in force is too old.
    pub trouble: Option<String>,
    /// How often it was fetched in vain since the agent started.
    pub failures: u64,
}

/// What the source of a feed said.
#[derive(Debug, Default)]
pub struct Contents {
    /// What it lists.
    pub list: List,
    /// What of it could not be read.
    pub refused: Refused,
}

/// By what a change of a file is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was written, as it says itself.
    pub written: Timestamp,
    /// When something of it was last changed, which nobody can set.
    pub changed: Timestamp,
    /// Which file it is.
    pub inode: u64,
    /// How long it is.
    pub bytes: u64,
}

/// What the feeds say of an address.
#[derive(Clone, Debug)]
pub struct Threat {
    /// The feed that is surest of it.
    pub feed: Arc<str>,
    /// The address.
    pub address: IpAddr,
    /// What that one lists: the address, or a network that holds it.
    pub indicator: IpNet,
    /// How sure it is, from 0 to 100.
    pub confidence: u8,
    /// What else it says.
    pub tags: Tags,
    /// The warninglist that lists the address too.
    pub warninglist: Option<Arc<str>>,
}

impl Intel {
    /// What is said at that time of an address with which a connection is made (`outbound`), or from which one comes.
    pub fn find(&self, ip: IpAddr, outbound: bool, at: Timestamp) -> Option<Threat> {
        let threats = self
            .feeds
            .iter()
            .filter(|feed| feed.concerns(outbound) && feed.is_in_force(at));
        let found = threats.filter_map(|feed| Some((feed, feed.contents.list.find(ip, at)?)));
        let (feed, found) = found.max_by_key(|(_, found)| found.confidence)?;
        let mut warninglists = self
            .feeds
            .iter()
            .filter(|feed| feed.is_warninglist() && feed.is_in_force(at));
        let warninglist = warninglists.find(|feed| feed.contents.list.find(ip, at).is_some());
        Some(Threat {
            feed: Arc::clone(&feed.name),
            address: ip.to_canonical(),
            indicator: found.indicator,
            confidence: found.confidence,
            tags: Arc::clone(found.tags),
            warninglist: warninglist.map(|feed| Arc::clone(&feed.name)),
        })
    }
}

impl Stamp {
    /// When it was written, as far as is known now. A time that is yet to come was set by somebody, and would keep the
    /// file in force until then.
    pub fn fresh(&self, now: Timestamp) -> Timestamp {
        if self.written <= now {
            self.written
        } else {
            self.changed.min(now)
        }
    }
}

impl Feed {
    /// A feed that nobody watches.
    pub fn new(name: &str, settings: FeedSettings, contents: Contents) -> Self {
        Self {
            name: name.into(),
            settings,
            stamp: None,
            contents: Arc::new(contents),
            fresh: None,
            asked: None,
            broken: None,
            trouble: None,
            failures: 0,
        }
    }

    /// When what it says is too old, unless its source says it again.
    pub fn end(&self) -> Timestamp {
        let fresh_and_age = self.fresh.zip(self.settings.max_age());
        let end = fresh_and_age.and_then(|(fresh, age)| fresh.checked_add(age).ok());
        end.unwrap_or(Timestamp::MAX)
    }

    /// Whether what it says counts at that time.
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        at < self.end()
    }

    /// It says what is harmless.
    pub fn is_warninglist(&self) -> bool {
        self.settings.format == Format::Warninglist
    }

    fn concerns(&self, outbound: bool) -> bool {
        let fits = match self.settings.direction {
            Direction::Outbound => outbound,
            Direction::Inbound => !outbound,
            Direction::Both => true,
        };
        fits && !self.is_warninglist()
    }
}

/// An indicator as people write it: an address without the length of its network.
pub fn indicator(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(name: &str, text: &str, settings: FeedSettings) -> Arc<Feed> {
        let contents = formats::read(&settings, &mut text.as_bytes()).unwrap();
        Arc::new(Feed::new(name, settings, contents))
    }

    fn settings(confidence: u8, direction: Direction) -> FeedSettings {
        FeedSettings {
            confidence,
            direction,
            ..FeedSettings::default()
        }
    }

    #[test]
    fn the_surest_feed_of_that_direction_is_named() {
        let warninglist = FeedSettings {
            format: Format::Warninglist,
            ..FeedSettings::default()
        };
        let intel = Intel {
            feeds: vec![
                feed("c2", "192.0.2.1\n192.0.2.2\n", settings(90, Direction::Outbound)),
                feed("scanners", "192.0.2.0/30\n", settings(40, Direction::Both)),
                feed("ssh", "192.0.2.3\n", settings(60, Direction::Inbound)),
                feed("dns", r#"{"type": "cidr", "list": ["192.0.2.2"]}"#, warninglist),
            ],
        };
        for (ip, outbound, expected) in [
            ("192.0.2.1", true, Some(("c2", "192.0.2.1", 90, None))),
            ("192.0.2.1", false, Some(("scanners", "192.0.2.0/30", 40, None))),
            ("::ffff:192.0.2.1", true, Some(("c2", "192.0.2.1", 90, None))),
            ("192.0.2.2", true, Some(("c2", "192.0.2.2", 90, Some("dns")))),
            ("192.0.2.3", true, Some(("scanners", "192.0.2.0/30", 40, None))),
            ("192.0.2.3", false, Some(("ssh", "192.0.2.3", 60, None))),
            ("192.0.2.4", true, None),
        ] {
            let found = intel.find(ip.parse().unwrap(), outbound, Timestamp::UNIX_EPOCH);
            let found = found.as_ref().map(|threat| {
                let indicator = indicator(threat.indicator);
                (
                    &*threat.feed,
                    indicator,
                    threat.confidence,
                    threat.warninglist.as_deref(),
                )
            });
            let expected = expected.map(|(feed, indicator, sure, listed)| (feed, indicator.to_owned(), sure, listed));
            assert_eq!(found, expected, "{ip} {outbound}");
        }
    }

    #[test]
    fn what_is_too_old_is_not_in_force() {
        let day = jiff::SignedDuration::from_hours(24);
        let fresh = Timestamp::UNIX_EPOCH;
        let warninglist = r#"{"type": "string", "list": ["192.0.2.1"]}"#;
        for (format, text, max_age, days, is_there) in [
            (Format::Plain, "192.0.2.1\n", None, 29, true),
            (Format::Plain, "192.0.2.1\n", None, 30, false),
            (Format::Plain, "192.0.2.1\n", Some(day * 2), 2, false),
            (
                Format::Plain,
                "192.0.2.1\n",
                Some(jiff::SignedDuration::ZERO),
                3000,
                true,
            ),
            (Format::Warninglist, warninglist, None, 3000, true),
            (Format::Warninglist, warninglist, Some(day), 1, false),
        ] {
            let settings = FeedSettings {
                format,
                max_age,
                ..FeedSettings::default()
            };
            let mut feed = Arc::into_inner(feed("old", text, settings)).unwrap();
            feed.fresh = Some(fresh);
            assert_eq!(
                feed.is_in_force(fresh + day * days),
                is_there,
                "{format:?} {max_age:?} {days}"
            );
        }
    }
}
