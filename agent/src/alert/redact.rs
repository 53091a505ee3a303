//! Secrets in command lines and addresses, blotted out before an alert leaves the agent.

mod patterns;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use lru::LruCache;
use regex::{Captures, Regex, RegexSet};
use serde_json::Value;

use self::patterns::PATTERNS;
use super::Alert;
use crate::{
    event::{Container, ContainerChange, Event, Exec, Execution, Health, Kind, Login, Process, Said},
    observed::Observed,
};

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// Blots out what looks like a secret. A pattern blots out its group `secret`, or all that it matches if it has none.
#[derive(Debug)]
pub struct Redactor {
    /// Every pattern at once: most texts hold nothing, and this one pass says so.
    any: RegexSet,
    each: Vec<Regex>,
    /// What came of the executions that were seen last: a shell that runs a thousand programs is an ancestor in a
    /// thousand alerts, and its arguments may have many kilobytes.
    seen: Mutex<LruCache<usize, Seen>>,
}

/// An execution, kept so that its address stays its own, and what it is without secrets; `None` if it is clean.
type Seen = (Arc<Execution>, Option<Arc<Execution>>);

/// Executions whose outcome is remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(64).expect("not 0");

impl Redactor {
    /// The built-in patterns and `extra` ones (syntax of the `regex` crate).
    pub fn new(extra: &[String]) -> anyhow::Result<Self> {
        for pattern in extra {
            Regex::new(pattern).with_context(|| format!("{pattern} is no regular expression"))?;
        }
        Self::of(PATTERNS.iter().copied().chain(extra.iter().map(String::as_str)))
    }

    /// Blots out nothing.
    pub fn off() -> Self {
        Self::with(RegexSet::empty(), Vec::new())
    }

