//! What flows: an [`Event`] is one thing that a source saw, before anybody has thought about it.

mod container;
mod credentials;
mod memory;
mod login;
mod process;
mod roles;
mod socket;
pub mod baseline;
pub mod recorded;

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

pub use self::{
    container::{
        Container, ContainerAction, ContainerChange, HostNamespaces, Metadata, Mount, PublishedPort, RuntimeState,
        ToldExec,
    },
    credentials::{Beyond, Capabilities, Credentials},
    login::{Login, Outcome, Remembered, reason},
    memory::{Backing, ChangedCode, Code, FindingKind, HeldFile, Hider, MemoryFinding, Preload, Signature},
    process::{Descriptor, ExeFlags, Execution, Exit, Fork, Namespaces, Process, ProcessKey, Seccomp, WebWorker},
    roles::Roles,
    socket::{
        Connection, DnsMessage, Endpoint, Ends, Findings, ListenAddress, Listener, OpensshConfiguration, Owner,
        Protocol, Said,
    },
};

use crate::{intel::Intel, observed::Observed};

/// One thing that happened, or that already stood when the agent started.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it happened (for what already stood: when it was seen).
    pub time: Timestamp,
    /// It stood before the agent started: the start-up scan found it.
    pub startup: bool,
    /// What happened.
    pub kind: Kind,
    /// The fields of a recorded event, by the names that rules use. They come before all that would be worked out.
    pub given: Option<Box<Map<String, Value>>>,
}

impl Event {
    /// Adds to a connection's opening what the connection has said, and nothing of who says it.
    pub fn hear(&mut self, later: Self) {
        if let (Kind::Connection(opening), Kind::Connection(spoken)) = (&mut self.kind, later.kind) {
            opening.said = spoken.said;
            opening.source = opening.source.or(spoken.source);
        }
        if let (Some(given), Some(mut heard)) = (&mut self.given, later.given) {
            heard.append(given);
            *given = heard;
        }
    }
}

/// What can happen. Everything that rules do not see (a fork, an exit) keeps the tables true.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A process made another.
    Fork(Fork),
    /// A process ran a program.
    Exec(Box<Exec>),
    /// A process ended.
    Exit(Exit),
    /// A connection was opened or accepted, or a first datagram sent.
    Connection(Box<Connection>),
    /// A socket listens.
    Listen(Box<Listener>),
    /// A DNS query or answer passed.
    Dns(Box<DnsMessage>),
    /// A look into a process's memory came upon something.
    Memory(Box<MemoryFinding>),
    /// Somebody logged in or tried to, or asked for another's rights.
    Login(Box<Login>),
    /// A container changed, or its facts became known.
    Container(Box<ContainerChange>),
    /// A container runtime can be asked, or no longer.
    Runtime(RuntimeState),
    /// A container runtime was told to put a program into a running container.
    ToldExec(Box<ToldExec>),
    /// The agent itself runs in the container of that id.
    OwnContainer(Arc<str>),
    /// The node's user table was read: the text of `/etc/passwd`.
    Users(Box<str>),
    /// The node's own kubeconfig says where the cluster's API is.
    KubernetesServer(KubernetesServer),
    /// The threat feeds were read.
    Intel(Arc<Intel>),
    /// Something was learned before, or an operator orders what to do with what was learned.
    Baseline(Box<baseline::Tidings>),
    /// An execution that was judged already, now that a look has told more of its parent.
    Again(Box<Again>),
    /// The sockets of that process were looked at.
    Looked(ProcessKey),
    /// The agent reports about itself.
    Health(Health),
    /// A recorded event of a log source that has no live source yet: all its fields are given.
    Recorded(LogSource),
}

/// A process ran a program.
#[derive(Clone, Debug)]
pub struct Exec {
    /// Who.
    pub process: ProcessKey,
    /// Its parent at that moment.
    pub parent: ProcessKey,
    /// What it became.
    pub execution: Arc<Execution>,
}

