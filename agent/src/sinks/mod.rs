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
mod stdout;

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub use self::host::Host;
use crate::{
    alert::{
        Alert, Level,
        log::{Batch, Log, Reader},
    },
    config::definition::Section,
};

/// Every sink. A new one is a file and a row, its settings a field of [`Settings`] and a row of [`SECTIONS`].
pub const SINKS: &[Row] = &[stdout::SINK];

/// The sections of the sinks' settings.
pub const SECTIONS: &[Section] = &[Section::of::<stdout::StdoutSettings>("sinks.stdout")];

/// The settings of each sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Settings {
    /// Of standard output.
    pub stdout: stdout::StdoutSettings,
}

impl Settings {
    /// Standard output alone, for commands that report what they were asked to look at.
    #[must_use]
    pub fn only_stdout(&self) -> Self {
        let stdout = stdout::StdoutSettings {
            enabled: true,
            ..self.stdout.clone()
        };
        Self { stdout }
    }
}

/// A kind of sink.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Where it delivers to, in one line.
    pub meaning: &'static str,
    /// Whether it is to be started.
    pub is_enabled: fn(&Settings) -> bool,
    /// Makes one, ready to deliver.
    pub open: fn(&Config) -> anyhow::Result<Box<dyn Sink>>,
}

/// Delivers alerts somewhere.
pub trait Sink: Send {
    /// Delivers the alerts in order. After [`Failure::Later`] it keeps what is undelivered, and the next call goes on
    /// with it, before the alerts it brings.
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure>;
}

/// Why a sink could not deliver.
#[derive(Debug)]
pub enum Failure {
    /// It may work again: a full disk, a busy pipe.
    Later(anyhow::Error),
    /// It never will: the pipe's reader has gone.
    Gone(anyhow::Error),
}

/// What the sinks are told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// What each sink is told; one that is not enabled is not started.
    pub settings: Settings,
    /// What is below it is not delivered.
    pub min_level: Level,
    /// The node.
    pub host: Arc<Host>,
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
    /// Alerts that the log dropped because the sink was too slow.
    pub lost: AtomicU64,
    /// Deliveries that failed, retries included.
    pub failures: AtomicU64,
    /// Alerts that the sink has taken from the log and still tries to deliver.
    pub in_hand: AtomicU64,
}

/// The running sinks.
#[derive(Debug)]
pub struct Handle {
    log: Arc<Log>,
    gone: Arc<Notify>,
    /// Disconnected once every sink has ended.
    ended: mpsc::Receiver<()>,
    counters: Vec<(&'static str, Arc<Counters>)>,
}

/// At most so many alerts are delivered in one go.
const BATCH: usize = 256;

/// When alerts follow each other faster than this, a sink takes them in groups: waking it for each costs more than
/// writing it. One alert that stands alone is never delayed.
const BURST: Duration = Duration::from_micros(500);

/// After a failure a sink rests so long, and twice as long after each more …
const FIRST_REST: Duration = Duration::from_millis(50);

/// … up to this.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// Starts the configured sinks, each on its own thread.
pub fn start(config: &Config, log: &Arc<Log>) -> anyhow::Result<Handle> {
    let gone = Arc::new(Notify::new());
    let (running, ended) = mpsc::channel::<()>();
    let mut counters = Vec::new();
    for row in SINKS.iter().filter(|row| (row.is_enabled)(&config.settings)) {
        let name = row.name;
        let mut sink = (row.open)(config).with_context(|| format!("opening sink {name}"))?;
        let (mut reader, min_level) = (log.reader(), config.min_level);
        let (gone, running, counts) = (Arc::clone(&gone), running.clone(), Arc::new(Counters::default()));
        counters.push((row.name, Arc::clone(&counts)));
        thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(move || {
                if let Err(error) = run(sink.as_mut(), &mut reader, min_level, &counts) {
                    counts.in_hand.store(0, Ordering::Relaxed);
                    tracing::error!(sink = row.name, error = format!("{error:#}"), "sink is gone");
                    gone.notify_one();
                }
                drop(running);
            })
            .with_context(|| format!("starting the thread of sink {name}"))?;
    }
    Ok(Handle {
        log: Arc::clone(log),
        gone,
        ended,
        counters,
    })
}

impl Handle {
    /// Waits until a sink is gone for good, such as standard output when its reader has ended: time to stop.
    pub async fn gone(&self) {
        self.gone.notified().await;
    }

    /// What each sink did so far.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, &Counters)> {
        self.counters.iter().map(|(name, counters)| (*name, &**counters))
    }

    /// Closes the log and lets the sinks deliver what is in it, until `deadline`. Gives the number of alerts that the
    /// slowest sink had not delivered by then; a sink whose reader has gone misses none.
    pub fn finish(self, deadline: Instant) -> u64 {
        self.log.close();
        // Nothing is ever sent: the wait ends when the last sink drops its end.
        let _ended_or_late = self
            .ended
            .recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let in_hand = self
            .counters
            .iter()
            .map(|(_, counts)| counts.in_hand.load(Ordering::Relaxed));
        self.log.unread() as u64 + in_hand.max().unwrap_or_default()
    }
}

/// Delivers until the log ends or the sink is gone.
fn run(sink: &mut dyn Sink, reader: &mut Reader, min_level: Level, counters: &Counters) -> anyhow::Result<()> {
    let mut last = None::<Instant>;
    while let Some(Batch { mut alerts, lost }) = reader.read(BATCH) {
        if lost > 0 {
            counters.lost.fetch_add(lost, Ordering::Relaxed);
            tracing::warn!(lost, "alerts were not delivered: the sink is too slow");
        }
        alerts.retain(|alert| alert.rule.level >= min_level);
        counters.in_hand.store(alerts.len() as u64, Ordering::Relaxed);
        deliver(sink, &alerts, reader, counters)?;
        counters.in_hand.store(0, Ordering::Relaxed);
        counters.delivered.fetch_add(alerts.len() as u64, Ordering::Relaxed);
        let burst = last.is_some_and(|last| last.elapsed() < BURST);
        if burst && alerts.len() < BATCH {
            reader.pause(BURST);
        }
        last = Some(Instant::now());
    }
    Ok(())
}

/// Delivers one batch, trying again for as long as it takes. A failure is reported once, not at every try.
fn deliver(sink: &mut dyn Sink, alerts: &[Arc<Alert>], reader: &Reader, counters: &Counters) -> anyhow::Result<()> {
    let mut outcome = sink.deliver(alerts);
    let mut rest = FIRST_REST;
    while let Err(failure) = outcome {
        counters.failures.fetch_add(1, Ordering::Relaxed);
        match failure {
            Failure::Gone(error) => return Err(error),
            Failure::Later(error) if rest == FIRST_REST => {
                tracing::error!(error = format!("{error:#}"), "alerts cannot be delivered; trying again");
            }
            Failure::Later(_) => {}
        }
        if reader.pause(rest) {
            // Closed: the time until the deadline is short, and `pause` returns at once.
            thread::sleep(FIRST_REST);
        }
        rest = (rest * 2).min(LONGEST_REST);
        outcome = sink.deliver(&[]);
    }
    Ok(())
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