    fn of<'a>(patterns: impl Iterator<Item = &'a str>) -> anyhow::Result<Self> {
        let patterns: Vec<_> = patterns.collect();
        let each = patterns.iter().map(|pattern| Regex::new(pattern));
        Ok(Self::with(RegexSet::new(&patterns)?, each.collect::<Result<_, _>>()?))
    }

    fn with(any: RegexSet, each: Vec<Regex>) -> Self {
        Self {
            any,
            each,
            seen: Mutex::new(LruCache::new(REMEMBERED)),
        }
    }

    /// The text without its secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let matches = self.any.matches(text);
        matches.into_iter().fold(Cow::Borrowed(text), |text, index| {
            match self.each[index].replace_all(&text, blot) {
                Cow::Borrowed(_) => text,
                Cow::Owned(without) => Cow::Owned(without),
            }
        })
    }

    /// The alert without secrets in any of its texts. What is clean stays shared with the tables it came from.
    pub fn alert(&self, mut alert: Alert) -> Alert {
        if self.each.is_empty() {
            return alert;
        }
        for (_, value) in &mut alert.matched {
            self.value(value);
        }
        if let Some(observed) = self.observed(&alert.observed) {
            alert.observed = Arc::new(observed);
        }
        alert
    }

    /// `None` if it is clean.
    fn observed(&self, observed: &Observed) -> Option<Observed> {
        let event = self.event(&observed.event);
        let process = observed.process.as_ref().and_then(|process| self.process(process));
        let container = (observed.container.as_ref()).and_then(|container| self.container(container));
        if event.is_none() && process.is_none() && container.is_none() {
            return None;
        }
        Some(Observed {
            event: event.unwrap_or_else(|| observed.event.clone()),
            process: process.or_else(|| observed.process.clone()),
            container: container.or_else(|| observed.container.clone()),
            facts: observed.facts.clone(),
        })
    }

    /// `None` if it is clean.
    fn event(&self, event: &Event) -> Option<Event> {
        let kind = self.kind(&event.kind);
        let given = event.given.as_ref().map(|given| {
            let mut given = given.clone();
            let dirty = given.values_mut().fold(false, |dirty, value| self.value(value) | dirty);
            (given, dirty)
        });
        let given = given.and_then(|(given, dirty)| dirty.then_some(given));
        (kind.is_some() || given.is_some()).then(|| Event {
            kind: kind.unwrap_or_else(|| event.kind.clone()),
            given: given.or_else(|| event.given.clone()),
            ..*event
        })
    }

    /// `None` if it is clean.
    fn kind(&self, kind: &Kind) -> Option<Kind> {
        Some(match kind {
            Kind::Exec(exec) => Kind::Exec(Box::new(Exec {
                execution: self.execution(&exec.execution)?,
                ..**exec
            })),
            Kind::Container(change) => Kind::Container(Box::new(ContainerChange {
                container: self.container(&change.container)?,
                ..**change
            })),
            Kind::Health(health) => {
                let Cow::Owned(detail) = self.text(&health.detail) else {
                    return None;
                };
                Kind::Health(Health { detail, ..*health })
            }
            Kind::Connection(connection) => {
                let said = self.said(connection.said.as_deref()?)?;
                let mut connection = connection.clone();
                connection.said = Some(Box::new(said));
                Kind::Connection(connection)
            }
            Kind::Login(login) => {
                let (command, message) = (self.text(&login.command), self.text(&login.message));
                if let (Cow::Borrowed(_), Cow::Borrowed(_)) = (&command, &message) {
                    return None;
                }
                Kind::Login(Box::new(Login {
                    command: command.into(),
                    message: message.into(),
                    ..(**login).clone()
                }))
            }
            Kind::Fork(_)
            | Kind::Exit(_)
            | Kind::Listen(_)
            | Kind::Dns(_)
            | Kind::Memory(_)
            | Kind::Runtime(_)
            | Kind::ToldExec(_)
            | Kind::OwnContainer(_)
            | Kind::Users(_)
            | Kind::Intel(_)
            | Kind::KubernetesServer(_)
            | Kind::Baseline(_)
            | Kind::Again(_)
            | Kind::Looked(_)
            | Kind::Recorded(_) => return None,
        })
    }

    /// `None` if it is clean.
    fn said(&self, said: &Said) -> Option<Said> {
        let mut without = said.clone();
        let Said {
            server_name,
            host,
            path,
            user_agent,
        } = &mut without;
        let mut dirty = false;
        for text in [server_name, host, path, user_agent].into_iter().flatten() {
            if let Cow::Owned(clean) = self.text(text) {
                *text = clean.into();
                dirty = true;
            }
        }
        dirty.then_some(without)
    }

    /// The process with its ancestors; those above the last secret stay shared.
    fn process(&self, process: &Arc<Process>) -> Option<Arc<Process>> {
        let line: Vec<_> = std::iter::successors(Some(process), |process| process.parent.as_ref()).collect();
        let mut above: Option<Arc<Process>> = None;
        for process in line.into_iter().rev() {
            let execution = self.execution(&process.execution);
            let replaced = (process.replaced.as_ref()).and_then(|replaced| self.program(replaced));
            if execution.is_some() || replaced.is_some() || above.is_some() {
                above = Some(Arc::new(Process {
                    parent: above.or_else(|| process.parent.clone()),
                    execution: execution.unwrap_or_else(|| Arc::clone(&process.execution)),
                    container: process.container.clone(),
                    replaced: replaced.or_else(|| process.replaced.clone()),
                    former_exe: process.former_exe.clone(),
                    ..**process
                }));
            }
        }
        above
    }

    /// A program that the process ran before, whose ancestors are those of the process itself.
    fn program(&self, process: &Process) -> Option<Arc<Process>> {
        let execution = self.execution(&process.execution)?;
        Some(Arc::new(Process {
            execution,
            ..process.clone()
        }))
    }

    /// `None` if it is clean.
    fn execution(&self, execution: &Arc<Execution>) -> Option<Arc<Execution>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = seen.get_or_insert(Arc::as_ptr(execution).addr(), || {
            let without = match self.text(&execution.command_line) {
                Cow::Owned(command_line) => Some(Arc::new(Execution {
                    command_line: command_line.into(),
                    ..(**execution).clone()
                })),
                Cow::Borrowed(_) => None,
            };
            (Arc::clone(execution), without)
        });
        outcome.1.clone()
    }

    fn container(&self, container: &Container) -> Option<Arc<Container>> {
        let command = self.text(&container.command);
        let labels = self.labels(&container.labels);
        if labels.is_none() && matches!(command, Cow::Borrowed(_)) {
            return None;
        }
        Some(Arc::new(Container {
            command: command.into(),
            labels: labels.unwrap_or_else(|| container.labels.clone()),
            ..container.clone()
        }))
    }

    /// A label's name can tell that its value is a secret.
    fn labels(&self, labels: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
        let mut without = None;
        for (name, value) in labels {
            if let Cow::Owned(pair) = self.text(&format!("{name}={value}")) {
                let value = pair.strip_prefix(&format!("{name}=")).unwrap_or(REDACTED);
                without
                    .get_or_insert_with(|| labels.clone())
                    .insert(name.clone(), value.to_owned());
            }
        }
        without
    }

    /// Tells whether there was a secret.
    fn value(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => match self.text(text) {
                Cow::Owned(without) => {
                    *text = without;
                    true
                }
                Cow::Borrowed(_) => false,
            },
            Value::Array(values) => values.iter_mut().fold(false, |dirty, value| self.value(value) | dirty),
            Value::Object(fields) => fields
                .values_mut()
                .fold(false, |dirty, value| self.value(value) | dirty),
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

/// A match with its group `secret` replaced.
fn blot(captures: &Captures<'_>) -> String {
    let whole = captures.get_match();
    let secret = captures.name("secret").unwrap_or(whole);
    let before = secret.start() - whole.start();
    let after = secret.end() - whole.start();
    let text = whole.as_str();
    [&text[..before], REDACTED, &text[after..]].concat()
}

#[cfg(test)]
mod tests;
