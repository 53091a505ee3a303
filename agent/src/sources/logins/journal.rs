//! The systemd journal, of which what concerns logins is read: the facilities auth and authpriv, which `auth.log` is made
//! of as well.
//!
//! The journal's own index of a facility is read from its newest entry back to the one that was read last, so that a look
//! costs little whatever else is logged. The files are read, not mapped: journald cuts them while it writes, which would
//! kill whoever touches a mapped page behind the new end.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;
use sdjournal::{EntryRef, JournalConfig, SdJournalError};
use tracing::debug;

use super::{
    files::{Head, heads},
    received::{Position, Received, UNSETTLED},
};

/// The facilities: auth and authpriv.
const FACILITIES: [&[u8]; 2] = [b"4", b"10"];

/// So many entries of the time while nobody read are read, the newest.
const MOST_MISSED: usize = 10_000;

/// So many of the time before are learned from, and of so many microseconds.
const MOST_BEFORE: usize = 2_000;
const BEFORE: i64 = 3_600_000_000;

/// So many entries in a row that were read already are passed by, where a clock was set back.
const MOST_PASSED: usize = 10_000;

/// An entry that cannot be read may be one that is being written: so many looks wait for it.
const WAITING: u32 = 3;

/// More fields than journald takes in an entry, which are 1,024, and its own.
const MOST_FIELDS: usize = 2_048;

/// Below are the system's own users.
const FIRST_PERSON: u32 = 1_000;

/// Of a longer text only the beginning is handed on.
const LONGEST_MESSAGE: usize = 16 << 10;

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
    /// When was last looked, in microseconds since the boot.
    looked: Option<i64>,
    /// Looks in a row that an entry has spoilt.
    spoilt: u32,
    /// Entries that cannot be read and stand behind all others: the next look meets them again.
    behind: usize,
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
    /// Whether a person's process wrote it, and none of the system's own users.
    pub by_person: bool,
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
    /// So many entries could not be read.
    pub unreadable: usize,
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
            looked: None,
            spoilt: 0,
            behind: 0,
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
        let entries = self.newest_first()?;
        self.sift(entries, &Received::now(), Received::of, read)
    }

    /// Takes from the entries, the newest first, what was not read yet. What nobody can read, such as an entry that its
    /// writer made so, is counted and passed over.
    fn sift<E>(
        &mut self,
        entries: impl Iterator<Item = Result<E, Unreadable>>,
        now: &Received,
        received: impl Fn(&E) -> Received,
        read: impl Fn(&E) -> Option<Entry>,
    ) -> Result<Found> {
        let from = self.last.unwrap_or_else(|| Position::at(now));
        // What was written since the last look bears no earlier time, also if the clock was set back.
        let elapsed = self.looked.map_or(BEFORE, |looked| now.monotonic - looked);
        let end = from.realtime.min(now.realtime - elapsed - 2 * UNSETTLED);
        let (mut found, mut newest, mut again) = (Found::default(), from, false);
        let (mut errors, mut behind, mut met, mut passed) = (0, None, None, 0);
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.pass_over(error)?;
                    errors += 1;
                    if errors >= MOST_MISSED {
                        found.too_much = true;
                        break;
                    }
                    continue;
                }
            };
            behind.get_or_insert(errors);
            let at = received(&entry);
            if from.is_before(&at, now) {
                if !at.is_settled(now) {
                    again |= at.settles_soon(now);
                    continue;
                }
                newest.pass(&at, now);
                found.too_much = found.since.len() >= MOST_MISSED;
                if found.too_much {
                    break;
                }
                found.since.extend(read(&entry));
                continue;
            }
            // What cannot be read and stands before it was counted by an earlier look.
            met.get_or_insert(errors);
            if self.is_new && found.before.len() < MOST_BEFORE && at.realtime >= from.realtime - BEFORE {
                found.before.extend(read(&entry));
            } else if at.realtime > end && passed < MOST_PASSED {
                passed += 1;
            } else {
                break;
            }
        }
        found.before.reverse();
        found.since.reverse();
        found.unreadable = met.unwrap_or(errors).saturating_sub(self.behind);
        (self.last, self.is_new, self.again) = (Some(newest), false, again);
        (self.looked, self.spoilt, self.behind) = (Some(now.monotonic), 0, behind.unwrap_or(errors));
        Ok(found)
    }

    /// Passes over what cannot be read, if waiting does not help.
    fn pass_over(&mut self, Unreadable { reason, is_final }: Unreadable) -> Result<()> {
        if is_final || self.spoilt >= WAITING {
            debug!(reason, "an entry of the journal is passed over");
            return Ok(());
        }
        self.spoilt += 1;
        Err(anyhow!(reason).context("cannot read the journal"))
    }

    fn newest_first(&self) -> Result<impl Iterator<Item = Result<EntryRef, Unreadable>> + use<>> {
        let config = JournalConfig {
            max_journal_files: MOST_FILES,
            max_fields_per_entry: MOST_FIELDS,
            ..JournalConfig::default()
        };
        let journal = sdjournal::Journal::open_dirs_with_config(&self.folders, config);
        let mut query = journal.context("cannot open the journal")?.query();
        query.reverse(true);
        for facility in FACILITIES {
            query.or_group(|group| _ = group.match_exact("SYSLOG_FACILITY", facility));
        }
        let mut entries = query.iter().context("cannot read the journal")?;
        Ok(std::iter::from_fn(move || contained(|| entries.next())))
    }
}

/// An entry that is there and cannot be read.
#[derive(Debug)]
struct Unreadable {
    reason: String,
    /// It is what no reader takes, however long it waits.
    is_final: bool,
}

/// The next entry. The files are others' work: where the reader gives up over one, it is as if it could not be read.
fn contained<E>(next: impl FnOnce() -> Option<sdjournal::Result<E>>) -> Option<Result<E, Unreadable>> {
    let Ok(next) = catch_unwind(AssertUnwindSafe(next)) else {
        return Some(Err(Unreadable {
            reason: "its reader gave up".to_owned(),
            is_final: false,
        }));
    };
    next.map(|entry| {
        entry.map_err(|error| Unreadable {
            reason: error.to_string(),
            is_final: matches!(error, SdJournalError::LimitExceeded { .. }),
        })
    })
}

/// An entry; `None` of one without a name or a text.
fn read(entry: &EntryRef) -> Option<Entry> {
    let text = |name: &str| entry.get(name).map(String::from_utf8_lossy);
    let number = |name: &str| text(name)?.trim().parse::<u32>().ok();
    let program = text("SYSLOG_IDENTIFIER").or_else(|| text("_COMM"))?;
    let message = entry.get("MESSAGE")?;
    let time = Timestamp::from_microsecond(entry.realtime_usec().try_into().ok()?).ok()?;
    let uid = number("_UID");
    Some(Entry {
        time,
        process: number("SYSLOG_PID").or_else(|| number("_PID")),
        message: String::from_utf8_lossy(&message[..message.len().min(LONGEST_MESSAGE)]).into_owned(),
        genuine: is_genuine(&program, uid, text("_EXE").as_deref()),
        by_person: uid.is_some_and(|uid| uid >= FIRST_PERSON),
        program: program.into_owned(),
    })
}

/// Whether a writer of that user and executable can be that program. sshd and login are root's; su and sudo run as whoever
/// asks, so their file has to be theirs, if journald could still see it; what else lets people in runs as the system's.
fn is_genuine(program: &str, uid: Option<u32>, exe: Option<&str>) -> bool {
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

#[cfg(test)]
mod tests;
