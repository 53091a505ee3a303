//! How a threat feed fares.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::intel;

/// A threat feed, or a warninglist.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    /// Its name in the configuration.
    pub name: String,
    /// It is a warninglist.
    pub warninglist: bool,
    /// It is fetched over the network.
    pub fetched: bool,
    /// How many indicators it has.
    pub indicators: usize,
    /// How much memory they take.
    pub bytes: usize,
    /// Lines, or objects, of it that could not be read.
    pub refused: usize,
    /// When its source last said so: its file was written, its server asked.
    pub fresh: Option<Timestamp>,
    /// When what it lists does not count any more, unless its source says so again.
    pub ends: Option<Timestamp>,
    /// How often it was fetched in vain since the agent started.
    pub failures: u64,
    /// Its licence, as configured.
    pub licence: String,
    /// Why what the source has now is not in force, or why what it had is too old.
    pub trouble: Option<String>,
}

impl Feed {
    /// How a feed fares.
    pub fn of(feed: &intel::Feed) -> Self {
        let contents = &feed.contents;
        Self {
            name: feed.name.to_string(),
            warninglist: feed.is_warninglist(),
            fetched: feed.settings.is_fetched(),
            indicators: contents.list.len(),
            bytes: contents.list.bytes(),
            refused: contents.refused.count,
            fresh: feed.fresh,
            ends: Some(feed.end()).filter(|end| *end != Timestamp::MAX),
            failures: feed.failures,
            licence: feed.settings.licence.clone(),
            trouble: feed.trouble.clone(),
        }
    }

    /// Whether what it lists counts at that time.
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        self.indicators > 0 && self.ends.is_none_or(|end| at < end)
    }

    /// The same in a line for people.
    pub fn line(&self, now: Timestamp) -> String {
        let Self {
            indicators,
            refused,
            failures,
            ..
        } = self;
        let kind = if self.warninglist {
            "harmless addresses"
        } else {
            "indicators"
        };
        let mut parts = vec![
            format!("{indicators} {kind}"),
            format!("{} KiB", self.bytes.div_ceil(1024)),
        ];
        let did = if self.fetched { "fetched" } else { "written" };
        parts.extend(self.fresh.map(|fresh| format!("{did} {} ago", age(fresh, now))));
        parts.extend((*refused > 0).then(|| format!("{refused} lines refused")));
        parts.extend((*failures > 0).then(|| format!("{failures} fetches failed")));
        parts.extend(Some(self.licence.clone()).filter(|licence| !licence.is_empty()));
        parts.extend(self.trouble.clone());
        let is_awaited = self.fresh.is_none() && self.trouble.is_none();
        parts.extend(is_awaited.then(|| "not fetched yet".to_owned()));
        parts.join(", ")
    }
}

fn age(then: Timestamp, now: Timestamp) -> String {
    let minutes = now.duration_since(then).as_mins().max(0);
    match minutes {
        0..120 => format!("{minutes} min"),
        _ => format!("{} h", minutes / 60),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_line_says_what_is_in_force_and_how_old_it_is() {
        let now = Timestamp::now();
        let feed = Feed {
            fetched: true,
            ..Feed::default()
        };
        assert_eq!(feed.line(now), "0 indicators, 0 KiB, not fetched yet");
        let feed = Feed {
            indicators: 2,
            bytes: 1,
            fresh: Some(now - SignedDuration::from_mins(119)),
            failures: 3,
            licence: "CC0-1.0".to_owned(),
            trouble: Some("the answer is 500".to_owned()),
            ..feed
        };
        assert!(feed.is_in_force(now));
        assert_eq!(
            feed.line(now),
            "2 indicators, 1 KiB, fetched 119 min ago, 3 fetches failed, CC0-1.0, the answer is 500"
        );
        let feed = Feed {
            fetched: false,
            warninglist: true,
            refused: 1,
            fresh: Some(now - SignedDuration::from_mins(120)),
            ..Feed::default()
        };
        assert_eq!(
            feed.line(now),
            "0 harmless addresses, 0 KiB, written 2 h ago, 1 lines refused"
        );
    }
}
