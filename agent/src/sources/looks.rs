//! Closer looks that rules ask for, by `tocsin: {ask: NAME}`: whoever looks may open, connect and wait, as no rule may.
//! What is found enters the stream as events.
//!
//! A kind of look is a file here and a row of [`LOOKS`]. Each has a queue and a task of its own, so that none waits for
//! another, and limits: how often one process's things are looked at, how often any, and how many at the same time.

pub mod docker_api;
mod listening_sockets;
mod inherited_sockets;
mod listener_connections;
mod connected_listeners;
mod held;
mod executable_content;
mod openssh_configuration;
pub(super) mod inside;
mod limiter;
mod network;
mod the_same;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{
    Semaphore,
    mpsc::{self, Receiver},
};
use uuid::Uuid;

use self::limiter::{Limiter, Limits};
pub(super) use self::network::in_network_of;
use crate::{
    detect::Ask,
    event::{Again, Event, Kind, Listener, ProcessKey},
    observed::Observed,
    sources::Sender,
};

/// Questions that may wait for one kind of look.
const QUESTIONS: usize = 4_096;

/// What a rule wants to have looked at.
#[derive(Debug)]
pub struct Question {
    /// What it matched.
    pub about: Arc<Observed>,
    /// The rules that have matched it so far.
    pub matched: Vec<Uuid>,
    /// What the rules that ask want to have searched for.
    pub texts: Vec<Box<str>>,
}

impl Question {
    /// An answer: something that was found, which is judged like whatever happens.
    fn found(&self, kind: Kind) -> Event {
        Event {
            time: Timestamp::now(),
            startup: self.about.event.startup,
            kind,
            given: None,
        }
    }

    /// An answer: listeners that were found.
    fn found_listeners(&self, listeners: Vec<Listener>) -> impl Iterator<Item = Event> {
        let found = listeners.into_iter().map(|listener| Kind::Listen(Box::new(listener)));
        found.map(|kind| self.found(kind))
    }

    /// An answer: what was asked about, with more known of it, to be judged by the rules that have not matched.
    fn again(&self, observed: Observed) -> Event {
        self.found(Kind::Again(Box::new(Again {
            observed: Arc::new(observed),
            matched: self.matched.clone(),
        })))
    }
}

/// A kind of look.
#[derive(Clone, Copy)]
struct Look {
    ask: Ask,
    limits: Limits,
    /// Whether this can be looked at, and has not been: an answer is not asked about again, or there would be no end.
    concerns: fn(&Observed) -> bool,
    /// The process whose things are looked at.
    subject: fn(&Observed) -> Option<ProcessKey>,
    /// When the look is taken.
    timing: Timing,
    /// Looks, on a thread where it may block.
    answer: fn(&Question) -> Vec<Event>,
    /// What is known where nobody can look or it would be one look too many; `None` if that is nothing new.
    unanswered: fn(&Observed) -> Option<Observed>,
}

/// When looks of a kind are taken.
#[derive(Clone, Copy)]
struct Timing {
    /// How long after the question.
    delay: Duration,
    /// How long after that again, and again, while an answer is not final.
    more: &'static [Duration],
    /// Whether an answer will stay as it is.
    is_final: fn(&[Event]) -> bool,
}

/// At once, and once.
const AT_ONCE: Timing = Timing {
    delay: Duration::ZERO,
    more: &[],
    is_final: |_| true,
};

/// Every kind, in the order of [`Ask::ALL`].
const LOOKS: [Look; Ask::ALL.len()] = [
    docker_api::LOOK,
    listening_sockets::LOOK,
    executable_content::LOOK,
    openssh_configuration::LOOK,
    inherited_sockets::LOOK,
    listener_connections::LOOK,
    connected_listeners::LOOK,
];

/// Whether such a look can be taken at this.
pub fn concerns(ask: Ask, observed: &Observed) -> bool {
    (LOOKS[ask as usize].concerns)(observed)
}

/// What is to be judged where nobody answers.
pub fn unanswered(ask: Ask, observed: &Observed) -> Option<Observed> {
    (LOOKS[ask as usize].unanswered)(observed)
}

/// Takes questions, and knows how many are open.
#[derive(Clone, Debug)]
pub struct Asker {
    queues: [mpsc::Sender<Asked>; LOOKS.len()],
    outstanding: Arc<AtomicUsize>,
}

/// A question that counts as open until it is dropped.
#[derive(Debug)]
struct Asked {
    question: Question,
    outstanding: Arc<AtomicUsize>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Asker {
    /// Starts whoever looks; without the probe, a suspected Docker API's configuration is read alone. Must be called
    /// within a runtime.
    pub fn start(probe: bool, events: &Sender) -> Self {
        let queues = LOOKS.map(|look| {
            let look = match look.ask {
                Ask::DockerApiProbe if !probe => docker_api::WITHOUT_PROBE,
                _ => look,
            };
            let (questions, received) = mpsc::channel(QUESTIONS);
            tokio::spawn(answer(look, received, events.clone()));
            questions
        });
        Self {
            queues,
            outstanding: Arc::default(),
        }
    }

    /// Puts a question; whether it will be answered.
    pub fn ask(&self, ask: Ask, question: Question) -> bool {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        let asked = Asked {
            question,
            outstanding: Arc::clone(&self.outstanding),
        };
        self.queues[ask as usize].try_send(asked).is_ok()
    }

    /// Questions whose answers have not entered the stream's channel yet.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }
}

/// Answers questions of one kind until nobody asks or listens.
async fn answer(look: Look, mut questions: Receiver<Asked>, events: Sender) {
    let permits = Arc::new(Semaphore::new(look.limits.at_once));
    let mut limiter = Limiter::new(look.limits);
    while let Some(asked) = questions.recv().await {
        let subject = (look.subject)(&asked.question.about);
        if !subject.is_some_and(|process| limiter.allows(process, Instant::now())) {
            tracing::debug!(
                ask = look.ask.name(),
                ?subject,
                "not looked at: no process, or too often"
            );
            let refusal = (look.unanswered)(&asked.question.about);
            if let Some(refusal) = refusal
                && events.send(vec![asked.question.again(refusal)]).await.is_err()
            {
                return;
            }
            continue;
        }
        // No more wait for their turn than the limits let through.
        tokio::spawn(take(look, asked, Arc::clone(&permits), events.clone()));
    }
}

/// Takes one look, in time and when it is its turn, and again while it finds nothing: what stood before the agent has
/// had its time.
async fn take(look: Look, asked: Asked, permits: Arc<Semaphore>, events: Sender) {
    let standing = asked.question.about.event.startup;
    let more: &[Duration] = if standing { &[] } else { look.timing.more };
    let asked = Arc::new(asked);
    let mut delays = std::iter::once(look.timing.delay)
        .chain(more.iter().copied())
        .peekable();
    while let Some(delay) = delays.next() {
        tokio::time::sleep(delay).await;
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let (asked, events, is_last) = (Arc::clone(&asked), events.clone(), delays.peek().is_none());
        let looked = tokio::task::spawn_blocking(move || {
            let found = (look.answer)(&asked.question);
            let is_final = is_last || (look.timing.is_final)(&found);
            if is_final {
                // Fails only when the agent ends.
                let _ = events.blocking_send(found);
            }
            // Not before: whoever waits for answers finds this one in the channel.
            drop((asked, permit));
            is_final
        });
        if looked.await.unwrap_or(true) {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
