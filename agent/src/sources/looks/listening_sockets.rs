//! What the parent of an execution listens on.
//!
//! The kernel tells of TCP sockets when they begin to listen, but has no tracepoint for unix sockets, and none for a
//! socket that a program inherits. So a rule asks when it matters, which is when such a program runs another: the parent
//! is still there, and holds the socket. The answer is what was found, and the execution once more, to be judged by what
//! is known now. Sweeping over all sockets now and then would come too late for the first command of a web shell.

use std::{io, time::Duration};

use jiff::Timestamp;
use procfs::process::FDTarget;

use super::{Look, Question, limiter::Limits, network::in_network_of, the_same::the_same};
use crate::{
    detect::Ask,
    event::{self, Event, Findings, Kind, Listener, Owner},
    observed::Observed,
    sources::sock_diag,
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
    answer,
    unanswered: |_| None,
};

/// Descriptors of one process that are looked at.
const DESCRIPTORS: usize = 4_096;

fn concerns(observed: &Observed) -> bool {
    matches!(observed.event.kind, Kind::Exec(_)) && observed.facts.judged_before.is_empty()
}

fn parent(observed: &Observed) -> Option<&event::Process> {
    observed.process.as_ref()?.parent.as_deref()
}

fn answer(question: &Question) -> Vec<Event> {
    let Some(parent) = parent(&question.about) else {
        return Vec::new();
    };
    let found = listeners(parent).unwrap_or_else(|error| {
        tracing::debug!(pid = parent.key.pid, %error, "sockets not looked at");
        Vec::new()
    });
    let again = (!found.is_empty()).then(|| question.again(Observed::clone(&question.about)));
    let found = found.into_iter().map(|listener| Kind::Listen(Box::new(listener)));
    let now = Timestamp::now();
    let found = found.chain([Kind::Looked(parent.key)]).map(|kind| Event {
        time: now,
        startup: question.about.event.startup,
        kind,
        given: None,
    });
    found.chain(again).collect()
}

/// The listening sockets that this process holds.
fn listeners(process: &event::Process) -> io::Result<Vec<Listener>> {
    let entry = the_same(process.key)?;
    let held = entry.fd().map_err(io::Error::other)?.flatten().take(DESCRIPTORS);
    let held: Vec<u64> = held
        .filter_map(|descriptor| match descriptor.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let mut listening = in_network_of(process.key.pid, 0, sock_diag::listening)?;
    listening.retain(|socket| held.contains(&socket.inode));
    let owner = Owner {
        process: Some(process.key),
        cgroup_id: process.execution.cgroup_id,
        network_namespace: process.execution.namespaces.network,
        uid: process.execution.credentials.uid,
    };
    let listener = |socket: sock_diag::Listening| Listener {
        owner,
        address: socket.address,
        looked_up: true,
        findings: Findings::default(),
    };
    Ok(listening.into_iter().map(listener).collect())
}
