//! The systemd journal, by its native protocol: every fact of an alert is a field that `journalctl` can select by.
//!
//! An entry is one datagram; what is too large for one goes into a sealed memory file, whose descriptor is sent.

mod native;

use std::{
    io::{self, ErrorKind},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use documented::{Documented, DocumentedFields};
use serde::{Deserialize, Serialize};

use self::native::Entry;
use super::{
    Failure, Formatter, Host, Opened, Outputs, Row, Sink, facts,
    settings::{FormatOrNone, at_least, fingerprint},
    summary::Summary,
    visible::visible,
};
use crate::{
    alert::{Alert, Level},
    config::values,
};

/// Its row in the table.
pub(super) const SINK: Row = Row {
    name: "journald",
    meaning: "the systemd journal, with a field for each fact",
    open,
};

/// The systemd journal, by its native protocol: `journalctl` can select by every fact of an alert (docs/outputs.md).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct JournaldSettings {
    /// Whether alerts go there.
    pub enabled: bool,
    /// The journal's socket.
    pub socket: PathBuf,
    /// The form of the whole alert, in the field `TOCSIN_ALERT`: ocsf or falco; none: only a field for each fact.
    #[serde(with = "values::text")]
    pub format: FormatOrNone,
    /// The lowest level that goes there, of what is reported at all.
    #[serde(with = "values::text")]
    pub min_level: Level,
}

impl Default for JournaldSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            socket: "/run/systemd/journal/socket".into(),
            format: FormatOrNone(None),
            min_level: Level::Informational,
        }
    }
}

/// A journal that takes nothing for so long is stuck.
const TIMEOUT: Duration = Duration::from_secs(5);

fn open(outputs: &Outputs, host: &Arc<Host>) -> Result<Vec<Opened>> {
    let settings = &outputs.journald;
    if !settings.enabled {
        return Ok(Vec::new());
    }
    let socket = settings.socket.display();
    ensure!(
        settings.socket.is_absolute(),
        "output.journald.socket: {socket} is not absolute"
    );
    let FormatOrNone(whole) = settings.format;
    Ok(vec![Opened {
        name: SINK.name,
        wanted: at_least(settings.min_level),
        sink: Box::new(Journal {
            path: settings.socket.clone(),
            whole: whole.map(|format| Formatter::plain(format, host)),
            socket: None,
            pending: Vec::new(),
        }),
        made_from: fingerprint(settings, &[]),
    }])
}

/// The sink.
struct Journal {
    path: PathBuf,
    /// Writes the alert as a whole.
    whole: Option<Formatter>,
    socket: Option<UnixDatagram>,
    /// What is not sent yet, the oldest last.
    pending: Vec<Arc<Alert>>,
}

impl Sink for Journal {
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        self.pending.splice(..0, alerts.iter().rev().cloned());
        let sent = self.send();
        sent.with_context(|| format!("writing to the journal at {}", self.path.display()))
            .map_err(Failure::Later)
    }

    fn undelivered(&self) -> usize {
        self.pending.len()
    }
}

impl Journal {
    fn send(&mut self) -> Result<()> {
        if self.socket.is_none() {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(TIMEOUT))?;
            // Asked for now: whether somebody listens is to be known before the first alert.
            UnixDatagram::unbound()?.connect(&self.path)?;
            self.socket = Some(socket);
        }
        let Some(socket) = &self.socket else { return Ok(()) };
        while let Some(alert) = self.pending.last() {
            // To the path each time: a journal that is started anew has a new socket.
            entry(alert, self.whole.as_ref())
                .send(socket, &self.path)
                .map_err(why)?;
            self.pending.pop();
        }
        Ok(())
    }
}

/// What a timeout means here.
fn why(error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow::anyhow!("it takes nothing"),
        _ => error.into(),
    }
}

