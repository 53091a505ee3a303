//! The evidence of a finding: the process with its ancestors, the container, the connection.

use std::net::SocketAddr;

use serde::Serialize;

use super::process::ProcessObject;
use crate::{
    alert::Alert,
    event::{Connection, Container, DnsMessage, Kind, Listener, Login, Protocol},
    sinks::{Host, summary::image_tag},
};

#[derive(Default, Serialize)]
pub(super) struct Evidence<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Actor<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<ProcessObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_info: Option<ConnectionInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_endpoint: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_endpoint: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<Query<'a>>,
    /// A container alone is no evidence by the schema's constraint; as a resource it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<[Resource<'a>; 1]>,
}

impl<'a> Evidence<'a> {
    /// `None` where nothing that OCSF has an object for is known: the agent's own health, a recorded event.
    pub(super) fn of(alert: &'a Alert) -> Option<Self> {
        let observed = &*alert.observed;
        let container = observed.container.as_deref();
        let user = observed.facts.user.as_deref();
        let with = Evidence {
            process: (observed.process.as_deref()).map(|process| ProcessObject::new(process, user, container)),
            container: container.map(ContainerObject::new),
            resources: (container.filter(|_| observed.process.is_none()))
                .map(|container| [Resource::container(container)]),
            ..Evidence::default()
        };
        let evidence = match &observed.event.kind {
            Kind::Connection(connection) => with.connection(connection, observed.facts.destination_name.as_deref()),
            Kind::Listen(listener) => with.listener(listener),
            Kind::Dns(message) => with.dns(message),
            Kind::Login(login) => with.login(login),
            Kind::Exec(_)
            | Kind::Container(_)
            | Kind::Memory(_)
            | Kind::Recorded(_)
            | Kind::Health(_)
            | Kind::Fork(_)
            | Kind::Exit(_)
            | Kind::Runtime(_)
            | Kind::ToldExec(_)
            | Kind::OwnContainer(_)
            | Kind::Users(_)
            | Kind::Intel(_)
            | Kind::Again(_)
            | Kind::Looked(_)
            | Kind::KubernetesServer(_)
            | Kind::Baseline(_) => with,
        };
        let nobody = evidence.process.is_none() && evidence.actor.is_none() && evidence.resources.is_none();
        let empty = nobody && evidence.src_endpoint.is_none() && evidence.dst_endpoint.is_none();
        (!empty).then_some(evidence)
    }

    fn connection(self, connection: &'a Connection, destination_name: Option<&'a str>) -> Self {
        let direction = if connection.initiated {
            Direction::Outbound
        } else {
            Direction::Inbound
        };
        Self {
            connection_info: Some(ConnectionInfo::new(direction, connection.protocol)),
            src_endpoint: connection.source.map(|address| Endpoint::new(address, None)),
            dst_endpoint: Some(Endpoint::new(connection.destination, destination_name)),
            ..self
        }
    }

    /// Of a unix socket OCSF knows no address: its path is among the unmapped fields.
    fn listener(self, listener: &Listener) -> Self {
        let Some(address) = listener.address.endpoint() else {
            return self;
        };
        Self {
            connection_info: Some(ConnectionInfo::new(Direction::Inbound, Protocol::Tcp)),
            dst_endpoint: Some(Endpoint::new(address, None)),
            ..self
        }
    }

    /// Whose rights somebody asks for is among the unmapped fields.
    fn login(self, login: &'a Login) -> Self {
        let source = login.source.map(|ip| Endpoint {
            ip,
            port: login.source_port,
            hostname: None,
        });
        let user = ActorUser { name: &login.user };
        Self {
            actor: (!login.user.is_empty()).then_some(Actor { user }),
            src_endpoint: source,
            ..self
        }
    }

    fn dns(self, message: &'a DnsMessage) -> Self {
        Self {
            dst_endpoint: Some(Endpoint::new(message.server, None)),
            query: Some(Query {
                hostname: &message.name,
                record_type: &message.record_type,
            }),
            ..self
        }
    }
}

/// Who acts, where that is no process of which more is known.
#[derive(Serialize)]
struct Actor<'a> {
    user: ActorUser<'a>,
}

#[derive(Serialize)]
struct ActorUser<'a> {
    name: &'a str,
}

#[derive(Serialize)]
pub(super) struct ContainerObject<'a> {
    uid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Image<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    runtime: &'a str,
}

impl<'a> ContainerObject<'a> {
    pub(super) fn new(container: &'a Container) -> Self {
        let digest = &*container.image_digest;
        let image = Image {
            // The schema wants an id; where the runtime has told none, the name is what identifies the image.
            uid: if digest.is_empty() { &container.image } else { digest },
            name: &container.image,
            tag: image_tag(&container.image).1,
        };
        Self {
            uid: &container.id,
            name: &container.name,
            image: (!image.uid.is_empty()).then_some(image),
            runtime: &container.runtime,
        }
    }
}

#[derive(Serialize)]
struct Image<'a> {
    uid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
}

#[derive(Clone, Copy)]
enum Direction {
    Inbound = 1,
    Outbound = 2,
}

#[derive(Serialize)]
struct ConnectionInfo {
    direction: &'static str,
    direction_id: u32,
    protocol_name: &'static str,
    protocol_num: u32,
}

impl ConnectionInfo {
    fn new(direction: Direction, protocol: Protocol) -> Self {
        Self {
            direction: match direction {
                Direction::Inbound => "Inbound",
                Direction::Outbound => "Outbound",
            },
            direction_id: direction as u32,
            protocol_name: protocol.name(),
            protocol_num: match protocol {
                Protocol::Tcp => 6,
                Protocol::Udp => 17,
            },
        }
    }
}

#[derive(Serialize)]
struct Endpoint<'a> {
    ip: std::net::IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
}

impl<'a> Endpoint<'a> {
    fn new(address: SocketAddr, hostname: Option<&'a str>) -> Self {
        Self {
            ip: address.ip().to_canonical(),
            port: Some(address.port()),
            hostname,
        }
    }
}

#[derive(Serialize)]
struct Query<'a> {
    hostname: &'a str,
    #[serde(rename = "type")]
    record_type: &'a str,
}

/// What is affected, or what an evidence is about.
#[derive(Serialize)]
pub(super) struct Resource<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
}

impl<'a> Resource<'a> {
    /// The container, or else the node.
    pub(super) fn affected(alert: &'a Alert, host: &'a Host) -> Self {
        match alert.observed.container.as_deref() {
            Some(container) => Self::container(container),
            None => Self {
                kind: "host",
                uid: "",
                name: &host.name,
            },
        }
    }

    fn container(container: &'a Container) -> Self {
        Self {
            kind: "container",
            uid: &container.id,
            name: &container.name,
        }
    }
}
