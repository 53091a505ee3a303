//! What the service manager is told: that the agent watches, that it lives, that it ends.
//!
//! Apart from `run`, since all of it means nothing where nobody asks: without `NOTIFY_SOCKET` in the environment each of
//! these does nothing (`sd_notify(3)`).

use std::{convert::Infallible, time::Duration};

use sd_notify::NotifyState;

/// The sensors are attached: whoever is ordered after the agent is watched from its first process on.
pub fn ready(sensors: usize, rules: usize) {
    let status = format!("watching with {sensors} sensors and {rules} rules");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The agent ends because it was told to.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that the agent lives, twice in the time after which the service manager takes it for hung; never returns.
///
/// Must run on the stream's own thread: a stream that hangs keeps this from its turn.
pub async fn keep_watchdog_calm() -> Infallible {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut beats = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
    loop {
        beats.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
