//! Who logs in, or tries to: what sshd, su, sudo and others write about it into the journal or a log file.

mod place;
mod files;
mod journal;
mod line;
mod lines;
mod message;
mod received;
mod sshd;
mod elevation;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use tracing::{info, warn};

pub use self::place::{Place, find};
use self::{
    journal::Journal,
    line::Clock,
    lines::{Lines, zone},
    place::Kept,
};
use super::log_file::LogFile;
use crate::{
    config::Logins,
    control::status,
    event::{Event, Health, Kind},
};

/// How often is looked for something new.
const LOOK: Duration = Duration::from_secs(1);

/// How often is looked whether somebody writes logins down, where nobody does.
const SEARCH: Duration = Duration::from_secs(30);

/// So many looks in a row have to fail until that is told.
const FAILURES: u32 = 5;

/// What is read of the time before: by it the failures of the last hour are known.
const BEFORE: usize = 1 << 20;

/// What others may ask: where logins are read, how much, and what is wrong.
#[derive(Debug, Default)]
pub struct Told(Mutex<status::Logins>);

impl Told {
    /// As it is now.
    pub fn now(&self) -> status::Logins {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut status::Logins)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Sends what is written about logins, until nobody listens. Where it has read to is kept in that folder, if one is named:
/// there it goes on.
///
/// On a thread of its own: it waits for disks, and the stream waits for nobody.
pub fn start(settings: Logins, state: Option<PathBuf>, events: super::Sender, told: Arc<Told>) {
    let mut reader = Reader::new(settings, state, told);
    let follow = move || {
        while !events.is_closed() {
            if !reader.look_and_send(&events) {
                thread::sleep(LOOK);
            }
        }
    };
    if let Err(reason) = thread::Builder::new().name("logins".to_owned()).spawn(follow) {
        warn!(%reason, "no thread to read logins");
    }
}

/// A line of such a file as an event, for a replay; `None` of one that says nothing of logins. The time of one that tells
/// no year is the last such.
pub fn event_of_line(line: &str) -> anyhow::Result<Option<Event>> {
    let clock = Clock {
        zone: TimeZone::system(),
        now: Timestamp::now(),
    };
    let line = line::read(line, &clock).ok_or_else(|| anyhow::anyhow!("no line of auth.log"))?;
    let login = message::read(line.program, line.process, line.message);
    Ok(login.map(|(login, _)| event(line.time, Kind::Login(Box::new(login)))))
}

/// Who reads.
struct Reader {
    settings: Logins,
    state: Option<PathBuf>,
    told: Arc<Told>,
    zone: TimeZone,
    source: Source,
    /// Where it was read to, as it was last kept.
    kept: Option<Kept>,
    /// Looks since the last one that went well.
    failed: u32,
    /// Where it was read to could not be kept the last time.
    unkept: bool,
    /// What is wrong, as it was last said.
    trouble: Option<String>,
}

/// From where.
enum Source {
    /// Nobody wrote logins down so far; when that is looked for again.
    None(Instant),
    Journal(Journal),
    File(PathBuf, Box<LogFile>),
}

impl Reader {
    fn new(settings: Logins, state: Option<PathBuf>, told: Arc<Told>) -> Self {
        Self {
            zone: zone(),
            kept: state.as_deref().and_then(place::load),
            settings,
            state,
            told,
            source: Source::None(Instant::now()),
            failed: 0,
            unkept: false,
            trouble: None,
        }
    }

    /// Sends what was written since the last look, and gives whether there is more.
    fn look_and_send(&mut self, events: &super::Sender) -> bool {
        let (batch, more) = self.look();
        if batch.is_empty() || events.blocking_send(batch).is_ok() {
            self.keep();
        }
        more
    }

    /// What was written since the last look, and whether there is more.
    fn look(&mut self) -> (Vec<Event>, bool) {
        let before = self.begin();
        let (mut found, more) = match std::mem::replace(&mut self.source, Source::None(Instant::now())) {
            Source::None(next) => {
                self.source = Source::None(next);
                return (Vec::new(), false);
            }
            Source::File(path, mut file) => {
                let found = self.read_file(&path, &mut file);
                self.source = Source::File(path, file);
                found
            }
            Source::Journal(mut journal) => {
                if !journal.has_changed() {
                    self.source = Source::Journal(journal);
                    return (Vec::new(), false);
                }
                let found = journal.look();
                self.source = Source::Journal(journal);
                (self.read_journal(found), false)
            }
        };
        if !before.is_empty() {
            found.splice(..0, before);
        }
        (found, more)
    }

