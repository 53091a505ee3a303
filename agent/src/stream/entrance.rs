//! The stream's entrance: adds what the node knows, and holds what waits for its container's facts.

use std::{sync::Arc, time::Instant};

use tokio::sync::mpsc;

use crate::{
    enrich::{Node, Step, hold::Waiting},
    event::{Event, Kind},
    observed::Observed,
    sources::runtime_files,
};

/// Where events enter.
#[derive(Debug)]
pub struct Entrance {
    node: Node,
    /// What stood before the agent: it is in no hurry, and all of it asks for its containers at the same time.
    standing: Waiting<Observed>,
    waiting: Waiting<Observed>,
    /// Who reads the runtimes' own files; nobody in a replay.
    files: Option<mpsc::Sender<runtime_files::Question>>,
}

impl Entrance {
    /// An entrance to a node of which nothing is known yet.
    pub fn new(files: Option<mpsc::Sender<runtime_files::Question>>) -> Self {
        let waiting = |patience| Waiting::new(patience, Waiting::<Observed>::CAPACITY);
        Self {
            node: Node::default(),
            standing: waiting(Waiting::<Observed>::PATIENCE_AT_START),
            waiting: waiting(Waiting::<Observed>::PATIENCE),
            files,
        }
    }

    /// Takes in an event. What may go on, be it this one or others that waited for what it told, goes to `ready`.
    pub fn admit(&mut self, event: Event, now: Instant, ready: &mut Vec<Observed>) {
        let step = self.node.observe(event, now);
        match step {
            Step::Learned => {}
            Step::Ready(observed) => {
                let described = match &observed.event.kind {
                    Kind::Container(change) => Some(Arc::clone(&change.container.id)),
                    _ => None,
                };
                ready.push(observed);
                if let Some(id) = described {
                    self.release(&id, ready);
                }
            }
            Step::Awaits(id, observed) => {
                let waiting = if observed.event.startup {
                    &mut self.standing
                } else {
                    &mut self.waiting
                };
                if let Some((id, oldest)) = waiting.push(id, now, observed) {
                    ready.push(self.node.resume(&id, oldest));
                }
            }
            Step::Undescribed(container, observed) => {
                let pid = observed.process.as_ref().map_or(0, |process| process.key.pid);
                let question = runtime_files::Question {
                    id: Arc::clone(&container.id),
                    runtime: container.runtime.clone(),
                    pid,
                };
                if let Some(files) = &self.files {
                    // A helper that is that far behind will not be missed: kernel facts are enough for every rule.
                    let _ = files.try_send(question);
                }
                ready.push(observed);
            }
        }
    }

    /// What has waited long enough goes on without the facts that did not come.
    pub fn overdue(&mut self, now: Instant, ready: &mut Vec<Observed>) {
        let expired = self.standing.expired(now).into_iter().chain(self.waiting.expired(now));
        for (id, observed) in expired {
            ready.push(self.node.resume(&id, observed));
        }
    }

    /// When [`Self::overdue`] will next have something; `None` while nothing waits.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [self.standing.next_deadline(), self.waiting.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Whether anything waits.
    pub fn is_waiting(&self) -> bool {
        !self.standing.is_empty() || !self.waiting.is_empty()
    }

    fn release(&mut self, id: &str, ready: &mut Vec<Observed>) {
        let released = self.standing.release(id).into_iter().chain(self.waiting.release(id));
        for observed in released {
            ready.push(self.node.resume(id, observed));
        }
    }
}
