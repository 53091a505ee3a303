//! Threat feeds: what their sources say, read anew when that changes. A source that cannot be read, or lists nothing,
//! changes nothing: what it last said stays in force until that is too old, and a health event says why.
//!
//! A file is read where it is. What is fetched is kept as a file in the folder of the agent's state, so that all are read
//! in the same way. Who fetches takes apart no more than the pages of a collection, which end nowhere else.

mod body;
mod failure;
mod fetch;
mod fetcher;
mod file;
mod kept;
mod remote;
mod request;
mod taxii;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::sleep,
};
use tracing::warn;

use self::fetcher::{Fetcher, News};
pub use self::{
    fetch::{check, reach},
    taxii::bundle_of_pages,
};
use super::{Sender, rules::watcher, stillness::Stillness, wall_clock};
use crate::{
    event::{Event, Health, Kind},
    intel::{
        Contents, Feed, Intel, Stamp,
        settings::{FeedSettings, Feeds, Source},
    },
};

/// How long the sources are not watched after a fault, at first and at most.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_mins(5);

/// Reads the feeds, and what of them is kept in the folder of the agent's `state`. What is as it was `before` is taken from
/// there.
pub fn read(settings: &Feeds, state: &Path, before: &Intel) -> Intel {
    read_with(settings, state, before, None)
}

/// The same with what came of a fetch.
fn read_with(settings: &Feeds, state: &Path, before: &Intel, mut news: Option<News>) -> Intel {
    let now = Timestamp::now();
    let feeds = settings.iter().filter_map(|(name, settings)| {
        let before = before.feeds.iter().find(|feed| *feed.name == **name);
        let before = before.map(AsRef::as_ref);
        let seen = match settings.source()? {
            Source::File(path) => file::look(name, settings, path, before),
            Source::Url(url) | Source::Taxii(url) => {
                let news = news.take_if(|news| news.name == *name && news.settings == *settings);
                remote::look(name, settings, url, state, before, news)
            }
        };
        Some(Arc::new(seen.feed(name, settings, now)))
    });
    Intel { feeds: feeds.collect() }
}

/// What a look at a feed's source has given.
#[derive(Default)]
struct Seen {
    contents: Arc<Contents>,
    stamp: Option<Stamp>,
    fresh: Option<Timestamp>,
    asked: Option<Timestamp>,
    broken: Option<String>,
    /// Whether that is worth an alert.
    is_told: bool,
    failures: u64,
}

impl Seen {
    /// What it was before.
    fn again(before: &Feed) -> Self {
        Self {
            contents: Arc::clone(&before.contents),
            stamp: before.stamp,
            fresh: before.fresh,
            asked: before.asked,
            broken: before.broken.clone(),
            is_told: before.broken.is_some() && before.trouble.is_some(),
            failures: before.failures,
        }
    }

    fn feed(self, name: &str, settings: &FeedSettings, now: Timestamp) -> Feed {
        let mut feed = Feed {
            name: name.into(),
            settings: settings.clone(),
            stamp: self.stamp,
            contents: self.contents,
            fresh: self.fresh,
            asked: self.asked,
            broken: self.broken,
            trouble: None,
            failures: self.failures,
        };
        feed.trouble = if feed.is_in_force(now) {
            feed.broken.clone().filter(|_| self.is_told)
        } else {
            Some(too_old(&feed))
        };
        feed
    }
}

fn too_old(feed: &Feed) -> String {
    let what = match feed.settings.source() {
        Some(Source::File(_)) | None => "written",
        Some(Source::Url(_) | Source::Taxii(_)) => "fetched",
    };
    let because = feed
        .broken
        .as_deref()
        .map_or(String::new(), |reason| format!(": {reason}"));
    format!("it was not {what} for longer than its max-age, and is not in force any more{because}")
}

/// What the stream is told: the feeds, and what is newly wrong with them.
pub fn tidings(intel: &Arc<Intel>, before: &Intel) -> Vec<Event> {
    let is_new = |feed: &&Arc<Feed>| {
        let mut before = before.feeds.iter();
        feed.trouble.is_some() && !before.any(|before| before.name == feed.name && before.trouble == feed.trouble)
    };
    let troubles = intel.feeds.iter().filter(is_new).map(|feed| {
        let detail = told(feed);
        warn!("{detail}");
        Kind::Health(Health {
            kind: "feed-stale",
            detail,
        })
    });
    std::iter::once(tiding(intel)).chain(troubles.map(event)).collect()
}

