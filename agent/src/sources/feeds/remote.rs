//! A feed that is fetched: what is kept of it is in force until something better comes.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use tracing::warn;
use url::Url;

use super::{
    Seen,
    failure::Failure,
    fetcher::News,
    file::parse,
    kept::{Fetched, Kept},
};
use crate::intel::{Contents, Feed, Stamp, settings::FeedSettings};

/// What came of a fetch.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The server still says what is kept.
    Unchanged,
    /// It says something new.
    New(Fetched),
}

/// Takes up what came of a fetch, if one has ended.
pub(super) fn look(
    name: &str,
    settings: &FeedSettings,
    source: &Url,
    state: &Path,
    before: Option<&Feed>,
    news: Option<News>,
) -> Seen {
    let kept = Kept::new(state, name);
    let mut seen = match before.filter(|before| before.settings == *settings) {
        Some(same) => Seen::again(same),
        None => from_disk(name, settings, source, &kept, before),
    };
    let Some(News { result, is_told, .. }) = news else {
        return seen;
    };
    let taken_up = match result {
        Ok(Outcome::Unchanged) => {
            confirm(name, &kept, &mut seen);
            Ok(())
        }
        Ok(Outcome::New(fetched)) => take_up(name, settings, source, &kept, fetched, &mut seen),
        Err(failure) => Err(failure),
    };
    match taken_up {
        Ok(()) => (seen.broken, seen.is_told) = (None, false),
        Err(failure) => {
            seen.failures += 1;
            // What is wrong with what was said is wrong the next time, too.
            seen.is_told |= is_told || matches!(failure, Failure::Refused(_));
            let reason = failure.into_reason();
            warn!(feed = name, reason, "feed not fetched");
            seen.broken = Some(reason);
        }
    }
    seen
}

/// What is kept; where that cannot be read, what was in force of that source.
fn from_disk(name: &str, settings: &FeedSettings, source: &Url, kept: &Kept, before: Option<&Feed>) -> Seen {
    let read = || -> Result<Option<(Arc<Contents>, Stamp)>, String> {
        let opened = kept.open(source).map_err(|error| format!("cannot be read: {error}"))?;
        let Some(mut document) = opened else {
            return Ok(None);
        };
        let contents = parse(name, settings, &mut document.text)?;
        Ok(Some((contents, document.stamp)))
    };
    let seen = match read() {
        Ok(None) => Seen::default(),
        Ok(Some((contents, stamp))) => Seen {
            contents,
            stamp: Some(stamp),
            fresh: Some(stamp.fresh(Timestamp::now())),
            ..Seen::default()
        },
        Err(reason) => {
            let of_same_source = before.filter(|before| before.settings.source() == settings.source());
            Seen {
                stamp: None,
                broken: Some(format!("what is kept of it: {reason}")),
                is_told: true,
                ..of_same_source.map(Seen::again).unwrap_or_default()
            }
        }
    };
    Seen {
        asked: kept.asked(source),
        failures: before.map_or(0, |before| before.failures),
        ..seen
    }
}

/// The server still says so.
fn confirm(name: &str, kept: &Kept, seen: &mut Seen) {
    // Without a disk it is confirmed all the same, until the next start.
    match kept.confirm() {
        Ok(stamp) => seen.stamp = Some(stamp),
        Err(error) => warn!(feed = name, reason = %error, "cannot keep when a feed was confirmed"),
    }
    seen.fresh = Some(Timestamp::now());
}

