//! Waiting for a moment of the wall clock, also over a suspension of the machine and when somebody sets the clock.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Returns at that moment, at once if it has passed, never if there is none.
pub async fn until(moment: Option<Timestamp>) -> Result<()> {
    let Some(moment) = moment else {
        return std::future::pending().await;
    };
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK);
    let timer = timer.context("cannot make a timer")?;
    let at = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec {
            // Zero would switch the timer off.
            tv_sec: moment.as_second().max(1),
            tv_nsec: moment.subsec_nanosecond().max(0).into(),
        },
    };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &at).context("cannot set a timer")?;
    // SAFETY: an `OwnedFd` is one and the same open descriptor for as long as it lives, and `AsyncFd` keeps it.
    let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
    let timer = timer.context("cannot wait for a timer")?;
    // It goes off once and is thrown away: there is no readiness to keep.
    let _guard = timer.readable().await.context("cannot wait for a timer")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn it_returns_at_the_moment_and_not_before() {
        let soon = Timestamp::now() + SignedDuration::from_millis(50);
        for moment in [soon, Timestamp::UNIX_EPOCH, Timestamp::MIN] {
            timeout(Duration::from_secs(20), until(Some(moment)))
                .await
                .unwrap()
                .unwrap();
            assert!(Timestamp::now() >= moment);
        }
        let later = Timestamp::now() + SignedDuration::from_hours(1);
        for moment in [Some(later), None] {
            timeout(Duration::from_millis(20), until(moment)).await.unwrap_err();
        }
    }
}
