//! A message by RFC 5424: a header, structured data with the facts that people search by, and a text.

use std::{
    fmt::{self, Write as _},
    process,
    str::FromStr,
    sync::Arc,
};

use crate::{
    alert::{Alert, Level},
    sinks::{Format, Formatter, Host, facts, summary::Summary, visible::visible},
};

/// The facility: what part of a system a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facility(u8);

/// Their names, by their numbers.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

impl Default for Facility {
    fn default() -> Self {
        Self(3)
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(FACILITIES[usize::from(self.0)])
    }
}

impl FromStr for Facility {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let number = FACILITIES.iter().position(|known| *known == name);
        let number = number.and_then(|number| u8::try_from(number).ok());
        let facility = number.map(Self);
        facility.ok_or_else(|| format!("{name} is no facility: daemon, authpriv, local0 to local7…"))
    }
}

/// The structured data's name. The number is the one that RFC 5612 keeps free: it belongs to nobody, as we have none.
const DATA: &str = "tocsin@32473";

/// The facts that stand in the structured data.
const FACTS: [&str; 22] = [
    "alert.id",
    "alert.activity",
    "alert.count",
    "rule.id",
    "rule.name",
    "rule.title",
    "rule.level",
    "Image",
    "CommandLine",
    "User",
    "ProcessId",
    "ParentImage",
    "container.id",
    "container.name",
    "container.image",
    "SourceIp",
    "SourcePort",
    "DestinationIp",
    "DestinationPort",
    "QueryName",
    "health.kind",
    "health.detail",
];

/// Receivers take 8 KiB unless they are told otherwise: a value is cut here, and so is the line for people.
const LONGEST_VALUE: usize = 1024;

/// Writes messages.
#[derive(Debug)]
pub(super) struct Messages {
    facility: Facility,
    /// Writes the alert as a whole.
    whole: Option<Formatter>,
    /// The node's name as a header has it.
    host: String,
    pid: u32,
}

impl Messages {
    pub(super) fn new(facility: Facility, form: Option<Format>, host: &Arc<Host>) -> Self {
        Self {
            facility,
            whole: form.map(|form| Formatter::plain(form, host)),
            host: header_word(&host.name, 255),
            pid: process::id(),
        }
    }

    /// The alert as a message, without a frame.
    pub(super) fn write(&self, alert: &Alert) -> Vec<u8> {
        let priority = self.facility.0 * 8 + severity(alert.rule.level);
        let kind = header_word(alert.rule.log_source.name(), 32);
        let mut text = format!(
            "<{priority}>1 {:.6} {} tocsin {} {kind} ",
            alert.time, self.host, self.pid
        );
        structured_data(alert, &mut text);
        text.push(' ');
        if let Some(formatter) = &self.whole {
            let mut message = text.into_bytes();
            formatter.write(alert, &mut message);
            message.truncate(message.trim_ascii_end().len());
            return message;
        }
        text.push_str(cut(&visible(&Summary(alert).to_string())));
        text.into_bytes()
    }
}

/// A word of the header: printable ASCII, at most so long, and `-` if there is none.
fn header_word(text: &str, longest: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(longest).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::Critical => 2,
        Level::High => 3,
        Level::Medium => 4,
        Level::Low => 5,
        Level::Informational => 6,
    }
}

fn structured_data(alert: &Alert, text: &mut String) {
    _ = write!(text, "[{DATA}");
    facts::each(alert, &mut |name, value| {
        if FACTS.contains(&name) {
            _ = write!(text, " {name}=\"");
            for character in cut(&visible(value)).chars() {
                if matches!(character, '"' | '\\' | ']') {
                    text.push('\\');
                }
                text.push(character);
            }
            text.push('"');
        }
    });
    text.push(']');
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_VALUE)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::samples;

    fn message(form: Option<Format>, alert: &Alert) -> String {
        let host = Host {
            name: "node 1".into(),
            ..Host::default()
        };
        let messages = Messages::new("authpriv".parse().unwrap(), form, &Arc::new(host));
        String::from_utf8(messages.write(alert)).unwrap()
    }

    #[test]
    fn a_message_has_header_data_and_text() {
        let alert = samples::exec();
        let expected = format!(
            "<84>1 2026-11-24T01:02:03.456789Z node1 tocsin {} process_creation [tocsin@32473 alert.id=\"{}\" \
             alert.activity=\"create\" alert.count=\"1\" rule.id=\"{}\" rule.name=\"",
            process::id(),
            alert.id,
            alert.rule.id,
        );
        let text = message(None, &alert);
        assert!(text.starts_with(&expected), "{text}");
        assert!(
            text.contains(" Image=\"/tmp/x\" CommandLine=\"/tmp/x -o pool.example:3333\""),
            "{text}"
        );
        assert!(text.ends_with(&format!("] {}", Summary(&alert))), "{text}");
    }

    #[test]
    fn the_text_can_be_the_whole_alert() {
        let text = message(Some(Format::Ocsf), &samples::exec());
        let (_, json) = text.split_once("] {").unwrap();
        let alert: serde_json::Value = serde_json::from_str(&format!("{{{json}")).unwrap();
        assert_eq!(alert["class_uid"], 2004);
    }

    #[test]
    fn hostile_text_ends_neither_a_value_nor_the_message() {
        let mut alert = samples::health();
        let mut observed = crate::observed::Observed::clone(&alert.observed);
        observed.event.kind = crate::event::Kind::Health(crate::event::Health {
            kind: "loss",
            detail: format!("a\"] b\\c\n<0>1 {}", "x".repeat(5000)),
        });
        alert.observed = Arc::new(observed);
        let text = message(None, &alert);
        assert!(text.contains(r#" health.detail="a\"\] b\\c\\n<0>1 xxx"#), "{text}");
        assert!(!text.contains('\n') && text.len() < 3000, "{text}");
    }

    #[test]
    fn facilities_have_names() {
        let number = |name: &str| name.parse::<Facility>().map(|facility| facility.0);
        assert_eq!(
            (number("kern"), number("daemon"), number("local7")),
            (Ok(0), Ok(3), Ok(23))
        );
        assert!(number("local8").unwrap_err().starts_with("local8 is no facility"));
    }
}
