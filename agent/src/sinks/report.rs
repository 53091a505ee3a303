//! How a sink fares: counted, logged, and told as events, from which rules make alerts for the other sinks.
//!
//! An outage is one event, however many tries it has, and its end another; losses are told once a minute at most. So
//! an alert about a sink that the sink itself cannot deliver makes no further ones.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::mpsc::WeakSender;

use super::Counters;
use crate::event::{Event, Health, Kind};

/// Failures in a row that make an outage: less is not worth an alert.
const OUTAGE: u64 = 3;

/// Losses are told once in so long at most.
const LOSSES_TOLD: Duration = Duration::from_mins(1);

/// Tells how one sink fares.
#[derive(Debug)]
pub(super) struct Report {
    name: &'static str,
    counters: Arc<Counters>,
    /// Does not keep the stream alive.
    health: Option<WeakSender<Vec<Event>>>,
    /// Since when it is told to be down.
    down: Option<Instant>,
    /// Losses that were not told yet.
    untold: u64,
    losses_told: Option<Instant>,
}

impl Report {
    pub(super) fn new(name: &'static str, counters: Arc<Counters>, health: Option<WeakSender<Vec<Event>>>) -> Self {
        Self {
            name,
            counters,
            health,
            down: None,
            untold: 0,
            losses_told: None,
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A delivery failed and will be tried again.
    pub(super) fn failed(&mut self, error: &anyhow::Error) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        let failing = self.counters.failing.fetch_add(1, Ordering::Relaxed) + 1;
        self.set_trouble(Some(format!("{error:#}")));
        if failing == 1 {
            tracing::error!(
                sink = self.name,
                error = format!("{error:#}"),
                "alerts cannot be delivered; trying again"
            );
        }
        if failing == OUTAGE {
            self.down = Some(Instant::now());
            self.tell("sink-down", format!("{}: {error:#}", self.name));
        }
    }

    /// Everything that it was given is delivered.
    pub(super) fn works(&mut self) {
        if self.counters.failing.swap(0, Ordering::Relaxed) > 0 {
            self.set_trouble(None);
            tracing::info!(sink = self.name, "alerts are delivered again");
        }
        if let Some(since) = self.down.take() {
            let seconds = since.elapsed().as_secs();
            self.tell("sink-up", format!("{}: after {seconds} seconds", self.name));
        }
    }

    /// So many alerts will never be delivered.
    pub(super) fn lost(&mut self, count: u64, reason: &str) {
        self.counters.lost.fetch_add(count, Ordering::Relaxed);
        self.untold += count;
        let told = self.losses_told.is_some_and(|told| told.elapsed() < LOSSES_TOLD);
        if self.untold == 0 || told {
            return;
        }
        let lost = std::mem::take(&mut self.untold);
        self.losses_told = Some(Instant::now());
        tracing::warn!(sink = self.name, lost, reason, "alerts were not delivered");
        let total = self.counters.lost.load(Ordering::Relaxed);
        let detail = format!("{}: {lost} alerts lost, {total} since the start: {reason}", self.name);
        self.tell("sink-loss", detail);
    }

    /// So many alerts were not delivered in the time that an output has which was removed.
    pub(super) fn gave_up(&mut self, count: u64) {
        // There is no later to tell it.
        self.losses_told = None;
        self.lost(count, "the output was removed, and could not take them any more");
    }

    /// It has ended for good.
    pub(super) fn gone(&mut self, error: &anyhow::Error) {
        self.counters.in_hand.store(0, Ordering::Relaxed);
        tracing::error!(sink = self.name, error = format!("{error:#}"), "sink is gone");
        let trouble = format!("{error:#}; it is given up");
        self.tell("sink-down", format!("{}: {trouble}", self.name));
        self.set_trouble(Some(trouble));
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.counters.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// The stream never waits for a sink, so waiting for the stream ends.
    fn tell(&self, kind: &'static str, detail: String) {
        let Some(health) = self.health.as_ref().and_then(WeakSender::upgrade) else {
            return;
        };
        let event = Event {
            time: Timestamp::now(),
            startup: false,
            kind: Kind::Health(Health { kind, detail }),
            given: None,
        };
        // Nobody listens any more when the agent ends.
        let _ = health.blocking_send(vec![event]);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use tokio::sync::mpsc;

    use super::*;

    fn told(events: &mut mpsc::Receiver<Vec<Event>>) -> Vec<(&'static str, String)> {
        let events = std::iter::from_fn(|| events.try_recv().ok()).flatten();
        let health = events.filter_map(|event| match event.kind {
            Kind::Health(health) => Some((health.kind, health.detail)),
            _ => None,
        });
        health.collect()
    }

    #[test]
    fn an_outage_is_told_once_and_its_end_too() {
        let (sender, mut events) = mpsc::channel(16);
        let mut report = Report::new("webhook", Arc::default(), Some(sender.downgrade()));
        report.failed(&anyhow!("refused"));
        report.works();
        assert_eq!(told(&mut events), [], "one failure is none");
        for _ in 0..100 {
            report.failed(&anyhow!("refused"));
        }
        report.works();
        report.works();
        let expected = [
            ("sink-down", "webhook: refused".to_owned()),
            ("sink-up", "webhook: after 0 seconds".to_owned()),
        ];
        assert_eq!(told(&mut events), expected);
        assert_eq!(report.counters().failures.load(Ordering::Relaxed), 101);
    }

    #[test]
    fn losses_are_all_counted_and_seldom_told() {
        let (sender, mut events) = mpsc::channel(16);
        let mut report = Report::new("webhook", Arc::default(), Some(sender.downgrade()));
        for count in [0, 3, 0, 4, 5] {
            report.lost(count, "too slow");
        }
        let expected = [(
            "sink-loss",
            "webhook: 3 alerts lost, 3 since the start: too slow".to_owned(),
        )];
        assert_eq!(told(&mut events), expected);
        assert_eq!(report.counters().lost.load(Ordering::Relaxed), 12);
    }

    #[test]
    fn a_report_keeps_no_stream_alive() {
        let (sender, mut events) = mpsc::channel(1);
        let mut report = Report::new("file", Arc::default(), Some(sender.downgrade()));
        drop(sender);
        assert!(events.blocking_recv().is_none());
        report.gone(&anyhow!("it ends"));
    }
}
