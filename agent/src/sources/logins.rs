//! Who logs in, or tries to: what sshd, su, sudo and others write about it into the journal or a log file.

mod place;
mod journal;
mod line;
mod message;
mod sshd;
mod elevation;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, info, warn};

pub use self::place::{Place, find};
use self::{journal::Journal, line::Clock, place::Kept};
use super::log_file::LogFile;
use crate::{
    config::Logins,
    control::status,
    event::{Event, Health, Kind},
    node,
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
pub async fn run(settings: Logins, state: Option<PathBuf>, events: super::Sender, told: Arc<Told>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reader = Reader::new(settings, state, told);
    loop {
        look.tick().await;
        let mut more = true;
        while more {
            let batch;
            (batch, more) = reader.look().await;
            let closed = if batch.is_empty() {
                events.is_closed()
            } else {
                events.send(batch).await.is_err()
            };
            if closed {
                return;
            }
            reader.keep();
            tokio::task::yield_now().await;
        }
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
            trouble: None,
        }
    }

    /// What was written since the last look, and whether there is more.
    async fn look(&mut self) -> (Vec<Event>, bool) {
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
                // It reads some places of each file: not on the thread that the stream is on.
                let looked = spawn_blocking(move || {
                    let found = journal.look();
                    (journal, found)
                });
                let Ok((journal, found)) = looked.await else {
                    return (Vec::new(), false);
                };
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
            Source::File(path, file) => file
                .position()
                .map(|position| Kept::File(path.clone(), position.clone())),
        };
        let (Some(state), Some(kept)) = (&self.state, kept) else {
            return;
        };
        if self.kept.as_ref() == Some(&kept) {
            return;
        }
        if let Err(error) = place::store(state, &kept) {
            debug!(reason = format!("{error:#}"), "where logins were read to is not kept");
        }
        self.kept = Some(kept);
    }
}

/// Lines that become events.
struct Lines {
    clock: Clock,
    events: Vec<Event>,
    count: u64,
    not_understood: u64,
}

impl Lines {
    fn new(zone: TimeZone) -> Self {
        Self {
            clock: Clock {
                zone,
                now: Timestamp::now(),
            },
            events: Vec::new(),
            count: 0,
            not_understood: 0,
        }
    }

    /// A line of a file.
    fn take(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.count += 1;
        let text = String::from_utf8_lossy(bytes);
        match line::read(&text, &self.clock) {
            Some(line) => self.take_message(line.time, line.program, line.process, line.message),
            None => self.not_understood += 1,
        }
    }

    /// An entry of the journal. One that its writer cannot have written is believed in nothing.
    fn take_entry(&mut self, entry: &journal::Entry) {
        self.count += 1;
        if entry.genuine {
            self.take_message(entry.time, &entry.program, entry.process, &entry.message);
        } else {
            self.not_understood += 1;
        }
    }

    fn take_message(&mut self, time: Timestamp, program: &str, process: Option<u32>, message: &str) {
        if let Some((login, understood)) = message::read(program, process, message) {
            self.not_understood += u64::from(!understood);
            self.events.push(event(time, Kind::Login(Box::new(login))));
        }
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

/// The node's time zone, by which its log daemon may write times.
fn zone() -> TimeZone {
    if node::root() == Path::new("/") {
        return TimeZone::system();
    }
    let zone = std::fs::read(node::path("/etc/localtime")).ok();
    zone.and_then(|bytes| TimeZone::tzif("", &bytes).ok())
        .unwrap_or(TimeZone::UTC)
}

fn event(time: Timestamp, kind: Kind) -> Event {
    Event {
        time,
        startup: false,
        kind,
        given: None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;
    use crate::event::Login;

    struct Node {
        folder: tempfile::TempDir,
        reader: Reader,
    }

    impl Node {
        fn new(before: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("auth.log"), before).unwrap();
            let reader = reader(folder.path());
            Self { folder, reader }
        }

        fn write(&self, message: &str) {
            let file = fs::OpenOptions::new()
                .append(true)
                .open(self.folder.path().join("auth.log"));
            file.unwrap().write_all(line(message).as_bytes()).unwrap();
        }

        /// What is read until there is no more: whether it is from before, and from where.
        async fn read(&mut self) -> Vec<(bool, String)> {
            let mut found = Vec::new();
            loop {
                let (events, more) = self.reader.look().await;
                self.reader.keep();
                found.extend(events.into_iter().map(|event| match &event.kind {
                    Kind::Login(login) => (event.startup, from(login)),
                    Kind::Health(health) => (event.startup, health.kind.to_owned()),
                    other => panic!("{other:?}"),
                }));
                if !more {
                    return found;
                }
            }
        }
    }

    fn from(login: &Login) -> String {
        login.source.map_or(String::new(), |source| source.to_string())
    }

    fn reader(folder: &Path) -> Reader {
        let settings = Logins {
            file: Some(folder.join("auth.log")),
            ..Logins::default()
        };
        Reader::new(settings, Some(folder.join("state")), Arc::default())
    }

    fn line(message: &str) -> String {
        format!("2026-11-29T00:00:00+00:00 web sshd[1]: {message}\n")
    }

    fn failed(ip: &str) -> String {
        format!("Failed password for root from {ip} port 4 ssh2")
    }

    #[tokio::test]
    async fn what_was_before_is_learned_and_what_comes_is_judged_also_after_a_restart() {
        let mut node = Node::new(&line(&failed("192.0.2.1")));
        assert_eq!(node.read().await, [(true, "192.0.2.1".to_owned())]);
        node.write(&failed("192.0.2.2"));
        assert_eq!(node.read().await, [(false, "192.0.2.2".to_owned())]);
        node.write(&failed("192.0.2.3"));
        node.reader = reader(node.folder.path());
        let expected = [(true, "192.0.2.1"), (true, "192.0.2.2"), (false, "192.0.2.3")];
        assert_eq!(node.read().await, expected.map(|(before, ip)| (before, ip.to_owned())));
        fs::remove_file(node.folder.path().join("auth.log")).unwrap();
        fs::write(node.folder.path().join("auth.log"), line(&failed("192.0.2.4"))).unwrap();
        node.reader = reader(node.folder.path());
        // What is gone cannot be learned from either.
        let expected = [(false, "loss"), (false, "192.0.2.4")];
        assert_eq!(node.read().await, expected.map(|(before, ip)| (before, ip.to_owned())));
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_counted() {
        let mut node = Node::new("");
        node.read().await;
        node.write("Failed password for root");
        node.write(&failed("192.0.2.1"));
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(node.folder.path().join("auth.log"))
            .unwrap();
        file.write_all(b"\xff\xfe\n").unwrap();
        assert_eq!(node.read().await.len(), 2);
        let told = node.reader.told.now();
        assert_eq!((told.lines, told.not_understood), (3, 2));
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_read_is_said_once() {
        let mut node = Node::new("");
        node.read().await;
        fs::remove_file(node.folder.path().join("auth.log")).unwrap();
        fs::create_dir(node.folder.path().join("auth.log")).unwrap();
        assert_eq!(node.read().await, [(false, "source-down".to_owned())]);
        assert!(node.read().await.is_empty());
        assert!(node.reader.told.now().trouble.unwrap().contains("not a regular file"));
    }
}
