//! The queue at the stream's entrance: events whose container's facts are on their way wait here, briefly.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

/// Events that wait for a container's facts, in the order in which they came.
///
/// Bounded in time and number: what waits too long, and the oldest when there are too many, goes on without facts.
#[derive(Debug)]
pub struct Waiting<T> {
    queue: VecDeque<Held<T>>,
    by_container: FxHashMap<Arc<str>, usize>,
    patience: Duration,
    capacity: usize,
    counts: Counts,
}

/// What became of the events that had to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Had to wait.
    pub held: u64,
    /// Went on with their container's facts.
    pub released: u64,
    /// Went on without: the facts did not come in time …
    pub expired: u64,
    /// … or too many waited.
    pub overflowed: u64,
}

#[derive(Debug)]
struct Held<T> {
    id: Arc<str>,
    since: Instant,
    item: T,
}

impl<T> Waiting<T> {
    /// How long an event waits: the time that dockerd needs to answer an inspect on a node that is out of breath. An alert
    /// about a container is promised within two seconds.
    pub const PATIENCE: Duration = Duration::from_millis(1_500);
    /// How long what stood before the agent waits: long enough for dockerd to answer for every container of a full node.
    pub const PATIENCE_AT_START: Duration = Duration::from_secs(5);
    /// How many wait at most.
    pub const CAPACITY: usize = 10_000;

    /// Nobody waits. `patience` and `capacity` are [`Self::PATIENCE`] and [`Self::CAPACITY`] outside tests.
    pub fn new(patience: Duration, capacity: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            by_container: FxHashMap::default(),
            patience,
            capacity,
            counts: Counts::default(),
        }
    }

    /// Lets `item` wait for the container `id`. Gives back the oldest one, with its container, if too many wait now.
    #[must_use = "what does not fit must go on"]
    pub fn push(&mut self, id: Arc<str>, now: Instant, item: T) -> Option<(Arc<str>, T)> {
        self.counts.held += 1;
        *self.by_container.entry(Arc::clone(&id)).or_default() += 1;
        self.queue.push_back(Held { id, since: now, item });
        if self.queue.len() <= self.capacity {
            return None;
        }
        self.counts.overflowed += 1;
        self.pop()
    }

    /// Those that waited for the container `id`, oldest first.
    #[must_use = "what was held must go on"]
    pub fn release(&mut self, id: &str) -> Vec<T> {
        if self.by_container.remove(id).is_none() {
            return Vec::new();
        }
        let (released, kept): (VecDeque<_>, _) = self.queue.drain(..).partition(|held| &*held.id == id);
        self.queue = kept;
        self.counts.released += released.len() as u64;
        released.into_iter().map(|held| held.item).collect()
    }

    /// Those that have waited long enough, with their containers, oldest first.
    #[must_use = "what was held must go on"]
    pub fn expired(&mut self, now: Instant) -> Vec<(Arc<str>, T)> {
        let patience = self.patience;
        let late = |held: &Held<T>| now.saturating_duration_since(held.since) >= patience;
        let number = self.queue.iter().take_while(|held| late(held)).count();
        self.counts.expired += number as u64;
        (0..number).map_while(|_| self.pop()).collect()
    }

    /// When [`Self::expired`] will next have something to give; `None` if nobody waits.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.front().map(|oldest| oldest.since + self.patience)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// What became of all so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes out the oldest one.
    fn pop(&mut self) -> Option<(Arc<str>, T)> {
        let Held { id, since: _, item } = self.queue.pop_front()?;
        if let Some(number) = self.by_container.get_mut(&id) {
            *number -= 1;
            if *number == 0 {
                self.by_container.remove(&id);
            }
        }
        Some((id, item))
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self::new(Self::PATIENCE, Self::CAPACITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    /// A queue with one item a millisecond: `("a", 0), ("b", 1), …`, none of which may overflow.
    fn filled(start: Instant, ids: &[&str]) -> Waiting<usize> {
        let mut waiting = Waiting::new(Duration::from_millis(10), 4);
        for (number, id) in ids.iter().enumerate() {
            let overflow = waiting.push((*id).into(), after(start, number as u64), number);
            assert_eq!(overflow, None, "{id}");
        }
        waiting
    }

    #[test]
    fn facts_release_their_own_in_order_and_others_stay() {
        let start = Instant::now();
        let mut waiting = filled(start, &["a", "b", "a", "c"]);
        assert_eq!(waiting.release("a"), [0, 2]);
        assert_eq!(waiting.release("a"), [0; 0]);
        assert_eq!(waiting.len(), 2);
        assert_eq!(waiting.next_deadline(), Some(after(start, 11)));
        assert_eq!(waiting.counts().released, 2);
    }

    #[test]
    fn what_waits_too_long_goes_on() {
        let start = Instant::now();
        let mut waiting = filled(start, &["a", "b", "c"]);
        assert_eq!(waiting.next_deadline(), Some(after(start, 10)));
        assert_eq!(waiting.expired(after(start, 9)), []);
        assert_eq!(waiting.expired(after(start, 11)), [("a".into(), 0), ("b".into(), 1)]);
        assert_eq!(waiting.next_deadline(), Some(after(start, 12)));
        assert_eq!(waiting.expired(after(start, 100)), [("c".into(), 2)]);
        assert_eq!(waiting.next_deadline(), None);
        assert_eq!(waiting.counts().expired, 3);
    }

    #[test]
    fn the_oldest_goes_on_when_too_many_wait() {
        let start = Instant::now();
        let mut waiting = filled(start, &["a", "b", "c", "d"]);
        assert_eq!(waiting.push("e".into(), after(start, 5), 4), Some(("a".into(), 0)));
        let counts = Counts {
            held: 5,
            overflowed: 1,
            ..Counts::default()
        };
        assert_eq!(waiting.counts(), counts);
    }
}
