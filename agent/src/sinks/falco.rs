//! Falco's form: one JSON object a line, as falcosidekick and what stands behind it take it.
//!
//! `output_fields` is flat, of texts, numbers and truth values only: its readers know no lists.

use std::fmt::Display;

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::{
    Host,
    summary::{Summary, file_name, image_tag, matched_once, short_id},
};
use crate::{
    alert::{Alert, Level},
    event::{Container, Kind, ListenAddress, LogSource, Login, Process},
};

/// Appends the alert as one line.
pub(super) fn write(alert: &Alert, host: &Host, out: &mut Vec<u8>) {
    let priority = priority(alert.rule.level);
    let line = Line {
        output: format_args!("{:.9}: {priority} {}", alert.time, Summary(alert)),
        priority,
        rule: &alert.rule.title,
        time: Rfc3339(alert.time),
        source: source(alert.rule.log_source),
        tags: &alert.rule.tags,
        hostname: &host.name,
        output_fields: Fields(alert),
    };
    let before = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, &line) {
        // Writing to memory cannot fail, and every key is a text; half a line must not go out all the same.
        out.truncate(before);
        tracing::error!(alert = %alert.id, %error, "alert has no JSON form");
        return;
    }
    out.push(b'\n');
}

#[derive(Serialize)]
struct Line<'a> {
    output: std::fmt::Arguments<'a>,
    priority: &'static str,
    rule: &'a str,
    time: Rfc3339,
    source: &'static str,
    tags: &'a [String],
    hostname: &'a str,
    output_fields: Fields<'a>,
}

/// Falco has eight priorities; the two above and the one below have no level of Sigma.
fn priority(level: Level) -> &'static str {
    match level {
        Level::Critical => "Critical",
        Level::High => "Error",
        Level::Medium => "Warning",
        Level::Low => "Notice",
        Level::Informational => "Informational",
    }
}

/// Falco's name for what the kernel tells is `syscall`; other sources are plugins there.
fn source(family: LogSource) -> &'static str {
    match family {
        LogSource::ProcessCreation
        | LogSource::NetworkConnection
        | LogSource::NetworkListen
        | LogSource::DnsQuery
        | LogSource::Memory => "syscall",
        LogSource::Container => "docker",
        LogSource::Sshd | LogSource::Sudo | LogSource::Auth | LogSource::Webserver | LogSource::Health => family.name(),
    }
}

/// A time with nanoseconds, always nine digits of them.
struct Rfc3339(Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.9}", self.0))
    }
}

struct Fields<'a>(&'a Alert);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(alert) = self;
        let mut fields = serializer.serialize_map(None)?;
        let nanoseconds = i64::try_from(alert.time.as_nanosecond()).unwrap_or(i64::MAX);
        fields.serialize_entry("evt.time", &nanoseconds)?;
        fields.serialize_entry("tocsin.id", &Text(alert.id))?;
        fields.serialize_entry("tocsin.rule_id", &Text(alert.rule.id))?;
        let rule = &*alert.rule;
        if !rule.author.is_empty() {
            fields.serialize_entry("tocsin.rule_author", &rule.author)?;
        }
        if !rule.compatibility.is_empty() {
            fields.serialize_entry("tocsin.compatibility", &rule.compatibility.join(","))?;
        }
        fields.serialize_entry("tocsin.count", &alert.count)?;
        let observed = &*alert.observed;
        if let Some(process) = &observed.process {
            process_fields(&mut fields, process)?;
        }
        if let Some(user) = &observed.facts.user {
            fields.serialize_entry("user.name", &**user)?;
        }
        match &observed.container {
            Some(container) => container_fields(&mut fields, container)?,
            None if observed.process.is_some() => fields.serialize_entry("container.id", "host")?,
            None => {}
        }
        socket_fields(&mut fields, &observed.event.kind)?;
        for (name, value) in matched_once(alert) {
            quoted_field(&mut fields, "matched", name, value)?;
        }
        for (name, value) in observed.event.given.iter().flat_map(|given| given.iter()) {
            quoted_field(&mut fields, "given", name, value)?;
        }
        fields.end()
    }
}

