//! Where in an event the table's values stand, and those that take more than a line to work out.

use jiff::Timestamp;
use rsigma_eval::EventValue;

use super::values::{list, names, non_empty, text};
use crate::{
    event::{
        ChangedCode, Code, Connection, Container, ContainerChange, DnsMessage, Execution, FindingKind, Kind, Listener,
        Login, MemoryFinding, OpensshConfiguration, Preload, Process, Remembered, Said, Signature, WebWorker,
    },
    intel::Threat,
    observed::Observed,
};

pub(super) fn process(observed: &Observed) -> Option<&Process> {
    observed.process.as_deref()
}

pub(super) fn run(observed: &Observed) -> Option<&Execution> {
    Some(&process(observed)?.execution)
}

pub(super) fn parent(observed: &Observed) -> Option<&Process> {
    process(observed)?.parent.as_deref()
}

pub(super) fn web_worker(observed: &Observed) -> Option<WebWorker<'_>> {
    process(observed)?.web_worker()
}

pub(super) fn container(observed: &Observed) -> Option<&Container> {
    observed.container.as_deref()
}

/// The container that answers at the destination.
pub(super) fn destination(observed: &Observed) -> Option<&Container> {
    observed.facts.destination_container.as_deref()
}

pub(super) fn threat(observed: &Observed) -> Option<&Threat> {
    observed.facts.threat.as_deref()
}

pub(super) fn labels(container: &Container) -> Option<EventValue<'_>> {
    let labels = container.labels.iter();
    names(labels.map(|(name, value)| format!("{name}={value}")))
}

pub(super) fn connection(observed: &Observed) -> Option<&Connection> {
    match &observed.event.kind {
        Kind::Connection(connection) => Some(connection),
        _ => None,
    }
}

/// What a connection said first, which is its opener's word and can be a lie.
pub(super) fn said(observed: &Observed) -> Option<&Said> {
    connection(observed)?.said.as_deref()
}

pub(super) fn listener(observed: &Observed) -> Option<&Listener> {
    match &observed.event.kind {
        Kind::Listen(listener) => Some(listener),
        _ => None,
    }
}

pub(super) fn openssh(observed: &Observed) -> Option<OpensshConfiguration> {
    listener(observed)?.findings.openssh
}

pub(super) fn dns(observed: &Observed) -> Option<&DnsMessage> {
    match &observed.event.kind {
        Kind::Dns(message) => Some(message),
        _ => None,
    }
}

pub(super) fn finding(observed: &Observed) -> Option<&MemoryFinding> {
    match &observed.event.kind {
        Kind::Memory(finding) => Some(finding),
        _ => None,
    }
}

pub(super) fn found(observed: &Observed) -> Option<&FindingKind> {
    Some(&finding(observed)?.kind)
}

pub(super) fn code(observed: &Observed) -> Option<&Code> {
    match found(observed)? {
        FindingKind::Code(code) => Some(code),
        _ => None,
    }
}

pub(super) fn changed(observed: &Observed) -> Option<&ChangedCode> {
    match found(observed)? {
        FindingKind::ChangedCode(changed) => Some(changed),
        _ => None,
    }
}

pub(super) fn preload(observed: &Observed) -> Option<&Preload> {
    match found(observed)? {
        FindingKind::Preload(preload) => Some(preload),
        _ => None,
    }
}

pub(super) fn signature(observed: &Observed) -> Option<&Signature> {
    match found(observed)? {
        FindingKind::Signature(signature) => Some(signature),
        _ => None,
    }
}

pub(super) fn change(observed: &Observed) -> Option<&ContainerChange> {
    match &observed.event.kind {
        Kind::Container(change) => Some(change),
        _ => None,
    }
}

pub(super) fn source_ip(observed: &Observed) -> Option<std::net::IpAddr> {
    match &observed.event.kind {
        Kind::Connection(connection) => Some(connection.source?.ip()),
        Kind::Listen(listener) => Some(listener.address.endpoint()?.ip()),
        Kind::Login(login) => login.source,
        _ => None,
    }
}

