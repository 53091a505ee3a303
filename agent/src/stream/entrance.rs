//! The stream's entrance: adds what the node knows, and holds what waits for its container's facts.

use std::{sync::Arc, time::Instant};

use tokio::sync::mpsc;

use crate::{
    control::status,
    enrich::{
        Node, Step,
        baseline::{Baseline, Learning},
        hold::{Counts, Waiting},
    },
    event::{Container, Event, Kind, Metadata, Process},
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

    /// Has behaviour count as learned by that measure.
    #[must_use]
    pub fn learning(mut self, learning: Learning) -> Self {
        *self.node.baseline() = Baseline::new(learning);
        self
    }

    /// What the node has learned.
    pub fn baseline(&mut self) -> &mut Baseline {
        self.node.baseline()
    }

    /// Says how it fares.
    pub fn tell(&mut self, status: &mut status::Stream) {
        let waiting = [&self.standing, &self.waiting];
        let sum = |count: fn(Counts) -> u64| waiting.iter().map(|waiting| count(waiting.counts())).sum();
        status.held = status::Held {
            now: waiting.iter().map(|waiting| waiting.len()).sum(),
            total: sum(|counts| counts.held),
            released: sum(|counts| counts.released),
            expired: sum(|counts| counts.expired),
            overflowed: sum(|counts| counts.overflowed),
        };
        self.node.tell(status);
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
            Step::Awaits(id, observed) => self.hold(id, observed, now, ready),
            Step::Undescribed(container, observed) => {
                if self.ask_files(&container, &observed) {
                    self.node.await_description(&container.id);
                    self.hold(Arc::clone(&container.id), observed, now, ready);
                } else {
                    ready.push(self.node.resume(&container.id, observed));
                }
            }
        }
    }

    fn hold(&mut self, id: Arc<str>, observed: Observed, now: Instant, ready: &mut Vec<Observed>) {
        let waiting = if observed.event.startup {
            &mut self.standing
        } else {
            &mut self.waiting
        };
        if let Some((id, oldest)) = waiting.push(id, now, observed) {
            ready.push(self.node.resume(&id, oldest));
        }
    }

    /// Remembers a role that a rule gave to a process.
    pub fn learn_role(&mut self, process: &Process, role: &Arc<str>) {
        self.node.learn_role(process, role);
    }

    /// What has waited long enough goes on without the facts that did not come.
    pub fn overdue(&mut self, now: Instant, ready: &mut Vec<Observed>) {
        let expired = self.standing.expired(now).into_iter().chain(self.waiting.expired(now));
        for (id, observed) in expired.collect::<Vec<_>>() {
            let observed = self.node.resume(&id, observed);
            if let Some(container) = observed
                .container
                .as_ref()
                .filter(|known| known.metadata == Metadata::Pending)
            {
                self.ask_files(container, &observed);
            }
            ready.push(observed);
            // Later events of this container pass at once from now on, so those that wait must not come after them.
            self.release(&id, ready);
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

    /// Has the runtimes' own files looked at, for what no runtime tells; whether an answer will come. A helper that is so
    /// far behind that it takes no question will not be missed: kernel facts are enough for every rule.
    fn ask_files(&self, container: &Container, observed: &Observed) -> bool {
        let question = runtime_files::Question {
            id: Arc::clone(&container.id),
            runtime: container.runtime.clone(),
            pid: observed.process.as_ref().map_or(0, |process| process.key.pid),
        };
        self.files
            .as_ref()
            .is_some_and(|files| files.try_send(question).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::event::{ContainerAction, ContainerChange, Exec, Execution, ProcessKey, RuntimeState};

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn event(startup: bool, kind: Kind) -> Event {
        Event {
            time: Timestamp::UNIX_EPOCH,
            startup,
            kind,
            given: None,
        }
    }

    /// An execution in a container of which Docker, though connected, tells nothing.
    fn check(startup: bool, waits: Duration) {
        let start = Instant::now();
        let (mut entrance, mut ready) = (Entrance::new(None), Vec::new());
        let docker = RuntimeState {
            name: "docker",
            connected: true,
        };
        entrance.admit(event(false, Kind::Runtime(docker)), start, &mut ready);
        let execution = Execution {
            cgroup: format!("/docker/{ID}").into(),
            ..Execution::default()
        };
        let exec = Exec {
            process: ProcessKey { pid: 2, start: 2 },
            parent: ProcessKey::default(),
            execution: Arc::new(execution),
        };
        entrance.admit(event(startup, Kind::Exec(Box::new(exec))), start, &mut ready);
        assert_eq!(entrance.next_deadline(), Some(start + waits));
        entrance.overdue(start + waits.saturating_sub(Duration::from_millis(1)), &mut ready);
        assert!(ready.is_empty() && entrance.is_waiting());
        entrance.overdue(start + waits, &mut ready);
        assert!(ready.len() == 1 && !entrance.is_waiting());
    }

    /// An execution in the container, as process `pid`.
    fn exec(pid: u32) -> Event {
        let execution = Execution {
            cgroup: format!("/docker/{ID}").into(),
            ..Execution::default()
        };
        let exec = Exec {
            process: ProcessKey { pid, start: 2 },
            parent: ProcessKey::default(),
            execution: Arc::new(execution),
        };
        event(false, Kind::Exec(Box::new(exec)))
    }

    #[test]
    fn what_no_runtime_tells_of_waits_for_the_files() {
        let (files, mut asked) = mpsc::channel(8);
        let (mut entrance, mut ready, now) = (Entrance::new(Some(files)), Vec::new(), Instant::now());
        entrance.admit(exec(2), now, &mut ready);
        entrance.admit(exec(3), now, &mut ready);
        assert!(ready.is_empty() && entrance.is_waiting());
        assert!(
            asked.try_recv().is_ok() && asked.try_recv().is_err(),
            "it is asked once"
        );
        let container = Container {
            id: ID.into(),
            name: "web".into(),
            ..Container::default()
        };
        let change = ContainerChange {
            action: ContainerAction::Describe,
            container: Arc::new(container),
        };
        entrance.admit(event(false, Kind::Container(Box::new(change))), now, &mut ready);
        entrance.admit(exec(4), now, &mut ready);
        let seen: Vec<_> = ready
            .iter()
            .map(|observed| {
                let container = observed.container.as_ref().unwrap();
                (&*container.name, observed.facts.container_start)
            })
            .collect();
        assert_eq!(seen, [("web", false), ("web", true), ("web", false), ("web", false)]);
    }

    #[test]
    fn what_stood_before_the_agent_has_more_patience() {
        check(false, Duration::from_millis(1_500));
        check(true, Duration::from_secs(5));
    }
}
