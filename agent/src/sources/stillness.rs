//! Waiting until files that somebody writes are still: an editor, a package manager and who fetches a feed write more than
//! once.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// How long they must be still.
const QUIET: Duration = Duration::from_millis(300);

/// What is written all the time is read all the same.
const LONGEST: Duration = Duration::from_secs(10);

/// Waits for a change, until no other follows. Nothing is lost when it is not waited for any more.
#[derive(Debug)]
pub(super) struct Stillness {
    quiet: Duration,
    longest: Duration,
    /// Something has changed: when it is read at the latest.
    latest: Option<Instant>,
}

impl Default for Stillness {
    fn default() -> Self {
        Self {
            quiet: QUIET,
            longest: LONGEST,
            latest: None,
        }
    }
}

impl Stillness {
    pub(super) async fn after(&mut self, changes: &mut mpsc::Receiver<()>) {
        let latest = if let Some(latest) = self.latest {
            latest
        } else {
            changes.recv().await;
            *self.latest.insert(Instant::now() + self.longest)
        };
        while Instant::now() < latest {
            let quiet = latest.min(Instant::now() + self.quiet);
            if timeout_at(quiet, changes.recv()).await.is_err() {
                break;
            }
        }
        self.latest = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{interval, timeout};

    use super::*;

    #[tokio::test]
    async fn what_is_written_steadily_is_read_now_and_then_and_holds_up_nothing_else() {
        let (notice, mut changes) = mpsc::channel(1);
        let writer = notice.clone();
        let writer = tokio::spawn(async move {
            let mut tick = interval(Duration::from_millis(10));
            while writer.send(()).await.is_ok() {
                tick.tick().await;
            }
        });
        let longest = Duration::from_millis(500);
        let mut stillness = Stillness {
            longest,
            ..Stillness::default()
        };
        let begun = Instant::now();
        // Something else happens meanwhile.
        let interrupted = timeout(longest / 2, stillness.after(&mut changes)).await;
        assert!(interrupted.is_err());
        stillness.after(&mut changes).await;
        assert!(
            (longest..longest * 2).contains(&begun.elapsed()),
            "{:?}",
            begun.elapsed()
        );
        writer.abort();
        let _ = notice.try_send(());
        stillness.after(&mut changes).await;
        let nothing = timeout(longest, stillness.after(&mut changes)).await;
        assert!(nothing.is_err(), "nothing has changed");
    }
}
