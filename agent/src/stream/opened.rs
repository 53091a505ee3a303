//! Connections that rules have matched when they were opened. Most say what for within a moment: their alerts wait for that,
//! so that there is one which tells it, or none where an exception names it.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use jiff::Timestamp;
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
    /// Those whose alerts wait, the oldest first.
    waiting: VecDeque<Waiting>,
}

/// A connection whose alerts wait. How long is a matter of the events' own time, so that a recorded stream gives the same
/// alerts again; the clock only ends it where no event comes.
#[derive(Debug)]
struct Waiting {
    socket: u64,
    until: Timestamp,
    deadline: Instant,
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
    /// Remembers what came of a connection that was opened at that time and may yet speak. Gives the alerts of others that
    /// go out in its place.
    pub(super) fn hold(&mut self, socket: u64, judged: Judged, opened: Timestamp, now: Instant) -> Vec<Alerts> {
        // The same socket may have connected once more.
        self.stop_waiting(socket);
        let waits = !judged.alerts.is_empty();
        let former = self.judged.push(socket, judged);
        let mut out: Vec<_> = former.into_iter().map(|(_, former)| former.alerts).collect();
        if waits {
            self.waiting.push_back(Waiting {
                socket,
                until: opened.saturating_add(PATIENCE).unwrap_or(opened),
                deadline: now + PATIENCE,
            });
            if self.waiting.len() > WAITING {
                out.extend(self.let_go_oldest());
            }
        }
        out
    }

    /// What came of a connection that now has spoken.
    pub(super) fn take(&mut self, socket: u64) -> Judged {
        self.stop_waiting(socket);
        self.judged.pop(&socket).unwrap_or_default()
    }

    /// The alerts that have waited long enough when something happens at that time.
    pub(super) fn overdue_at(&mut self, time: Timestamp) -> Vec<Alerts> {
        self.let_go_while(|oldest| oldest.until < time)
    }

    /// The alerts that have waited long enough by the clock.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Alerts> {
        self.let_go_while(|oldest| oldest.deadline <= now)
    }

    /// Every alert that waits.
    pub(super) fn finish(&mut self) -> Vec<Alerts> {
        self.let_go_while(|_| true)
    }

    /// When [`Self::overdue`] may next have something.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|oldest| oldest.deadline)
    }

    fn let_go_while(&mut self, is_due: impl Fn(&Waiting) -> bool) -> Vec<Alerts> {
        let mut out = Vec::new();
        while self.waiting.front().is_some_and(&is_due) {
            out.extend(self.let_go_oldest());
        }
        out
    }

    fn let_go_oldest(&mut self) -> Option<Alerts> {
        let Waiting { socket, .. } = self.waiting.pop_front()?;
        // The table of connections may have forgotten it, and has then given its alerts.
        Some(std::mem::take(&mut self.judged.peek_mut(&socket)?.alerts))
    }

    fn stop_waiting(&mut self, socket: u64) {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.socket == socket) {
            self.waiting.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::samples;

    const EPOCH: Timestamp = Timestamp::UNIX_EPOCH;

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
            assert!(opened.hold(socket, judged(2), EPOCH, start).is_empty());
        }
        assert!(opened.hold(3, judged(0), EPOCH, start).is_empty());
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
    fn time_comes_with_the_events() {
        let (mut opened, start) = (Opened::default(), Instant::now());
        let after = EPOCH + PATIENCE;
        opened.hold(1, judged(1), EPOCH, start);
        assert!(opened.overdue_at(after).is_empty());
        assert_eq!(opened.overdue_at(after + Duration::from_nanos(1)).concat().len(), 1);
    }

    #[test]
    fn those_that_have_spoken_take_no_place_from_others() {
        let (mut opened, start) = (Opened::default(), Instant::now());
        opened.hold(u64::MAX, judged(1), EPOCH, start);
        for socket in 0..1_000 {
            assert!(opened.hold(socket, judged(1), EPOCH, start).is_empty());
            opened.take(socket);
        }
        assert_eq!(opened.take(u64::MAX).alerts.len(), 1);
    }

    #[test]
    fn no_alert_is_lost() {
        let (mut opened, start) = (Opened::default(), Instant::now());
        let mut out = 0;
        for socket in 0..10_000 {
            // Some sockets connect once more, some are silent.
            out += opened.hold(socket / 2, judged(1), EPOCH, start).concat().len();
            out += opened.hold(20_000 + socket, judged(0), EPOCH, start).concat().len();
        }
        assert!(opened.waiting.len() <= WAITING && opened.judged.len() <= CONNECTIONS.get());
        out += opened.finish().concat().len();
        assert_eq!(out, 10_000);
    }
}
