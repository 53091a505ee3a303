//! What a program listens on from its first moment: sockets that another opened for it, as systemd does.
//!
//! The kernel tells of a socket when it begins to listen, which is then systemd's, or whichever program's ran before in
//! the same process. So a rule asks for a look at programs of which it matters.

use std::time::Duration;

use super::{AT_ONCE, Look, Question, held::listeners, limiter::Limits};
use crate::{
    detect::Ask,
    event::{Event, Kind, Process},
    observed::Observed,
};

pub(super) const LOOK: Look = Look {
    ask: Ask::InheritedSockets,
    limits: Limits {
        each: (4, Duration::from_secs(2)),
        all: (50, Duration::from_secs(1)),
        at_once: 2,
    },
    // Who held what when the agent started, the look at all that stood has told.
    concerns: |observed| matches!(observed.event.kind, Kind::Exec(_)) && !observed.event.startup,
    subject: |observed| Some(process(observed)?.key),
    timing: AT_ONCE,
    answer,
    unanswered: |_| None,
};

fn process(observed: &Observed) -> Option<&Process> {
    observed.process.as_deref()
}

fn answer(question: &Question) -> Vec<Event> {
    let found = process(&question.about).map(listeners).unwrap_or_default();
    question.found_listeners(found).collect()
}
