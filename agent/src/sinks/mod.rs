//! Sinks: where alerts go. A sink delivers and never changes.
//!
//! Each has a thread and a cursor over the alert log of its own, so one that is slow or stuck holds up neither the
//! stream nor another sink.

mod host;
mod summary;
pub(crate) mod visible;
mod ocsf;
mod falco;
mod pretty;
mod facts;
mod stdout;
mod file;
mod journald;
mod syslog;
mod webhook;
mod settings;
mod pending;
mod running;
mod delivery;
mod report;
pub mod selftest;

use std::{
    fmt,
    num::NonZeroUsize,
    str::FromStr,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use anyhow::ensure;

pub use self::{
    host::Host,
    running::{Handle, Status, start},
    settings::{Outputs, SECTIONS},
};
use crate::alert::{Alert, log::Wanted};

/// Every kind of sink. A new one is a file and a row, its settings a field of [`Outputs`] and a row of [`SECTIONS`].
pub const SINKS: &[Row] = &[stdout::SINK, file::SINK, journald::SINK, syslog::SINK, webhook::SINK];

/// A kind of sink.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Where it delivers to, in one line.
    pub meaning: &'static str,
    /// Makes what is configured. An error is in the configuration: what is merely out of reach is tried again.
    pub open: fn(&Outputs, &Arc<Host>) -> anyhow::Result<Vec<Opened>>,
}

/// A sink, and what it is to be given.
pub struct Opened {
    /// The sink's name: that of its section.
    pub name: &'static str,
    /// Which alerts.
    pub wanted: Wanted,
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// By what it is made anew when the configuration changes ([`settings::fingerprint`]).
    pub made_from: u64,
}

/// Delivers alerts somewhere.
pub trait Sink: Send {
    /// Delivers the alerts in order. After a failure it keeps what is undelivered, and the next call goes on with it,
    /// before the alerts it brings. Called without alerts, it gets ready.
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure>;

    /// How many of the alerts that it was last given, counted from the end, are not delivered.
    fn undelivered(&self) -> usize;

    /// So many alerts are delivered in one go at most: those, if it stays stuck, are not in the log any more.
    fn batch(&self) -> NonZeroUsize {
        BATCH
    }

    /// How long it rests after a failure, and how long at most after many.
    fn rests(&self) -> (Duration, Duration) {
        LOCAL_RESTS
    }

    /// Makes sure, after a delivery, that the other side did not hang up at once, as it does on whom it does not know.
    fn confirm(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// Why a sink could not deliver.
#[derive(Debug)]
pub enum Failure {
    /// It may work again: a full disk, a busy pipe.
    Later(anyhow::Error),
    /// The first of the alerts will never be taken, and is given up; the others may be.
    Refused(anyhow::Error),
    /// It never will: the pipe's reader has gone.
    Gone(anyhow::Error),
}

impl Failure {
    fn into_error(self) -> anyhow::Error {
        match self {
            Self::Later(error) | Self::Refused(error) | Self::Gone(error) => error,
        }
    }
}

/// The form of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// An OCSF Detection Finding, one JSON object a line.
    Ocsf,
    /// As falcosidekick takes it, one JSON object a line.
    Falco,
    /// For people.
    Pretty,
}

/// What a sink did.
#[derive(Debug, Default)]
pub struct Counters {
    /// Alerts that were delivered.
    pub delivered: AtomicU64,
    /// Alerts that it did not deliver: more came than its queue holds, or the other side refused them.
    pub lost: AtomicU64,
    /// Deliveries that failed, retries included.
    pub failures: AtomicU64,
    /// Alerts that the sink has taken from the log and still tries to deliver.
    pub in_hand: AtomicU64,
    /// Failures since something was delivered; 0 while all is well.
    pub failing: AtomicU64,
    /// Why the last of them failed; `None` while all is well.
    pub trouble: Mutex<Option<String>>,
}

/// At most so many alerts are delivered in one go, unless the sink takes fewer.
const BATCH: NonZeroUsize = NonZeroUsize::new(256).expect("not 0");

/// How long a sink on this node rests after a failure, and at most.
const LOCAL_RESTS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The same for what is reached over a network: who cannot serve now is not to be pestered.
const NETWORK_RESTS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Opens the configured sinks.
pub fn open(outputs: &Outputs, host: &Arc<Host>) -> anyhow::Result<Vec<Opened>> {
    let mut all = Vec::new();
    for row in SINKS {
        all.extend((row.open)(outputs, host)?);
    }
    ensure!(!all.is_empty(), "every output is off: alerts would go nowhere");
    Ok(all)
}

impl Format {
    /// Every form.
    pub const ALL: [Self; 3] = [Self::Ocsf, Self::Falco, Self::Pretty];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ocsf => "ocsf",
            Self::Falco => "falco",
            Self::Pretty => "pretty",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|format| format.name() == name);
        known.ok_or_else(|| format!("{name} is no format: ocsf, falco or pretty"))
    }
}

/// Writes alerts in one form.
#[derive(Clone, Debug)]
pub struct Formatter {
    /// The form.
    pub format: Format,
    /// The node.
    pub host: Arc<Host>,
    /// Escape sequences may be used.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
}

impl Formatter {
    /// For a reader that is no terminal.
    fn plain(format: Format, host: &Arc<Host>) -> Self {
        Self {
            format,
            host: Arc::clone(host),
            colour: false,
            width: stdout::DEFAULT_WIDTH,
        }
    }

    /// Appends the alert, with a final newline.
    pub fn write(&self, alert: &Alert, out: &mut Vec<u8>) {
        match self.format {
            Format::Ocsf => ocsf::write(alert, &self.host, out),
            Format::Falco => falco::write(alert, &self.host, out),
            Format::Pretty => pretty::write(alert, self, out),
        }
    }
}

#[cfg(test)]
mod tests;
