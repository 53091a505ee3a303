//! The one way that alerts pass: an append-only log that every sink reads at its own pace.
//!
//! It lives in memory and keeps an alert until every reader has had it. A durable log can take its place behind the
//! same calls: a reader is a cursor. What leaves the log is redacted, so no sink can forget to.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use super::{Alert, Level, redact::Redactor};

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
    /// Where each reader is; `None` once it is gone.
    cursors: Vec<Option<Cursor>>,
    /// Readers that sleep. A wake-up is a system call, so it is only made for them.
    waiting: usize,
    lost: u64,
    closed: bool,
}

/// Where a reader is, and what it wants.
#[derive(Debug)]
struct Cursor {
    /// Its next alert.
    next: Seq,
    wanted: Wanted,
    /// The alerts from `next` on that it wants.
    waiting: usize,
    /// Those that it missed and was not told of.
    lost: u64,
    /// Nothing more is for it.
    ended: bool,
    /// It shall not sleep on before it has looked for what it is told elsewhere.
    nudged: bool,
}

/// Which alerts a reader is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What is below it is passed over.
    pub min_level: Level,
    /// So many may wait for it; beyond, the oldest are lost to it.
    pub queue: usize,
}

impl Wanted {
    /// Everything, as long as the log keeps it.
    pub const ALL: Self = Self {
        min_level: Level::Informational,
        queue: MAX_ALERTS,
    };
}

