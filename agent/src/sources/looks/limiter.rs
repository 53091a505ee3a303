//! How often looks may be taken: an attacker chooses how often rules ask.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

use crate::event::ProcessKey;

/// The limits of one kind of look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Looks at one process's things, in what time.
    pub(super) each: (usize, Duration),
    /// Looks at anybody's, in what time.
    pub(super) all: (usize, Duration),
    /// Looks that are under way at the same time.
    pub(super) at_once: usize,
}

/// When looks were taken: never more times than [`Limits::all`] allows.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    all: VecDeque<Instant>,
    each: FxHashMap<ProcessKey, VecDeque<Instant>>,
    swept: Option<Instant>,
}

/// How many processes are remembered; beyond it none is looked at that is not known.
const PROCESSES: usize = 1_024;

impl Limiter {
    /// Nothing has been looked at.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            all: VecDeque::new(),
            each: FxHashMap::default(),
            swept: None,
        }
    }

    /// Whether that process's things may be looked at once more; counts it if so.
    pub(super) fn allows(&mut self, process: ProcessKey, now: Instant) -> bool {
        let ((most, period), (most_of_all, period_of_all)) = (self.limits.each, self.limits.all);
        let forget = |times: &mut VecDeque<Instant>, period| {
            while times
                .front()
                .is_some_and(|time| now.saturating_duration_since(*time) >= period)
            {
                times.pop_front();
            }
        };
        forget(&mut self.all, period_of_all);
        // Every time would cost more than most looks do.
        if self
            .swept
            .is_none_or(|swept| now.saturating_duration_since(swept) >= period)
        {
            self.each.retain(|_, times| {
                forget(times, period);
                !times.is_empty()
            });
            self.swept = Some(now);
        }
        let is_full = self.each.len() >= PROCESSES && !self.each.contains_key(&process);
        if is_full || self.all.len() >= most_of_all {
            return false;
        }
        let times = self.each.entry(process).or_default();
        forget(times, period);
        let allowed = times.len() < most;
        if allowed {
            times.push_back(now);
            self.all.push_back(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32) -> ProcessKey {
        ProcessKey { pid, start: 1 }
    }

    fn limiter(each: usize, all: usize) -> Limiter {
        Limiter::new(Limits {
            each: (each, Duration::from_mins(1)),
            all: (all, Duration::from_secs(1)),
            at_once: 1,
        })
    }

    #[test]
    fn one_process_is_looked_at_so_often() {
        let (mut limiter, start) = (limiter(8, 100), Instant::now());
        let allowed = (0..20).filter(|second| limiter.allows(process(1), start + Duration::from_secs(*second)));
        assert_eq!(allowed.count(), 8);
        assert!(limiter.allows(process(2), start + Duration::from_secs(20)));
        assert!(!limiter.allows(process(1), start + Duration::from_secs(59)));
        assert!(limiter.allows(process(1), start + Duration::from_secs(61)));
    }

    #[test]
    fn all_together_are_looked_at_so_often() {
        let (mut limiter, start) = (limiter(8, 3), Instant::now());
        let allowed = (0..10).filter(|pid| limiter.allows(process(*pid), start)).count();
        assert_eq!(allowed, 3);
        assert!(limiter.allows(process(9), start + Duration::from_secs(1)));
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let (mut limiter, start) = (limiter(1, 10_000), Instant::now());
        for pid in 0..5_000 {
            limiter.allows(process(pid), start);
        }
        assert!(limiter.each.len() <= PROCESSES);
    }
}
