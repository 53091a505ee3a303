//! Connections that rules have matched when they were opened. Most say what for within a moment: their alerts wait for that,
//! so that there is one which tells it, or none where an exception names it.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;
use uuid::Uuid;

use crate::alert::Alert;

/// Connections of which it is remembered which rules have matched.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(4_096).expect("not 0");

/// Connections whose alerts may wait. Beyond, those of the oldest go out.
const WAITING: usize = 256;

/// How long an alert waits: longer than a connection across an ocean needs to be established.
const PATIENCE: Duration = Duration::from_millis(300);

/// The connections, by their sockets' numbers.
#[derive(Debug)]
pub(super) struct Opened {
    judged: LruCache<u64, Judged>,
    /// Those whose alerts wait, the oldest first; also some that have spoken.
    waiting: VecDeque<(Instant, u64)>,
}

/// What came of a connection when it was opened.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// The rules that matched.
    pub(super) rules: Vec<Uuid>,
    /// The alerts that have not gone out.
    pub(super) alerts: Alerts,
}

/// The alerts of one connection.
type Alerts = Vec<Alert>;

impl Default for Opened {
    fn default() -> Self {
        Self {
            judged: LruCache::new(CONNECTIONS),
            waiting: VecDeque::new(),
        }
    }
}

impl Opened {
    /// Remembers what came of a connection that may yet speak. Gives the alerts of others that go out in its place.
    pub(super) fn hold(&mut self, socket: u64, judged: Judged, now: Instant) -> Vec<Alerts> {
        let waits = !judged.alerts.is_empty();
        // One too many, or the same socket, which has connected once more.
        let former = self.judged.push(socket, judged);
        let mut out: Vec<_> = former.into_iter().map(|(_, former)| former.alerts).collect();
        if waits {
            self.waiting.push_back((now + PATIENCE, socket));
            if self.waiting.len() > WAITING {
                out.extend(self.let_go_oldest());
            }
        }
        out
    }

    /// What came of a connection that now has spoken.
    pub(super) fn take(&mut self, socket: u64) -> Judged {
        self.judged.pop(&socket).unwrap_or_default()
    }

    /// The alerts that have waited long enough.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Alerts> {
        let mut out = Vec::new();
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            out.extend(self.let_go_oldest());
        }
        out
    }

    /// Every alert that waits.
    pub(super) fn finish(&mut self) -> Vec<Alerts> {
        let mut out = Vec::new();
        while !self.waiting.is_empty() {
            out.extend(self.let_go_oldest());
        }
        out
    }

    /// When [`Self::overdue`] may next have something.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|(deadline, _)| *deadline)
    }

    /// `None` where the oldest one has spoken.
    fn let_go_oldest(&mut self) -> Option<Alerts> {
        let (_, socket) = self.waiting.pop_front()?;
        Some(std::mem::take(&mut self.judged.peek_mut(&socket)?.alerts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::samples;

    fn judged(alerts: usize) -> Judged {
        Judged {
            rules: vec![Uuid::nil()],
            alerts: (0..alerts).map(|_| samples::connection()).collect(),
        }
    }

    #[test]
    fn alerts_wait_for_what_is_said_or_for_their_time() {
        let (mut opened, start) = (Opened::default(), Instant::now());
        for socket in [1, 2] {
            assert!(opened.hold(socket, judged(2), start).is_empty());
        }
        assert!(opened.hold(3, judged(0), start).is_empty());
        assert_eq!(opened.next_deadline(), Some(start + PATIENCE));
        let first = opened.take(1);
        assert_eq!((first.rules.len(), first.alerts.len()), (1, 2));
        assert!(opened.overdue(start).is_empty());
        assert_eq!(opened.overdue(start + PATIENCE).concat().len(), 2);
        assert_eq!(opened.next_deadline(), None);
        let late = opened.take(2);
        assert_eq!(
            (late.rules.len(), late.alerts.len()),
            (1, 0),
            "it is silent about what went out"
        );
        assert_eq!(opened.take(3).rules.len(), 1);
        assert_eq!(opened.take(4).rules.len(), 0);
    }

    #[test]
    fn no_alert_is_lost() {
        let (mut opened, start) = (Opened::default(), Instant::now());
        let mut out = 0;
        for socket in 0..10_000 {
            // Some sockets connect once more, some are silent.
            out += opened.hold(socket / 2, judged(1), start).concat().len();
            out += opened.hold(20_000 + socket, judged(0), start).concat().len();
        }
        assert!(opened.waiting.len() <= WAITING && opened.judged.len() <= CONNECTIONS.get());
        out += opened.finish().concat().len();
        assert_eq!(out, 10_000);
    }
}
