//! Standard output: the form that suits who reads it, one write a batch.

use std::{
    env, fmt,
    fs::File,
    io::{self, ErrorKind, IsTerminal, Write},
    os::fd::AsFd,
    str::FromStr,
    sync::Arc,
};

use anyhow::Context;
use documented::{Documented, DocumentedFields};
use serde::{Deserialize, Serialize};

use super::{
    Failure, Format, Formatter, Host, Opened, Outputs, Row, Sink,
    pending::Pending,
    settings::{at_least, fingerprint},
};
use crate::{
    alert::{Alert, Level},
    config::values,
};

/// Its row in the table.
pub(super) const SINK: Row = Row {
    name: "stdout",
    meaning: "standard output",
    open,
};

/// Standard output.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct StdoutSettings {
    /// Whether alerts go there.
    pub enabled: bool,
    /// The form: ocsf, falco or pretty; auto: pretty on a terminal, else ocsf.
    #[serde(with = "values::text")]
    pub format: FormatOrAuto,
    /// The lowest level that goes there, of what is reported at all.
    #[serde(with = "values::text")]
    pub min_level: Level,
}

impl Default for StdoutSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            format: FormatOrAuto(None),
            min_level: Level::Informational,
        }
    }
}

/// A form, or `None` for what suits who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FormatOrAuto(pub Option<Format>);

impl fmt::Display for FormatOrAuto {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.0.map_or("auto", Format::name))
    }
}

impl FromStr for FormatOrAuto {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self(None)),
            _ => name.parse().map(Some).map(Self),
        }
    }
}

/// Columns where there is no terminal to ask.
pub(super) const DEFAULT_WIDTH: usize = 100;

fn open(outputs: &Outputs, host: &Arc<Host>) -> anyhow::Result<Vec<Opened>> {
    let settings = &outputs.stdout;
    if !settings.enabled {
        return Ok(Vec::new());
    }
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let FormatOrAuto(format) = settings.format;
    let format = format.unwrap_or(if terminal { Format::Pretty } else { Format::Ocsf });
    let formatter = Formatter {
        format,
        host: Arc::clone(host),
        colour: terminal && colour_is_wanted(env::var_os("NO_COLOR").as_deref(), env::var_os("TERM").as_deref()),
        width: width(&stdout),
    };
    // `Stdout` would buffer by lines; a batch is to be one write.
    let out = stdout
        .as_fd()
        .try_clone_to_owned()
        .context("duplicating standard output")?;
    Ok(vec![Opened {
        name: SINK.name,
        wanted: at_least(settings.min_level),
        sink: Box::new(Writer::new(formatter, File::from(out))),
        made_from: fingerprint(settings, &[]),
    }])
}

/// By the convention of no-color.org: any non-empty `NO_COLOR` says no.
fn colour_is_wanted(no_color: Option<&std::ffi::OsStr>, term: Option<&std::ffi::OsStr>) -> bool {
    no_color.is_none_or(std::ffi::OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

fn width(stdout: &impl AsFd) -> usize {
    match rustix::termios::tcgetwinsize(stdout) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => DEFAULT_WIDTH,
    }
}

/// Writes formatted alerts to a pipe, file or terminal.
pub(super) struct Writer<W> {
    formatter: Formatter,
    out: W,
    pending: Pending,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(formatter: Formatter, out: W) -> Self {
        Self {
            formatter,
            out,
            pending: Pending::default(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pending.write_to(&mut self.out)?;
        self.out.flush()
    }
}

impl<W: Write + Send> Sink for Writer<W> {
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for alert in alerts {
            self.pending.push(alert, &self.formatter);
        }
        self.flush().map_err(|error| {
            let gone = error.kind() == ErrorKind::BrokenPipe;
            let error = anyhow::Error::new(error).context("writing to standard output");
            if gone {
                Failure::Gone(error)
            } else {
                Failure::Later(error)
            }
        })
    }

    fn undelivered(&self) -> usize {
        self.pending.alerts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_can_be_refused() {
        let cases = [
            (None, Some("xterm"), true),
            (Some(""), None, true),
            (Some("1"), Some("xterm"), false),
            (None, Some("dumb"), false),
        ];
        for (no_color, term, expected) in cases {
            let wanted = colour_is_wanted(no_color.map(AsRef::as_ref), term.map(AsRef::as_ref));
            assert_eq!(wanted, expected, "NO_COLOR {no_color:?}, TERM {term:?}");
        }
    }
}
