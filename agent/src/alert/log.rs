//! The one way that alerts pass: an append-only log that every sink reads at its own pace.
//!
//! It lives in memory and keeps an alert until every reader has had it. A durable log can take its place behind the
//! same calls: a reader is a cursor. What leaves the log is redacted, so no sink can forget to.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use super::{Alert, redact::Redactor};

/// An alert's number in the log, the first being 0.
pub type Seq = u64;

/// So many alerts wait for the slowest reader …
const MAX_ALERTS: usize = 16_384;

/// … and so many bytes ([`Alert::weight`]).
const MAX_BYTES: usize = 32 << 20;

/// The log. Appending never waits for a reader.
#[derive(Debug)]
pub struct Log {
    redactor: RwLock<Redactor>,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    alerts: VecDeque<(Arc<Alert>, usize)>,
    bytes: usize,
    /// Number of the first alert in `alerts`.
    first: Seq,
    /// The next alert for each reader; `None` once it is gone.
    cursors: Vec<Option<Seq>>,
    /// Readers that sleep. A wake-up is a system call, so it is only made for them.
    waiting: usize,
    lost: u64,
    closed: bool,
}

/// A cursor over the log, from the moment it was made.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    index: usize,
}

/// What a reader got.
#[derive(Debug, Default)]
pub struct Batch {
    /// The alerts, the oldest first.
    pub alerts: Vec<Arc<Alert>>,
    /// How many alerts this reader missed right before them: it was too slow.
    pub lost: u64,
}

impl Log {
    /// An empty log whose texts pass through `redactor`.
    pub fn new(redactor: Redactor) -> Arc<Self> {
        Arc::new(Self {
            redactor: RwLock::new(redactor),
            state: Mutex::default(),
            news: Condvar::new(),
        })
    }

    /// Adds an alert.
    pub fn append(&self, alert: Alert) -> Seq {
        // Nobody but the stream appends, so the lock is free.
        let redactor = self.redactor.read().unwrap_or_else(PoisonError::into_inner);
        let alert = Arc::new(redactor.alert(alert));
        drop(redactor);
        let mut state = self.state();
        let seq = state.next();
        state.push(alert);
        if state.waiting > 0 {
            self.news.notify_all();
        }
        seq
    }

    /// Has texts pass through another redactor from now on.
    pub fn set_redactor(&self, redactor: Redactor) {
        *self.redactor.write().unwrap_or_else(PoisonError::into_inner) = redactor;
    }

    /// A new reader. It gets what is appended from now on.
    pub fn reader(self: &Arc<Self>) -> Reader {
        let mut state = self.state();
        let next = state.next();
        state.cursors.push(Some(next));
        Reader {
            index: state.cursors.len() - 1,
            log: Arc::clone(self),
        }
    }

    /// How many alerts have been appended since the start.
    pub fn appended(&self) -> Seq {
        self.state().next()
    }

    /// Says that nothing more will be appended: readers end when they have read all.
    pub fn close(&self) {
        self.state().closed = true;
        self.news.notify_all();
    }

    /// How many alerts were lost, summed over the readers that were too slow for them.
    pub fn lost(&self) -> u64 {
        self.state().lost
    }

    /// How many alerts the slowest reader has not read.
    pub fn unread(&self) -> usize {
        self.state().alerts.len()
    }

    /// A reader that panicked holds no half-made change: every change is made under one call here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&self) -> Seq {
        self.first + self.alerts.len() as u64
    }

    fn push(&mut self, alert: Arc<Alert>) {
        let weight = alert.weight();
        self.alerts.push_back((alert, weight));
        self.bytes += weight;
        self.release();
        while self.alerts.len() > MAX_ALERTS || (self.bytes > MAX_BYTES && self.alerts.len() > 1) {
            self.pop();
        }
    }

    /// Drops what every reader has had.
    fn release(&mut self) {
        let slowest = self.cursors.iter().copied().flatten().min();
        let keep_from = slowest.unwrap_or_else(|| self.next());
        while self.first < keep_from && !self.alerts.is_empty() {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, weight)) = self.alerts.pop_front() {
            self.bytes -= weight;
            self.first += 1;
        }
    }

    /// Up to `max` alerts for the reader, and how many it missed.
    fn take(&mut self, index: usize, max: usize) -> Batch {
        let next = self.cursors[index].unwrap_or(self.first);
        let from = next.max(self.first);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let alerts: Vec<_> = (self.alerts.iter().skip(skip).take(max))
            .map(|(alert, _)| Arc::clone(alert))
            .collect();
        self.cursors[index] = Some(from + alerts.len() as u64);
        self.lost += from - next;
        self.release();
        Batch {
            alerts,
            lost: from - next,
        }
    }
}

impl Reader {
    /// Waits for alerts and gives up to `max` of them; `None` once the log is closed and all is read.
    pub fn read(&mut self, max: usize) -> Option<Batch> {
        let mut state = self.log.state();
        loop {
            let batch = state.take(self.index, max);
            if !batch.alerts.is_empty() || batch.lost > 0 {
                return Some(batch);
            }
            if state.closed {
                return None;
            }
            state.waiting += 1;
            state = self.log.news.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// Sleeps for `duration`, or until the log is closed; tells whether it is.
    pub fn pause(&self, duration: Duration) -> bool {
        let state = self.log.state();
        let waited = self.log.news.wait_timeout_while(state, duration, |state| !state.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.log.state();
        state.cursors[self.index] = None;
        state.release();
    }
}

#[cfg(test)]
mod tests;
