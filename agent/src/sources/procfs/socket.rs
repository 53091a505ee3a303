//! The sockets of every network namespace, and whose they are.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

use procfs::{net::TcpState, process::Process};

use super::process::Snapshot;
use crate::event::{Listener, Owner, ProcessKey};

/// The sockets that were found.
#[derive(Default)]
pub(super) struct Sockets {
    namespaces: HashSet<u32>,
    internet: HashSet<u64>,
    listening: HashMap<u64, Listening>,
}

struct Listening {
    address: SocketAddr,
    network_namespace: u32,
    uid: u32,
    owner: Option<(ProcessKey, u64)>,
}

impl Sockets {
    /// Reads the socket tables of the namespace that the process lives in, once for each namespace.
    pub(super) fn look_into(&mut self, process: &Process, network_namespace: u32) {
        if network_namespace == 0 || !self.namespaces.insert(network_namespace) {
            return;
        }
        for entry in [process.tcp(), process.tcp6()].into_iter().flatten().flatten() {
            self.internet.insert(entry.inode);
            if entry.state == TcpState::Listen {
                let address = SocketAddr::new(entry.local_address.ip().to_canonical(), entry.local_address.port());
                let listening = Listening {
                    address,
                    network_namespace,
                    uid: entry.uid,
                    owner: None,
                };
                self.listening.insert(entry.inode, listening);
            }
        }
        let datagrams = [process.udp(), process.udp6()].into_iter().flatten().flatten();
        self.internet.extend(datagrams.map(|entry| entry.inode));
    }

    /// Whether that is an IPv4 or IPv6 socket.
    pub(super) fn is_internet(&self, inode: u64) -> bool {
        self.internet.contains(&inode)
    }

    /// Notes whose sockets these are: the first process that holds one (a server, whose workers come later), unless that
    /// is PID 1, which opens sockets for the services that it starts.
    pub(super) fn own(&mut self, snapshot: &Snapshot) {
        for inode in &snapshot.sockets {
            if let Some(listening) = self.listening.get_mut(inode) {
                let holds_a_made_one = listening.owner.is_some_and(|(owner, _)| owner.pid != 1);
                if !holds_a_made_one {
                    listening.owner = Some((snapshot.key, snapshot.execution.cgroup_id));
                }
            }
        }
    }

    /// Every listening socket.
    pub(super) fn listeners(self) -> impl Iterator<Item = Listener> {
        self.listening.into_values().map(|listening| {
            let (process, cgroup_id) = listening.owner.unzip();
            let owner = Owner {
                process,
                cgroup_id: cgroup_id.unwrap_or_default(),
                network_namespace: listening.network_namespace,
                uid: listening.uid,
            };
            Listener {
                owner,
                address: listening.address,
                finding: None,
            }
        })
    }
}
