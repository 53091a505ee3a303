//! What already stands: every process and every listening socket, from `/proc`, with the facts that the sensors take.

mod own;
mod process;
mod socket;

use std::collections::HashMap;

use jiff::Timestamp;
use procfs::process::all_processes;
use tracing::debug;

pub use self::own::{own_capabilities, own_container};
use self::{process::Snapshot, socket::Sockets};
use crate::event::{Event, Exec, Kind, Listener, ProcessKey};

/// Everything that stands now: executions, parents before their children, each followed by its listeners, since what a
/// server's children are depends on what it serves. What ends while it is being looked at is left out.
pub fn scan() -> anyhow::Result<Vec<Event>> {
    let mut sockets = Sockets::default();
    let mut snapshots: Vec<Snapshot> = Vec::new();
    for process in all_processes()?.flatten() {
        match Snapshot::take(&process, &mut sockets) {
            Ok(snapshot) => snapshots.extend(snapshot),
            Err(reason) => debug!(pid = process.pid, %reason, "a process was gone before it could be looked at"),
        }
    }
    snapshots.sort_by_key(|snapshot| (snapshot.key.start, snapshot.key.pid));
    let starts: HashMap<u32, u64> = snapshots
        .iter()
        .map(|snapshot| (snapshot.key.pid, snapshot.key.start))
        .collect();
    for snapshot in &snapshots {
        sockets.own(snapshot);
    }
    let mut listeners = sockets.listeners();
    let unowned = listeners.remove(&None).unwrap_or_default();
    let mut events = Vec::with_capacity(snapshots.len());
    for snapshot in snapshots {
        let (key, seen) = (snapshot.key, snapshot.seen);
        let parent = ProcessKey {
            pid: snapshot.parent,
            start: starts.get(&snapshot.parent).copied().unwrap_or_default(),
        };
        let exec = Exec {
            process: snapshot.key,
            parent,
            execution: snapshot.execution.into(),
        };
        events.push(standing(seen, Kind::Exec(Box::new(exec))));
        let own = listeners.remove(&Some(key)).unwrap_or_default();
        events.extend(own.into_iter().map(|listener| listens(seen, listener)));
    }
    let now = Timestamp::now();
    events.extend(unowned.into_iter().map(|listener| listens(now, listener)));
    Ok(events)
}

/// Leaves out of a scan what the kernel has reported meanwhile: an execution that stands in `seen` and was already
/// there when `/proc` was read is the same one.
pub fn without_seen(mut standing: Vec<Event>, seen: &[Event]) -> Vec<Event> {
    let mut ran: HashMap<ProcessKey, Vec<Timestamp>> = HashMap::new();
    for event in seen {
        if let Kind::Exec(exec) = &event.kind {
            ran.entry(exec.process).or_default().push(event.time);
        }
    }
    standing.retain(|event| match &event.kind {
        Kind::Exec(exec) => !ran
            .get(&exec.process)
            .is_some_and(|times| times.iter().any(|time| *time <= event.time)),
        Kind::Listen(listener) => !seen.iter().any(|event| match &event.kind {
            Kind::Listen(other) => other.owner.process == listener.owner.process && other.address == listener.address,
            _ => false,
        }),
        _ => true,
    });
    standing
}

fn listens(time: Timestamp, listener: Listener) -> Event {
    standing(time, Kind::Listen(Box::new(listener)))
}

fn standing(time: Timestamp, kind: Kind) -> Event {
    Event {
        time,
        startup: true,
        kind,
        given: None,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, process::Command};

    use super::*;
    use crate::event::ListenAddress;

    #[test]
    fn finds_a_child_and_a_listener_of_ours() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let found = scan();
        child.kill().unwrap();
        child.wait().unwrap();
        let found = found.unwrap();
        let exec = found.iter().find_map(|event| match &event.kind {
            Kind::Exec(exec) if exec.process.pid == child.id() => Some(exec),
            _ => None,
        });
        let exec = exec.expect("the child is found");
        assert_eq!(&*exec.execution.command_line, "/bin/sleep 60");
        assert!(exec.execution.exe.ends_with("sleep"), "{}", exec.execution.exe);
        assert_eq!(exec.parent.pid, std::process::id());
        assert!(exec.execution.inode != 0 && exec.execution.namespaces.network != 0);
        let listens = found.iter().any(|event| match &event.kind {
            Kind::Listen(listener) => {
                listener.address == ListenAddress::Tcp(socket.local_addr().unwrap())
                    && listener
                        .owner
                        .process
                        .is_some_and(|process| process.pid == std::process::id())
            }
            _ => false,
        });
        assert!(listens, "our listener is found, and is ours");
        let parents_first = found.iter().enumerate().all(|(index, event)| match &event.kind {
            Kind::Exec(exec) => !found[index..].iter().any(|later| match &later.kind {
                Kind::Exec(later) => later.process == exec.parent && later.process != exec.process,
                _ => false,
            }),
            _ => true,
        });
        assert!(parents_first);
    }

    #[test]
    fn nothing_is_seen_twice() {
        let exec = |time: i64, startup| {
            let process = ProcessKey { pid: 5, start: 50 };
            let exec = Exec {
                process,
                parent: ProcessKey::default(),
                execution: std::sync::Arc::default(),
            };
            Event {
                time: Timestamp::from_second(time).unwrap(),
                startup,
                kind: Kind::Exec(Box::new(exec)),
                given: None,
            }
        };
        assert_eq!(
            without_seen(vec![exec(10, true)], &[exec(9, false)]).len(),
            0,
            "the kernel reported it already"
        );
        assert_eq!(
            without_seen(vec![exec(10, true)], &[exec(11, false)]).len(),
            1,
            "it ran something else later"
        );
        assert_eq!(without_seen(vec![exec(10, true)], &[]).len(), 1);
    }
}
