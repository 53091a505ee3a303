//! Lines that become events, and how many did not.

use std::path::Path;

use jiff::{Timestamp, tz::TimeZone};

use super::{
    event, journal,
    line::{self, Clock},
    message,
};
use crate::{
    event::{Event, Kind},
    node,
};

/// Lines that become events.
pub(super) struct Lines {
    clock: Clock,
    /// What they say.
    pub(super) events: Vec<Event>,
    /// How many there were …
    pub(super) count: u64,
    /// … and how many of them made no sense.
    pub(super) not_understood: u64,
}

impl Lines {
    /// None yet. Times without a zone are of this one.
    pub(super) fn new(zone: TimeZone) -> Self {
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
    pub(super) fn take(&mut self, bytes: &[u8]) {
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
    pub(super) fn take_entry(&mut self, entry: &journal::Entry) {
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

/// The node's time zone, by which its log daemon may write times.
pub(super) fn zone() -> TimeZone {
    if node::root() == Path::new("/") {
        return TimeZone::system();
    }
    let zone = std::fs::read(node::path("/etc/localtime")).ok();
    zone.and_then(|bytes| TimeZone::tzif("", &bytes).ok())
        .unwrap_or(TimeZone::UTC)
}
