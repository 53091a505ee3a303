//! The sections `[output.…]` of the configuration: which sinks there are, each with the settings of its own file.

use std::{
    fmt, fs,
    hash::{DefaultHasher, Hash, Hasher as _},
    path::PathBuf,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::{Format, file, journald, stdout, syslog, webhook};
use crate::{
    alert::{Level, log::Wanted},
    config::definition::Section,
};

/// The sections of the outputs' settings.
pub const SECTIONS: &[Section] = &[
    Section::of::<stdout::StdoutSettings>("output.stdout"),
    Section::of::<file::FileSettings>("output.file"),
    Section::of::<journald::JournaldSettings>("output.journald"),
    Section::of::<syslog::SyslogSettings>("output.syslog"),
    Section::of::<webhook::WebhookSettings>("output.webhook"),
    Section::of::<webhook::WebhookSettings>("output.webhook-2"),
];

/// Where alerts go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Outputs {
    /// Standard output.
    pub stdout: stdout::StdoutSettings,
    /// A file that rotates.
    pub file: file::FileSettings,
    /// The systemd journal.
    pub journald: journald::JournaldSettings,
    /// A syslog receiver.
    pub syslog: syslog::SyslogSettings,
    /// An HTTP receiver.
    pub webhook: webhook::WebhookSettings,
    /// Another one.
    #[serde(rename = "webhook-2")]
    pub webhook_2: webhook::WebhookSettings,
}

impl Outputs {
    /// Standard output alone, for commands that report what they were asked to look at.
    #[must_use]
    pub fn only_stdout(&self) -> Self {
        let stdout = stdout::StdoutSettings {
            enabled: true,
            ..self.stdout.clone()
        };
        Self {
            stdout,
            ..Self::default()
        }
    }
}

/// Alerts that wait for a receiver unless it is configured.
pub(super) const QUEUE: usize = 4096;

/// What a sink on this node is given: it only has to keep up with the log.
pub(super) fn at_least(min_level: Level) -> Wanted {
    Wanted {
        min_level,
        ..Wanted::ALL
    }
}

/// By what an output is made anew: its settings, and what the files say that they name.
pub(super) fn fingerprint(settings: &impl Hash, files: &[&Option<PathBuf>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    settings.hash(&mut hasher);
    for file in files.iter().copied().flatten() {
        fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

/// The form of the whole alert where an output has another one anyway; `None`: not the whole alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FormatOrNone(pub Option<Format>);

impl fmt::Display for FormatOrNone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.0.map_or("none", Format::name))
    }
}

impl FromStr for FormatOrNone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.parse() {
            Ok(format @ (Format::Ocsf | Format::Falco)) => Ok(Self(Some(format))),
            _ if name == "none" => Ok(Self(None)),
            _ => Err(format!("{name} is not possible here: none, ocsf or falco")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, sync::Arc};

    use super::*;
    use crate::sinks::open;

    fn names(text: &str) -> Result<Vec<&'static str>, String> {
        let outputs: Outputs = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let opened = open(&outputs, &Arc::default()).map_err(|error| format!("{error:#}"))?;
        Ok(opened.into_iter().map(|opened| opened.name).collect())
    }

    #[test]
    fn each_section_is_a_sink() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, "0123456789abcdef\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let text = format!(
            "[file]\npath = '/x'\nformat = 'falco'\nmin-level = 'high'\nmax-age = '1d'\n[journald]\nenabled = true\n\
             [syslog]\naddress = 'tcp://[::1]:601'\n\
             [webhook]\nurl = 'http://127.0.0.1:2801/'\nformat = 'falco'\nsecret-file = '{}'\n\
             [webhook-2]\nurl = 'http://siem.example/in?x=1'\n",
            secret.display()
        );
        let all = ["stdout", "file", "journald", "syslog", "webhook", "webhook-2"];
        assert_eq!(names(&text).unwrap(), all);
        assert_eq!(names("").unwrap(), ["stdout"]);
        let outputs: Outputs = toml::from_str(&text).unwrap();
        assert_eq!(open(&outputs.only_stdout(), &Arc::default()).unwrap().len(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_line() {
        let cases = [
            (
                "[stdout]\nenabled = false",
                "every output is off: alerts would go nowhere",
            ),
            ("[stdout]\nformat = 'xml'", "xml is no format: ocsf, falco or pretty"),
            ("[stdout]\nmin-level = 'loud'", "loud is no level"),
            ("[file]\npath = 'alerts'", "output.file.path: alerts is not absolute"),
            ("[file]\npath = '/x'\nmax-mib = 0", "0 is not from 1 to "),
            ("[file]\npath = '/x'\nmax-age = 'old'", "old is no length of time"),
            ("[file]\npath = '/x'\nsize = 1", "unknown field `size`"),
            (
                "[journald]\nformat = 'pretty'",
                "pretty is not possible here: none, ocsf or falco",
            ),
            (
                "[syslog]\naddress = 'logs:514'",
                "output.syslog.address: logs:514 is none of",
            ),
            (
                "[syslog]\naddress = 'tcp://logs'",
                "output.syslog.address: logs has no port",
            ),
            (
                "[syslog]\naddress = 'tcp://logs:601'\nfacility = 'x'",
                "x is no facility",
            ),
            (
                "[syslog]\naddress = 'tcp://logs:601'\nca = '/x'",
                "output.syslog.ca: for tls:// only",
            ),
            (
                "[syslog]\naddress = 'tls://logs:6514'\nca = '/nonexistent'",
                "output.syslog.ca: cannot read /nonexistent: ",
            ),
            (
                "[webhook]\nurl = 'logs'",
                "output.webhook.url: not http:// or https:// with a host",
            ),
            (
                "[webhook-2]\nurl = 'https://a:b@logs/'",
                "output.webhook-2.url: with a password in it: that belongs into token-file",
            ),
            (
                "[webhook]\nurl = 'http://logs/'\ncertificate = '/x'\nkey-file = '/y'",
                "output.webhook.certificate: for https:// only",
            ),
            (
                "[webhook]\nurl = 'http://logs/'\nformat = 'pretty'",
                "output.webhook.format: pretty is for people: ocsf or falco",
            ),
            (
                "[webhook]\nurl = 'http://logs/'\nsecret-file = '/nonexistent'",
                "output.webhook.secret-file: secret /nonexistent: cannot be read: No such file",
            ),
            ("[webhook]\nurl = 'http://logs/'\nqueue = 0", "0 is not from 1 to 16384"),
        ];
        for (text, expected) in cases {
            let error = names(text).unwrap_err();
            let error = error.trim();
            assert!(error.starts_with(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
