//! How a running agent fares, as one value: the agent makes it, `tocsin status` and the metrics show it.

mod feed;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{
        mpsc::{self, WeakSender},
        oneshot,
    },
    time::timeout,
};

pub use self::feed::Feed;
use super::Requests;
use crate::{
    config::Config,
    event::Event,
    sinks,
    sources::{kernel, logins::Told},
};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Since when it runs.
    pub started: Timestamp,
    /// When this was so.
    pub now: Timestamp,
    /// The kernel's sensors.
    pub sensors: Vec<Sensor>,
    /// Events that the ring could not hold, by sensor.
    pub lost: BTreeMap<String, u64>,
    /// Records from the kernel that made no sense.
    pub broken_records: u64,
    /// Batches of events that wait for the stream …
    pub queue: usize,
    /// … and how many can.
    pub queue_capacity: usize,
    /// Who reads what is written about logins.
    #[serde(default)]
    pub logins: Logins,
    /// What the stream says.
    pub stream: Stream,
    /// The sinks.
    pub sinks: Vec<Sink>,
}

/// A sensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    /// Its name.
    pub name: String,
    /// Why it is off; `None` where it is on.
    pub off: Option<String>,
    /// What is not seen without it.
    pub loses: String,
}

/// Who reads what is written about logins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Logins {
    /// Where; empty where nobody writes any down.
    pub source: String,
    /// Lines that were read.
    pub lines: u64,
    /// Those that made no sense.
    pub not_understood: u64,
    /// What is wrong.
    pub trouble: Option<String>,
}

/// What the stream knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Events that have entered.
    pub events: u64,
    /// Container runtimes that are asked, and whether each answers.
    pub runtimes: BTreeMap<String, bool>,
    /// Events that wait for their container's facts.
    pub held: Held,
    /// Closer looks that were asked for and not yet answered.
    pub looks: usize,
    /// Processes that are remembered.
    pub processes: usize,
    /// Containers that are remembered.
    pub containers: usize,
    /// Images of which something was learned.
    pub images: usize,
    /// Behaviours that were learned of them.
    pub behaviours: usize,
    /// Threat feeds and warninglists.
    #[serde(default)]
    pub feeds: Vec<Feed>,
    /// The rules.
    pub rules: Rules,
    /// Why the configuration that was last read is not in force; `None` where it is.
    pub configuration_refused: Option<String>,
    /// Alerts that were raised, updates included.
    pub alerts: u64,
    /// Alerts that a sink was too slow for.
    pub alerts_lost: u64,
}

/// Events that had to wait.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Wait now.
    pub now: usize,
    /// Had to wait so far.
    pub total: u64,
    /// Went on with what they waited for.
    pub released: u64,
    /// Went on without, since it took too long.
    pub expired: u64,
    /// Went on without, since too many waited.
    pub overflowed: u64,
}

/// The rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// How many are in force.
    pub in_force: usize,
    /// Why those that were last read are not in force; `None` where they are.
    pub refused: Option<String>,
    /// Exceptions that have ended.
    pub ended: Vec<String>,
    /// When the next exception ends.
    pub next_expiry: Option<Timestamp>,
}

/// A sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sink {
    /// Its name.
    pub name: String,
    /// Alerts that it delivered.
    pub delivered: u64,
    /// Alerts that it did not deliver and will not.
    pub lost: u64,
    /// Deliveries that failed, retries included.
    pub failures: u64,
    /// Alerts that it has in hand and still tries to deliver.
    pub waiting: u64,
    /// Why the last delivery failed; `None` while all is well.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// What the kernel's reader counts for others to read.
#[derive(Debug, Default)]
pub struct KernelCounters {
    /// Records that made no sense.
    pub broken: std::sync::atomic::AtomicU64,
    lost: Mutex<BTreeMap<String, u64>>,
}

impl KernelCounters {
    /// Notes what each sensor has lost so far.
    pub fn set_lost(&self, lost: impl Iterator<Item = (String, u64)>) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = lost.collect();
    }
}

/// A question to the stream how it fares.
pub type Question = oneshot::Sender<Stream>;

/// Who puts the status together.
#[derive(Debug)]
pub struct Desk {
    /// What never changes.
    pub fixed: Status,
    /// What the kernel's reader counts.
    pub kernel: std::sync::Arc<KernelCounters>,
    /// What is told of logins.
    pub logins: std::sync::Arc<Told>,
    /// The stream's queue. It must not be kept open from here.
    pub queue: WeakSender<Vec<Event>>,
    /// Where the stream is asked.
    pub stream: mpsc::Sender<Question>,
}

/// How long the stream may take to answer.
const ANSWER: Duration = Duration::from_secs(4);

impl Desk {
    /// A status of what is known when the agent starts.
    pub fn fixed(config: &Config, sensors: &[kernel::SensorState]) -> Status {
        let sensors = sensors.iter().map(|state| Sensor {
            name: state.sensor.name.to_owned(),
            off: state.refused.clone(),
            loses: state.sensor.loses.to_owned(),
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: Timestamp::now(),
            sensors: sensors.collect(),
            stream: Stream {
                runtimes: config.runtimes().map(|(name, _)| (name.to_owned(), false)).collect(),
                ..Stream::default()
            },
            ..Status::default()
        }
    }

    /// Answers requests until nobody can ask any more. One that the stream does not answer in time is dropped.
    pub async fn answer(&self, sinks: &sinks::Handle, mut requests: Requests) {
        while let Some(request) = requests.recv().await {
            if let Some(status) = self.status(sinks).await {
                // Whoever asked may have gone.
                let _ = request.send(status);
            }
        }
    }

    async fn status(&self, sinks: &sinks::Handle) -> Option<Status> {
        let (queue, queue_capacity) = self.queue.upgrade().map_or((0, 0), |queue| {
            (queue.max_capacity() - queue.capacity(), queue.max_capacity())
        });
        let (question, answer) = oneshot::channel();
        self.stream.send(question).await.ok()?;
        let stream = timeout(ANSWER, answer).await.ok()?.ok()?;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let sinks = sinks.status().into_iter().map(|sink| Sink {
            name: sink.name.to_owned(),
            delivered: count(&sink.counters.delivered),
            lost: count(&sink.counters.lost),
            failures: count(&sink.counters.failures),
            waiting: sink.waiting,
            trouble: sink
                .counters
                .trouble
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        });
        let mut runtimes = self.fixed.stream.runtimes.clone();
        runtimes.extend(stream.runtimes);
        let stream = Stream { runtimes, ..stream };
        Some(Status {
            now: Timestamp::now(),
            lost: self.kernel.lost.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            broken_records: count(&self.kernel.broken),
            queue,
            queue_capacity,
            logins: self.logins.now(),
            stream,
            sinks: sinks.collect(),
            ..self.fixed.clone()
        })
    }
}
