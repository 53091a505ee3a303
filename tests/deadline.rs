//! Waiting for what another process does, without guessing how long it takes.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Asks until there is an answer; panics with `what` was waited for when `limit` has passed.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "no {what} within {limit:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Asks until the answer is yes or `limit` has passed.
pub(crate) fn wait_until(limit: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !is_so() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
    }
}
