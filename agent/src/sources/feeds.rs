//! Threat feeds: reads their files, and reads anew what has changed. A file that cannot be read, or lists nothing,
//! changes nothing: what was last read stays in force until it is too old, and a health event says why.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    os::unix::fs::MetadataExt as _,
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
    time::timeout,
};
use tracing::{info, warn};

use super::{Sender, rules::watcher, wall_clock};
use crate::{
    event::{Event, Health, Kind},
    intel::{
        Contents, Feed, Intel, Stamp, formats,
        settings::{FeedSettings, Feeds},
    },
};

/// How long the files must be still before they are read: who fetches a feed writes for a while.
const QUIET: Duration = Duration::from_millis(300);

/// How much of a file is read at a time; by so much its format must show.
const BUFFER: usize = 64 << 10;

/// Reads the feeds. What is as it was `before` is taken from there.
pub fn read(settings: &Feeds, before: &Intel) -> Intel {
    let switched_on = settings.iter().filter(|(_, feed)| !feed.path.as_os_str().is_empty());
    let feeds = switched_on.map(|(name, settings)| {
        let before = before.feeds.iter().find(|feed| *feed.name == **name);
        Arc::new(read_one(name, settings, before.map(AsRef::as_ref), Timestamp::now()))
    });
    Intel { feeds: feeds.collect() }
}

fn read_one(name: &str, settings: &FeedSettings, before: Option<&Feed>, now: Timestamp) -> Feed {
    let stamp = stamp(&settings.path);
    let known = stamp.as_ref().ok().copied();
    let same = before.filter(|before| before.settings == *settings && before.stamp == known && known.is_some());
    let (contents, broken) = match same {
        Some(same) => (Arc::clone(&same.contents), same.broken.clone()),
        None => match parse(name, settings, stamp) {
            Ok(contents) => (Arc::new(contents), None),
            Err(reason) => {
                let of_same_file = before.filter(|before| before.settings.path == settings.path);
                let contents = of_same_file.map(|before| Arc::clone(&before.contents));
                (contents.unwrap_or_default(), Some(reason))
            }
        },
    };
    let trouble = broken.clone().or_else(|| too_old(settings, &contents, now));
    Feed {
        name: name.into(),
        settings: settings.clone(),
        stamp: known,
        contents,
        broken,
        trouble,
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    Ok(Stamp {
        written: Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)?,
        inode: metadata.ino(),
        bytes: metadata.len(),
    })
}

/// Reads a file, and says what of it could not be read.
fn parse(name: &str, settings: &FeedSettings, stamp: io::Result<Stamp>) -> Result<Contents, String> {
    let opened = stamp.and_then(|stamp| Ok((stamp, File::open(&settings.path)?)));
    let (stamp, file) = opened.map_err(|error| format!("cannot be read: {error}"))?;
    let mut input = BufReader::with_capacity(BUFFER, file);
    let contents = formats::read(settings, &mut input, Some(stamp.written))?;
    let (indicators, refused) = (contents.list.len(), contents.refused.count);
    info!(feed = name, indicators, refused, "feed read");
    for (line, reason) in &contents.refused.told {
        let line = line.map_or(String::new(), |line| format!(":{line}"));
        warn!("{}{line}: {reason}", settings.path.display());
    }
    Ok(contents)
}

/// When what is in force of a feed is too old.
fn end(settings: &FeedSettings, contents: &Contents) -> Option<Timestamp> {
    let end = formats::end(settings, contents.written?);
    (end != Timestamp::MAX).then_some(end)
}

fn too_old(settings: &FeedSettings, contents: &Contents, now: Timestamp) -> Option<String> {
    end(settings, contents).filter(|end| *end <= now)?;
    Some("it was not written for longer than its max-age, and is not in force any more".to_owned())
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
    let (name, path) = (&feed.name, feed.settings.path.display());
    let trouble = feed.trouble.as_deref().unwrap_or_default();
    let in_force = match (&feed.broken, feed.contents.written) {
        (Some(_), Some(written)) => format!("; the {} indicators of {written:.0} stay", feed.contents.list.len()),
        (Some(_), None) => "; none of it is in force".to_owned(),
        (None, _) => String::new(),
    };
    format!("feed {name} ({path}): {trouble}{in_force}")
}

/// Watches the files until the stream has ended: other feeds may be configured, and what is in force grows old.
pub async fn watch(mut configured: watch::Receiver<Feeds>, mut in_force: Arc<Intel>, events: Sender) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let (notice, mut changes) = mpsc::channel(1);
    // Once nobody can name other feeds, these stay.
    let mut others = true;
    loop {
        let settings = configured.borrow_and_update().clone();
        let paths: Vec<PathBuf> = settings.values().map(|feed| feed.path.clone()).collect();
        // Watched first and read then: what changes in between is noticed.
        let watcher = watcher(&paths, notice.clone());
        if let Err(error) = &watcher {
            warn!("changed feeds are only taken up on SIGHUP: {error:#}");
        }
        let before = Arc::clone(&in_force);
        let intel = Arc::new(spawn_blocking(move || read(&settings, &before)).await?);
        if has_changed(&intel, &in_force) && events.send(tidings(&intel, &in_force)).await.is_err() {
            return Ok(());
        }
        in_force = intel;
        tokio::select! {
            _ = hangup.recv() => {}
            _ = changes.recv() => while timeout(QUIET, changes.recv()).await.is_ok() {},
            named = configured.changed(), if others => others = named.is_ok(),
            () = events.closed() => return Ok(()),
            timer = wall_clock::until(next_end(&in_force)) => timer?,
        }
    }
}

fn has_changed(intel: &Intel, before: &Intel) -> bool {
    let is_same = |(one, other): (&Arc<Feed>, &Arc<Feed>)| {
        one.name == other.name
            && one.settings == other.settings
            && one.trouble == other.trouble
            && Arc::ptr_eq(&one.contents, &other.contents)
    };
    intel.feeds.len() != before.feeds.len() || !intel.feeds.iter().zip(&before.feeds).all(is_same)
}

/// When the next feed will be too old.
fn next_end(intel: &Intel) -> Option<Timestamp> {
    let good = intel.feeds.iter().filter(|feed| feed.trouble.is_none());
    good.filter_map(|feed| end(&feed.settings, &feed.contents)).min()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_last_good_file_stays_in_force_until_it_is_too_old() {
        let folder = TempDir::new().unwrap();
        let settings = FeedSettings {
            path: folder.path().join("list"),
            ..FeedSettings::default()
        };
        let write = |text: &str| fs::write(&settings.path, text).unwrap();
        let read = |before: Option<&Feed>, now| read_one("list", &settings, before, now);
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
        assert!(old.trouble.as_ref().unwrap().contains("max-age"), "{old:?}");
    }
}
