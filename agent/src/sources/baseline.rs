//! What was learned, kept across restarts: read when the agent starts, and written by a task of its own; and the orders
//! that `tocsin baseline` leaves for it.

pub mod file;
pub mod orders;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{sync::mpsc, task::spawn_blocking, time::interval};
use tracing::{info, warn};

use crate::event::{
    Event, Kind,
    baseline::{Copy, Tidings},
};

/// How often orders are looked for.
const LOOK: Duration = Duration::from_secs(1);

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

/// Writes each copy, until nobody sends any more. A failure is said once, until it works again.
pub async fn keep(folder: PathBuf, mut copies: mpsc::Receiver<Copy>) {
    let (folder, mut failing) = (Arc::new(folder), false);
    while let Some(Copy { learned, done }) = copies.recv().await {
        let target = Arc::clone(&folder);
        let written = spawn_blocking(move || {
            file::store(&target, &learned)?;
            orders::remove(&target, &done)
        });
        match written.await.map_err(anyhow::Error::new).flatten() {
            Ok(()) if failing => info!(folder = %folder.display(), "what was learned can be kept again"),
            Err(error) if !failing => {
                warn!(
                    reason = format!("{error:#}"),
                    "what was learned cannot be kept, and goes with the agent"
                );
                failing = true;
                continue;
            }
            Ok(()) | Err(_) => continue,
        }
        failing = false;
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
