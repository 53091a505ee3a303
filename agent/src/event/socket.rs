//! Sockets: who talks to whom, who listens, what names are asked for.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::ProcessKey;

/// Who owns a socket, as far as the kernel could tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The process; `None` where only its cgroup is known.
    pub process: Option<ProcessKey>,
    /// Id of the cgroup in the unified hierarchy; 0 if unknown.
    pub cgroup_id: u64,
    /// Inode of the network namespace; 0 if unknown.
    pub network_namespace: u32,
    /// The real user id.
    pub uid: u32,
}

/// An address and a port.
pub type Endpoint = SocketAddr;

/// The transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As rules see it under `Protocol`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A connection was opened (or tried), accepted, or a first datagram sent.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Who: for an accepted connection, the owner of the listening socket.
    pub owner: Owner,
    /// The transport.
    pub protocol: Protocol,
    /// This side opened it.
    pub initiated: bool,
    /// Where it comes from; `None` while the kernel has not chosen.
    pub source: Option<Endpoint>,
    /// Where it goes to.
    pub destination: Endpoint,
}

/// Both ends of a connection that a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
}

/// A socket listens.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Who.
    pub owner: Owner,
    /// Where.
    pub address: ListenAddress,
    /// A look at the process found it, perhaps long after it began to listen.
    pub looked_up: bool,
    /// What looks at it found out.
    pub findings: Findings,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// TCP.
    Tcp(Endpoint),
    /// A unix socket of type stream or seqpacket: its path as it was bound, or `@` and its name where it has no file.
    Unix(Arc<str>),
}

impl ListenAddress {
    /// The address and port; `None` of a unix socket.
    pub fn endpoint(&self) -> Option<Endpoint> {
        match self {
            Self::Tcp(endpoint) => Some(*endpoint),
            Self::Unix(_) => None,
        }
    }

    /// The path or name; `None` of a TCP socket.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(endpoint) => endpoint.fmt(formatter),
            Self::Unix(path) => path.fmt(formatter),
        }
    }
}

/// What looks at a listener found out; `None` where nobody has looked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Whether it serves the Docker API, and to whom: `docker-api-open` and the like.
    pub docker_api: Option<Box<str>>,
}

/// A DNS query or its answer.
#[derive(Clone, Debug)]
pub struct DnsMessage {
    /// Who asked.
    pub owner: Owner,
    /// The name server.
    pub server: Endpoint,
    /// The name asked for, without a final dot.
    pub name: Box<str>,
    /// The record type: `A`, `AAAA`, `TXT`…
    pub record_type: Box<str>,
    /// The addresses of an answer; empty for a query.
    pub addresses: Vec<IpAddr>,
    /// It is an answer.
    pub answer: bool,
}
