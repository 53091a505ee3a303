//! Which fields of an alert make an exception: those that name its cause, and no other's.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::told::Told;
use crate::{alert::redact::REDACTED, detect::Rule, event::LogSource, observed::field_by_name};

/// A field that an exception asks for.
#[derive(Debug)]
pub(super) struct Chosen {
    /// Its name.
    pub field: String,
    /// Its value; `None` where it must be absent.
    pub value: Option<Value>,
    /// Why it is asked for.
    pub why: &'static str,
}

/// The fields, and what is to be said of those that could not be had.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// The fields.
    pub chosen: Vec<Chosen>,
    /// One line each.
    pub notes: Vec<String>,
}

/// Fields that tell a cause from others all by themselves. An image's name is none: anybody can give it to an image.
const TELLING: &[&str] = &[
    "Image",
    "CommandLine",
    "ParentImage",
    "ParentCommandLine",
    "process.script",
    "process.invoked",
    "container.image_digest",
    "DestinationIp",
    "DestinationHostname",
    "QueryName",
    "listener.path",
    "memory.path",
    "memory.hidden_pid",
    "c-ip",
    "cs-host",
    "cs-uri",
    "cs-uri-stem",
    "cs-uri-query",
    "health.detail",
];

const NAME: &str = "container.image";
const DIGEST: &str = "container.image_digest";

/// The fields that fit the rule, or those that were asked for.
pub(super) fn choose(rule: &Rule, told: &Told, wanted: &[String]) -> Result<Choice> {
    let mut choice = Choice::default();
    if wanted.is_empty() {
        choice.by_rule(rule, told);
    } else {
        choice.by_name(rule, told, wanted)?;
    }
    choice.refuse_too_much()?;
    Ok(choice)
}

impl Choice {
    fn by_rule(&mut self, rule: &Rule, told: &Told) {
        let in_container = told.contains_key("container.id");
        let imaged = told.contains_key(DIGEST);
        if imaged {
            self.take(told, NAME, "the image's name");
            self.take(told, DIGEST, "its content: another image of that name is not excepted");
        }
        // A rule of which a container is the subject is about what the container is, not about who tells of it.
        let of_container = rule.log_source == LogSource::Container || rule.subject == ["container.id"];
        if of_container && imaged {
            return;
        }
        let carries = |field: &str| carries(rule.log_source, field);
        if carries("Image") {
            self.process(told);
        }
        if in_container && !imaged {
            self.notes
                .push("the alert does not tell the image's digest: its name alone would prove nothing".into());
            if !self.chosen.is_empty() {
                self.take(
                    told,
                    NAME,
                    "the image's name, which anybody can give to an image: beside the other fields",
                );
            }
        }
        if !in_container && carries("container.id") && !self.chosen.is_empty() {
            self.chosen.push(Chosen {
                field: "container.id".into(),
                value: None,
                why: "on the host: the same in a container is not excepted",
            });
        }
        self.family(rule.log_source, told);
    }

    fn process(&mut self, told: &Told) {
        self.take(told, "Image", "the program");
        if !self.take(told, "CommandLine", "what it is told to do") {
            self.take(told, "process.script", "the script that it runs");
            self.take(told, "ParentImage", "who starts it");
        }
        if !self.take(told, "User", "as whom it runs") {
            self.take(told, "process.uid", "as whom it runs");
        }
    }

    fn family(&mut self, source: LogSource, told: &Told) {
        let fields: &[(&str, &'static str)] = match source {
            LogSource::NetworkConnection => &[
                ("DestinationIp", "where it connects to"),
                ("DestinationPort", "and to which service"),
            ],
            LogSource::NetworkListen if told.contains_key("listener.path") => {
                &[("listener.path", "the socket that it listens on")]
            }
            LogSource::NetworkListen => &[
                ("SourceIp", "the address that it listens on"),
                ("SourcePort", "and the port"),
            ],
            LogSource::DnsQuery => &[("QueryName", "the name that it asks for")],
            LogSource::Memory => &[
                ("memory.finding", "what was found"),
                ("memory.path", "the file that it is about"),
                ("memory.hidden_pid", "the process"),
            ],
            LogSource::Sshd | LogSource::Sudo | LogSource::Auth if told.contains_key("SourceIp") => &[
                ("login.service", "the service"),
                ("User", "who"),
                ("SourceIp", "from where"),
            ],
            LogSource::Sshd | LogSource::Sudo | LogSource::Auth => &[
                ("login.service", "the service"),
                ("User", "who"),
                ("login.target_user", "whose rights are asked for"),
            ],
            LogSource::Webserver => &[
                ("c-ip", "the client"),
                ("cs-host", "the site"),
                ("cs-method", "the method"),
                ("cs-uri-stem", "the page"),
            ],
            LogSource::Health => &[
                ("health.kind", "the kind of trouble"),
                ("health.detail", "the trouble itself"),
            ],
            LogSource::ProcessCreation | LogSource::Container => &[],
        };
        for (field, why) in fields {
            // A finding has some of them, each kind its own.
            if source == LogSource::Memory && !told.contains_key(*field) {
                continue;
            }
            self.take(told, field, why);
        }
    }

    fn by_name(&mut self, rule: &Rule, told: &Told, wanted: &[String]) -> Result<()> {
        for field in wanted {
            let source = rule.log_source;
            ensure!(
                carries(source, field),
                "{} events never carry the field {field}",
                source.name()
            );
            let value = told
                .get(field)
                .with_context(|| format!("the alert does not tell {field}"))?;
            ensure!(
                !is_redacted(value),
                "{field} holds a secret, which the alert does not tell"
            );
            self.take(told, field, "as asked for");
        }
        Ok(())
    }

    /// Takes a field, if the alert tells it whole; otherwise says so.
    fn take(&mut self, told: &Told, field: &str, why: &'static str) -> bool {
        let value = told.get(field);
        match value {
            Some(value) if is_redacted(value) => self
                .notes
                .push(format!("{field} is left out: a secret was removed from it")),
            Some(value) => self.chosen.push(Chosen {
                field: field.into(),
                value: Some(value.clone()),
                why,
            }),
            None => self
                .notes
                .push(format!("{field} is left out: the alert does not tell it")),
        }
        value.is_some_and(|value| !is_redacted(value))
    }

    fn refuse_too_much(&self) -> Result<()> {
        let has = |field: &str| {
            self.chosen
                .iter()
                .any(|chosen| chosen.field == field && chosen.value.is_some())
        };
        let reasons = || match &self.notes[..] {
            [] => String::new(),
            notes => format!(" ({})", notes.join("; ")),
        };
        // Of a login it takes two: who, and at which service.
        let login = has("login.service") && has("User");
        let others = login || self.chosen.iter().any(|chosen| TELLING.contains(&&*chosen.field));
        ensure!(
            others || !has(NAME),
            "refused: anybody can give an image that name; add its digest or the program{}",
            reasons()
        );
        ensure!(
            others,
            "refused: nothing here tells this cause from others, so that everything would be excepted{}",
            reasons()
        );
        Ok(())
    }
}

fn carries(source: LogSource, field: &str) -> bool {
    field_by_name(field).is_some_and(|field| field.carried_by.contains(&source))
}

fn is_redacted(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(REDACTED),
        Value::Array(values) => values.iter().any(is_redacted),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
