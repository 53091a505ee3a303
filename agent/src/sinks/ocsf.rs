//! OCSF: an alert as a Detection Finding (class 2004) of schema 1.5.0, one JSON object a line.
//!
//! The structs borrow from the alert and are written straight to the line; no JSON tree is built on the way. Texts of
//! unknown facts are left out rather than empty.

mod attack;
mod evidence;
mod process;
mod unmapped;

use std::fmt::Display;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use self::{
    attack::Attacks,
    evidence::{Evidence, Resource},
    unmapped::Unmapped,
};
use super::{
    Host,
    summary::{Summary, next_steps},
};
use crate::alert::{Activity, Alert, Level};

/// The version of the schema that the objects follow.
const SCHEMA: &str = "1.5.0";
const CLASS: u32 = 2004;

/// Appends the alert as one line.
pub(super) fn write(alert: &Alert, host: &Host, out: &mut Vec<u8>) {
    let before = out.len();
    if let Err(error) = serde_json::to_writer(&mut *out, &Finding::new(alert, host)) {
        // Writing to memory cannot fail, and every key is a text; half a line must not go out all the same.
        out.truncate(before);
        tracing::error!(alert = %alert.id, %error, "alert has no JSON form");
        return;
    }
    out.push(b'\n');
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the schema's names")]
struct Finding<'a> {
    activity_id: u32,
    activity_name: &'static str,
    category_uid: u32,
    category_name: &'static str,
    class_uid: u32,
    class_name: &'static str,
    type_uid: u32,
    severity_id: u32,
    severity: &'static str,
    status_id: u32,
    status: &'static str,
    time: i64,
    start_time: i64,
    end_time: i64,
    #[serde(serialize_with = "as_text")]
    message: Summary<'a>,
    count: u64,
    is_alert: bool,
    metadata: Metadata<'a>,
    finding_info: FindingInfo<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidences: Option<[Evidence<'a>; 1]>,
    resources: [Resource<'a>; 1],
    device: Device<'a>,
    remediation: Remediation<'a>,
    unmapped: Unmapped<'a>,
}

impl<'a> Finding<'a> {
    fn new(alert: &'a Alert, host: &'a Host) -> Self {
        let (activity_id, activity_name) = match alert.activity {
            Activity::Create => (1, "Create"),
            Activity::Update => (2, "Update"),
        };
        let (severity_id, severity) = severity(alert.rule.level);
        Self {
            activity_id,
            activity_name,
            category_uid: 2,
            category_name: "Findings",
            class_uid: CLASS,
            class_name: "Detection Finding",
            type_uid: CLASS * 100 + activity_id,
            severity_id,
            severity,
            status_id: 1,
            status: "New",
            time: alert.time.as_millisecond(),
            start_time: alert.first_seen.as_millisecond(),
            end_time: alert.time.as_millisecond(),
            message: Summary(alert),
            count: alert.count,
            is_alert: true,
            metadata: Metadata::new(alert, host),
            finding_info: FindingInfo::new(alert),
            evidences: Evidence::of(alert).map(|evidence| [evidence]),
            resources: [Resource::affected(alert, host)],
            device: Device::new(host),
            remediation: Remediation {
                desc: next_steps(&alert.rule),
                references: &alert.rule.references,
            },
            unmapped: Unmapped(alert),
        }
    }
}

fn severity(level: Level) -> (u32, &'static str) {
    match level {
        Level::Informational => (1, "Informational"),
        Level::Low => (2, "Low"),
        Level::Medium => (3, "Medium"),
        Level::High => (4, "High"),
        Level::Critical => (5, "Critical"),
    }
}

#[derive(Serialize)]
struct Metadata<'a> {
    version: &'static str,
    product: Product,
    /// Of this line: an update has the id of its finding, and one of its own here.
    #[serde(serialize_with = "as_text")]
    uid: LineId<'a>,
    profiles: &'static [&'static str],
    log_name: &'static str,
}

impl<'a> Metadata<'a> {
    fn new(alert: &'a Alert, host: &Host) -> Self {
        let profiles: &[_] = match alert.observed.container {
            Some(_) => &["host", "container"],
            None => &["host"],
        };
        Self {
            version: SCHEMA,
            product: Product {
                name: "Tocsin",
                vendor_name: "Tocsin",
                version: host.agent_version,
            },
            uid: LineId(alert),
            profiles,
            log_name: alert.rule.log_source.name(),
        }
    }
}

struct LineId<'a>(&'a Alert);

impl Display for LineId<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.activity {
            Activity::Create => self.0.id.fmt(out),
            Activity::Update => write!(out, "{}-{}", self.0.id, self.0.count),
        }
    }
}

#[derive(Serialize)]
struct Product {
    name: &'static str,
    vendor_name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct FindingInfo<'a> {
    #[serde(serialize_with = "uuid_as_text")]
    uid: Uuid,
    title: &'a str,
    desc: &'a str,
    created_time: i64,
    first_seen_time: i64,
    last_seen_time: i64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    types: &'a [String],
    data_sources: [&'static str; 1],
    analytic: Analytic<'a>,
    #[serde(skip_serializing_if = "Attacks::is_empty")]
    attacks: Attacks<'a>,
}

impl<'a> FindingInfo<'a> {
    fn new(alert: &'a Alert) -> Self {
        let rule = &*alert.rule;
        Self {
            uid: alert.id,
            title: &rule.title,
            desc: rule.description.trim(),
            created_time: alert.first_seen.as_millisecond(),
            first_seen_time: alert.first_seen.as_millisecond(),
            last_seen_time: alert.time.as_millisecond(),
            types: &rule.compatibility,
            data_sources: [rule.log_source.name()],
            analytic: Analytic {
                uid: rule.id,
                name: &rule.name,
                kind: "Rule",
                type_id: 1,
            },
            attacks: Attacks(&rule.tags),
        }
    }
}

#[derive(Serialize)]
struct Analytic<'a> {
    #[serde(serialize_with = "uuid_as_text")]
    uid: Uuid,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    type_id: u32,
}

#[derive(Serialize)]
struct Device<'a> {
    hostname: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    type_id: u32,
    os: Os<'a>,
}

impl<'a> Device<'a> {
    fn new(host: &'a Host) -> Self {
        Self {
            hostname: &host.name,
            kind: "Unknown",
            type_id: 0,
            os: Os {
                name: &host.os,
                kind: "Linux",
                type_id: 200,
                kernel_release: &host.kernel,
            },
        }
    }
}

#[derive(Serialize)]
struct Os<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    type_id: u32,
    kernel_release: &'a str,
}

#[derive(Serialize)]
struct Remediation<'a> {
    desc: &'a str,
    references: &'a [String],
}

fn uuid_as_text<S: Serializer>(uuid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}

fn as_text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests;
