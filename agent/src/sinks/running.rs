//! The running sinks, each on a thread of its own, and how they come and go with the configuration.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::sync::{Notify, mpsc::WeakSender};
use tracing::{error, info};

use super::{
    Counters, Host, Opened, Outputs,
    delivery::{Delivery, Orders},
    open,
    report::Report,
    stdout,
};
use crate::{alert::log::Log, event::Event, sources};

/// How long an output that was removed may take for what it still has.
const LEAVE: Duration = Duration::from_secs(5);

/// The running sinks.
pub struct Handle {
    log: Arc<Log>,
    host: Arc<Host>,
    /// Does not keep the stream alive.
    health: Option<WeakSender<Vec<Event>>>,
    living: Arc<Living>,
    sinks: Mutex<Vec<Running>>,
}

/// A sink on its thread.
struct Running {
    name: &'static str,
    made_from: u64,
    counters: Arc<Counters>,
    /// Its reader's number in the log.
    reader: usize,
    orders: Arc<Orders>,
    thread: JoinHandle<()>,
    /// It was removed, and only delivers what it still has.
    leaves: bool,
}

/// How a sink fares.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its name: that of its section.
    pub name: &'static str,
    /// What it did so far.
    pub counters: Arc<Counters>,
    /// Alerts that it has not delivered yet.
    pub waiting: u64,
}

/// Starts those sinks. How they fare is told as events to `health`, as long as that is there.
pub fn start(opened: Vec<Opened>, host: Arc<Host>, log: &Arc<Log>, health: Option<&sources::Sender>) -> Result<Handle> {
    let handle = Handle {
        log: Arc::clone(log),
        host,
        health: health.map(sources::Sender::downgrade),
        living: Arc::default(),
        sinks: Mutex::default(),
    };
    // One that is gone at once is not the last as long as others are to come.
    let _all = handle.living.one_more();
    for opened in opened {
        let running = handle.spawn(opened)?;
        handle.sinks().push(running);
    }
    Ok(handle)
}

impl Handle {
    /// Waits until the last sink is gone for good, such as standard output when its reader has ended: time to stop.
    pub async fn gone(&self) {
        self.living.none.notified().await;
    }

    /// Puts those outputs into force. One that is as it was keeps its connection and what waits for it; one that is to be
    /// another gets what waits; one that is not there any more has a moment to deliver that. With an error in the settings nothing changes.
    ///
    /// It waits for files of keys and certificates, so it must not be called from the stream's thread.
    pub fn reconfigure(&self, outputs: &Outputs) -> Result<()> {
        let opened = open(outputs, &self.host)?;
        let mut sinks = self.sinks();
        sinks.retain(|sink| !(sink.leaves && sink.thread.is_finished()));
        let names: Vec<_> = opened.iter().map(|opened| opened.name).collect();
        for opened in opened {
            if let Err(error) = self.change(&mut sinks, opened) {
                error!("{error:#}");
            }
        }
        let removed = sinks
            .iter_mut()
            .filter(|sink| !sink.leaves && !names.contains(&sink.name));
        removed.for_each(|sink| sink.leave(&self.log));
        Ok(())
    }

    fn change(&self, sinks: &mut Vec<Running>, opened: Opened) -> Result<()> {
        let name = opened.name;
        let present = sinks.iter().position(|sink| sink.name == name && !sink.leaves);
        match present.map(|index| &mut sinks[index]) {
            Some(present) if present.is_made_from(opened.made_from) => return Ok(()),
            Some(present) if !present.thread.is_finished() => {
                info!(sink = name, "output changed");
                present.succeed(opened, &self.log);
                return Ok(());
            }
            Some(_) | None => {}
        }
        info!(sink = name, "output added");
        let running = self.spawn(opened)?;
        sinks.retain(|sink| sink.name != name || sink.leaves);
        sinks.push(running);
        Ok(())
    }

