//! A feed in a file that somebody else keeps up to date.

use std::{
    fs::{self, File, Metadata},
    io::{self, BufRead, BufReader},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;
use tracing::{info, warn};

use super::{GAVE_UP, Seen, contained};
use crate::intel::{Contents, Feed, Stamp, formats, settings::FeedSettings};

/// How much of a file is read at a time; by so much its format must show.
pub(super) const BUFFER: usize = 64 << 10;

/// Reads the file, unless it is as it was `before`.
pub(super) fn look(name: &str, settings: &FeedSettings, path: &Path, before: Option<&Feed>) -> Seen {
    let found = fs::metadata(path).and_then(|metadata| stamp(&metadata));
    let known = found.as_ref().ok().copied();
    let same = before.filter(|before| before.settings == *settings && before.stamp == known && known.is_some());
    if let Some(same) = same {
        return Seen::again(same);
    }
    let opened = found.and_then(|_| File::open(path));
    let read = opened
        .map_err(|error| format!("cannot be read: {error}"))
        .and_then(|file| parse(name, settings, &mut BufReader::with_capacity(BUFFER, file)));
    let seen = match read {
        Ok(contents) => Seen {
            contents,
            fresh: known.map(|stamp| stamp.fresh(Timestamp::now())),
            ..Seen::default()
        },
        Err(reason) => {
            let of_same_file = before.filter(|before| before.settings.source() == settings.source());
            Seen {
                broken: Some(reason),
                is_told: true,
                ..of_same_file.map(Seen::again).unwrap_or_default()
            }
        }
    };
    Seen { stamp: known, ..seen }
}

/// The state of a file.
pub(super) fn stamp(metadata: &Metadata) -> io::Result<Stamp> {
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    Ok(Stamp {
        written: Timestamp::try_from(metadata.modified()?).map_err(io::Error::other)?,
        changed: Timestamp::from_second(metadata.ctime()).map_err(io::Error::other)?,
        inode: metadata.ino(),
        bytes: metadata.len(),
    })
}

/// Reads what a feed says, and logs what of it could not be read.
pub(super) fn parse(name: &str, settings: &FeedSettings, input: &mut dyn BufRead) -> Result<Arc<Contents>, String> {
    let contents = contained(|| formats::read(settings, input)).unwrap_or_else(|| Err(GAVE_UP.to_owned()))?;
    let (indicators, refused) = (contents.list.len(), contents.refused.count);
    info!(feed = name, indicators, refused, "feed read");
    for (line, reason) in &contents.refused.told {
        let line = line.map_or(String::new(), |line| format!(":{line}"));
        let source = settings.source().map_or(String::new(), |source| source.to_string());
        warn!("feed {name}, {source}{line}: {reason}");
    }
    Ok(Arc::new(contents))
}
