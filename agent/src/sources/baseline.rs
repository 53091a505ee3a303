//! What was learned, kept across restarts: read when the agent starts, and written by a task of its own; and the orders
//! that `tocsin baseline` leaves for it.

pub mod file;
pub mod orders;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{interval, timeout},
};
use tracing::{info, warn};

use crate::event::{
    Event, Kind,
    baseline::{Copy, Tidings},
};

/// How often orders are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// How long until what could not be written is tried again.
pub const AGAIN: Duration = Duration::from_secs(10);

/// What was learned before, as the first event of a stream. What cannot be read is said, and learning starts anew.
pub fn load(folder: &std::path::Path) -> Option<Event> {
    match file::load(folder) {
        Ok(learned) => Some(event(Tidings::Learned(learned?))),
        Err(error) => {
            warn!(
                reason = format!("{error:#}"),
                "what was learned before is not known, learning starts anew"
            );
            None
        }
    }
}

/// Writes each copy, until nobody sends any more. What cannot be written is tried again after that time, since nothing
/// new may be learned for long; a failure is said once, until it works again.
pub async fn keep(folder: PathBuf, mut copies: mpsc::Receiver<Copy>, again: Duration) {
    let folder = Arc::new(folder);
    // Known before there is anything to lose.
    let writable = file::may_be_written(&folder);
    let mut failing = writable.is_err();
    if let Err(error) = writable {
        say_unkept(&error);
    }
    let mut unkept: Option<Copy> = None;
    loop {
        let next = match &unkept {
            Some(_) => timeout(again, copies.recv()).await,
            None => Ok(copies.recv().await),
        };
        let ended = matches!(next, Ok(None));
        let Some(copy) = newest(unkept.take(), next.ok().flatten()) else {
            return;
        };
        let (target, kept) = (Arc::clone(&folder), copy.clone());
        let written = spawn_blocking(move || {
            file::store(&target, &kept.learned)?;
            orders::remove(&target, &kept.done)
        });
        match written.await.map_err(anyhow::Error::new).flatten() {
            Ok(()) => {
                if failing {
                    info!(folder = %folder.display(), "what was learned can be kept again");
                }
                failing = false;
            }
            Err(error) => {
                if !failing {
                    say_unkept(&error);
                }
                failing = true;
                unkept = Some(copy);
            }
        }
        if ended {
            return;
        }
    }
}

fn say_unkept(error: &anyhow::Error) {
    warn!(
        reason = format!("{error:#}"),
        "what was learned cannot be kept, and goes with the agent"
    );
}

/// What is to be written of a copy that could not be and one that came since: the orders of both are done. One that
/// stayed would be done again by the next agent, which by then may have learned what it makes forgotten.
fn newest(unkept: Option<Copy>, next: Option<Copy>) -> Option<Copy> {
    match (unkept, next) {
        (Some(unkept), Some(next)) => Some(Copy {
            done: [unkept.done, next.done].concat(),
            ..next
        }),
        (unkept, next) => next.or(unkept),
    }
}

/// Hands on orders as they come, until nobody listens.
pub async fn watch(folder: PathBuf, events: mpsc::Sender<Vec<Event>>) {
    let (folder, mut look, mut seen) = (Arc::new(folder), interval(LOOK), BTreeSet::new());
    loop {
        look.tick().await;
        let target = Arc::clone(&folder);
        let looked = spawn_blocking(move || (orders::unseen(&target, &mut seen), seen)).await;
        let Ok((orders, now)) = looked else {
            return;
        };
        seen = now;
        let orders = orders
            .into_iter()
            .map(|(name, order)| event(Tidings::Order(name, order)));
        let orders: Vec<_> = orders.collect();
        if events.is_closed() || (!orders.is_empty() && events.send(orders).await.is_err()) {
            return;
        }
    }
}

fn event(tidings: Tidings) -> Event {
    Event {
        time: Timestamp::now(),
        startup: false,
        kind: Kind::Baseline(Box::new(tidings)),
        given: None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        enrich::baseline::sample,
        event::baseline::{Learned, Order},
    };

    /// A folder that takes nothing for some time, as on a full disk, is written to as soon as it does; and the orders
    /// whose effect was in a copy that could not be kept are done.
    #[tokio::test]
    async fn what_cannot_be_kept_is_tried_again_with_its_orders() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("state");
        orders::give(&folder, &Order::Reset { subject: None }).unwrap();
        let done: Vec<_> = orders::unseen(&folder, &mut BTreeSet::new())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(done.len(), 1);
        // Nothing replaces a folder that holds something.
        let obstacle = file::path(&folder);
        fs::create_dir_all(obstacle.join("full")).unwrap();
        let (copies, received) = mpsc::channel(1);
        let keeper = tokio::spawn(keep(folder.clone(), received, Duration::from_millis(10)));
        let empty = Learned::default();
        copies.send(Copy { learned: empty, done }).await.unwrap();
        let learned = sample();
        // There is room for one: the first is with the keeper once a third is taken.
        for _ in 0..2 {
            let (learned, done) = (learned.clone(), Vec::new());
            copies.send(Copy { learned, done }).await.unwrap();
        }
        assert_eq!(orders::waiting(&folder).unwrap().len(), 1);
        fs::remove_dir_all(&obstacle).unwrap();
        drop(copies);
        keeper.await.unwrap();
        assert_eq!(orders::waiting(&folder).unwrap(), []);
        assert_eq!(file::load(&folder).unwrap(), Some(learned));
    }
}
