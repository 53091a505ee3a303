//! A look at a listener that may be an open Docker API: asks it for `/_ping`, from within its own network namespace.
//!
//! It never leaves the node: only loopback and the namespace's own addresses are asked.

mod exchange;

use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::{fd::AsFd, unix::fs::MetadataExt},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rustc_hash::FxHashMap;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::{
    Semaphore,
    mpsc::{Receiver, Sender},
    oneshot,
};

use self::exchange::Finding;
use crate::event::{Endpoint, Event, Kind, Listener, Owner, ProcessKey};

/// The finding of a listener that did not answer, or that nobody may ask.
pub const UNKNOWN: &str = "docker-api-unknown";

/// A listener to look at.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Who listens; without a process nothing can be asked.
    pub owner: Owner,
    /// Where.
    pub address: Endpoint,
    /// As in [`Event::startup`] of the event that raised the question.
    pub startup: bool,
}

/// How often one process's listeners are looked at, and in what time.
const PROBES: (usize, Duration) = (8, Duration::from_mins(1));
/// How many processes are remembered for that; beyond it none is looked at that is not known.
const PROCESSES: usize = 1_024;
/// How many looks are under way at the same time.
const AT_ONCE: usize = 4;

/// Answers every question until nobody asks or listens. An answer is the listen event again, with its finding, which is
/// `docker-api-unknown` where no look was possible or it would be one too many.
pub async fn run(mut questions: Receiver<Question>, events: Sender<Vec<Event>>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut limiter = Limiter::default();
    while let Some(question) = questions.recv().await {
        let process = question.owner.process;
        let Some(process) = process.filter(|process| limiter.allows(*process, Instant::now())) else {
            tracing::debug!(?process, address = %question.address, "listener not probed: no process, or too often");
            if events.send(vec![answer(question, Finding::Unknown)]).await.is_err() {
                return;
            }
            continue;
        };
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let events = events.clone();
        tokio::spawn(async move {
            let finding = ask(process.pid, &question).await;
            // Fails only when the agent ends.
            let _ = events.send(vec![answer(question, finding)]).await;
            drop(permit);
        });
    }
}

/// Looks from a thread of its own: a network namespace is entered by a thread, and this one must not come back.
async fn ask(pid: u32, question: &Question) -> Finding {
    let (sender, finding) = oneshot::channel();
    let (address, namespace) = (question.address, question.owner.network_namespace);
    let look = move || {
        let found = enter(pid, namespace).and_then(|()| look(address));
        let found = found.inspect_err(|error| tracing::debug!(pid, %address, %error, "listener not probed"));
        // Fails only when the agent ends.
        let _ = sender.send(found.unwrap_or(Finding::Unknown));
    };
    match thread::Builder::new().name("docker-probe".to_owned()).spawn(look) {
        Ok(_) => finding.await.unwrap_or(Finding::Unknown),
        Err(error) => {
            tracing::debug!(%error, "no thread for a probe");
            Finding::Unknown
        }
    }
}

/// Moves the calling thread into the network namespace of that process, if it still is the one with that inode.
fn enter(pid: u32, inode: u32) -> io::Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    let found = namespace.metadata()?.ino();
    if inode != 0 && found != u64::from(inode) {
        return Err(io::Error::other(format!(
            "process {pid} is in network namespace {found}, not in {inode}"
        )));
    }
    Ok(move_into_link_name_space(
        namespace.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?)
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

fn answer(question: Question, finding: Finding) -> Event {
    let Question {
        owner,
        address,
        startup,
    } = question;
    let listener = Listener {
        owner,
        address,
        finding: Some(finding.name().into()),
    };
    Event {
        time: Timestamp::now(),
        startup,
        kind: Kind::Listen(Box::new(listener)),
        given: None,
    }
}

/// When each process's listeners were looked at.
#[derive(Debug, Default)]
struct Limiter(FxHashMap<ProcessKey, VecDeque<Instant>>);

impl Limiter {
    /// Whether that process's listeners may be looked at once more; counts it if so.
    fn allows(&mut self, process: ProcessKey, now: Instant) -> bool {
        let (most, period) = PROBES;
        self.0.retain(|_, times| {
            times.retain(|time| now.saturating_duration_since(*time) < period);
            !times.is_empty()
        });
        if self.0.len() >= PROCESSES && !self.0.contains_key(&process) {
            return false;
        }
        let times = self.0.entry(process).or_default();
        let allowed = times.len() < most;
        if allowed {
            times.push_back(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests;