/// A rule is a kind of message, so its id is the journal's `MESSAGE_ID`.
fn entry(alert: &Alert, whole: Option<&Formatter>) -> Entry {
    let mut entry = Entry::default();
    entry.field("MESSAGE", visible(&Summary(alert).to_string()).as_bytes());
    entry.field("MESSAGE_ID", alert.rule.id.simple().to_string().as_bytes());
    entry.field("PRIORITY", priority(alert.rule.level).as_bytes());
    entry.field("SYSLOG_IDENTIFIER", b"tocsin");
    facts::each(alert, &mut |name, value| {
        entry.field(&field_name(name), value.as_bytes());
    });
    if let Some(formatter) = whole {
        let mut text = Vec::new();
        formatter.write(alert, &mut text);
        entry.field("TOCSIN_ALERT", text.trim_ascii_end());
    }
    entry
}

/// syslog's severities, as the journal has them.
fn priority(level: Level) -> &'static str {
    match level {
        Level::Critical => "2",
        Level::High => "3",
        Level::Medium => "4",
        Level::Low => "5",
        Level::Informational => "6",
    }
}

/// `process.uid` is `TOCSIN_PROCESS_UID`: the journal has capitals, digits and underscores, 64 at most.
fn field_name(name: &str) -> String {
    let letters = name.chars().map(|letter| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_uppercase()
        } else {
            '_'
        }
    });
    "TOCSIN_".chars().chain(letters).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{alert::samples, sinks::Format};

    #[test]
    fn an_entry_has_the_journals_own_fields_and_the_facts() {
        let mut alert = samples::exec();
        alert.rule = Arc::new(crate::detect::Rule {
            title: "Two\nlines".into(),
            ..crate::detect::Rule::clone(&alert.rule)
        });
        let formatter = Formatter::plain(Format::Falco, &Arc::default());
        let fields = native::read(entry(&alert, Some(&formatter)).bytes()).unwrap();
        let values = |wanted: &str| -> Vec<_> {
            let of_name = fields.iter().filter(|(name, _)| name == wanted);
            of_name.map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(
            values("MESSAGE"),
            [
                "Two\\nlines: /tmp/x -o pool.example:3333 in container web (registry.example:5000/shop/nginx:1.27, \
                 3f4e8a0c9d7b) by www-data"
            ]
        );
        assert_eq!(values("PRIORITY"), ["4"]);
        assert_eq!(values("MESSAGE_ID"), [alert.rule.id.simple().to_string()]);
        assert_eq!(values("TOCSIN_RULE_TITLE"), ["Two\nlines"]);
        assert_eq!(values("TOCSIN_IMAGE"), ["/tmp/x"]);
        assert_eq!(values("TOCSIN_ALERT_ID"), [alert.id.to_string()]);
        assert_eq!(values("TOCSIN_RULE_TAGS").len(), 5);
        let whole: serde_json::Value = serde_json::from_str(values("TOCSIN_ALERT")[0]).unwrap();
        assert_eq!(whole["rule"], "Two\nlines");
    }

    #[test]
    fn names_are_the_journals() {
        let cases = [
            ("process.uid", "TOCSIN_PROCESS_UID"),
            ("cs-uri-stem", "TOCSIN_CS_URI_STEM"),
            ("CommandLine", "TOCSIN_COMMANDLINE"),
            ("score.ä b\n=", "TOCSIN_SCORE___B__"),
        ];
        for (name, expected) in cases {
            assert_eq!(field_name(name), expected);
        }
        assert_eq!(field_name(&"x".repeat(100)).len(), 64);
    }

    #[test]
    fn a_journal_that_comes_late_gets_all_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal {
            path: folder.path().join("socket"),
            whole: None,
            socket: None,
            pending: Vec::new(),
        };
        let alerts: Vec<_> = samples::all().into_iter().map(Arc::new).collect();
        for alert in &alerts {
            assert!(matches!(journal.deliver(&[Arc::clone(alert)]), Err(Failure::Later(_))));
        }
        let socket = UnixDatagram::bind(&journal.path).unwrap();
        journal.deliver(&[]).unwrap();
        let mut buffer = vec![0; 1 << 18];
        for alert in alerts {
            let length = socket.recv(&mut buffer).unwrap();
            let fields = native::read(&buffer[..length]).unwrap();
            let id = ("TOCSIN_ALERT_ID".to_owned(), alert.id.to_string());
            assert!(fields.contains(&id), "{fields:?}");
        }
    }
}