/// Puts what was fetched in force and keeps it, if it can be understood.
fn take_up(
    name: &str,
    settings: &FeedSettings,
    source: &Url,
    kept: &Kept,
    mut fetched: Fetched,
    seen: &mut Seen,
) -> Result<(), Failure> {
    let text = fetched.text();
    let mut text = text.map_err(|error| Failure::Later(format!("cannot be read: {error}")))?;
    seen.contents = parse(name, settings, &mut text).map_err(Failure::Refused)?;
    seen.fresh = Some(Timestamp::now());
    seen.stamp = kept
        .keep(fetched, source)
        .map_err(|error| warn!(feed = name, reason = %error, "cannot keep a feed for the next start"))
        .ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use jiff::SignedDuration;

    use super::{super::kept::Validators, *};
    use crate::intel::settings::Format;

    /// A feed that is fetched, without a server.
    struct Stage {
        state: tempfile::TempDir,
        settings: FeedSettings,
        feed: Option<Feed>,
    }

    impl Stage {
        fn new() -> Self {
            let settings = FeedSettings {
                url: Some("https://feeds.example/".parse().unwrap()),
                ..FeedSettings::default()
            };
            Self {
                state: tempfile::tempdir().unwrap(),
                settings,
                feed: None,
            }
        }

        /// Looks, and gives how many indicators are in force, and what is told.
        fn look(&mut self, result: Option<Result<Outcome, Failure>>, is_told: bool) -> (usize, Option<&str>) {
            let news = result.map(|result| News {
                name: "c2".to_owned(),
                settings: self.settings.clone(),
                result,
                is_told,
            });
            let source = self.settings.url.clone().unwrap();
            let (state, before) = (self.state.path(), self.feed.as_ref());
            let seen = look("c2", &self.settings, &source, state, before, news);
            let feed = seen.feed("c2", &self.settings, Timestamp::now());
            let feed = self.feed.insert(feed);
            (feed.contents.list.len(), feed.trouble.as_deref())
        }

        fn fetched(&mut self, text: &str) -> (usize, Option<&str>) {
            let mut file = Kept::new(self.state.path(), "c2").begin().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let validators = Validators::default();
            self.look(Some(Ok(Outcome::New(Fetched { file, validators }))), false)
        }

        fn failed(&mut self, reason: &str, is_told: bool) -> (usize, Option<&str>) {
            self.look(Some(Err(Failure::Later(reason.to_owned()))), is_told)
        }
    }

    #[test]
    fn the_last_good_fetch_stays_in_force() {
        let mut stage = Stage::new();
        assert_eq!(stage.look(None, false), (0, None), "it was not fetched yet");
        assert_eq!(stage.fetched("192.0.2.1\n192.0.2.2\n"), (2, None));
        assert_eq!(stage.failed("down", false), (2, None), "not worth telling yet");
        assert_eq!(stage.failed("down", true), (2, Some("down")));
        let (count, trouble) = stage.fetched("<html>moved</html>\n");
        assert!(count == 2 && trouble.unwrap().contains("no address"), "{trouble:?}");
        assert_eq!(stage.feed.as_ref().unwrap().failures, 3);
        stage.feed = None;
        assert_eq!(stage.look(None, false), (2, None), "after a restart, too");
        assert_eq!(stage.fetched("192.0.2.1\n"), (1, None));
    }

    #[test]
    fn a_confirmation_ends_a_trouble_and_renews_the_age() {
        let mut stage = Stage::new();
        stage.fetched("192.0.2.1\n");
        stage.failed("down", true);
        let month = SignedDuration::from_hours(31 * 24);
        let feed = stage.feed.as_mut().unwrap();
        feed.fresh = feed.fresh.map(|fresh| fresh - month);
        let (_, trouble) = stage.look(None, false);
        assert_eq!(
            trouble.unwrap(),
            "it was not fetched for longer than its max-age, and is not in force any more: down"
        );
        assert_eq!(stage.look(Some(Ok(Outcome::Unchanged)), false), (1, None));
        let feed = stage.feed.as_ref().unwrap();
        assert!(feed.is_in_force(Timestamp::now()) && feed.stamp.is_some());
    }

    #[test]
    fn what_is_kept_is_read_by_the_settings_of_now() {
        let mut stage = Stage::new();
        stage.fetched("192.0.2.1\n");
        stage.settings.confidence = 7;
        stage.look(None, false);
        let confidence = |stage: &Stage| {
            let list = &stage.feed.as_ref().unwrap().contents.list;
            list.find("192.0.2.1".parse().unwrap(), Timestamp::now())
                .unwrap()
                .confidence
        };
        assert_eq!(confidence(&stage), 7);
        stage.settings.format = Format::Stix;
        let (count, trouble) = stage.look(None, false);
        assert!(
            count == 1 && trouble.unwrap().contains("no bundle of STIX"),
            "{trouble:?}"
        );
        // So that the server is not asked whether that is still so.
        assert_eq!(stage.feed.as_ref().unwrap().stamp, None);
        stage.settings.url = Some("https://feeds.example/other".parse().unwrap());
        assert_eq!(stage.look(None, false), (0, None), "another source");
    }
}
