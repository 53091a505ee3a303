//! The section `[output]` of the configuration: which sinks there are, each with the settings of its own file.

use std::{fmt, fs, marker::PhantomData, path::Path, str::FromStr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde::{
    Deserialize, Deserializer,
    de::{
        Error, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};

use super::{file, journald, stdout, syslog, webhook};
use crate::{
    alert::{Level, log::Wanted},
    config::duration,
};

/// Where alerts go. Standard output takes them unless it is switched off, the others where they are configured; each of
/// these can be given several times (`[[output.webhook]]`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Outputs {
    /// Standard output.
    pub stdout: stdout::Settings,
    /// Files that rotate.
    #[serde(deserialize_with = "one_or_many")]
    pub file: Vec<file::Settings>,
    /// The systemd journal.
    #[serde(deserialize_with = "one_or_many")]
    pub journald: Vec<journald::Settings>,
    /// Syslog receivers.
    #[serde(deserialize_with = "one_or_many")]
    pub syslog: Vec<syslog::Settings>,
    /// HTTP receivers.
    #[serde(deserialize_with = "one_or_many")]
    pub webhook: Vec<webhook::Settings>,
}

/// Most alerts that may wait for a sink whose other side is slow.
pub(super) const QUEUE: usize = 4096;

/// Longer secrets are files of something else.
const LONGEST_SECRET: u64 = 4096;

/// What a sink on this node is given: it only has to keep up with the log.
pub(super) fn at_least(min_level: Option<Level>) -> Wanted {
    Wanted {
        min_level: min_level.unwrap_or(Wanted::ALL.min_level),
        ..Wanted::ALL
    }
}

/// What a sink with a queue of its own is given.
pub(super) fn queued(min_level: Option<Level>, queue: usize) -> Result<Wanted> {
    let most = Wanted::ALL.queue;
    ensure!((1..=most).contains(&queue), "queue: {queue} is not from 1 to {most}");
    Ok(Wanted {
        queue,
        ..at_least(min_level)
    })
}

/// A secret that stands in a file of its own, without the line's end.
pub(super) fn secret(file: &Path) -> Result<Vec<u8>> {
    let context = || format!("cannot read {}", file.display());
    let size = fs::metadata(file).with_context(context)?.len();
    ensure!(size <= LONGEST_SECRET, "{} is no secret: {size} bytes", file.display());
    let mut secret = fs::read(file).with_context(context)?;
    secret.truncate(secret.trim_ascii_end().len());
    ensure!(!secret.is_empty(), "{} is empty", file.display());
    Ok(secret)
}

/// A value that is written as a text.
pub(super) fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

/// The same for one that has no default.
pub(super) fn parsed_if_given<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err: fmt::Display>,
    D: Deserializer<'de>,
{
    parsed(deserializer).map(Some)
}

/// A length of time such as `36h`.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = duration(&text).map_err(D::Error::custom)?;
    Ok(time.unsigned_abs())
}

/// A table, or an array of tables.
fn one_or_many<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    struct OneOrMany<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a table or an array of tables")
        }

        fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Vec<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(table)).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, tables: A) -> Result<Vec<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(tables))
        }
    }

    deserializer.deserialize_any(OneOrMany(PhantomData))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sinks::{Format, open};

    fn names(text: &str) -> Result<Vec<String>, String> {
        let outputs: Outputs = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let opened = open(&outputs, &Arc::default()).map_err(|error| format!("{error:#}"))?;
        Ok(opened.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn each_section_is_a_sink() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, "0123456789abcdef\n").unwrap();
        let text = format!(
            "[file]\npath = '/x'\nform = 'falco'\nmin-level = 'high'\nmax-age = '1d'\n[journald]\n\
             [syslog]\naddress = 'tcp://[::1]:601'\n\
             [[webhook]]\nurl = 'http://127.0.0.1:2801/'\nform = 'falco'\nsecret-file = '{}'\n\
             [[webhook]]\nurl = 'http://siem.example/in?x=1'\n",
            secret.display()
        );
        let all = ["stdout", "file", "journald", "syslog", "webhook", "webhook-2"];
        assert_eq!(names(&text).unwrap(), all);
        let outputs: Outputs = toml::from_str(&text).unwrap();
        assert_eq!(
            (outputs.file[0].form, outputs.file[0].min_level, outputs.file[0].max_age),
            (Format::Falco, Some(Level::High), Duration::from_hours(24))
        );
        assert_eq!(names("").unwrap(), ["stdout"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_line() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let empty = format!("[webhook]\nurl='http://x/'\nsecret-file='{}'", empty.path().display());
        let cases = [
            (
                "[stdout]\nenabled = false",
                "every output is off: alerts would go nowhere",
            ),
            ("[stdout]\nform = 'xml'", "xml is no format: ocsf, falco or pretty"),
            ("[stdout]\nmin-level = 'loud'", "loud is no level"),
            ("[file]", "missing field `path`"),
            ("[file]\npath = 'alerts'", "output file: path: alerts is not absolute"),
            ("[file]\npath = '/x'\nmax-mib = 0", "output file: max-mib: at least 1"),
            ("[file]\npath = '/x'\nmax-age = 'old'", "old is no length of time"),
            ("[file]\npath = '/x'\nsize = 1", "unknown field `size`"),
            (
                "[syslog]\naddress = 'logs:514'",
                "output syslog: address: logs:514 is none of",
            ),
            (
                "[syslog]\naddress = 'tcp://logs'",
                "output syslog: address: logs has no port",
            ),
            (
                "[syslog]\naddress = 'tcp://logs:601'\nfacility = 'x'",
                "x is no facility",
            ),
            (
                "[syslog]\naddress = 'tcp://logs:601'\nca = '/x'",
                "output syslog: ca is for tls:// only",
            ),
            (
                "[syslog]\naddress = 'tls://logs:6514'\ncertificate = '/x'",
                "output syslog: certificate and key-file go together",
            ),
            (
                "[syslog]\naddress = 'tls://logs:6514'\nca = '/nonexistent'",
                "output syslog: cannot read ca /nonexistent: ",
            ),
            (
                "[webhook]\nurl = 'logs'",
                "output webhook: url: not http:// or https:// with a host",
            ),
            (
                "[webhook]\nurl = 'https://a:b@logs/'",
                "output webhook: url: with a password in it: that belongs into token-file",
            ),
            (
                "[webhook]\nurl = 'http://logs/'\ncertificate = '/x'\nkey-file = '/y'",
                "output webhook: certificate is for https:// only",
            ),
            (
                "[webhook]\nurl = 'http://logs/'\nsecret-file = '/nonexistent'",
                "output webhook: secret-file: cannot read /nonexistent: No such file",
            ),
            (&empty, "output webhook: secret-file: /"),
            (
                "[webhook]\nurl = 'http://logs/'\nqueue = 0",
                "output webhook: queue: 0 is not from 1 to 16384",
            ),
            (
                "webhook = 7",
                "invalid type: integer `7`, expected a table or an array of tables",
            ),
        ];
        for (text, expected) in cases {
            let error = names(text).unwrap_err();
            assert!(error.starts_with(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }
}
