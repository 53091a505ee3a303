//! The sockets of every network namespace, and whose they are.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use procfs::{net::TcpState, process::Process};
use tracing::debug;

use super::process::Snapshot;
use crate::{
    event::{Ends, Findings, ListenAddress, Listener, Owner, ProcessKey},
    sources::{looks::in_network_of, sock_diag},
};

/// The sockets that were found.
#[derive(Default)]
pub(super) struct Sockets {
    namespaces: HashSet<u32>,
    /// Every IPv4 and IPv6 socket; the ends of those that are connected.
    internet: HashMap<u64, Option<Ends>>,
    listening: HashMap<u64, Listening>,
}

struct Listening {
    address: ListenAddress,
    network_namespace: u32,
    /// Whose it is, as far as the tables of sockets tell.
    uid: Option<u32>,
    owner: Option<Owner>,
}

impl Sockets {
    /// Reads the socket tables of the namespace that the process lives in, once for each namespace.
    pub(super) fn look_into(&mut self, process: &Process, network_namespace: u32) {
        if network_namespace == 0 || !self.namespaces.insert(network_namespace) {
            return;
        }
        for entry in [process.tcp(), process.tcp6()].into_iter().flatten().flatten() {
            let ends = ends(entry.local_address, entry.remote_address);
            self.internet.insert(entry.inode, ends);
            if entry.state == TcpState::Listen {
                let address = SocketAddr::new(entry.local_address.ip().to_canonical(), entry.local_address.port());
                self.add(
                    entry.inode,
                    ListenAddress::Tcp(address),
                    network_namespace,
                    Some(entry.uid),
                );
            }
        }
        let datagrams = [process.udp(), process.udp6()].into_iter().flatten().flatten();
        let datagrams = datagrams.map(|entry| (entry.inode, ends(entry.local_address, entry.remote_address)));
        self.internet.extend(datagrams);
        let found = in_network_of(process.pid.unsigned_abs(), network_namespace, sock_diag::unix_listening);
        match found {
            Ok(found) => found
                .into_iter()
                .for_each(|socket| self.add(socket.inode, socket.address, network_namespace, None)),
            Err(error) => debug!(pid = process.pid, %error, "unix sockets of a network namespace not seen"),
        }
    }

    fn add(&mut self, inode: u64, address: ListenAddress, network_namespace: u32, uid: Option<u32>) {
        let listening = Listening {
            address,
            network_namespace,
            uid,
            owner: None,
        };
        self.listening.insert(inode, listening);
    }

    /// Whether that is an IPv4 or IPv6 socket.
    pub(super) fn is_internet(&self, inode: u64) -> bool {
        self.internet.contains_key(&inode)
    }

    /// Both ends of an IPv4 or IPv6 socket that is connected.
    pub(super) fn ends(&self, inode: u64) -> Option<Ends> {
        self.internet.get(&inode).copied().flatten()
    }

    /// Notes whose sockets these are: the first process that holds one (a server, whose workers come later), unless that
    /// is PID 1, which opens sockets for the services that it starts.
    pub(super) fn own(&mut self, snapshot: &Snapshot) {
        for inode in &snapshot.sockets {
            if let Some(listening) = self.listening.get_mut(inode) {
                let is_owned = |owner: Owner| owner.process.is_some_and(|process| process.pid != 1);
                if !listening.owner.is_some_and(is_owned) {
                    listening.owner = Some(Owner {
                        process: Some(snapshot.key),
                        cgroup_id: snapshot.execution.cgroup_id,
                        network_namespace: listening.network_namespace,
                        uid: listening.uid.unwrap_or(snapshot.execution.credentials.uid),
                    });
                }
            }
        }
    }

    /// Every listening socket, by the process that owns it.
    pub(super) fn listeners(self) -> HashMap<Option<ProcessKey>, Vec<Listener>> {
        let mut by_owner = HashMap::<_, Vec<_>>::new();
        for listening in self.listening.into_values() {
            let unowned = Owner {
                network_namespace: listening.network_namespace,
                uid: listening.uid.unwrap_or_default(),
                ..Owner::default()
            };
            let owner = listening.owner.unwrap_or(unowned);
            by_owner.entry(owner.process).or_default().push(Listener {
                owner,
                address: listening.address,
                looked_up: false,
                findings: Findings::default(),
            });
        }
        by_owner
    }
}

/// The ends of a socket, if it is connected.
fn ends(local: SocketAddr, remote: SocketAddr) -> Option<Ends> {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    (remote.port() != 0).then(|| Ends {
        local: canonical(local),
        remote: canonical(remote),
    })
}