/// Where a cluster's API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesServer {
    /// An address, or a name that stands for several.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
}

/// An event to be judged once more, by the rules that did not match at first.
#[derive(Clone, Debug)]
pub struct Again {
    /// The event with all that was known then.
    pub observed: Arc<Observed>,
    /// The rules that matched.
    pub matched: Vec<Uuid>,
}

/// Something about the agent itself that an operator must know.
#[derive(Clone, Debug)]
pub struct Health {
    /// A short stable name: `loss`, `sensor-off`, `source-down`, `sink-down`, `rules-refused`…
    pub kind: &'static str,
    /// What is lost and why, in one line.
    pub detail: String,
}

/// A family of events as Sigma names it. Each has a rule engine of its own, so that no rule sees a foreign event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogSource {
    /// `product: linux, category: process_creation`
    ProcessCreation,
    /// `product: linux, category: network_connection`
    NetworkConnection,
    /// `product: linux, category: network_listen`
    NetworkListen,
    /// `category: dns_query`
    DnsQuery,
    /// `product: linux, category: memory`
    Memory,
    /// `product: docker, category: container`
    Container,
    /// `product: linux, service: sshd`
    Sshd,
    /// `product: linux, service: sudo`
    Sudo,
    /// `product: linux, service: auth`: all that stands in `auth.log`, what sshd and sudo write, too
    Auth,
    /// `category: webserver`
    Webserver,
    /// `product: tocsin, service: health`
    Health,
}

impl LogSource {
    /// Every family, in the order of the table in DESIGN.md.
    pub const ALL: [Self; 11] = [
        Self::ProcessCreation,
        Self::NetworkConnection,
        Self::NetworkListen,
        Self::DnsQuery,
        Self::Memory,
        Self::Container,
        Self::Sshd,
        Self::Sudo,
        Self::Auth,
        Self::Webserver,
        Self::Health,
    ];

    /// The name that records carry under `category`: Sigma's category, or its service where it has none.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProcessCreation => "process_creation",
            Self::NetworkConnection => "network_connection",
            Self::NetworkListen => "network_listen",
            Self::DnsQuery => "dns_query",
            Self::Memory => "memory",
            Self::Container => "container",
            Self::Sshd => "sshd",
            Self::Sudo => "sudo",
            Self::Auth => "auth",
            Self::Webserver => "webserver",
            Self::Health => "health",
        }
    }

    /// The family whose rules judge an event of this one as well: what sshd and sudo write stands in `auth.log`, too.
    pub fn wider(self) -> Option<Self> {
        match self {
            Self::Sshd | Self::Sudo => Some(Self::Auth),
            Self::ProcessCreation
            | Self::NetworkConnection
            | Self::NetworkListen
            | Self::DnsQuery
            | Self::Memory
            | Self::Container
            | Self::Auth
            | Self::Webserver
            | Self::Health => None,
        }
    }

    /// The family of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }
}

impl Kind {
    /// The family whose rules judge this, if any do.
    pub fn log_source(&self) -> Option<LogSource> {
        match self {
            Self::Fork(_)
            | Self::Exit(_)
            | Self::Runtime(_)
            | Self::ToldExec(_)
            | Self::OwnContainer(_)
            | Self::Users(_)
            | Self::KubernetesServer(_)
            | Self::Intel(_)
            | Self::Baseline(_)
            | Self::Looked(_) => None,
            Self::Again(again) => again.observed.log_source(),
            Self::Exec(_) => Some(LogSource::ProcessCreation),
            Self::Connection(_) => Some(LogSource::NetworkConnection),
            Self::Listen(_) => Some(LogSource::NetworkListen),
            Self::Dns(_) => Some(LogSource::DnsQuery),
            Self::Memory(_) => Some(LogSource::Memory),
            Self::Container(_) => Some(LogSource::Container),
            Self::Login(login) => Some(login.log_source()),
            Self::Health(_) => Some(LogSource::Health),
            Self::Recorded(source) => Some(*source),
        }
    }
}