/// What the stream is told where nobody waits for health events.
pub fn tiding(intel: &Arc<Intel>) -> Event {
    event(Kind::Intel(Arc::clone(intel)))
}

fn event(kind: Kind) -> Event {
    Event {
        time: Timestamp::now(),
        startup: false,
        kind,
        given: None,
    }
}

fn told(feed: &Feed) -> String {
    let name = &feed.name;
    let source = feed
        .settings
        .source()
        .map_or(String::new(), |source| source.to_string());
    let trouble = feed.trouble.as_deref().unwrap_or_default();
    let in_force = match (&feed.broken, feed.fresh) {
        (Some(_), Some(fresh)) if feed.is_in_force(Timestamp::now()) => {
            format!("; the {} indicators of {fresh:.0} stay", feed.contents.list.len())
        }
        (Some(_), None) => "; none of it is in force".to_owned(),
        _ => String::new(),
    };
    format!("feed {name} ({source}): {trouble}{in_force}")
}

/// Watches the sources until the stream has ended: other feeds may be configured, and what is in force grows old. After a
/// fault of its own that is said, and begun anew in a while.
pub async fn watch(
    mut configured: watch::Receiver<Feeds>,
    state: PathBuf,
    mut in_force: Arc<Intel>,
    events: Sender,
) -> Result<()> {
    let mut rest = REST;
    while let Err(reason) = follow(&mut configured, &state, &mut in_force, &events).await {
        let detail = format!("threat feeds: {reason:#}; tried again in {rest:?}");
        warn!("{detail}");
        let health = Health {
            kind: "source-down",
            detail,
        };
        if events.send(vec![event(Kind::Health(health))]).await.is_err() {
            break;
        }
        sleep(rest).await;
        rest = LONGEST_REST.min(rest * 2);
    }
    Ok(())
}

async fn follow(
    configured: &mut watch::Receiver<Feeds>,
    state: &Path,
    in_force: &mut Arc<Intel>,
    events: &Sender,
) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let (notice, mut changes) = mpsc::channel(1);
    let mut stillness = Stillness::default();
    kept::remove_unfinished(state);
    let mut fetcher = Fetcher::new(state);
    let mut news = None;
    // Once nobody can name other feeds, these stay.
    let mut others = true;
    loop {
        let settings = configured.borrow_and_update().clone();
        fetcher.configure(&settings, in_force);
        let paths: Vec<PathBuf> = settings.values().filter_map(watched).collect();
        // Watched first and read then: what changes in between is noticed.
        let watcher = watcher(&paths, notice.clone());
        if let Err(error) = &watcher {
            warn!("changed feeds are only taken up on SIGHUP: {error:#}");
        }
        let (before, state, news_now) = (Arc::clone(in_force), state.to_owned(), news.take());
        let read = spawn_blocking(move || {
            kept::remove_others(&state, &settings);
            read_with(&settings, &state, &before, news_now)
        });
        let intel = Arc::new(read.await?);
        if has_changed(&intel, in_force) && events.send(tidings(&intel, in_force)).await.is_err() {
            return Ok(());
        }
        *in_force = intel;
        tokio::select! {
            _ = hangup.recv() => fetcher.hurry(),
            () = stillness.after(&mut changes) => {}
            named = configured.changed(), if others => others = named.is_ok(),
            () = events.closed() => return Ok(()),
            came = fetcher.next(in_force) => news = Some(came),
            timer = wall_clock::until(next_end(in_force)) => timer?,
        }
    }
}

/// What others say is read by many hands; where one drops it, the feed is broken, and no other.
fn contained<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// What is said where that happens.
const GAVE_UP: &str = "its reader gave up, which is a fault of Tocsin's";

/// The file of a feed that somebody else may change.
fn watched(feed: &FeedSettings) -> Option<PathBuf> {
    match feed.source()? {
        Source::File(path) => Some(path.to_owned()),
        Source::Url(_) | Source::Taxii(_) => None,
    }
}

fn has_changed(intel: &Intel, before: &Intel) -> bool {
    let is_same = |(one, other): (&Arc<Feed>, &Arc<Feed>)| {
        one.name == other.name
            && one.settings == other.settings
            && one.trouble == other.trouble
            && one.fresh == other.fresh
            && one.failures == other.failures
            && Arc::ptr_eq(&one.contents, &other.contents)
    };
    intel.feeds.len() != before.feeds.len() || !intel.feeds.iter().zip(&before.feeds).all(is_same)
}

