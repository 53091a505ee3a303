//! Who listens on TCP and is connected to unix sockets while a program runs.
//!
//! A proxy connects for each request, and nobody tells of connections between unix sockets. But a request to a container
//! runtime lasts as long as the runtime's work: when a rule sees that work begin, whoever asked for it is connected.

use std::{io, time::Duration};

use procfs::process::{Process, all_processes};

use super::{AT_ONCE, Look, Question, held::Connected, limiter::Limits};
use crate::{
    detect::Ask,
    event::{self, Event, Kind, Listener, Owner, ProcessKey},
    observed::Observed,
};

pub(super) const LOOK: Look = Look {
    ask: Ask::ConnectedListeners,
    // A look at all descriptors of 500 processes takes some 20 milliseconds.
    limits: Limits {
        each: (2, Duration::from_secs(10)),
        all: (10, Duration::from_mins(1)),
        at_once: 1,
    },
    concerns: |observed| matches!(observed.event.kind, Kind::Exec(_)) && !observed.event.startup,
    subject: |observed| Some(caretaker(observed)?.key),
    timing: AT_ONCE,
    answer,
    unanswered: |_| None,
};

/// Listeners that one look tells of.
const LISTENERS: usize = 256;

/// Who had the program run: the program itself may be gone in a moment, and both live in one network namespace.
fn caretaker(observed: &Observed) -> Option<&event::Process> {
    observed.process.as_ref()?.parent.as_deref()
}

fn answer(question: &Question) -> Vec<Event> {
    let Some(caretaker) = caretaker(&question.about) else {
        return Vec::new();
    };
    let found = connected_listeners(caretaker).unwrap_or_else(|error| {
        tracing::debug!(pid = caretaker.key.pid, %error, "connected listeners not looked at");
        Vec::new()
    });
    question.found_listeners(found).collect()
}

fn connected_listeners(caretaker: &event::Process) -> io::Result<Vec<Listener>> {
    let connected = Connected::in_network_of(caretaker.key)?;
    let mut found = Vec::new();
    for process in all_processes().map_err(io::Error::other)?.flatten() {
        let addresses = connected.of(&process);
        // Of one that has ended meanwhile nothing more can be told.
        let (false, Ok(stat), Ok(uid)) = (addresses.is_empty(), process.stat(), process.uid()) else {
            continue;
        };
        let owner = Owner {
            process: Some(key(&process, stat.starttime)),
            cgroup_id: 0,
            network_namespace: caretaker.execution.namespaces.network,
            uid,
        };
        found.extend(addresses.into_iter().map(|(address, findings)| Listener {
            owner,
            address: address.clone(),
            looked_up: true,
            findings,
        }));
    }
    found.truncate(LISTENERS);
    Ok(found)
}

fn key(process: &Process, start: u64) -> ProcessKey {
    ProcessKey {
        pid: process.pid.unsigned_abs(),
        start,
    }
}