    fn spawn(&self, opened: Opened) -> Result<Running> {
        let Opened {
            name,
            wanted,
            sink,
            made_from,
        } = opened;
        let reader = self.log.reader(wanted);
        let (counters, orders) = <(Arc<Counters>, Arc<Orders>)>::default();
        let index = reader.index();
        let mut delivery = Delivery {
            sink,
            reader,
            report: Report::new(name, Arc::clone(&counters), self.health.clone()),
            orders: Arc::clone(&orders),
        };
        let life = self.living.one_more();
        let thread = thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(move || {
                let ended = catch_unwind(AssertUnwindSafe(|| delivery.run()));
                let ended = ended.unwrap_or_else(|_| Err(anyhow::anyhow!("its thread panicked")));
                if let Err(error) = ended {
                    delivery.report.gone(&error);
                }
                drop((delivery, life));
            })
            .with_context(|| format!("starting the thread of sink {name}"))?;
        Ok(Running {
            name,
            made_from,
            counters,
            reader: index,
            orders,
            thread,
            leaves: false,
        })
    }

    /// How each sink of the configuration fares.
    pub fn status(&self) -> Vec<Status> {
        let sinks = self.sinks();
        let present = sinks.iter().filter(|sink| !sink.leaves);
        present.map(|sink| sink.status(&self.log)).collect()
    }

    /// Closes the log and lets the sinks deliver what is in it, until `deadline`. Gives those that had not by then, and
    /// how many alerts each; a sink whose reader has gone misses none, and one that was removed has had its time.
    pub fn finish(&self, deadline: Instant) -> Vec<(&'static str, u64)> {
        self.log.close();
        self.living.wait_for_none(deadline);
        let all = self.status();
        let late = all.into_iter().filter(|sink| sink.waiting > 0);
        late.map(|sink| (sink.name, sink.waiting)).collect()
    }

    /// Who panicked has left nothing that the others could not live with.
    fn sinks(&self) -> MutexGuard<'_, Vec<Running>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Whether it is that output. One that ended by a fault is not: it is tried once more. Standard output ends with its
    /// reader, who does not come back.
    fn is_made_from(&self, settings: u64) -> bool {
        self.made_from == settings && (!self.thread.is_finished() || self.name == stdout::SINK.name)
    }

    /// Has another sink take over, with what waits for this one.
    fn succeed(&mut self, opened: Opened, log: &Log) {
        self.made_from = opened.made_from;
        log.set_wanted(self.reader, opened.wanted);
        self.orders.succeed(opened.sink);
        log.nudge(self.reader);
    }

    fn leave(&mut self, log: &Log) {
        info!(sink = self.name, "output removed");
        self.leaves = true;
        self.orders.leave(Instant::now() + LEAVE);
        log.end(self.reader);
    }

    fn status(&self, log: &Log) -> Status {
        Status {
            name: self.name,
            counters: Arc::clone(&self.counters),
            waiting: log.waiting(self.reader) as u64 + self.counters.in_hand.load(Ordering::Relaxed),
        }
    }
}

/// Counts the sinks that still deliver.
#[derive(Default)]
struct Living {
    count: Mutex<usize>,
    fewer: Condvar,
    none: Notify,
}

/// One of them.
struct Life(Arc<Living>);

impl Living {
    fn one_more(self: &Arc<Self>) -> Life {
        *self.count() += 1;
        Life(Arc::clone(self))
    }

    fn wait_for_none(&self, deadline: Instant) {
        let patience = deadline.saturating_duration_since(Instant::now());
        // Late is late, whoever still lives.
        let _ = self
            .fewer
            .wait_timeout_while(self.count(), patience, |count| *count > 0);
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let mut count = self.0.count();
        *count -= 1;
        if *count == 0 {
            self.0.none.notify_one();
        }
        self.0.fewer.notify_all();
    }
}

#[cfg(test)]
mod tests;
