//! The stream's entrance: adds what the node knows, and holds what waits for its container's facts.

use std::{sync::Arc, time::Instant};

use tokio::sync::mpsc;

use crate::{
    enrich::{
        Node, Step,
        hold::{Counts, Waiting},
    },
    event::{Event, Kind},
    observed::Observed,
    sources::runtime_files,
};

/// Where events enter.
#[derive(Debug)]
pub struct Entrance {
    node: Node,
    waiting: Waiting<Observed>,
    /// Who reads the runtimes' own files; nobody in a replay.
    files: Option<mpsc::Sender<runtime_files::Question>>,
}

impl Entrance {
    /// An entrance to a node of which nothing is known yet.
    pub fn new(files: Option<mpsc::Sender<runtime_files::Question>>) -> Self {
        let waiting = Waiting::new(Waiting::<Observed>::PATIENCE, Waiting::<Observed>::CAPACITY);
        Self {
            node: Node::default(),
            waiting,
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
                if let Some((id, oldest)) = self.waiting.push(id, now, observed) {
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
        for (id, observed) in self.waiting.expired(now) {
            ready.push(self.node.resume(&id, observed));
        }
    }

    /// When [`Self::overdue`] will next have something; `None` while nothing waits.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.waiting.next_deadline()
    }

    /// Whether anything waits.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What became of what had to wait.
    pub fn counts(&self) -> Counts {
        self.waiting.counts()
    }

    fn release(&mut self, id: &str, ready: &mut Vec<Observed>) {
        for observed in self.waiting.release(id) {
            ready.push(self.node.resume(id, observed));
        }
    }
}
