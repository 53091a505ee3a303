//! A look at a listener that may be an open Docker API: asks it for `/_ping`, from within its own network namespace.
//!
//! It never leaves the node: only loopback and the namespace's own addresses are asked.

mod exchange;
mod configuration;

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use self::exchange::Finding;
use super::{AT_ONCE, Look, Question, Timing, limiter::Limits, network::in_network_of, the_same::the_same};
use crate::{
    detect::Ask,
    event::{Event, Kind, Listener},
    observed::Observed,
};

/// The finding of a listener that did not answer, or that nobody may ask.
const UNKNOWN: &str = "docker-api-unknown";

pub(super) const LOOK: Look = Look {
    ask: Ask::DockerApiProbe,
    limits: Limits {
        each: (8, Duration::from_mins(1)),
        all: (256, Duration::from_mins(1)),
        at_once: 4,
    },
    concerns: |observed| unanswered(observed).is_some(),
    subject: |observed| listener(observed)?.owner.process,
    timing: Timing {
        // dockerd listens seconds before it serves, and waits for fifteen more if it is to serve everybody.
        more: &[
            Duration::from_secs(2),
            Duration::from_secs(5),
            Duration::from_secs(10),
            Duration::from_secs(15),
        ],
        is_final,
        ..AT_ONCE
    },
    answer: |question| answer(question, ask),
    unanswered,
};

/// The same where nobody may be asked: what the daemon's configuration says must do.
pub(super) const WITHOUT_PROBE: Look = Look {
    timing: AT_ONCE,
    answer: |question| answer(question, |_| Finding::Unknown),
    ..LOOK
};

fn listener(observed: &Observed) -> Option<&Listener> {
    match &observed.event.kind {
        Kind::Listen(listener) => Some(listener),
        _ => None,
    }
}

/// The listener with the finding that nobody knows; `None` of what is no TCP listener, or has a finding.
fn unanswered(observed: &Observed) -> Option<Observed> {
    let asked = listener(observed)?;
    if asked.findings.docker_api.is_some() || asked.address.endpoint().is_none() {
        return None;
    }
    let mut unanswered = observed.clone();
    if let Kind::Listen(listener) = &mut unanswered.event.kind {
        answer_of(listener, UNKNOWN);
    }
    if let Some(given) = &mut unanswered.event.given {
        given.insert("listener.finding".into(), UNKNOWN.into());
    }
    Some(unanswered)
}

/// The listener again, with what was found.
fn answer(question: &Question, ask: fn(&Listener) -> Finding) -> Vec<Event> {
    let Some(asked) = listener(&question.about) else {
        return Vec::new();
    };
    let finding = ask(asked);
    let mut listener = asked.clone();
    answer_of(&mut listener, finding.name());
    if finding == Finding::Unknown {
        listener.findings.configuration = configured(asked);
    }
    question.found_listeners(vec![listener]).collect()
}

/// A listener that does not tell may do so later.
fn is_final(answer: &[Event]) -> bool {
    let told = |event: &Event| match &event.kind {
        Kind::Listen(listener) => listener.findings.docker_api.as_deref() != Some(UNKNOWN),
        _ => true,
    };
    answer.iter().all(told)
}

/// An answer is news, also about a listener that was known.
fn answer_of(listener: &mut Listener, finding: &str) {
    listener.findings.docker_api = Some(finding.into());
    listener.looked_up = false;
}

/// What the daemon's configuration says of a listener that did not tell itself.
fn configured(Listener { owner, address, .. }: &Listener) -> Option<&'static str> {
    let process = the_same(owner.process?).ok()?;
    configuration::of(&process, address.endpoint()?.port())
}

fn ask(Listener { owner, address, .. }: &Listener) -> Finding {
    let (Some(process), Some(endpoint)) = (owner.process, address.endpoint()) else {
        return Finding::Unknown;
    };
    let found = in_network_of(process.pid, owner.network_namespace, || look(endpoint));
    found.unwrap_or_else(|error| {
        tracing::debug!(pid = process.pid, %address, %error, "listener not probed");
        Finding::Unknown
    })
}

/// Asks the listener at that address of the current network namespace.
fn look(address: SocketAddr) -> io::Result<Finding> {
    let mut last = Err(io::Error::other("no address to ask"));
    for ip in reachable_at(address.ip().to_canonical()) {
        if !is_own(ip) {
            return Err(io::Error::other(format!(
                "{ip} is no address of this network namespace"
            )));
        }
        last = exchange::examine(SocketAddr::new(ip, address.port()));
        if last.is_ok() {
            break;
        }
    }
    last
}

/// The addresses under which a listener of this node can be asked by the node itself.
fn reachable_at(ip: IpAddr) -> Vec<IpAddr> {
    match ip {
        ip if !ip.is_unspecified() => vec![ip],
        IpAddr::V4(_) => vec![Ipv4Addr::LOCALHOST.into()],
        // An IPv6 wildcard takes IPv4 as well, and IPv6 may be switched off for the loopback device.
        IpAddr::V6(_) => vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()],
    }
}

/// Whether the current network namespace has that address: only its own can be bound.
fn is_own(ip: IpAddr) -> bool {
    let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    let foreign_too = fs::read_to_string(format!("/proc/sys/net/{family}/ip_nonlocal_bind"));
    let foreign_too = foreign_too.is_ok_and(|setting| setting.trim() != "0");
    ip.is_loopback() || !foreign_too && UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests;
