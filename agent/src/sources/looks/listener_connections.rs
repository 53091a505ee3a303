//! What a listener's process is connected to: it may hand on what it takes in.
//!
//! Looked at a moment after it began to listen, since programs open what they need in no particular order, and leave
//! the work to children, which inherit the socket.

use std::{collections::HashMap, io, time::Duration};

use procfs::process::{Process, all_processes};

use super::{AT_ONCE, Look, Question, Timing, held::Connected, limiter::Limits, the_same::the_same};
use crate::{
    detect::Ask,
    event::{Event, Findings, Kind, Listener, ProcessKey},
    observed::Observed,
};

pub(super) const LOOK: Look = Look {
    ask: Ask::ListenerConnections,
    limits: Limits {
        each: (8, Duration::from_mins(1)),
        all: (128, Duration::from_mins(1)),
        at_once: 2,
    },
    concerns: |observed| listener(observed).is_some_and(|listener| listener.findings == Findings::default()),
    subject: |observed| listener(observed)?.owner.process,
    timing: Timing {
        delay: Duration::from_secs(1),
        ..AT_ONCE
    },
    answer,
    unanswered: |_| None,
};

/// Descendants of one process that are looked at.
const FAMILY: usize = 64;

/// The TCP listener, if it has not stood since before the agent.
fn listener(observed: &Observed) -> Option<&Listener> {
    match &observed.event.kind {
        Kind::Listen(listener) if listener.address.endpoint().is_some() && !observed.event.startup => Some(listener),
        _ => None,
    }
}

/// The listener once more, if its process or one of its descendants is connected to anything.
fn answer(question: &Question) -> Vec<Event> {
    let Some(asked) = listener(&question.about) else {
        return Vec::new();
    };
    let Some(owner) = asked.owner.process else {
        return Vec::new();
    };
    let found = connections(owner, asked).unwrap_or_else(|error| {
        tracing::debug!(address = %asked.address, %error, "listener's connections not looked at");
        Findings::default()
    });
    if found.connected_to.is_empty() {
        return Vec::new();
    }
    let mut observed = Observed::clone(&question.about);
    if let Kind::Listen(listener) = &mut observed.event.kind {
        listener.findings = found;
    }
    vec![question.again(observed)]
}

fn connections(owner: ProcessKey, asked: &Listener) -> io::Result<Findings> {
    let owner_now = the_same(owner)?;
    let connected = Connected::in_network_of(owner)?;
    let mut findings = Findings::default();
    for process in family(owner_now)? {
        let here = connected.of(&process).into_iter();
        let here = here.filter(|(address, _)| **address == asked.address);
        for path in here.flat_map(|(_, found)| found.connected_to) {
            findings.connect(&path);
        }
    }
    Ok(findings)
}

/// A process and its descendants, as far as they still are below it.
fn family(first: Process) -> io::Result<Vec<Process>> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all_processes().map_err(io::Error::other)?.flatten() {
        if let Ok(stat) = process.stat() {
            children.entry(stat.ppid).or_default().push(process);
        }
    }
    let mut family = vec![first];
    let mut next = 0;
    while next < family.len() && family.len() < FAMILY {
        let pid = family[next].pid;
        family.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    family.truncate(FAMILY);
    Ok(family)
}

#[cfg(test)]
mod tests;