fn process_fields<M: SerializeMap>(fields: &mut M, process: &Process) -> Result<(), M::Error> {
    let run = &*process.execution;
    fields.serialize_entry("proc.name", file_name(&run.exe))?;
    fields.serialize_entry("proc.exepath", &run.exe)?;
    fields.serialize_entry("proc.cmdline", &run.command_line)?;
    fields.serialize_entry("proc.cwd", &run.directory)?;
    fields.serialize_entry("proc.pid", &process.key.pid)?;
    fields.serialize_entry("proc.vpid", &run.pid_in_namespace)?;
    fields.serialize_entry("proc.sid", &run.session)?;
    fields.serialize_entry("proc.tty", &run.tty)?;
    fields.serialize_entry("user.uid", &run.credentials.uid)?;
    if let Some(login_uid) = run.credentials.login_uid {
        fields.serialize_entry("user.loginuid", &login_uid)?;
    }
    for (ancestor, [name, command_line, exe]) in process.ancestors().zip(ANCESTORS) {
        fields.serialize_entry(name, file_name(&ancestor.execution.exe))?;
        fields.serialize_entry(command_line, &ancestor.execution.command_line)?;
        fields.serialize_entry(exe, &ancestor.execution.exe)?;
    }
    if let Some(parent) = &process.parent {
        fields.serialize_entry("proc.ppid", &parent.key.pid)?;
    }
    if let Some(worker) = process.web_worker() {
        fields.serialize_entry("tocsin.web_worker.image", &worker.process.execution.exe)?;
        fields.serialize_entry("tocsin.web_worker.pid", &worker.process.key.pid)?;
        fields.serialize_entry("tocsin.web_worker.uid", &worker.uid())?;
        fields.serialize_entry("tocsin.web_worker.command_line", &worker.process.execution.command_line)?;
    }
    Ok(())
}

/// Name, command line and path of the parent, its parent, and the one above.
const ANCESTORS: [[&str; 3]; 3] = [
    ["proc.pname", "proc.pcmdline", "proc.pexepath"],
    ["proc.aname[2]", "proc.acmdline[2]", "proc.aexepath[2]"],
    ["proc.aname[3]", "proc.acmdline[3]", "proc.aexepath[3]"],
];

fn container_fields<M: SerializeMap>(fields: &mut M, container: &Container) -> Result<(), M::Error> {
    fields.serialize_entry("container.id", short_id(&container.id))?;
    fields.serialize_entry("container.full_id", &*container.id)?;
    let (repository, tag) = image_tag(&container.image);
    let texts = [
        ("container.name", &*container.name),
        ("container.type", &*container.runtime),
        ("container.image", &*container.image),
        ("container.image.repository", repository),
        ("container.image.tag", tag.unwrap_or_default()),
        ("container.image.id", &*container.image_digest),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        fields.serialize_entry(name, text)?;
    }
    match container.privileged {
        Some(privileged) => fields.serialize_entry("container.privileged", &privileged),
        None => Ok(()),
    }
}

/// In Falco the server's side is `sip` and `sport`, whoever opened the connection.
fn socket_fields<M: SerializeMap>(fields: &mut M, kind: &Kind) -> Result<(), M::Error> {
    let (client, server, protocol) = match kind {
        Kind::Connection(connection) => (connection.source, connection.destination, connection.protocol.name()),
        Kind::Listen(listener) => match &listener.address {
            ListenAddress::Tcp(address) => (None, *address, "tcp"),
            ListenAddress::Unix(path) => return fields.serialize_entry("fd.name", path),
        },
        Kind::Dns(message) => {
            fields.serialize_entry("dns.name", &message.name)?;
            (None, message.server, "udp")
        }
        Kind::Login(login) => return login_fields(fields, login),
        Kind::Exec(_)
        | Kind::Container(_)
        | Kind::Memory(_)
        | Kind::Health(_)
        | Kind::Recorded(_)
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
        | Kind::Baseline(_) => {
            return Ok(());
        }
    };
    fields.serialize_entry("fd.l4proto", protocol)?;
    fields.serialize_entry("fd.sip", &server.ip().to_canonical())?;
    fields.serialize_entry("fd.sport", &server.port())?;
    if let Some(client) = client {
        fields.serialize_entry("fd.cip", &client.ip().to_canonical())?;
        fields.serialize_entry("fd.cport", &client.port())?;
    }
    Ok(())
}

/// Falco knows no logins: who, by the name of its users, and from where, by that of its connections.
fn login_fields<M: SerializeMap>(fields: &mut M, login: &Login) -> Result<(), M::Error> {
    if let Some(source) = login.source {
        fields.serialize_entry("fd.cip", &source)?;
    }
    let texts = [
        ("user.name", &login.user),
        ("tocsin.login.target_user", &login.target_user),
        ("tocsin.login.method", &login.method),
        ("tocsin.login.command", &login.command),
        ("tocsin.login.message", &login.message),
    ];
    for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        fields.serialize_entry(name, text)?;
    }
    fields.serialize_entry("tocsin.login.service", login.service())
}

/// A field by the name that rules use, under a name of its own: a matched `container.id` must not stand beside Falco's short one. Readers cast the fields
/// that they know to texts, so lists become one.
fn quoted_field<M: SerializeMap>(fields: &mut M, why: &str, name: &str, value: &Value) -> Result<(), M::Error> {
    fields.serialize_key(&format_args!("tocsin.{why}.{name}"))?;
    match value {
        Value::Array(_) | Value::Object(_) | Value::Null => fields.serialize_value(&Text(value)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => fields.serialize_value(value),
    }
}

struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
