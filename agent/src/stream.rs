//! The stream: one task that carries each event from the entrance to its verdict. It does no I/O, waits for nothing but
//! the next event, and cannot fail, so that recorded input replays to the same alerts.

pub mod entrance;
//pub mod judge;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use self::{entrance::Entrance, judge::Judge};
use crate::{detect::Rules, event::Event, observed::Observed};

/// Batches that may wait for the stream. Behind a full channel the sources wait, and the kernel's ring fills.
pub const QUEUE: usize = 64;

/// How often windows of repeats are looked at: an update is not urgent.
const UPDATES: Duration = Duration::from_secs(1);

/// What the stream does with an event of which all is known.
pub enum Last {
    /// Rules judge it.
    Judge(Box<Judge>),
    /// It is written down.
    Record(Box<dyn FnMut(&Observed)>),
}

/// What has passed so far, for whoever wants to know while the stream runs.
#[derive(Debug, Default)]
pub struct Passed {
    /// Events that entered.
    pub events: AtomicU64,
}

/// The stream and all that it knows.
pub struct Stream {
    entrance: Entrance,
    last: Last,
    passed: Arc<Passed>,
    ready: Vec<Observed>,
}

impl Stream {
    /// A stream that has seen nothing.
    pub fn new(entrance: Entrance, last: Last) -> Self {
        Self { entrance, last, passed: Arc::default(), ready: Vec::new() }
    }

    /// What has passed so far.
    pub fn passed(&self) -> Arc<Passed> {
        Arc::clone(&self.passed)
    }

    /// Carries events until every source has ended, and takes up new rules between two events.
    pub async fn run(&mut self, mut events: mpsc::Receiver<Vec<Event>>, mut rules: mpsc::Receiver<Rules>) {
        let mut updates = tokio::time::interval(UPDATES);
        updates.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let deadline = self.entrance.next_deadline();
            let overdue = tokio::time::sleep_until(deadline.unwrap_or_else(|| Instant::now() + UPDATES).into());
            tokio::select! {
                batch = events.recv() => match batch {
                    Some(batch) => self.carry(batch),
                    None => break,
                },
                Some(rules) = rules.recv() => self.take_up(rules),
                () = overdue, if deadline.is_some() => self.release_overdue(Instant::now()),
                _ = updates.tick() => self.send_updates(),
            }
        }
        // Nobody will tell more of what still waits.
        self.release_overdue(Instant::now() + Duration::from_hours(1));
    }

    /// Carries these events as far as they can go now.
    pub fn carry(&mut self, batch: Vec<Event>) {
        self.passed.events.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let now = Instant::now();
        for event in batch {
            self.entrance.admit(event, now, &mut self.ready);
            self.finish_ready();
        }
    }

    /// Ends every window of repeats, with their updates.
    pub fn finish(&mut self) {
        if let Last::Judge(judge) = &mut self.last {
            judge.finish();
        }
    }

    /// Whether something waits for its container's facts, or an answer is outstanding.
    pub fn is_waiting(&self) -> bool {
        let asked = matches!(&self.last, Last::Judge(judge) if judge.outstanding() > 0);
        asked || self.entrance.is_waiting()
    }

    fn take_up(&mut self, rules: Rules) {
        if let Last::Judge(judge) = &mut self.last {
            judge.take_up(rules);
        }
    }

    fn send_updates(&mut self) {
        if let Last::Judge(judge) = &mut self.last {
            judge.send_updates(jiff::Timestamp::now());
        }
    }

    fn release_overdue(&mut self, now: Instant) {
        self.entrance.overdue(now, &mut self.ready);
        self.finish_ready();
    }

    fn finish_ready(&mut self) {
        for observed in self.ready.drain(..) {
            match &mut self.last {
                Last::Judge(judge) => judge.judge(observed),
                Last::Record(record) => record(&observed),
            }
        }
    }
}
