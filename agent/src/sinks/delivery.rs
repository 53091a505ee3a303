//! A sink's thread: takes alerts from the log and has them delivered, for as long as that takes or is allowed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Failure, Sink, report::Report};
use crate::alert::{
    Alert,
    log::{Batch, Reader},
};

/// When alerts follow each other faster than this, a sink takes them in groups: waking it for each costs more than
/// writing it. One alert that stands alone is never delayed.
const BURST: Duration = Duration::from_micros(500);

/// Once an output is about to end there is little time for further tries.
const LAST_REST: Duration = Duration::from_millis(250);

/// What a sink's thread is told while it runs. Whoever tells nudges its reader.
#[derive(Default)]
pub(super) struct Orders(Mutex<Told>);

#[derive(Default)]
struct Told {
    successor: Option<Box<dyn Sink>>,
    until: Option<Instant>,
}

impl Orders {
    /// That sink shall go on, with what the present one has not delivered.
    pub(super) fn succeed(&self, sink: Box<dyn Sink>) {
        self.told().successor = Some(sink);
    }

    /// What is not delivered by then is given up.
    pub(super) fn leave(&self, until: Instant) {
        self.told().until = Some(until);
    }

    fn successor(&self) -> Option<Box<dyn Sink>> {
        self.told().successor.take()
    }

    fn has_successor(&self) -> bool {
        self.told().successor.is_some()
    }

    fn is_over(&self) -> bool {
        self.told().until.is_some_and(|until| Instant::now() >= until)
    }

    /// Each change is made at once: who panicked has left no half of one.
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sink at work.
pub(super) struct Delivery {
    pub(super) sink: Box<dyn Sink>,
    pub(super) reader: Reader,
    pub(super) report: Report,
    pub(super) orders: Arc<Orders>,
}

impl Delivery {
    /// Delivers until nothing more comes or the sink is gone.
    pub(super) fn run(&mut self) -> anyhow::Result<()> {
        let mut last = None::<Instant>;
        // What does not work is known before the first alert needs it.
        self.deliver(&[])?;
        loop {
            if let Some(successor) = self.orders.successor() {
                self.sink = successor;
                self.deliver(&[])?;
            }
            if self.orders.is_over() {
                self.report.gave_up(self.reader.give_up() as u64);
                return Ok(());
            }
            let most = self.sink.batch().get();
            let Some(Batch { alerts, lost }) = self.reader.read(most) else {
                return Ok(());
            };
            self.report.lost(lost, TOO_SLOW);
            if alerts.is_empty() {
                continue;
            }
            self.report
                .counters()
                .in_hand
                .store(alerts.len() as u64, Ordering::Relaxed);
            let missed = self.deliver(&alerts)?;
            let counters = self.report.counters();
            counters.in_hand.store(0, Ordering::Relaxed);
            (counters.delivered).fetch_add((alerts.len() as u64).saturating_sub(missed), Ordering::Relaxed);
            let burst = last.is_some_and(|last| last.elapsed() < BURST);
            if burst && alerts.len() < most {
                self.reader.pause(BURST);
            }
            last = Some(Instant::now());
        }
    }

    /// Delivers one batch, trying again for as long as it takes, and gives how many of it were not.
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> anyhow::Result<u64> {
        let (mut rest, mut longest) = self.sink.rests();
        let mut refused = 0;
        let mut outcome = self.sink.deliver(alerts);
        loop {
            match outcome {
                Ok(()) => break,
                Err(Failure::Gone(error)) if !self.orders.has_successor() => return Err(error),
                Err(Failure::Gone(_)) => {}
                Err(Failure::Refused(error)) => {
                    refused += 1;
                    self.report.lost(1, &format!("{error:#}"));
                }
                Err(Failure::Later(error)) => {
                    self.report.failed(&error);
                    pause(&self.reader, rest);
                    // Told now rather than when it works again: the others can still say it.
                    self.report.lost(self.reader.take_lost(), TOO_SLOW);
                    rest = (rest * 2).min(longest);
                }
            }
            let left = self.sink.undelivered();
            if let Some(successor) = self.orders.successor() {
                self.sink = successor;
                (rest, longest) = self.sink.rests();
                outcome = self.sink.deliver(&alerts[alerts.len().saturating_sub(left)..]);
            } else if self.orders.is_over() {
                self.report.gave_up((left + self.reader.give_up()) as u64);
                return Ok(refused + left as u64);
            } else {
                outcome = self.sink.deliver(&[]);
            }
        }
        self.report.works();
        Ok(refused)
    }
}

/// Why alerts are lost to an output.
const TOO_SLOW: &str = "more came than its queue holds";

/// Rests about so long: many agents that lost one receiver do not come back to it at the same moment.
fn pause(reader: &Reader, rest: Duration) {
    let rest = rest.mul_f64(0.5 + fastrand::f64() / 2.0);
    let over_before = Instant::now();
    if reader.pause(rest) {
        // What is over does not pause any more.
        thread::sleep(rest.min(LAST_REST).saturating_sub(over_before.elapsed()));
    }
}
