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
mod delivery;
mod report;
pub mod selftest;

use std::{
    fmt,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use tokio::sync::Notify;

use self::report::Report;
pub use self::{
    host::Host,
    settings::{Outputs, SECTIONS},
};
use crate::{
    alert::{
        Alert,
        log::{Log, Wanted},
    },
    sources,
};

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
}

/// Delivers alerts somewhere.
pub trait Sink: Send {
    /// Delivers the alerts in order. After a failure it keeps what is undelivered, and the next call goes on with it,
    /// before the alerts it brings. Called without alerts, it gets ready.
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure>;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// The running sinks.
#[derive(Debug)]
pub struct Handle {
    log: Arc<Log>,
    gone: Arc<Notify>,
    /// Disconnected once every sink has ended.
    ended: mpsc::Receiver<()>,
    sinks: Vec<Running>,
}

/// A sink on its thread.
#[derive(Debug)]
struct Running {
    name: &'static str,
    counters: Arc<Counters>,
    /// Its reader's number in the log.
    reader: usize,
}

/// How a sink fares.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// Its name: that of its section.
    pub name: &'static str,
    /// What it did so far.
    pub counters: &'a Counters,
    /// Alerts that it has not delivered yet.
    pub waiting: u64,
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

/// Starts those sinks, each on its own thread. How they fare is told as events to `health`, as long as that is there.
pub fn start(opened: Vec<Opened>, log: &Arc<Log>, health: Option<&sources::Sender>) -> anyhow::Result<Handle> {
    let gone = Arc::new(Notify::new());
    let living = Arc::new(AtomicUsize::new(opened.len()));
    let (running, ended) = mpsc::channel::<()>();
    let mut sinks = Vec::new();
    for Opened { name, wanted, mut sink } in opened {
        let mut reader = log.reader(wanted);
        let counters = Arc::new(Counters::default());
        sinks.push(Running {
            name,
            counters: Arc::clone(&counters),
            reader: reader.index(),
        });
        let (gone, living, running) = (Arc::clone(&gone), Arc::clone(&living), running.clone());
        let mut report = Report::new(name, counters, health);
        thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(move || {
                let deliver = AssertUnwindSafe(|| delivery::run(sink.as_mut(), &mut reader, &mut report));
                let ended = catch_unwind(deliver).unwrap_or_else(|_| Err(anyhow::anyhow!("its thread panicked")));
                if let Err(error) = ended {
                    report.gone(&error);
                    if living.fetch_sub(1, Ordering::Relaxed) == 1 {
                        gone.notify_one();
                    }
                }
                drop(running);
            })
            .with_context(|| format!("starting the thread of sink {name}"))?;
    }
    Ok(Handle {
        log: Arc::clone(log),
        gone,
        ended,
        sinks,
    })
}

impl Handle {
    /// Waits until the last sink is gone for good, such as standard output when its reader has ended: time to stop.
    pub async fn gone(&self) {
        self.gone.notified().await;
    }

    /// How each sink fares.
    pub fn status(&self) -> impl Iterator<Item = Status<'_>> {
        self.sinks.iter().map(|sink| Status {
            name: sink.name,
            counters: &sink.counters,
            waiting: self.log.waiting(sink.reader) as u64 + sink.counters.in_hand.load(Ordering::Relaxed),
        })
    }

    /// Closes the log and lets the sinks deliver what is in it, until `deadline`. Gives those that had not by then, and
    /// how many alerts each; a sink whose reader has gone misses none.
    pub fn finish(self, deadline: Instant) -> Vec<(&'static str, u64)> {
        self.log.close();
        // Nothing is ever sent: the wait ends when the last sink drops its end.
        let _ended_or_late = self
            .ended
            .recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let late = self.status().filter(|sink| sink.waiting > 0);
        late.map(|sink| (sink.name, sink.waiting)).collect()
    }
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
