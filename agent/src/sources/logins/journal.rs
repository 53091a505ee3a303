//! The systemd journal, of which what concerns logins is read: the facilities auth and authpriv, which `auth.log` is made
//! of as well.
//!
//! The journal's own index of a facility is read from its newest entry back to the one that was read last, so that a look
//! costs little whatever else is logged. The files are read, not mapped: journald cuts them while it writes, which would
//! kill whoever touches a mapped page behind the new end.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use sdjournal::{EntryRef, JournalConfig};
use serde::{Deserialize, Serialize};

/// The facilities: auth and authpriv.
const FACILITIES: [&[u8]; 2] = [b"4", b"10"];

/// So many entries of the time while nobody read are read, the newest.
const MOST_MISSED: usize = 10_000;

/// So many of the time before are learned from, and of so many microseconds.
const MOST_BEFORE: usize = 2_000;
const BEFORE: i64 = 3_600_000_000;

/// What was received in the last microseconds has its turn with the next look: what was received before may be written
/// after it, into another user's file.
const UNSETTLED: i64 = 200_000;

/// A clock is not set back by more in operation: what seems to be so much later was received while it was wrong.
const AHEAD: i64 = 60_000_000;

/// More files than journald keeps of some hundred users.
const MOST_FILES: usize = 16_384;

/// The journal's files, and how far they were read.
#[derive(Debug)]
pub(super) struct Journal {
    folders: Vec<PathBuf>,
    /// Of each file that is written, by what a change is known.
    heads: BTreeMap<PathBuf, Head>,
    last: Option<Position>,
    /// Nothing was read yet.
    is_new: bool,
    /// There is something to read, whether or not the files change.
    again: bool,
}

/// Where the journal was read to, in the order of its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Position {
    /// When the last one was received, in microseconds since 1970.
    realtime: i64,
    /// Its number.
    sequence: u64,
}

/// An entry about logins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// When it was received.
    pub time: Timestamp,
    /// By which name its writer calls itself.
    pub program: String,
    /// The writer's process.
    pub process: Option<u32>,
    /// What it wrote.
    pub message: String,
    /// Whether the writer can be who it says, by what the kernel told journald: everybody may write to the journal.
    pub genuine: bool,
}

/// What a look found, in order.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What was written before the place from which it is read on; at the first look only.
    pub before: Vec<Entry>,
    /// What was written since.
    pub since: Vec<Entry>,
    /// There was more than is read.
    pub too_much: bool,
}

impl Journal {
    /// The journal in these folders, from that place on, or else from its end on.
    pub(super) fn new(folders: Vec<PathBuf>, last: Option<Position>) -> Self {
        Self {
            folders,
            heads: BTreeMap::new(),
            last,
            is_new: true,
            again: true,
        }
    }

    /// Where it was read to.
    pub(super) fn position(&self) -> Option<Position> {
        self.last
    }

    /// Whether there is something to look for.
    pub(super) fn has_changed(&mut self) -> bool {
        let heads = heads(&self.folders);
        let changed = heads != self.heads;
        self.heads = heads;
        std::mem::take(&mut self.again) || changed
    }

    /// What was written since the last look. After an error there is no gap: it is looked for again.
    pub(super) fn look(&mut self) -> Result<Found> {
        self.again = true;
        let now = Timestamp::now().as_microsecond();
        let settled = now - UNSETTLED;
        let here = Position {
            realtime: settled,
            sequence: u64::MAX,
        };
        let from = self.last.filter(|last| last.realtime < now + AHEAD).unwrap_or(here);
        let (mut found, mut newest, mut again) = (Found::default(), from, false);
        for entry in self.newest_first()? {
            let entry = entry.context("cannot read the journal")?;
            let at = Position {
                realtime: entry.realtime_usec().try_into().unwrap_or(i64::MAX),
                sequence: entry.seqnum(),
            };
            if at.realtime > settled {
                // One from a clock that was ahead does not become settled soon.
                again |= at.realtime < now + AHEAD;
            } else if at > from {
                newest = newest.max(at);
                found.too_much = found.since.len() >= MOST_MISSED;
                if found.too_much {
                    break;
                }
                found.since.extend(read(&entry));
            } else {
                let is_wanted = self.is_new && found.before.len() < MOST_BEFORE;
                if !is_wanted || at.realtime < from.realtime - BEFORE {
                    break;
                }
                found.before.extend(read(&entry));
            }
        }
        found.before.reverse();
        found.since.reverse();
        (self.last, self.is_new, self.again) = (Some(newest), false, again);
        Ok(found)
    }

    fn newest_first(&self) -> Result<impl Iterator<Item = sdjournal::Result<EntryRef>> + use<>> {
        let config = JournalConfig {
            max_journal_files: MOST_FILES,
            ..JournalConfig::default()
        };
        let journal = sdjournal::Journal::open_dirs_with_config(&self.folders, config);
        let mut query = journal.context("cannot open the journal")?.query();
        query.reverse(true);
        for facility in FACILITIES {
            query.or_group(|group| _ = group.match_exact("SYSLOG_FACILITY", facility));
        }
        query.iter().context("cannot read the journal")
    }
}

