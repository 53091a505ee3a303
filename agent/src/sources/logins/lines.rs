//! Lines that become events, and how many did not.

use std::path::Path;

use jiff::{Timestamp, tz::TimeZone};

use super::{
    event, journal,
    line::{self, Clock},
    message,
};
use crate::{
    event::{Event, Kind, Login},
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
            Some(line) => {
                let read = message::read(line.program, line.process, line.message);
                self.add(line.time, read);
            }
            None => self.not_understood += 1,
        }
    }

    /// An entry of the journal. One that its writer cannot have written is believed in nothing, and one that a person's su
    /// or sudo wrote in no address: by those who come over the network somebody else asks for their proof, while such a
    /// program may have ended before journald could see which it was.
    pub(super) fn take_entry(&mut self, entry: &journal::Entry) {
        self.count += 1;
        if !entry.genuine {
            self.not_understood += 1;
            return;
        }
        let mut read = message::read(&entry.program, entry.process, &entry.message);
        if let Some((login, understood)) = &mut read
            && entry.by_person
            && login.source.take().is_some()
        {
            *understood = false;
        }
        self.add(entry.time, read);
    }

    fn add(&mut self, time: Timestamp, read: Option<(Login, bool)>) {
        if let Some((login, understood)) = read {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_cannot_write_of_failures_elsewhere() {
        let forged = "message repeated 10000 times: [ pam_unix(imap:auth): authentication failure; logname= uid=0 euid=0 \
                      tty=imap ruser= rhost=192.0.2.1  user=root]";
        for (program, by_person, expected) in [
            ("su", true, None),
            ("sudo", true, None),
            ("dovecot", false, Some("192.0.2.1")),
        ] {
            let mut lines = Lines::new(TimeZone::UTC);
            lines.take_entry(&journal::Entry {
                time: Timestamp::UNIX_EPOCH,
                program: program.to_owned(),
                process: None,
                message: forged.to_owned(),
                genuine: true,
                by_person,
            });
            let Kind::Login(login) = &lines.events[0].kind else {
                panic!("{:?}", lines.events)
            };
            let source = login.source.map(|ip| ip.to_string());
            assert_eq!(source.as_deref(), expected, "{program}");
            assert_eq!((lines.count, lines.not_understood), (1, u64::from(by_person)));
        }
    }
}
