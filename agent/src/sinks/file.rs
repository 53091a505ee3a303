//! A file that rotates by size and age, and that others may rotate as well.
//!
//! Before each write the path is looked at: if another file stands there, or none, it is opened anew. A line that could
//! be written only in part, as on a full disk, is completed later; in another file it begins again.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};
use documented::{Documented, DocumentedFields};
use jiff::SignedDuration;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::{
    Failure, Format, Formatter, Host, Opened, Outputs, Row, Sink,
    pending::Pending,
    settings::{at_least, fingerprint},
};
use crate::{
    alert::{Alert, Level},
    config::values,
};

/// Its row in the table.
pub(super) const SINK: Row = Row {
    name: "file",
    meaning: "a file that rotates",
    open,
};

/// A file that rotates, and that others such as logrotate may rotate instead (docs/outputs.md).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct FileSettings {
    /// Its absolute path; empty: there is none. Only root can read what is created there.
    #[serde(with = "values::optional_path")]
    pub path: Option<PathBuf>,
    /// The form: ocsf, falco or pretty.
    #[serde(with = "values::text")]
    pub format: Format,
    /// The lowest level that goes there, of what is reported at all.
    #[serde(with = "values::text")]
    pub min_level: Level,
    /// It is rotated before it grows beyond so many MiB …
    #[serde(deserialize_with = "values::within::<1, 1_000_000, _, _>")]
    pub max_mib: u32,
    /// … and before the first alert that comes when it is so old; 0: however old.
    #[serde(with = "values::duration")]
    pub max_age: SignedDuration,
    /// So many rotated files are kept: `PATH.1` is the latest, `PATH.2` the one before it.
    #[serde(deserialize_with = "values::within::<0, 1000, _, _>")]
    pub keep: u32,
}

impl Default for FileSettings {
    fn default() -> Self {
        Self {
            path: None,
            format: Format::Ocsf,
            min_level: Level::Informational,
            max_mib: 100,
            max_age: SignedDuration::ZERO,
            keep: 5,
        }
    }
}

fn open(outputs: &Outputs, host: &Arc<Host>) -> Result<Vec<Opened>> {
    let settings = &outputs.file;
    let Some(path) = &settings.path else {
        return Ok(Vec::new());
    };
    let shown = path.display();
    ensure!(path.is_absolute(), "output.file.path: {shown} is not absolute");
    ensure!(path.file_name().is_some(), "output.file.path: {shown} names no file");
    let limits = Limits {
        bytes: u64::from(settings.max_mib) << 20,
        age: Some(settings.max_age.unsigned_abs()).filter(|age| !age.is_zero()),
        keep: settings.keep,
    };
    Ok(vec![Opened {
        name: SINK.name,
        wanted: at_least(settings.min_level),
        sink: Box::new(Rotating::new(path, limits, Formatter::plain(settings.format, host))),
        made_from: fingerprint(settings, &[]),
    }])
}

/// When a file is rotated.
#[derive(Clone, Copy, Debug)]
struct Limits {
    bytes: u64,
    age: Option<Duration>,
    keep: u32,
}

/// The sink.
struct Rotating {
    path: PathBuf,
    limits: Limits,
    formatter: Formatter,
    open: Option<Open>,
    pending: Pending,
    /// That it could not be rotated has been said.
    complained: bool,
}

/// An open file.
struct Open {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    size: u64,
    born: SystemTime,
}

impl Sink for Rotating {
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for alert in alerts {
            self.pending.push(alert, &self.formatter);
        }
        let written = self.write();
        written
            .with_context(|| format!("writing to {}", self.path.display()))
            .map_err(Failure::Later)
    }

    fn undelivered(&self) -> usize {
        self.pending.alerts()
    }
}

impl Rotating {
    fn new(path: &Path, limits: Limits, formatter: Formatter) -> Self {
        Self {
            path: path.to_owned(),
            limits,
            formatter,
            open: None,
            pending: Pending::default(),
            complained: false,
        }
    }

    fn write(&mut self) -> Result<()> {
        self.notice_others()?;
        if self.is_due() {
            self.rotate();
        }
        if self.open.is_none() {
            self.open = Some(Open::at(&self.path)?);
        }
        let Some(Open { file, size, .. }) = &mut self.open else {
            return Ok(());
        };
        let before = self.pending.left();
        let written = self.pending.write_to(file);
        *size += (before - self.pending.left()) as u64;
        Ok(written?)
    }

    /// Lets go of a file that has been moved away or removed, and sees how long it is now.
    fn notice_others(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let cut = match fs::symlink_metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == open.identity => {
                let before = std::mem::replace(&mut open.size, found.len());
                found.len() < before
            }
            Ok(_) => {
                self.open = None;
                true
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.open = None;
                true
            }
            Err(error) => return Err(error.into()),
        };
        if cut {
            self.pending.begin_again();
        }
        Ok(())
    }

    fn is_due(&self) -> bool {
        let Some(open) = &self.open else { return false };
        let news = self.pending.left() as u64;
        if open.size == 0 || news == 0 || self.pending.is_in_an_alert() {
            return false;
        }
        let age = open.born.elapsed().unwrap_or_default();
        open.size + news > self.limits.bytes || self.limits.age.is_some_and(|most| age >= most)
    }

    /// Where it cannot be rotated, it grows: better than to lose an alert.
    fn rotate(&mut self) {
        match rename_all(&self.path, self.limits.keep) {
            Ok(()) => {
                self.open = None;
                self.complained = false;
            }
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::warn!(file = %self.path.display(), %error, "cannot be rotated, and grows");
            }
            Err(_) => {}
        }
    }
}

impl Open {
    fn at(path: &Path) -> Result<Self> {
        // One level: it may have been removed with all that was in it.
        if let Some(folder) = path.parent()
            && let Err(error) = DirBuilder::new().mode(0o700).create(folder)
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error).context(format!("creating {}", folder.display()));
        }
        // Whoever may write to the folder shall not have it append to a file of others, nor wait for a pipe's reader.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
        let mut file = match opened {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                bail!("it is a symbolic link, which is not followed")
            }
            opened => opened?,
        };
        let found = file.metadata()?;
        ensure!(found.is_file(), "it is no regular file");
        let mut size = found.len();
        if size > 0 && ends_in_a_line(&file, size)? {
            file.write_all(b"\n").context("ending a line that was cut")?;
            size += 1;
        }
        Ok(Self {
            file,
            identity: (found.dev(), found.ino()),
            size,
            born: found.created().unwrap_or_else(|_| SystemTime::now()),
        })
    }
}

/// Whether the last line has no end: an agent was killed in the middle of it.
fn ends_in_a_line(file: &File, size: u64) -> io::Result<bool> {
    let mut last = [0];
    file.read_exact_at(&mut last, size - 1)?;
    Ok(last != *b"\n")
}

/// `alerts` becomes `alerts.1`, that `alerts.2`; of those that are kept, the last goes.
fn rename_all(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return fs::remove_file(path);
    }
    for number in (1..keep).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests;