/// A reader of the log, from the moment it was made.
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

    /// A new reader. It gets what is appended from now on, as far as it is wanted.
    pub fn reader(self: &Arc<Self>, wanted: Wanted) -> Reader {
        let mut state = self.state();
        let cursor = Cursor {
            next: state.next(),
            wanted,
            waiting: 0,
            lost: 0,
            ended: false,
            nudged: false,
        };
        state.cursors.push(Some(cursor));
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

    /// How many alerts wait for the reader of that number ([`Reader::index`]).
    pub fn waiting(&self, index: usize) -> usize {
        let state = self.state();
        state.cursors[index].as_ref().map_or(0, |cursor| cursor.waiting)
    }

    /// Has the reader of that number want something else from now on, also of what waits for it.
    pub fn set_wanted(&self, index: usize, wanted: Wanted) {
        let mut state = self.state();
        let State {
            alerts,
            first,
            cursors,
            lost,
            ..
        } = &mut *state;
        if let Some(cursor) = &mut cursors[index] {
            *lost += cursor.set_wanted(wanted, alerts, *first);
        }
    }

    /// Says that nothing more is for the reader of that number: it ends when it has read what waits for it.
    pub fn end(&self, index: usize) {
        self.tell(index, |cursor| cursor.ended = true);
    }

    /// Has the reader of that number look up from its sleep, once.
    pub fn nudge(&self, index: usize) {
        self.tell(index, |cursor| cursor.nudged = true);
    }

    fn tell(&self, index: usize, what: impl FnOnce(&mut Cursor)) {
        if let Some(cursor) = &mut self.state().cursors[index] {
            what(cursor);
        }
        self.news.notify_all();
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

    /// Whether nothing more will come for the reader.
    fn is_over(&self, index: usize) -> bool {
        self.closed || self.cursors[index].as_ref().is_none_or(|cursor| cursor.ended)
    }

    /// Whether somebody has nudged the reader, which is told once.
    fn take_nudge(&mut self, index: usize) -> bool {
        let cursor = self.cursors[index].as_mut();
        cursor.is_some_and(|cursor| std::mem::take(&mut cursor.nudged))
    }

    fn push(&mut self, alert: Arc<Alert>) {
        let weight = alert.weight();
        self.alerts.push_back((alert, weight));
        self.bytes += weight;
        let State {
            alerts,
            first,
            cursors,
            lost,
            ..
        } = self;
        for cursor in cursors.iter_mut().flatten() {
            let wanted = alerts.back().is_some_and(|(alert, _)| cursor.wants(alert));
            cursor.waiting += usize::from(wanted && !cursor.ended);
            while cursor.waiting > cursor.wanted.queue {
                *lost += cursor.skip(alerts, *first);
            }
            if cursor.waiting == 0 {
                cursor.next = *first + alerts.len() as u64;
            }
        }
        self.release();
        while self.alerts.len() > MAX_ALERTS || (self.bytes > MAX_BYTES && self.alerts.len() > 1) {
            for cursor in self.cursors.iter_mut().flatten() {
                if cursor.next == self.first {
                    self.lost += cursor.skip(&self.alerts, self.first);
                }
            }
            self.pop();
        }
    }

    /// Drops what every reader has had.
    fn release(&mut self) {
        let slowest = self.cursors.iter().flatten().map(|cursor| cursor.next).min();
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
        let Some(cursor) = &mut self.cursors[index] else {
            return Batch::default();
        };
        let mut alerts = Vec::with_capacity(cursor.waiting.min(max));
        while cursor.waiting > 0 && alerts.len() < max {
            let (alert, _) = &self.alerts[position(cursor.next, self.first)];
            cursor.next += 1;
            if cursor.wants(alert) {
                cursor.waiting -= 1;
                alerts.push(Arc::clone(alert));
            }
        }
        if cursor.waiting == 0 {
            cursor.next = self.first + self.alerts.len() as u64;
        }
        let lost = std::mem::take(&mut cursor.lost);
        self.release();
        Batch { alerts, lost }
    }
}

impl Cursor {
    fn wants(&self, alert: &Alert) -> bool {
        alert.rule.level >= self.wanted.min_level
    }

    /// Counts anew what waits, and gives how many are lost since more do than may.
    fn set_wanted(&mut self, wanted: Wanted, alerts: &VecDeque<(Arc<Alert>, usize)>, first: Seq) -> u64 {
        self.wanted = wanted;
        let waiting = alerts.iter().skip(position(self.next, first));
        self.waiting = waiting.filter(|(alert, _)| self.wants(alert)).count();
        let mut lost = 0;
        while self.waiting > self.wanted.queue {
            lost += self.skip(alerts, first);
        }
        lost
    }

    /// Passes over the next alert, and gives how many are lost by that.
    fn skip(&mut self, alerts: &VecDeque<(Arc<Alert>, usize)>, first: Seq) -> u64 {
        let wanted = self.waiting > 0 && self.wants(&alerts[position(self.next, first)].0);
        self.next += 1;
        self.waiting -= usize::from(wanted);
        self.lost += u64::from(wanted);
        u64::from(wanted)
    }
}

/// Where an alert is among those that are kept, of which the first has that number. No cursor is before it.
fn position(seq: Seq, first: Seq) -> usize {
    usize::try_from(seq - first).unwrap_or(usize::MAX)
}

impl Reader {
    /// Waits for alerts and gives up to `max` of them, or none if somebody nudged; `None` once nothing more comes and all
    /// is read.
    pub fn read(&mut self, max: usize) -> Option<Batch> {
        let mut state = self.log.state();
        loop {
            let batch = state.take(self.index, max);
            if !batch.alerts.is_empty() || batch.lost > 0 {
                return Some(batch);
            }
            if state.is_over(self.index) {
                return None;
            }
            if state.take_nudge(self.index) {
                return Some(Batch::default());
            }
            state.waiting += 1;
            state = self.log.news.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    /// Its number in the log.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many alerts it has missed since it was last told. They do not wait for the next [`Self::read`].
    pub fn take_lost(&mut self) -> u64 {
        let mut state = self.log.state();
        let cursor = state.cursors[self.index].as_mut();
        cursor.map_or(0, |cursor| std::mem::take(&mut cursor.lost))
    }

    /// Gives up what waits for it, and tells how much that is.
    pub fn give_up(&mut self) -> usize {
        let mut state = self.log.state();
        let next = state.next();
        let waiting = state.cursors[self.index].as_mut().map_or(0, |cursor| {
            cursor.next = next;
            std::mem::take(&mut cursor.waiting)
        });
        state.release();
        waiting
    }

    /// Sleeps for `duration`, or until somebody nudges or nothing more comes; tells whether nothing does.
    pub fn pause(&self, duration: Duration) -> bool {
        let state = self.log.state();
        let sleeps = |state: &mut State| !state.is_over(self.index) && !state.take_nudge(self.index);
        let waited = self.log.news.wait_timeout_while(state, duration, sleeps);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_over(self.index)
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
