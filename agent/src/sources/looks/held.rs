//! The sockets that processes hold, by which looks tell who listens and who is connected.

use std::{collections::HashMap, io, sync::Arc};

use procfs::process::{FDTarget, Process};
use rustc_hash::FxHashMap;

use super::{network::in_network_of, the_same::the_same};
use crate::{
    event::{self, Findings, ListenAddress, Listener, Owner, ProcessKey},
    sources::sock_diag,
};

/// Descriptors of one process that are looked at.
const DESCRIPTORS: usize = 4_096;

/// The listening sockets that this process holds, as far as they can be seen.
pub(super) fn listeners(process: &event::Process) -> Vec<Listener> {
    find_listeners(process).unwrap_or_else(|error| {
        tracing::debug!(pid = process.key.pid, %error, "sockets not looked at");
        Vec::new()
    })
}

fn find_listeners(process: &event::Process) -> io::Result<Vec<Listener>> {
    let held = sockets(&the_same(process.key)?)?;
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

/// What stands in one network namespace: who listens where on TCP, and who is connected to which unix socket.
pub(super) struct Connected {
    listening: FxHashMap<u64, ListenAddress>,
    connections: HashMap<u64, Arc<str>>,
}

impl Connected {
    /// In that of this process.
    pub(super) fn in_network_of(process: ProcessKey) -> io::Result<Self> {
        let find = || Ok((sock_diag::listening()?, sock_diag::unix_connections()?));
        let (listening, connections) = in_network_of(process.pid, 0, find)?;
        let listening = listening
            .into_iter()
            .filter(|socket| socket.address.endpoint().is_some());
        Ok(Self {
            listening: listening.map(|socket| (socket.inode, socket.address)).collect(),
            connections,
        })
    }

    /// The TCP addresses at which this process can take connections, with the unix sockets that it is connected to;
    /// nothing of one that is connected to none.
    pub(super) fn of(&self, process: &Process) -> Vec<(&ListenAddress, Findings)> {
        // A process that has ended meanwhile holds nothing.
        let held = sockets(process).unwrap_or_default();
        let mut findings = Findings::default();
        for path in held.iter().filter_map(|inode| self.connections.get(inode)) {
            findings.connect(path);
        }
        if findings.connected_to.is_empty() {
            return Vec::new();
        }
        let addresses = held.iter().filter_map(|inode| self.listening.get(inode));
        addresses.map(|address| (address, findings.clone())).collect()
    }
}

/// The inode numbers of the sockets that a process holds.
fn sockets(process: &Process) -> io::Result<Vec<u64>> {
    let held = process.fd().map_err(io::Error::other)?.flatten().take(DESCRIPTORS);
    let inodes = held.filter_map(|descriptor| match descriptor.target {
        FDTarget::Socket(inode) => Some(inode),
        _ => None,
    });
    Ok(inodes.collect())
}
