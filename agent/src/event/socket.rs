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
    /// The number of the socket that connects, the same in every event of one connection; 0 of one that is not watched for
    /// what it says.
    pub socket: u64,
    /// What the one who opened it said first; `None` where nothing is known of it, such as before it has spoken.
    pub said: Option<Box<Said>>,
}

/// What a connection is for, in its own words: facts alone, nothing of what it carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The server that a TLS client asks for; `unknown` where that is encrypted.
    pub server_name: Option<Box<str>>,
    /// The host that an HTTP request is for, without its port.
    pub host: Option<Box<str>>,
    /// The path that it asks for, without the query.
    pub path: Option<Box<str>>,
    /// What asks, as it calls itself.
    pub user_agent: Option<Box<str>>,
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

/// What looks at a listener found out; `None` or empty where nobody has looked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Whether it serves the Docker API, and to whom: `docker-api-open` and the like.
    pub docker_api: Option<Box<str>>,
    /// What its daemon's own configuration says of it: `open`, `tls`, `mutual-tls` or `no-api`.
    pub configuration: Option<&'static str>,
    /// Unix sockets that who holds it is connected to, by the paths that they are bound to: at most
    /// [`Self::CONNECTIONS`].
    pub connected_to: Vec<Arc<str>>,
    /// Whom the OpenSSH server lets in that listens there.
    pub openssh: Option<OpensshConfiguration>,
}

impl Findings {
    /// So many connections of one listener are told apart.
    pub const CONNECTIONS: usize = 32;

    /// Notes a connection; whether it is one that was not known.
    pub fn connect(&mut self, path: &Arc<str>) -> bool {
        let is_new = self.connected_to.len() < Self::CONNECTIONS && !self.connected_to.contains(path);
        if is_new {
            self.connected_to.push(Arc::clone(path));
        }
        is_new
    }
}

/// What the configuration of a running OpenSSH server says; `None` where that cannot be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpensshConfiguration {
    /// Root may log in, not only with a key or for set commands.
    pub permits_root_login: Option<bool>,
    /// A password alone opens the door to somebody.
    pub permits_passwords: Option<bool>,
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
    /// For how many seconds these addresses stand for the name.
    pub ttl: u32,
    /// It is an answer.
    pub answer: bool,
}