/// When the next feed will be too old.
fn next_end(intel: &Intel) -> Option<Timestamp> {
    let now = Timestamp::now();
    let ends = intel.feeds.iter().map(|feed| feed.end());
    ends.filter(|end| (now..Timestamp::MAX).contains(end)).min()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::SignedDuration;
    use tempfile::TempDir;

    use super::*;

    #[tokio::test]
    async fn after_a_fault_the_feeds_are_watched_again() {
        let (state, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let path = folder.path().join("list");
        fs::write(&path, "192.0.2.1\n").unwrap();
        let settings = FeedSettings {
            path,
            ..FeedSettings::default()
        };
        let feeds = Feeds::from([("list".to_owned(), settings)]);
        let (_named, mut configured) = watch::channel(feeds);
        let (events, mut told) = mpsc::channel(8);
        let mut in_force = Arc::default();
        // What was in force stays known to who begins anew.
        let once = follow(&mut configured, state.path(), &mut in_force, &events);
        assert!(tokio::time::timeout(Duration::from_millis(200), once).await.is_err());
        assert_eq!(in_force.feeds[0].contents.list.len(), 1);
        assert!(matches!(told.recv().await.unwrap()[0].kind, Kind::Intel(_)));
        let again = follow(&mut configured, state.path(), &mut in_force, &events);
        assert!(tokio::time::timeout(Duration::from_millis(200), again).await.is_err());
        assert!(told.try_recv().is_err(), "nothing has changed");
        assert_eq!(contained(|| panic!("on purpose")), None::<()>);
    }

    #[test]
    fn a_file_from_the_future_grows_old_as_others_do() {
        let folder = TempDir::new().unwrap();
        let settings = FeedSettings {
            path: folder.path().join("list"),
            ..FeedSettings::default()
        };
        fs::write(&settings.path, "192.0.2.1\n").unwrap();
        let now = Timestamp::now();
        let set = |hours| {
            let file = fs::File::options().append(true).open(&settings.path).unwrap();
            file.set_modified((now + SignedDuration::from_hours(hours)).into())
                .unwrap();
            file::look("list", &settings, &settings.path, None).feed("list", &settings, now)
        };
        let month = SignedDuration::from_hours(30 * 24);
        let ahead = set(70 * 365 * 24);
        assert!(
            ahead.is_in_force(now + month / 2) && !ahead.is_in_force(now + month * 2),
            "{ahead:?}"
        );
        assert!(
            !set(-31 * 24).is_in_force(now),
            "what was written long ago is old at once"
        );
    }

    #[test]
    fn the_last_good_file_stays_in_force_until_it_is_too_old() {
        let folder = TempDir::new().unwrap();
        let settings = FeedSettings {
            path: folder.path().join("list"),
            ..FeedSettings::default()
        };
        let write = |text: &str| fs::write(&settings.path, text).unwrap();
        let read = |before: Option<&Feed>, now| {
            file::look("list", &settings, &settings.path, before).feed("list", &settings, now)
        };
        let now = Timestamp::now();
        let missing = read(None, now);
        assert!(
            missing.trouble.as_ref().unwrap().contains("cannot be read"),
            "{missing:?}"
        );
        assert!(told(&missing).ends_with("none of it is in force"), "{}", told(&missing));
        write("192.0.2.1\n");
        let good = read(Some(&missing), now);
        assert_eq!((good.contents.list.len(), &good.trouble), (1, &None));
        assert!(
            Arc::ptr_eq(&good.contents, &read(Some(&good), now).contents),
            "it is not read again"
        );
        write("<html>service unavailable</html>\n");
        let broken = read(Some(&good), now);
        assert!(Arc::ptr_eq(&good.contents, &broken.contents));
        assert!(told(&broken).contains("; the 1 indicators of "), "{}", told(&broken));
        assert_eq!(
            read(Some(&broken), now).trouble,
            broken.trouble,
            "the same is told once"
        );
        write("192.0.2.1\n192.0.2.2\n");
        let mended = read(Some(&broken), now);
        assert_eq!((mended.contents.list.len(), &mended.trouble), (2, &None));
        let old = read(Some(&mended), now + SignedDuration::from_hours(31 * 24));
        assert_eq!(
            old.trouble.as_deref(),
            Some("it was not written for longer than its max-age, and is not in force any more")
        );
    }
}