/// An entry; `None` of one without a name or a text.
fn read(entry: &EntryRef) -> Option<Entry> {
    let text = |name: &str| entry.get(name).map(String::from_utf8_lossy);
    let number = |name: &str| text(name)?.trim().parse::<u32>().ok();
    let program = text("SYSLOG_IDENTIFIER").or_else(|| text("_COMM"))?;
    let time = Timestamp::from_microsecond(entry.realtime_usec().try_into().ok()?).ok()?;
    Some(Entry {
        time,
        process: number("SYSLOG_PID").or_else(|| number("_PID")),
        message: text("MESSAGE")?.into_owned(),
        genuine: is_genuine(&program, number("_UID"), text("_EXE").as_deref()),
        program: program.into_owned(),
    })
}

/// Whether a writer of that user and executable can be that program. sshd and login are root's; su and sudo run as whoever
/// asks, so their file has to be theirs, if journald could still see it; what else lets people in runs as the system's.
fn is_genuine(program: &str, uid: Option<u32>, exe: Option<&str>) -> bool {
    /// Below are the system's own users.
    const FIRST_PERSON: u32 = 1_000;
    let Some(uid) = uid else {
        // From another machine, whose journal said so.
        return true;
    };
    match program {
        "sshd" | "sshd-session" | "sshd-auth" | "login" => uid == 0,
        "su" | "sudo" => {
            let file = exe.and_then(|exe| exe.rsplit('/').next());
            uid == 0 || file.is_none_or(|file| file.strip_suffix("-rs").unwrap_or(file) == program)
        }
        _ => uid < FIRST_PERSON,
    }
}

/// A file's id, the number of its entries and that of the last.
type Head = ([u8; 16], [u8; 16]);

/// The heads of the files that are written now: archived ones have an `@` in their names.
fn heads(folders: &[PathBuf]) -> BTreeMap<PathBuf, Head> {
    let files = folders.iter().flat_map(|folder| files(folder));
    let written = files.filter(|file| !file.as_os_str().as_encoded_bytes().contains(&b'@'));
    written
        .filter_map(|file| Some((head(&file)?, file)))
        .map(|(head, file)| (file, head))
        .collect()
}

fn head(file: &Path) -> Option<Head> {
    /// Where they stand in a file's header.
    const ID: u64 = 24;
    const COUNTS: u64 = 152;
    let file = File::open(file).ok()?;
    let mut head = Head::default();
    file.read_exact_at(&mut head.0, ID).ok()?;
    file.read_exact_at(&mut head.1, COUNTS).ok()?;
    Some(head)
}

/// The journal's files in a folder, and in those of machines within.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "journal");
    let mut files: Vec<_> = entries(folder).collect();
    let folders: Vec<_> = files.iter().filter(|path| path.is_dir()).cloned().collect();
    files.extend(folders.iter().flat_map(|folder| entries(folder)));
    files.retain(is_journal);
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_who_it_can_be() {
        for (program, uid, exe, expected) in [
            ("sshd", Some(0), Some("/usr/sbin/sshd"), true),
            ("sshd-session", Some(0), None, true),
            ("sshd", Some(1000), Some("/usr/bin/logger"), false),
            ("sshd", Some(33), None, false),
            ("sshd", None, None, true),
            ("sudo", Some(1000), Some("/usr/bin/sudo"), true),
            ("sudo", Some(1000), Some("/usr/bin/sudo-rs"), true),
            ("sudo", Some(1000), None, true),
            ("sudo", Some(1000), Some("/usr/bin/logger"), false),
            ("su", Some(0), Some("/usr/bin/bash"), true),
            ("auth", Some(0), Some("/usr/lib/dovecot/auth"), true),
            ("auth", Some(110), None, true),
            ("auth", Some(1000), Some("/usr/bin/logger"), false),
        ] {
            assert_eq!(is_genuine(program, uid, exe), expected, "{program} {uid:?} {exe:?}");
        }
    }

    #[test]
    fn what_is_no_journal_is_an_error_and_read_later() {
        let folder = tempfile::tempdir().unwrap();
        let machine = folder.path().join("0123456789abcdef0123456789abcdef");
        fs::create_dir(&machine).unwrap();
        let mut journal = Journal::new(vec![folder.path().to_owned()], None);
        assert!(journal.has_changed() && journal.look().is_err());
        fs::write(machine.join("system.journal"), [0; 512]).unwrap();
        assert_eq!(files(folder.path()).len(), 1);
        assert!(journal.has_changed() && journal.look().is_err());
        assert!(journal.has_changed() && journal.position().is_none());
    }
}
