//! What the parent of an execution listens on.
//!
//! The kernel tells of TCP sockets when they begin to listen, but has no tracepoint for unix sockets, and none for a
//! socket that a program inherits. So a rule asks when it matters, which is when such a program runs another: the parent
//! is still there, and holds the socket. The answer is what was found, and the execution once more, to be judged by what
//! is known now. Sweeping over all sockets now and then would come too late for the first command of a web shell.

use std::time::Duration;

use super::{AT_ONCE, Look, Question, held::listeners, limiter::Limits};
use crate::{
    detect::Ask,
    event::{Event, Kind, Process},
    observed::Observed,
};

pub(super) const LOOK: Look = Look {
    ask: Ask::ListeningSockets,
    // A look takes about a tenth of a millisecond.
    limits: Limits {
        each: (1, Duration::from_secs(2)),
        all: (100, Duration::from_secs(1)),
        at_once: 2,
    },
    concerns,
    subject: |observed| Some(parent(observed)?.key),
    timing: AT_ONCE,
    answer,
    unanswered: |_| None,
};

fn concerns(observed: &Observed) -> bool {
    matches!(observed.event.kind, Kind::Exec(_)) && observed.facts.judged_before.is_empty()
}

fn parent(observed: &Observed) -> Option<&Process> {
    observed.process.as_ref()?.parent.as_deref()
}

fn answer(question: &Question) -> Vec<Event> {
    let Some(parent) = parent(&question.about) else {
        return Vec::new();
    };
    let found = listeners(parent);
    let again = (!found.is_empty()).then(|| question.again(Observed::clone(&question.about)));
    let looked = question.found(Kind::Looked(parent.key));
    question.found_listeners(found).chain([looked]).chain(again).collect()
}
