//! The one table of fields: name, log sources, meaning, and how to read it from an event.
//!
//! Names follow the SigmaHQ taxonomy wherever it has one; Tocsin's own facts are lower-case and dotted.

mod read;
mod values;

use std::borrow::Cow;

use rsigma_eval::EventValue;

use self::{
    read::{
        ancestor_roles, change, changed, code, connection, container, destination, dns, exe_age, exe_change_age,
        exe_kind, exe_written_after, finding, found, labels, listener, login, openssh, parent, preload, process,
        protocol, published, reach, remembered, run, said, signature, source_ip, source_port, threat, user, web_worker,
    },
    values::{address, flag, integer, list, names, non_empty, number, text, time},
};
use crate::{
    event::{FindingKind, Kind, LogSource, Mount},
    intel::indicator,
    observed::{Observed, Scored},
};

/// A field that rules can name.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The families whose events can carry it.
    pub carried_by: &'static [LogSource],
    /// What it means, in one line.
    pub meaning: &'static str,
    /// The enrichers work it out from other events, so that a recorded event that lacks it gains it again.
    pub worked_out: bool,
    /// It may leave the agent, in alerts and recordings.
    pub quotable: bool,
    /// Its value in an event; `None` where the event does not have it.
    pub get: for<'a> fn(&'a Observed) -> Option<EventValue<'a>>,
}

const PROCESS: &[LogSource] = &[LogSource::ProcessCreation];
const WITH_PROCESS: &[LogSource] = &[
    LogSource::ProcessCreation,
    LogSource::NetworkConnection,
    LogSource::NetworkListen,
    LogSource::DnsQuery,
    LogSource::Memory,
];
const IN_CONTAINER: &[LogSource] = &[
    LogSource::ProcessCreation,
    LogSource::NetworkConnection,
    LogSource::NetworkListen,
    LogSource::DnsQuery,
    LogSource::Memory,
    LogSource::Container,
];
/// What [`crate::enrich::baseline`] learns from.
const LEARNED: &[LogSource] = &[LogSource::ProcessCreation, LogSource::NetworkConnection];
const CONNECTION: &[LogSource] = &[LogSource::NetworkConnection];
/// What tells an address of another machine.
const REMOTE: &[LogSource] = &[
    LogSource::NetworkConnection,
    LogSource::DnsQuery,
    LogSource::Sshd,
    LogSource::Sudo,
    LogSource::Auth,
];
const SOCKET: &[LogSource] = &[LogSource::NetworkConnection, LogSource::NetworkListen];
/// What comes from somewhere.
const SOURCE: &[LogSource] = &[
    LogSource::NetworkConnection,
    LogSource::NetworkListen,
    LogSource::Sshd,
    LogSource::Sudo,
    LogSource::Auth,
];
/// What somebody does: a process, or who logs in.
const WITH_USER: &[LogSource] = &[
    LogSource::ProcessCreation,
    LogSource::NetworkConnection,
    LogSource::NetworkListen,
    LogSource::DnsQuery,
    LogSource::Memory,
    LogSource::Sshd,
    LogSource::Sudo,
    LogSource::Auth,
];
/// Whose executables are looked into.
const EXAMINED: &[LogSource] = &[LogSource::ProcessCreation, LogSource::NetworkListen];
const LISTEN: &[LogSource] = &[LogSource::NetworkListen];
const DNS: &[LogSource] = &[LogSource::DnsQuery];
const MEMORY: &[LogSource] = &[LogSource::Memory];
const CONTAINER: &[LogSource] = &[LogSource::Container];
/// What is written about logins.
const LOGIN: &[LogSource] = &[LogSource::Sshd, LogSource::Sudo, LogSource::Auth];
const SUDO: &[LogSource] = &[LogSource::Sudo];
const WEB: &[LogSource] = &[LogSource::Webserver];
const HEALTH: &[LogSource] = &[LogSource::Health];
const ALL: &[LogSource] = &LogSource::ALL;

/// A row of the table.
const fn field(
    name: &'static str,
    carried_by: &'static [LogSource],
    meaning: &'static str,
    get: for<'a> fn(&'a Observed) -> Option<EventValue<'a>>,
) -> Field {
    Field {
        name,
        carried_by,
        meaning,
        worked_out: false,
        quotable: true,
        get,
    }
}

