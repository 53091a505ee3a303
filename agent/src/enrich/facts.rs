//! What the tables tell of an event beside its process and its container.

use std::sync::Arc;

use super::{
    Node,
    address::{role, role_of_container, role_of_name, role_of_said},
    owner,
    process::{has_full_bounding_set, has_full_capabilities, has_left_mounts},
};
use crate::{
    event::{Container, Endpoint, Event, Kind, Process},
    intel::{Intel, Threat},
    observed::Facts,
};

impl Node {
    pub(super) fn facts(&mut self, event: &Event, process: Option<&Process>) -> Facts {
        let uid = match process {
            Some(process) => Some(process.execution.credentials.uid),
            None => owner(&event.kind).map(|owner| owner.uid),
        };
        let mut facts = Facts {
            user: recorded_user(event).or_else(|| self.users.name(uid?).cloned()),
            full_capabilities: process.is_some_and(has_full_capabilities),
            full_bounding_set: process.is_some_and(has_full_bounding_set),
            left_mounts: process.is_some_and(has_left_mounts),
            ..Facts::default()
        };
        if let (Kind::Exec(exec), Some(process)) = (&event.kind, process) {
            let parent = process.parent.as_ref().map_or(exec.parent, |parent| parent.key);
            facts.parent_sockets_unknown = !self.looked.is_recent(parent, event.time);
            if let Some(ends) = &process.execution.stdio_ends {
                // Who accepts a connection has it at the address where he listens.
                let listener = self.listeners.owner(process.execution.namespaces.network, ends.local);
                facts.stdio_initiated = Some(listener.is_none());
            }
        }
        if let Kind::Connection(connection) = &event.kind
            && connection.initiated
        {
            let (ip, port) = (connection.destination.ip(), connection.destination.port());
            facts.destination_name = self.names.name(connection.owner.network_namespace, ip, event.time);
            facts.destination_container = self.destination(connection.destination, process);
            facts.destination_role = role(ip, port, &self.cluster)
                .or_else(|| role_of_container(facts.destination_container.as_deref()?))
                .or_else(|| role_of_name(facts.destination_name.as_deref()?))
                .or_else(|| role_of_said(connection.said.as_deref()?))
                .or_else(|| self.cluster.role_of_neighbour(ip));
        }
        facts.threat = threat(event, &self.intel).map(Arc::new);
        facts
    }

    /// The container that answers there, if it is one of this node's.
    fn destination(&mut self, destination: Endpoint, process: Option<&Process>) -> Option<Arc<Container>> {
        let container = process.and_then(|process| self.containers.get(process.container.as_deref()?));
        let in_container = process.is_some_and(|process| process.container.is_some());
        let on_node = !in_container || container.is_some_and(|container| container.host_namespaces.network);
        self.containers.at(destination, on_node)
    }
}

/// What the feeds say of the other side of a connection, of where a login comes from, or of what a name server gave.
fn threat(event: &Event, intel: &Intel) -> Option<Threat> {
    if intel.feeds.is_empty() {
        return None;
    }
    match &event.kind {
        Kind::Connection(connection) => {
            let other_side = if connection.initiated {
                connection.destination
            } else {
                connection.source?
            };
            intel.find(other_side.ip(), connection.initiated, event.time)
        }
        Kind::Login(login) => intel.find(login.source?, false, event.time),
        Kind::Dns(message) => {
            let threats = message
                .addresses
                .iter()
                .filter_map(|ip| intel.find(*ip, true, event.time));
            // One that is on a warninglist shall not hide another.
            threats.max_by_key(|threat| (threat.warninglist.is_none(), threat.confidence))
        }
        _ => None,
    }
}

/// The name that a recorded event brings along: it may come from another node, whose users are others. Of a login it is
/// no process's.
fn recorded_user(event: &Event) -> Option<Arc<str>> {
    if matches!(event.kind, Kind::Login(_)) {
        return None;
    }
    Some(event.given.as_ref()?.get("User")?.as_str()?.into())
}
