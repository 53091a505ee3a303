//! The text of an exception: a Sigma filter, whose values are exactly those of the alert.

use std::fmt::Write as _;

use jiff::civil::Date;
use serde_json::Value;
use uuid::Uuid;

use super::choice::Chosen;
use crate::{
    detect::{Rule, logsource},
    event::LogSource,
};

/// What an exception is made of.
#[derive(Debug)]
pub(super) struct Exception<'a> {
    /// The title of the rules that it concerns.
    pub title: &'a str,
    /// The rules: the grades of that title.
    pub rules: &'a [&'a Rule],
    /// What the event must be.
    pub chosen: &'a [Chosen],
    /// The alert that it was made from.
    pub alert: &'a str,
    /// Today.
    pub date: Date,
    /// When it ends, as it is to be written; `None` for never.
    pub expires: Option<&'a str>,
}

impl Exception<'_> {
    /// The document.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let Self { title, alert, date, .. } = self;
        _ = writeln!(
            text,
            "# Written by `tocsin rules except` on {date} from the alert {}.",
            plain(alert)
        );
        _ = writeln!(text, "title: {}", quoted(&format!("Exception to {title}")));
        _ = writeln!(text, "id: {}", Uuid::new_v4());
        _ = writeln!(text, "description: Say here why it is right, and who may be asked.");
        _ = writeln!(text, "date: {date}");
        if let Some(source) = self.log_source() {
            _ = writeln!(text, "logsource:");
            for (key, value) in logsource::written(source) {
                _ = writeln!(text, "    {key}: {value}");
            }
        }
        _ = writeln!(text, "filter:\n    rules:");
        for rule in self.rules {
            _ = writeln!(text, "        - {} # {}", rule.id, plain(&rule.name));
        }
        _ = writeln!(text, "    selection:");
        for chosen in self.chosen {
            _ = writeln!(text, "        # {}\n        {}", chosen.why, item(chosen));
        }
        _ = writeln!(text, "    condition: not selection");
        if let Some(expires) = self.expires {
            _ = writeln!(text, "tocsin:\n    expires: {expires}");
        }
        text
    }

    /// The log source of the rules, if it is one.
    fn log_source(&self) -> Option<LogSource> {
        let first = self.rules.first()?.log_source;
        self.rules.iter().all(|rule| rule.log_source == first).then_some(first)
    }
}

/// A field with its value. Sigma compares without regard to case unless told otherwise, while Linux has it.
fn item(Chosen { field, value, .. }: &Chosen) -> String {
    match value {
        None => format!("{field}|exists: false"),
        Some(Value::String(text)) => format!("{field}|cased: {}", exact(text)),
        Some(Value::Array(values)) => {
            let values: Vec<_> = values.iter().map(scalar).collect();
            format!("{field}|all|cased: [{}]", values.join(", "))
        }
        Some(value) => format!("{field}: {value}"),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => exact(text),
        other => other.to_string(),
    }
}

/// The text as a value that Sigma takes by the letter.
fn exact(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '\\' | '*' | '?') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    quoted(&escaped)
}

/// The text in YAML's double quotes. What YAML would not take as it is, or a terminal not show, is escaped.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            ' ' => out.push(' '),
            letter if letter.is_alphanumeric() || letter.is_ascii_graphic() => out.push(letter),
            letter => _ = write!(out, "\\U{:08x}", u32::from(letter)),
        }
    }
    out.push('"');
    out
}

/// What may stand in a comment.
fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).collect()
}

#[cfg(test)]
mod tests {
    use rsigma_parser::SigmaString;

    use super::*;

    #[test]
    fn a_value_means_itself_and_nothing_else() {
        let hostile = [
            "plain",
            r"C:\Windows\*",
            r"a\\b\?c\",
            "what? *all* %list% 'single' \"double\"",
            "tab\tnewline\nreturn\r\u{1b}[31m\u{7f}\u{85}\u{9b}",
            "\u{202e}txt.exe \u{feff}\u{2028}\u{e0001}",
            "Grüße 漢字 🔔",
            " leading: and # trailing ",
            "---\ntitle: forged",
            "{{ }} & * ! | > @ `",
        ];
        for text in hostile {
            let yaml = exact(text);
            assert!(!yaml.chars().any(char::is_control), "{yaml}");
            let read: String = yaml_serde::from_str(&yaml).unwrap();
            let meant = SigmaString::new(&read);
            assert_eq!(meant.as_plain().as_deref(), Some(text), "{yaml}");
        }
    }
}
