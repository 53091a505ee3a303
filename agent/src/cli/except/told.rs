//! What an alert tells of its event, under the names that rules use, from either of the forms that machines read.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};

use crate::{detect::Rule, event::LogSource, observed::field_by_name};

/// An alert that was read.
#[derive(Debug)]
pub(super) struct Alert {
    /// Its id.
    pub id: String,
    /// The id of its rule.
    pub rule: String,
    /// The rule's title.
    pub title: String,
    form: Form,
    line: Value,
}

/// The form that an alert is in.
#[derive(Clone, Copy, Debug)]
enum Form {
    Ocsf,
    Falco,
}

/// The event's fields, as far as the alert tells them.
pub(super) type Told = Map<String, Value>;

impl Alert {
    /// Reads one alert.
    pub(super) fn read(text: &str) -> Result<Self> {
        let line: Value = serde_json::from_str(text).context("not one alert as a JSON object")?;
        let at = |pointer: &str| line.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let ocsf = (
            at("/finding_info/uid"),
            at("/finding_info/analytic/uid"),
            at("/finding_info/title"),
        );
        let falco = (
            at("/output_fields/tocsin.id"),
            at("/output_fields/tocsin.rule_id"),
            at("/rule"),
        );
        let (form, (id, rule, title)) = match (ocsf, falco) {
            ((Some(id), Some(rule), Some(title)), _) => (Form::Ocsf, (id, rule, title)),
            (_, (Some(id), Some(rule), Some(title))) => (Form::Falco, (id, rule, title)),
            _ => bail!("not an alert of tocsin in OCSF or Falco form"),
        };
        Ok(Self {
            id,
            rule,
            title,
            form,
            line,
        })
    }

    /// The fields that it tells. What it quotes by name goes before what has a place of its own in the form.
    pub(super) fn told(&self, rule: &Rule) -> Told {
        let (mut told, places) = match self.form {
            Form::Ocsf => (
                self.quoted("/unmapped", &[""], &["matched", "given"]),
                ocsf(rule.log_source),
            ),
            Form::Falco => (
                self.quoted("/output_fields", &["tocsin.matched.", "tocsin.given."], &[]),
                falco(rule.log_source),
            ),
        };
        for (field, pointer) in places {
            if let Some(value) = self.line.pointer(pointer).filter(|value| says_something(value)) {
                told.entry(field).or_insert_with(|| value.clone());
            }
        }
        mend(&mut told);
        told
    }

    /// The fields that stand under their own names, or those with one of the prefixes, in an object and in the objects
    /// within it.
    fn quoted(&self, object: &str, prefixes: &[&str], within: &[&str]) -> Told {
        let fields = |pointer: &str| {
            self.line
                .pointer(pointer)
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
        };
        let inner = within
            .iter()
            .flat_map(|name| fields(&format!("{object}/{name}")).collect::<Vec<_>>());
        let all = fields(object).chain(inner);
        let named = all.filter_map(|(key, value)| {
            let name = prefixes.iter().find_map(|prefix| key.strip_prefix(prefix))?;
            (field_by_name(name).is_some() && says_something(value)).then(|| (name.to_owned(), value.clone()))
        });
        named.collect()
    }
}

/// Puts right where a form says something other than the field does.
fn mend(told: &mut Told) {
    // OCSF demands an id of an image; the name stands there where the runtime has told none.
    let digest = told.get("container.image_digest").and_then(Value::as_str);
    let is_id = digest.is_some_and(|id| id.contains("sha256:"));
    if digest.is_some() && !is_id && told.get("container.image_digest") == told.get("container.image") {
        told.remove("container.image_digest");
    }
    if let Some(uid) = told.get("process.uid").and_then(Value::as_str).map(str::parse::<u32>) {
        match uid {
            Ok(uid) => _ = told.insert("process.uid".into(), uid.into()),
            Err(_) => _ = told.remove("process.uid"),
        }
    }
    if told.get("container.id").is_some_and(|id| id == "host") {
        told.remove("container.id");
    }
}

/// A null or an empty text says nothing.
fn says_something(value: &Value) -> bool {
    !value.is_null() && value.as_str() != Some("")
}

/// Where OCSF has a field.
fn ocsf(source: LogSource) -> Vec<(&'static str, &'static str)> {
    let mut places = vec![
        ("Image", "/evidences/0/process/file/path"),
        ("CommandLine", "/evidences/0/process/cmd_line"),
        ("User", "/evidences/0/process/user/name"),
        ("process.uid", "/evidences/0/process/user/uid"),
        ("ParentImage", "/evidences/0/process/parent_process/file/path"),
        ("container.id", "/evidences/0/container/uid"),
        ("container.name", "/evidences/0/container/name"),
        ("container.image", "/evidences/0/container/image/name"),
        ("container.image_digest", "/evidences/0/container/image/uid"),
        ("QueryName", "/evidences/0/query/hostname"),
    ];
    places.extend(match source {
        LogSource::NetworkListen => vec![
            ("SourceIp", "/evidences/0/dst_endpoint/ip"),
            ("SourcePort", "/evidences/0/dst_endpoint/port"),
        ],
        LogSource::Sshd | LogSource::Sudo | LogSource::Auth => vec![
            ("User", "/evidences/0/actor/user/name"),
            ("SourceIp", "/evidences/0/src_endpoint/ip"),
        ],
        LogSource::NetworkConnection => vec![
            ("SourceIp", "/evidences/0/src_endpoint/ip"),
            ("DestinationIp", "/evidences/0/dst_endpoint/ip"),
            ("DestinationPort", "/evidences/0/dst_endpoint/port"),
            ("DestinationHostname", "/evidences/0/dst_endpoint/hostname"),
        ],
        LogSource::ProcessCreation
        | LogSource::DnsQuery
        | LogSource::Memory
        | LogSource::Container
        | LogSource::Webserver
        | LogSource::Health => Vec::new(),
    });
    places
}

/// Where Falco's form has a field.
fn falco(source: LogSource) -> Vec<(&'static str, &'static str)> {
    let mut places = vec![
        ("Image", "/output_fields/proc.exepath"),
        ("CommandLine", "/output_fields/proc.cmdline"),
        ("User", "/output_fields/user.name"),
        ("process.uid", "/output_fields/user.uid"),
        ("ParentImage", "/output_fields/proc.pexepath"),
        ("container.id", "/output_fields/container.full_id"),
        ("container.name", "/output_fields/container.name"),
        ("container.image", "/output_fields/container.image"),
        ("container.image_digest", "/output_fields/container.image.id"),
        ("QueryName", "/output_fields/dns.name"),
    ];
    places.extend(match source {
        LogSource::NetworkListen => vec![
            ("SourceIp", "/output_fields/fd.sip"),
            ("SourcePort", "/output_fields/fd.sport"),
        ],
        LogSource::Sshd | LogSource::Sudo | LogSource::Auth => vec![
            ("SourceIp", "/output_fields/fd.cip"),
            ("login.service", "/output_fields/tocsin.login.service"),
            ("login.target_user", "/output_fields/tocsin.login.target_user"),
        ],
        LogSource::NetworkConnection => vec![
            ("SourceIp", "/output_fields/fd.cip"),
            ("DestinationIp", "/output_fields/fd.sip"),
            ("DestinationPort", "/output_fields/fd.sport"),
        ],
        LogSource::ProcessCreation
        | LogSource::DnsQuery
        | LogSource::Memory
        | LogSource::Container
        | LogSource::Webserver
        | LogSource::Health => Vec::new(),
    });
    places
}