/// A row of a field that the enrichers work out.
const fn fact(
    name: &'static str,
    carried_by: &'static [LogSource],
    meaning: &'static str,
    get: for<'a> fn(&'a Observed) -> Option<EventValue<'a>>,
) -> Field {
    Field {
        name,
        carried_by,
        meaning,
        worked_out: true,
        quotable: true,
        get,
    }
}

/// A row of a field that rules may judge and nobody may quote: it holds secrets.
const fn secret(
    name: &'static str,
    carried_by: &'static [LogSource],
    meaning: &'static str,
    get: for<'a> fn(&'a Observed) -> Option<EventValue<'a>>,
) -> Field {
    Field {
        quotable: false,
        ..field(name, carried_by, meaning, get)
    }
}

/// Every field, SigmaHQ's first.
#[rustfmt::skip] // one row a field, to be read as a table
pub const FIELDS: &[Field] = &[
    field("Image", WITH_PROCESS, "path of the executable, as its mount namespace has it", |o| text(&run(o)?.exe)),
    field("CommandLine", WITH_PROCESS, "the arguments, joined by spaces", |o| { text(&run(o)?.command_line) }),
    field("CurrentDirectory", WITH_PROCESS, "the working directory", |o| { text(&run(o)?.directory) }),
    field("User", WITH_USER, "name of the real user; of a login who logs in, or asks for another's rights", user),
    field("LogonId", WITH_PROCESS, "the user id at login", |o| { number(run(o)?.credentials.login_uid?) }),
    field("ProcessId", WITH_PROCESS, "the process id as the node sees it", |o| { number(process(o)?.key.pid) }),
    field("ParentProcessId", WITH_PROCESS, "the parent's process id", |o| { number(parent(o)?.key.pid) }),
    fact("ParentImage", WITH_PROCESS, "path of the parent's executable", |o| { non_empty(&parent(o)?.execution.exe) }),
    fact("ParentCommandLine", WITH_PROCESS, "the parent's arguments", |o| { non_empty(&parent(o)?.execution.command_line) }),
    field("DestinationIp", CONNECTION, "the address that the connection goes to", |o| address(connection(o)?.destination.ip())),
    field("DestinationPort", CONNECTION, "the port that the connection goes to", |o| number(connection(o)?.destination.port())),
    fact("DestinationHostname", CONNECTION, "the name under which that address was asked for", |o| text(o.facts.destination_name.as_deref()?)),
    field("SourceIp", SOURCE, "the address that the connection or login comes from, or the listener's own", |o| address(source_ip(o)?)),
    field("SourcePort", SOURCE, "the port that the connection or login comes from, or the listener's own", |o| number(source_port(o)?)),
    field("Protocol", SOCKET, "tcp, udp or unix", protocol),
    field("Initiated", CONNECTION, "this side opened the connection", |o| { flag(connection(o)?.initiated) }),
    field("connection.id", CONNECTION, "the number of the socket that connects, of a connection that is read: there is an event when it is opened, and another when it has said what for", |o| integer(Some(connection(o)?.socket).filter(|socket| *socket != 0)?)),
    field("tls.sni", CONNECTION, "the server that a TLS client asks for; unknown where it encrypts that (ECH)", |o| text(said(o)?.server_name.as_deref()?)),
    field("http.host", CONNECTION, "the host that an HTTP request is for, without its port", |o| text(said(o)?.host.as_deref()?)),
    field("http.path", CONNECTION, "the path that an HTTP request asks for, without its query", |o| text(said(o)?.path.as_deref()?)),
    field("http.user_agent", CONNECTION, "what asks by HTTP, as it calls itself", |o| text(said(o)?.user_agent.as_deref()?)),
    field("QueryName", DNS, "the name that was asked for", |o| text(&dns(o)?.name)),
    field("QueryType", DNS, "the record type that was asked for", |o| { text(&dns(o)?.record_type) }),
    field("Action", CONTAINER, "what happened to the container, in Docker's word", |o| text(change(o)?.action.name())),
    field("USER", SUDO, "whose rights are asked for, as sudo writes it", |o| non_empty(&login(o)?.target_user)),
    field("c-ip", WEB, "the client's address", |_| None),
    field("cs-method", WEB, "the request's method", |_| None),
    field("cs-uri", WEB, "the request's path and query", |_| None),
    field("cs-uri-stem", WEB, "the request's path", |_| None),
    field("cs-uri-query", WEB, "the request's query", |_| None),
    field("cs-user-agent", WEB, "the client's name of itself", |_| None),
    field("cs-referer", WEB, "the page that led here", |_| None),
    field("cs-host", WEB, "the site that was asked for", |_| None),
    field("cs-username", WEB, "the user who logged in", |_| None),
    field("sc-status", WEB, "the answer's status", |_| None),
    field("event.startup", ALL, "it stood before the agent started", |o| { o.event.startup.then_some(EventValue::Bool(true)) }),
    field("process.uid", WITH_PROCESS, "the real user id", |o| { number(run(o)?.credentials.uid) }),
    field("process.gid", WITH_PROCESS, "the real group id", |o| { number(run(o)?.credentials.gid) }),
    field("process.euid", WITH_PROCESS, "the effective user id", |o| { number(run(o)?.credentials.euid) }),
    field("process.egid", WITH_PROCESS, "the effective group id", |o| { number(run(o)?.credentials.egid) }),
    field("process.start", WITH_PROCESS, "when it started, in clock ticks since boot", |o| integer(process(o)?.key.start)),
    field("process.parent_start", WITH_PROCESS, "when its parent started, in clock ticks since boot", |o| integer(parent(o)?.key.start)),
    field("process.capabilities", WITH_PROCESS, "names of the effective capabilities", |o| names(run(o)?.credentials.effective.names())),
    field("process.capabilities_bounding", WITH_PROCESS, "names of the bounding set", |o| names(run(o)?.credentials.bounding.names())),
    field("process.full_capabilities", WITH_PROCESS, "has every capability that the runtime can give, in the initial user namespace", |o| { process(o)?; flag(o.facts.full_capabilities) }),
    field("process.full_bounding_set", WITH_PROCESS, "could gain every capability that the runtime can give, in the initial user namespace", |o| { process(o)?; flag(o.facts.full_bounding_set) }),
    field("process.beyond_container", WITH_PROCESS, "what it has that its container's first process could never have: capabilities, seccomp (system calls are not filtered), user-namespace", |o| list(o.facts.beyond_container.names())),
    field("process.from_outside", WITH_PROCESS, "it was put into a running container, as by docker exec, kubectl exec or nsenter: no descendant of the container's first process", |o| o.facts.from_outside.then_some(EventValue::Bool(true))),
    field("process.docker_exec", PROCESS, "what Docker says of a program that it was told to put into a running container: privileged (docker exec --privileged) or plain; absent where Docker does not answer, or was not told", |o| text(if o.facts.told_exec? { "privileged" } else { "plain" })),
    field("process.host_user_namespace", WITH_PROCESS, "lives in the user namespace of the node", |o| flag(run(o)?.namespaces.in_initial_user()?)),
    field("process.seccomp", WITH_PROCESS, "disabled, strict or filter", |o| { text(run(o)?.seccomp.name()?) }),
    field("process.tty", WITH_PROCESS, "the controlling terminal", |o| { non_empty(&run(o)?.tty) }),
    field("process.session", WITH_PROCESS, "the session's id", |o| { number(run(o)?.session) }),
    field("process.pid_in_namespace", WITH_PROCESS, "the process id inside its own namespace", |o| number(run(o)?.pid_in_namespace)),
    field("process.stdin", WITH_PROCESS, "what standard input is: file, pipe, terminal, null, device, internet-socket, socket…", |o| text(run(o)?.stdio[0].name()?)),
    field("process.stdin_path", WITH_PROCESS, "the path of the file that standard input is, or memfd:NAME; (deleted) follows where no directory holds it any more, and … stands for a beginning that is too long to be told", |o| non_empty(&run(o)?.stdin_path)),
    field("process.stdout", WITH_PROCESS, "what standard output is", |o| { text(run(o)?.stdio[1].name()?) }),
    field("process.stderr", WITH_PROCESS, "what standard error is", |o| { text(run(o)?.stdio[2].name()?) }),
    field("process.stdio_peer", WITH_PROCESS, "the other side's address of the connection that standard input is, else standard output or error", |o| address(run(o)?.stdio_ends.as_ref()?.remote.ip())),
    field("process.stdio_peer_port", WITH_PROCESS, "the other side's port of that connection", |o| number(run(o)?.stdio_ends.as_ref()?.remote.port())),
    field("process.stdio_initiated", PROCESS, "this side opened that connection: nobody listens at its address", |o| flag(o.facts.stdio_initiated?)),
    field("process.exe_kind", WITH_PROCESS, "of the executable: deleted, replaced (another file stands at its path since it was deleted; known at start-up), memfd, path-cut (too long to be told), upper-layer (not in the image), copied-up (beside upper-layer: the image's own, whose owner, mode or contents were changed; not known at start-up), script", exe_kind),
    fact("process.former_image", WITH_PROCESS, "executable that the process ran before it became this program", |o| non_empty(process(o)?.former_exe.as_deref()?)),
    field("process.invoked", WITH_PROCESS, "the path given to execve: the script, where an interpreter runs one", |o| non_empty(&run(o)?.invoked)),
    field("process.script", WITH_PROCESS, "the script, where an interpreter runs one", |o| run(o)?.script.then(|| text(&run(o)?.invoked))?),
    fact("process.content", EXAMINED, "texts that stand in the executable, of those that a rule had it searched for", |o| list(o.facts.content.as_deref()?.iter().map(|text| &**text))),
    field("process.exe_inode", WITH_PROCESS, "the executable's inode number", |o| integer(run(o)?.inode)),
    field("process.exe_device", WITH_PROCESS, "the executable's device", |o| { number(run(o)?.device) }),
    field("process.exe_modified", WITH_PROCESS, "when the executable was last written, in seconds since 1970", |o| Some(EventValue::Int(run(o)?.modified))),
    field("process.exe_age", PROCESS, "how many seconds before the execution the executable was last written", exe_age),
    field("process.exe_change_age", PROCESS, "how many seconds before the execution the executable's contents, names, rights or dates last changed, whatever date it was given", exe_change_age),
    field("process.exe_written_after", PROCESS, "how many seconds after its container's start the executable was last written; below 0 for what lay there before", exe_written_after),
    field("process.cgroup", WITH_PROCESS, "path of the cgroup", |o| { non_empty(&run(o)?.cgroup) }),
    field("process.cgroup_id", WITH_PROCESS, "id of the cgroup in the unified hierarchy", |o| integer(run(o)?.cgroup_id)),
    field("process.mount_namespace", WITH_PROCESS, "inode of the mount namespace", |o| number(run(o)?.namespaces.mount)),
    field("process.pid_namespace", WITH_PROCESS, "inode of the pid namespace", |o| number(run(o)?.namespaces.pid)),
    field("process.network_namespace", WITH_PROCESS, "inode of the network namespace", |o| number(run(o)?.namespaces.network)),
    field("process.user_namespace", WITH_PROCESS, "inode of the user namespace", |o| number(run(o)?.namespaces.user)),
    fact("process.parent_sockets", PROCESS, "unknown: what its parent listens on was not looked at in the last two seconds", |o| o.facts.parent_sockets_unknown.then_some(EventValue::Str("unknown".into()))),
    field("process.arguments_cut", PROCESS, "arguments were left out of CommandLine", |o| flag(run(o)?.command_line_cut)),
    fact("process.ancestors", WITH_PROCESS, "executables of the parent, its parent, and so on, in a container up to its first process", |o| list(process(o)?.ancestors_inside().map(|ancestor| &*ancestor.execution.exe))),
    fact("process.ancestor_command_lines", WITH_PROCESS, "arguments of the parent, its parent, and so on, in a container up to its first process", |o| { list(process(o)?.ancestors_inside().map(|ancestor| &*ancestor.execution.command_line)) }),
    fact("process.roles", WITH_PROCESS, "what rules say that it is for: web-worker, session…", |o| list(run(o)?.roles.iter())),
    fact("process.ancestor_roles", WITH_PROCESS, "roles of the parent, its parent, and so on, up to the first that begins sessions, in a container up to its first process", ancestor_roles),
    fact("process.gained_root", WITH_PROCESS, "effectively root, though the web worker that it is below serves as another user", |o| process(o)?.gained_root().then_some(EventValue::Bool(true))),
    fact("web_worker.image", WITH_PROCESS, "executable of the nearest ancestor that serves web pages", |o| non_empty(&web_worker(o)?.process.execution.exe)),
    fact("web_worker.pid", WITH_PROCESS, "that one's process id as the node sees it", |o| number(web_worker(o)?.process.key.pid)),
    fact("web_worker.uid", WITH_PROCESS, "the user id that it serves as", |o| number(web_worker(o)?.uid())),
    fact("web_worker.tty", WITH_PROCESS, "its controlling terminal, which a server in operation has none of", |o| non_empty(&web_worker(o)?.process.execution.tty)),
    fact("web_worker.command_line", WITH_PROCESS, "that one's arguments", |o| non_empty(&web_worker(o)?.process.execution.command_line)),
    fact("score.NAME", ALL, "what the score of that name comes to, if it concerns the event", |_| None),
    fact("signals", ALL, "names of the signals that the event's scores have found", |o| list(o.facts.scores.iter().flat_map(Scored::signals))),
    field("container.id", IN_CONTAINER, "the container's full id", |o| { text(&container(o)?.id) }),
    field("container.metadata", IN_CONTAINER, "known, pending (the runtime did not answer in time) or unavailable (no runtime to ask)", |o| text(container(o)?.metadata.name())),
    field("container.runtime", IN_CONTAINER, "docker, containerd, cri-o or podman", |o| non_empty(&container(o)?.runtime)),
    field("container.name", IN_CONTAINER, "the container's name", |o| { non_empty(&container(o)?.name) }),
    field("container.image", IN_CONTAINER, "the image as it was asked for", |o| { non_empty(&container(o)?.image) }),
    field("container.image_digest", IN_CONTAINER, "the image's id or digest", |o| non_empty(&container(o)?.image_digest)),
    field("container.image_names", IN_CONTAINER, "every name that the image bears on this node: its tags, and its names in registries with their digests", |o| list(container(o)?.image_names.iter().map(|name| &**name))),
    field("container.labels", IN_CONTAINER, "labels, each as name=value", |o| labels(container(o)?)),
    field("container.privileged", IN_CONTAINER, "started with --privileged", |o| { flag(container(o)?.privileged?) }),
    field("container.added_capabilities", IN_CONTAINER, "capabilities that were added", |o| list(container(o)?.added_capabilities.iter().map(String::as_str))),
    field("container.security_options", IN_CONTAINER, "security options", |o| { list(container(o)?.security_options.iter().map(String::as_str)) }),
    field("container.devices", IN_CONTAINER, "host devices", |o| { list(container(o)?.devices.iter().map(String::as_str)) }),
    field("container.mounts", IN_CONTAINER, "host paths that are mounted, and where their links lead", |o| { list(container(o)?.mounts.iter().flat_map(Mount::paths)) }),
    field("container.writable_mounts", IN_CONTAINER, "those of them that can be written", |o| { list(container(o)?.mounts.iter().filter(|mount| mount.writable).flat_map(Mount::paths)) }),
    field("container.host_namespaces", IN_CONTAINER, "host namespaces that it shares: pid, network, ipc, uts, user, cgroup", |o| list(container(o)?.host_namespaces.names())),
    field("container.published_ports", IN_CONTAINER, "container ports that the node forwards", |o| { Some(EventValue::Array(container(o)?.published_ports.iter().map(|port| EventValue::Int(port.container_port.into())).collect())) }),
    field("container.command", IN_CONTAINER, "what its first process is told to run", |o| non_empty(&container(o)?.command)),
    secret("container.environment", IN_CONTAINER, "the environment that its first process is given, each as NAME=value; never quoted in alerts or recordings", |o| list(container(o)?.environment.iter().map(|variable| &**variable))),
    field("container.apparmor_profile", IN_CONTAINER, "the AppArmor profile that confines it; absent if none does, or if that is not known", |o| non_empty(&container(o)?.apparmor_profile)),
    field("container.own", IN_CONTAINER, "the agent itself runs in it", |o| o.facts.own_container.then_some(EventValue::Bool(true))),
    field("container.started_at", IN_CONTAINER, "when it was started", |o| { non_empty(&container(o)?.started_at) }),
    fact("container.start", PROCESS, "the first execution seen in its container", |o| o.facts.container_start.then_some(EventValue::Bool(true))),
    field("container.escaped_cgroup", WITH_PROCESS, "the process belongs to its container without being in its cgroup: it left it, or was sent in by nsenter", |o| process(o)?.escaped_cgroup.then_some(EventValue::Bool(true))),
    field("container.escaped_mounts", WITH_PROCESS, "the process left its container's mount namespace for the node's and still belongs to it: it sees the node's files", |o| o.facts.left_mounts.then_some(EventValue::Bool(true))),
    fact("destination.role", CONNECTION, "what the destination is: kubernetes-api, kubernetes-dashboard, kubernetes-service (near the API's address), kubelet, etcd, cloud-metadata, docker-api", |o| text(o.facts.destination_role?)),
    field("destination.container.id", CONNECTION, "the container of this node that answers at the destination: by its address, or by the node's port that is forwarded to it", |o| text(&destination(o)?.id)),
    field("destination.container.name", CONNECTION, "that container's name", |o| non_empty(&destination(o)?.name)),
    field("destination.container.image", CONNECTION, "that container's image as it was asked for", |o| non_empty(&destination(o)?.image)),
    field("destination.container.labels", CONNECTION, "that container's labels, each as name=value", |o| labels(destination(o)?)),
    fact("threat.feed", REMOTE, "the threat feed that is surest of the other side's address, or of one that a name server gave; absent if none lists it", |o| text(&threat(o)?.feed)),
    fact("threat.address", REMOTE, "the address that is listed: the other side's, or the one that a name server gave", |o| Some(EventValue::Str(Cow::Owned(threat(o)?.address.to_string())))),
    fact("threat.indicator", REMOTE, "what that feed lists: the address, or a network that holds it", |o| Some(EventValue::Str(Cow::Owned(indicator(threat(o)?.indicator))))),
    fact("threat.confidence", REMOTE, "how sure it is, from 0 to 100", |o| number(threat(o)?.confidence)),
    fact("threat.tags", REMOTE, "what else it says: families, campaigns, kinds of threat", |o| list(threat(o)?.tags.iter().map(|tag| &**tag))),
    fact("threat.warninglist", REMOTE, "a warninglist that has the address too: the feed lists it by mistake", |o| text(threat(o)?.warninglist.as_deref()?)),
    fact("baseline.state", LEARNED, "whether that is usual for this image: learning (too young to tell), known, or new", |o| text(o.facts.baseline.as_ref()?.state.name())),
    fact("baseline.kind", LEARNED, "what of it is learned: kubernetes-api (a request to a cluster's control plane), child (of a web worker) or drift (a program that is not the image's)", |o| text(o.facts.baseline.as_ref()?.behaviour.kind.name())),
    fact("baseline.first_seen", LEARNED, "when this image was first seen doing that", |o| Some(EventValue::Str(Cow::Owned(o.facts.baseline.as_ref()?.first_seen?.to_string())))),
    fact("listener.address", LISTEN, "how far the listener can be reached: loopback, private, public or any", |o| text(reach(listener(o)?.address.endpoint()?.ip()))),
    fact("listener.published", LISTEN, "how far the node's port that is forwarded to the listener can be reached: loopback, private, public or any; absent if none is", published),
    field("listener.path", LISTEN, "the path of a unix socket, or @ and its name where it has no file", |o| text(listener(o)?.address.path()?)),
    field("listener.connected_to", LISTEN, "unix sockets that who holds the listener is connected to, by the paths that they are bound to: what it may forward to", |o| list(listener(o)?.findings.connected_to.iter().map(|path| &**path))),
    field("listener.configuration", LISTEN, "what dockerd's configuration says of it where it did not tell itself: open, tls (encrypted, but anybody may), mutual-tls, no-api", |o| text(listener(o)?.findings.configuration?)),
    field("listener.finding", LISTEN, "what a look at the listener found out: docker-api-open, docker-api-tls-no-client-auth, docker-api-mutual-tls, docker-api-unknown, not-docker", |o| text(listener(o)?.findings.docker_api.as_deref()?)),
    fact("ssh.configuration", LISTEN, "read, or unknown: what a look at the OpenSSH server that listens found of its configuration", |o| text(if openssh(o)?.permits_passwords.is_some() { "read" } else { "unknown" })),
    fact("ssh.permits_root_login", LISTEN, "the OpenSSH server that listens lets root log in, not only with a key or for set commands", |o| flag(openssh(o)?.permits_root_login?)),
    fact("ssh.permits_passwords", LISTEN, "the OpenSSH server that listens lets somebody in by a password alone", |o| flag(openssh(o)?.permits_passwords?)),
    field("login.service", LOGIN, "the program that wrote the line: sshd (also for its helpers), sudo, su, login…", |o| text(login(o)?.service())),
    field("login.message", LOGIN, "the line without its time, host and program", |o| non_empty(&login(o)?.message)),
    field("login.process", LOGIN, "id of the process that wrote it", |o| number(login(o)?.process?)),
    field("login.outcome", LOGIN, "success, or failure; absent where the line tells neither", |o| text(login(o)?.outcome?.name())),
    field("login.reason", LOGIN, "why nothing came of it: wrong-proof, invalid-user, not-allowed, too-many-attempts, given-up, not-in-sudoers, password-required", |o| non_empty(&login(o)?.reason)),
    field("login.method", LOGIN, "by what: password, publickey, keyboard-interactive/pam…, or su, sudo, pam", |o| non_empty(&login(o)?.method)),
    field("login.key", LOGIN, "fingerprint of the key", |o| non_empty(&login(o)?.key)),
    field("login.invalid_user", LOGIN, "no user of that name may log in", |o| login(o)?.invalid_user.then_some(EventValue::Bool(true))),
    field("login.target_user", LOGIN, "whose rights are asked for", |o| non_empty(&login(o)?.target_user)),
    field("login.tty", LOGIN, "at which terminal", |o| non_empty(&login(o)?.tty)),
    field("login.directory", LOGIN, "in which folder", |o| non_empty(&login(o)?.directory)),
    field("login.command", LOGIN, "what shall be run with the other's rights", |o| non_empty(&login(o)?.command)),
    field("login.times", LOGIN, "so often the same was written, where the log daemon counts instead of repeating", |o| number(Some(login(o)?.times).filter(|times| *times > 1)?)),
    fact("login.failures", LOGIN, "attempts by what can be guessed (no keys) that came to nothing, from that address (IPv6: from its /64) in the last 50 to 60 minutes, but for those of users who were let in from there since", |o| number(remembered(o)?.failures)),
    fact("login.network_failures", LOGIN, "the same of its network: /24, IPv6 /48", |o| number(remembered(o)?.network_failures)),
    fact("login.failed_users", LOGIN, "under so many names, as far as they were counted (16), the attempts of that network were made", |o| number(remembered(o)?.failed_users)),
    fact("login.first_seen", LOGIN, "when that user first came in from that address (IPv6: from its /64); absent if that was never seen", |o| time(remembered(o)?.first_seen?)),
    fact("login.network_first_seen", LOGIN, "when that user first came in from its network: /24, IPv6 /48; absent if that was never seen", |o| time(remembered(o)?.network_first_seen?)),
    field("dns.answer", DNS, "it is an answer", |o| flag(dns(o)?.answer)),
    field("dns.ttl", DNS, "for how many seconds the addresses of the answer stand for the name", |o| { let dns = dns(o)?; (!dns.addresses.is_empty()).then(|| number(dns.ttl))? }),
    field("dns.addresses", DNS, "the addresses of the answer", |o| { names(dns(o)?.addresses.iter().map(ToString::to_string)) }),
    field("memory.finding", MEMORY, "what a look into the process came upon: code (executable memory that is no file's), changed-code (a file's that is not as the file is), preload, held-file (open for reading and deleted), hidden-process, signature (YARA rules match)", |o| text(found(o)?.name())),
    field("memory.mapping", MEMORY, "what is behind the mapping: anonymous, heap, stack, shared, memfd, deleted or file", |o| text(found(o)?.backing()?.name())),
    field("memory.path", MEMORY, "the file that it is about, memfd:NAME for one in memory, or the name that the process gave an anonymous mapping; a preloaded library where it is mapped, else as it is written", |o| text(found(o)?.path()?)),
    field("memory.protection", MEMORY, "how the mapping may be used, as /proc/PID/maps shows it: rwxp, r-xp, r-xs…", |o| text(found(o)?.protection()?)),
    field("memory.address", MEMORY, "where the mapping is, of several the first: 7f3c12a45000-7f3c12a46000", |o| text(found(o)?.address()?)),
    field("memory.size", MEMORY, "bytes of executable memory of this kind", |o| integer(code(o)?.size)),
    field("memory.count", MEMORY, "how many mappings of this kind there are", |o| integer(code(o)?.count)),
    field("memory.elf_head", MEMORY, "executable memory that is no file's begins as a program or a library does (ELF), or what was mapped together with it does", |o| flag(code(o)?.elf_head)),
    field("memory.replaced", MEMORY, "another file stands at the deleted file's path; of a library: one that belongs to root, there or as another version beside it, as after an update", |o| match found(o)? { FindingKind::Code(code) => flag(code.replaced), FindingKind::HeldFile(held) => flag(held.replaced), _ => None }),
    field("memory.differs", MEMORY, "how many bytes of code differ from the file's", |o| integer(changed(o)?.bytes)),
    field("memory.breakpoints", MEMORY, "all bytes that differ are breakpoints, as debuggers and uprobes set them", |o| flag(changed(o)?.breakpoints)),
    field("memory.text_relocations", MEMORY, "the file says that its code must be changed to be loaded (DT_TEXTREL)", |o| flag(changed(o)?.text_relocations)),
    field("memory.read_implies_exec", MEMORY, "the kernel makes executable whatever the process may read, as old programs are marked to need it", |o| flag(finding(o)?.read_implies_exec)),
    field("memory.libraries", MEMORY, "the files that the process has mapped to be executed, its program among them", |o| list(finding(o)?.libraries.iter().map(|path| &**path))),
    field("memory.preload_by", MEMORY, "who says that the library is to be loaded before all others: LD_PRELOAD, LD_AUDIT or ld.so.preload", |o| text(preload(o)?.by)),
    field("memory.preload_loaded", MEMORY, "that library is mapped in the process; of ld.so.preload: in one of that root", |o| flag(preload(o)?.loaded)),
    field("memory.hidden_pid", MEMORY, "the hidden process's id", |o| { matches!(found(o)?, FindingKind::HiddenProcess(_)).then(|| number(finding(o)?.process.pid))? }),
    field("memory.hidden_by", MEMORY, "how a process is hidden: mount (something is mounted over its entry in /proc) or listing (the kernel knows it, and /proc does not list it)", |o| match found(o)? { FindingKind::HiddenProcess(hider) => text(hider.name()), _ => None }),
    field("memory.yara", MEMORY, "names of the YARA rules that match the process's memory", |o| list(signature(o)?.rules.iter().map(|name| &**name))),
    field("memory.yara_source", MEMORY, "the file that these rules are of, or built-in", |o| text(&signature(o)?.source)),
    field("memory.yara_tags", MEMORY, "tags of these rules", |o| list(signature(o)?.tags.iter().map(|name| &**name))),
    field("health.kind", HEALTH, "loss, sensor-off, source-down, sink-down, sink-up, sink-loss, rules-refused, configuration-refused, feed-stale, selftest…", |o| match &o.event.kind { Kind::Health(health) => text(health.kind), _ => None, }),
    field("health.detail", HEALTH, "what is lost and why", |o| { match &o.event.kind { Kind::Health(health) => text(&health.detail), _ => None, } }),
];