    /// Begins to read, where there is something to read. What was written before is learned from and not judged.
    fn begin(&mut self) -> Vec<Event> {
        let Source::None(next) = self.source else {
            return Vec::new();
        };
        if Instant::now() < next {
            return Vec::new();
        }
        let Some(place) = find(&self.settings) else {
            self.source = Source::None(Instant::now() + SEARCH);
            return Vec::new();
        };
        info!(source = %place, "logins are read");
        self.told.change(|told| told.source = place.to_string());
        let mut lines = Lines::new(self.zone.clone());
        self.source = match (place, &self.kept) {
            (Place::Journal(folders), kept) => {
                let position = match kept {
                    Some(Kept::Journal(position)) => Some(*position),
                    Some(Kept::File(..)) | None => None,
                };
                Source::Journal(Journal::new(folders, position))
            }
            (Place::File(path), kept) => {
                let file = match kept {
                    Some(Kept::File(of, position)) if *of == path => LogFile::resume(&path, position),
                    Some(Kept::File(..) | Kept::Journal(_)) | None => LogFile::at_end(&path),
                };
                let before = file.before(BEFORE);
                before.split(|byte| *byte == b'\n').for_each(|line| lines.take(line));
                Source::File(path, Box::new(file))
            }
        };
        learned(lines.events)
    }

    fn read_file(&mut self, path: &Path, file: &mut LogFile) -> (Vec<Event>, bool) {
        let mut lines = Lines::new(self.zone.clone());
        let (more, trouble) = match file.read(&mut |line| lines.take(line)) {
            Ok(more) => (more, None),
            Err(error) => (false, Some(format!("{}: {error}", path.display()))),
        };
        let mut found = Vec::new();
        if file.has_lost() {
            found.push(lost(&format!(
                "what was written to {} meanwhile is gone in part",
                path.display()
            )));
        }
        found.extend(self.say(trouble));
        found.extend(self.count(lines));
        (found, more)
    }

    /// Of a journal that is written while it is read, a look may fail; not several.
    fn read_journal(&mut self, found: anyhow::Result<journal::Found>) -> Vec<Event> {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.failed += 1;
                let trouble = (self.failed >= FAILURES).then(|| format!("{error:#}"));
                return trouble
                    .and_then(|trouble| self.say(Some(trouble)))
                    .into_iter()
                    .collect();
            }
        };
        self.failed = 0;
        let mut lines = Lines::new(self.zone.clone());
        found.before.iter().for_each(|entry| lines.take_entry(entry));
        let mut events = learned(lines.events);
        if found.too_much {
            events.push(lost("more was written to the journal meanwhile than is read"));
        }
        if found.unreadable > 0 {
            let count = found.unreadable;
            events.push(lost(&format!(
                "{count} entries of the journal cannot be read, and are passed over"
            )));
        }
        events.extend(self.say(None));
        let mut lines = Lines::new(self.zone.clone());
        found.since.iter().for_each(|entry| lines.take_entry(entry));
        events.extend(self.count(lines));
        events
    }

    fn count(&self, lines: Lines) -> Vec<Event> {
        self.told.change(|told| {
            told.lines += lines.count;
            told.not_understood += lines.not_understood;
        });
        lines.events
    }

    /// Says that something is wrong, once until it is right again or something else is wrong.
    fn say(&mut self, trouble: Option<String>) -> Option<Event> {
        if trouble == self.trouble {
            return None;
        }
        self.told.change(|told| told.trouble.clone_from(&trouble));
        self.trouble.clone_from(&trouble);
        let Some(reason) = trouble else {
            info!("logins can be read again");
            return None;
        };
        warn!(reason, "logins cannot be read");
        Some(health("source-down", format!("logins: {reason}")))
    }

    /// Keeps where it was read to, for the next start.
    fn keep(&mut self) {
        let kept = match &self.source {
            Source::None(_) => None,
            Source::Journal(journal) => journal.position().map(Kept::Journal),
            Source::File(path, file) => file.position().map(|position| Kept::File(path.clone(), position)),
        };
        let (Some(state), Some(kept)) = (&self.state, kept) else {
            return;
        };
        if self.kept.as_ref() == Some(&kept) && !self.unkept {
            return;
        }
        let stored = place::store(state, &kept);
        match &stored {
            Ok(()) if self.unkept => info!("where logins were read to can be kept again"),
            Err(error) if !self.unkept => warn!(
                reason = format!("{error:#}"),
                "where logins were read to cannot be kept: the next agent begins elsewhere"
            ),
            _ => {}
        }
        self.unkept = stored.is_err();
        self.kept = Some(kept);
    }
}

/// Events that are only learned from.
fn learned(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        event.startup = true;
    }
    events
}

fn lost(what: &str) -> Event {
    health("loss", format!("logins: {what}"))
}

fn health(kind: &'static str, detail: String) -> Event {
    event(Timestamp::now(), Kind::Health(Health { kind, detail }))
}

fn event(time: Timestamp, kind: Kind) -> Event {
    Event {
        time,
        startup: false,
        kind,
        given: None,
    }
}