pub(super) fn source_port(observed: &Observed) -> Option<u16> {
    match &observed.event.kind {
        Kind::Connection(connection) => Some(connection.source?.port()),
        Kind::Listen(listener) => Some(listener.address.endpoint()?.port()),
        Kind::Login(login) => login.source_port,
        _ => None,
    }
}

pub(super) fn login(observed: &Observed) -> Option<&Login> {
    match &observed.event.kind {
        Kind::Login(login) => Some(login),
        _ => None,
    }
}

pub(super) fn remembered(observed: &Observed) -> Option<&Remembered> {
    login(observed)?.remembered.as_deref()
}

pub(super) fn user(observed: &Observed) -> Option<EventValue<'_>> {
    match login(observed) {
        Some(login) => non_empty(&login.user),
        None => text(observed.facts.user.as_deref()?),
    }
}

pub(super) fn protocol(observed: &Observed) -> Option<EventValue<'_>> {
    match &observed.event.kind {
        Kind::Connection(connection) => text(connection.protocol.name()),
        Kind::Listen(listener) => text(if listener.address.path().is_some() {
            "unix"
        } else {
            "tcp"
        }),
        _ => None,
    }
}

pub(super) fn exe_kind(observed: &Observed) -> Option<EventValue<'_>> {
    let run = run(observed)?;
    let file = run.file;
    let kinds = [
        (file.deleted, "deleted"),
        (file.replaced, "replaced"),
        (file.memfd, "memfd"),
        (file.path_cut, "path-cut"),
        (file.upper_layer, "upper-layer"),
        (file.copied_up, "copied-up"),
        (run.script, "script"),
    ];
    list(kinds.into_iter().filter_map(|(holds, name)| holds.then_some(name)))
}

pub(super) fn exe_age(observed: &Observed) -> Option<EventValue<'_>> {
    let modified = run(observed)?.modified;
    (modified != 0).then(|| EventValue::Int(observed.event.time.as_second() - modified))
}

pub(super) fn exe_change_age(observed: &Observed) -> Option<EventValue<'_>> {
    let changed = run(observed)?.changed;
    (changed != 0).then(|| EventValue::Int(observed.event.time.as_second() - changed))
}

pub(super) fn exe_written_after(observed: &Observed) -> Option<EventValue<'_>> {
    let told: Option<Timestamp> = container(observed)?.started_at.parse().ok();
    let started = told.or(observed.facts.container_began)?;
    let modified = run(observed)?.modified;
    (modified != 0).then(|| EventValue::Int(modified - started.as_second()))
}

/// Each role once, of the nearest ancestor that has it.
pub(super) fn ancestor_roles(observed: &Observed) -> Option<EventValue<'_>> {
    let mut roles: Vec<&str> = Vec::new();
    for role in process(observed)?
        .line()
        .flat_map(|ancestor| ancestor.execution.roles.iter())
    {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    list(roles.into_iter())
}

/// How far the widest of the node's ports can be reached that are forwarded to a listener.
pub(super) fn published(observed: &Observed) -> Option<EventValue<'_>> {
    let port = listener(observed)?.address.endpoint()?.port();
    let ports = container(observed)?.published_ports.iter();
    let forwarded = ports.filter(|published| published.container_port == port);
    // An address that cannot be read is the node's and not known to be narrower.
    let reaches = forwarded.map(|published| published.address.parse().map_or("any", reach));
    text(reaches.max_by_key(|reach| WIDTHS.iter().position(|width| width == reach))?)
}

/// How far an address can be reached, the narrowest first.
const WIDTHS: [&str; 4] = ["loopback", "private", "public", "any"];

/// How far a listener's address can be reached.
pub(super) fn reach(ip: std::net::IpAddr) -> &'static str {
    let ip = ip.to_canonical();
    let private = match ip {
        std::net::IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        std::net::IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    match ip {
        ip if ip.is_unspecified() => "any",
        ip if ip.is_loopback() => "loopback",
        _ if private => "private",
        _ => "public",
    }
}
