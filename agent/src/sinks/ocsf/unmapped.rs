//! What OCSF has no place for: the fields that the rule matched, and Tocsin's own facts.

use std::sync::LazyLock;

use rsigma_eval::EventValue;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use crate::{
    alert::Alert,
    fields::Field,
    observed::{field_by_name, is_quotable},
    sinks::summary::matched_once,
};

/// The alert's matched fields under `matched`, and the facts flat, by the names that rules use.
pub(super) struct Unmapped<'a>(pub(super) &'a Alert);

/// Facts that tell an operator more than the evidence does, in this order. Each is there only where it is known.
const FACTS: &[&str] = &[
    "event.startup",
    "LogonId",
    "process.euid",
    "process.script",
    "process.exe_kind",
    "process.full_capabilities",
    "process.full_bounding_set",
    "process.beyond_container",
    "process.from_outside",
    "process.docker_exec",
    "process.host_user_namespace",
    "process.seccomp",
    "process.stdin",
    "process.stdin_path",
    "process.stdout",
    "process.stderr",
    "process.stdio_peer",
    "process.stdio_peer_port",
    "process.stdio_initiated",
    "process.cgroup",
    "process.arguments_cut",
    "process.gained_root",
    "web_worker.image",
    "web_worker.pid",
    "web_worker.uid",
    "web_worker.command_line",
    "container.metadata",
    "container.image_names",
    "container.privileged",
    "container.added_capabilities",
    "container.security_options",
    "container.devices",
    "container.writable_mounts",
    "container.host_namespaces",
    "container.published_ports",
    "container.command",
    "container.started_at",
    "container.apparmor_profile",
    "container.start",
    "container.escaped_cgroup",
    "container.escaped_mounts",
    "threat.feed",
    "threat.indicator",
    "threat.confidence",
    "threat.tags",
    "tls.sni",
    "http.host",
    "http.path",
    "http.user_agent",
    "destination.role",
    "destination.container.id",
    "destination.container.name",
    "destination.container.image",
    "baseline.state",
    "baseline.kind",
    "baseline.first_seen",
    "listener.address",
    "listener.path",
    "listener.connected_to",
    "listener.published",
    "listener.configuration",
    "listener.finding",
    "listener.published",
    "process.content",
    "ssh.configuration",
    "ssh.permits_root_login",
    "ssh.permits_passwords",
    "memory.finding",
    "memory.mapping",
    "memory.path",
    "memory.protection",
    "memory.address",
    "memory.size",
    "memory.count",
    "memory.elf_head",
    "memory.replaced",
    "memory.differs",
    "memory.preload_by",
    "memory.preload_loaded",
    "memory.hidden_pid",
    "memory.hidden_by",
    "memory.yara",
    "memory.yara_source",
    "login.service",
    "login.outcome",
    "login.reason",
    "login.method",
    "login.target_user",
    "login.invalid_user",
    "login.key",
    "login.tty",
    "login.command",
    "login.message",
    "login.failures",
    "login.network_failures",
    "login.failed_users",
    "login.first_seen",
    "login.network_first_seen",
    "health.kind",
    "health.detail",
];

/// The rows of the field table for [`FACTS`], so that no alert looks them up by name.
static ROWS: LazyLock<Vec<&Field>> = LazyLock::new(|| FACTS.iter().filter_map(|name| field_by_name(name)).collect());

impl Serialize for Unmapped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(alert) = self;
        let mut fields = serializer.serialize_map(None)?;
        fields.serialize_entry("matched", &Matched(alert))?;
        fields.serialize_entry("rule.author", &alert.rule.author)?;
        if let Some(given) = alert.observed.event.given.as_deref() {
            fields.serialize_entry("given", &Given(given))?;
        }
        for field in ROWS.iter() {
            if let Some(value) = alert.observed.value(field) {
                fields.serialize_entry(field.name, &Fact(&value))?;
            }
        }
        fields.end()
    }
}

/// What a recorded event brought along and may be quoted.
struct Given<'a>(&'a Map<String, Value>);

impl Serialize for Given<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(name, _)| is_quotable(name)))
    }
}

struct Matched<'a>(&'a Alert);

impl Serialize for Matched<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(matched_once(self.0))
    }
}

/// A field's value as JSON, without a tree.
struct Fact<'a>(&'a EventValue<'a>);

impl Serialize for Fact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            EventValue::Str(text) => serializer.serialize_str(text),
            EventValue::Int(number) => serializer.serialize_i64(*number),
            EventValue::Bool(flag) => serializer.serialize_bool(*flag),
            EventValue::Array(values) => serializer.collect_seq(values.iter().map(Fact)),
            other => other.to_json().serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_a_field() {
        assert_eq!(ROWS.len(), FACTS.len());
    }
}
