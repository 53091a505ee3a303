//! Where logins are written down on a node, and where somebody has read to.

use std::{
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{files::files, journal::Journal, received};
use crate::{
    config::{LoginSource, Logins},
    node,
    sources::{baseline::file, log_file},
};

/// Where Debian's and Red Hat's log daemons write what concerns logins.
const FILES: [&str; 2] = ["/var/log/auth.log", "/var/log/secure"];

/// Where journald keeps what outlives a boot, and what does not.
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

/// Where journald is spoken to: where it is not, a journal is of old.
const JOURNALD: &str = "/run/systemd/journal/socket";

/// Where logins are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The systemd journal in these folders.
    Journal(Vec<PathBuf>),
    /// This file.
    File(PathBuf),
}

impl Place {
    /// Tries whether it can be read.
    pub fn try_it(&self) -> Result<()> {
        match self {
            Self::Journal(folders) => {
                Journal::new(folders.clone(), None).look()?;
            }
            Self::File(path) => {
                File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(folders) => {
                let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
                write!(formatter, "the journal in {}", folders.join(" and "))
            }
            Self::File(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// Where logins are to be read on this node; `None` where nobody writes any down, or where that is not wished.
pub fn find(settings: &Logins) -> Option<Place> {
    match settings.source {
        LoginSource::Off => None,
        LoginSource::Auto => find_journal(settings).or_else(|| find_file(settings)),
        LoginSource::Journal => find_journal(settings),
        LoginSource::File => find_file(settings),
    }
}

fn find_journal(settings: &Logins) -> Option<Place> {
    let mut folders = match &settings.journal {
        Some(folder) => vec![node::path(&folder.to_string_lossy())],
        None if node::path(JOURNALD).exists() => JOURNALS.map(node::path).to_vec(),
        None => return None,
    };
    folders.retain(|folder| !files(folder).is_empty());
    (!folders.is_empty()).then_some(Place::Journal(folders))
}

/// A file that was named is waited for.
fn find_file(settings: &Logins) -> Option<Place> {
    if let Some(file) = &settings.file {
        return Some(Place::File(node::path(&file.to_string_lossy())));
    }
    let mut files = FILES.into_iter().map(node::path);
    files.find(|file| file.is_file()).map(Place::File)
}

/// Where somebody has read to, in the form in which it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kept {
    /// In that file.
    File(PathBuf, log_file::Position),
    /// In the journal.
    Journal(received::Position),
}

fn path(folder: &Path) -> PathBuf {
    folder.join("logins.json")
}

/// Where an agent with that folder has read to. What cannot be read is as if nothing was kept: the log's end is where a new
/// agent begins.
pub(super) fn load(folder: &Path) -> Option<Kept> {
    let read = || -> Result<Kept> { Ok(serde_json::from_slice(&fs::read(path(folder))?)?) };
    read()
        .inspect_err(|error| {
            let missing = error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
            if !missing {
                tracing::warn!(reason = format!("{error:#}"), "where logins were read to is not known");
            }
        })
        .ok()
}

/// Keeps it, for root alone.
pub(super) fn store(folder: &Path, kept: &Kept) -> Result<()> {
    file::make(folder)?;
    file::replace(&path(folder), |file| Ok(serde_json::to_writer(file, kept)?))
}
