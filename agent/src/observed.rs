//! An event with all that the enrichers know about it: what rules judge and alerts quote.

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use rsigma_eval::EventValue;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    enrich::baseline::Remembered,
    event::{Beyond, Container, Event, LogSource, Process},
    fields::{FIELDS, Field},
    intel::Threat,
};

/// An event and its facts.
#[derive(Clone, Debug)]
pub struct Observed {
    /// What happened.
    pub event: Event,
    /// Who did it.
    pub process: Option<Arc<Process>>,
    /// The container it happened in.
    pub container: Option<Arc<Container>>,
    /// What only the whole node's state tells.
    pub facts: Facts,
}

/// Facts that are neither in the event nor of the process or the container alone.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about an event")]
pub struct Facts {
    /// The name of the process's user.
    pub user: Option<Arc<str>>,
    /// The first execution that was seen in its container.
    pub container_start: bool,
    /// When the first execution was seen in its container, if the agent was there.
    pub container_began: Option<Timestamp>,
    /// The process holds, in the initial user namespace, every capability that the runtime can give.
    pub full_capabilities: bool,
    /// The process could gain, in the initial user namespace, every capability that the runtime can give.
    pub full_bounding_set: bool,
    /// The process left its container's mount namespace for the node's.
    pub left_mounts: bool,
    /// What the process has that its container's first process could never have.
    pub beyond_container: Beyond,
    /// The process was put into a running container.
    pub from_outside: bool,
    /// The runtime was told to put it there: `Some(true)` with every privilege. `None` if no runtime says so.
    pub told_exec: Option<bool>,
    /// The agent itself runs in this container.
    pub own_container: bool,
    /// The container whose address the destination is.
    pub destination_container: Option<Arc<Container>>,
    /// What the destination is: `kubernetes-api`, `kubelet`, `etcd`, `cloud-metadata`…
    pub destination_role: Option<&'static str>,
    /// The name that the destination's address was last asked for under.
    pub destination_name: Option<Arc<str>>,
    /// What threat feeds say of the other side, or of an address that a name server gave.
    pub threat: Option<Arc<Threat>>,
    /// Whether what is done is usual.
    pub baseline: Option<Arc<Remembered>>,
    /// The sockets of the process's parent were not looked at a moment ago.
    pub parent_sockets_unknown: bool,
    /// Whether the process's side opened the connection that its standard input or output is.
    pub stdio_initiated: Option<bool>,
    /// Which of the texts that rules have asked for stand in the process's executable; `None` where nobody has looked.
    pub content: Option<Arc<[Box<str>]>>,
    /// The rules that have matched this event, of one that is judged again.
    pub judged_before: Vec<Uuid>,
    /// Those of them whose alerts have not gone out: they may match once more.
    pub rejudged: Vec<Uuid>,
    /// What the scores that concern this event came to.
    pub scores: Vec<Scored>,
}

/// What a score came to for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scored {
    /// The field under which rules see it: `score.` and its name.
    pub field: Arc<str>,
    /// The weights of the signals that were there.
    pub sum: i64,
    /// Their names.
    pub signals: Vec<Arc<str>>,
}

impl Scored {
    /// The names of the signals that were there.
    pub fn signals(&self) -> impl Iterator<Item = &str> {
        self.signals.iter().map(AsRef::as_ref)
    }
}

impl From<Event> for Observed {
    /// An event that nothing else is known of: a recorded one brings all its facts along.
    fn from(event: Event) -> Self {
        Self {
            event,
            process: None,
            container: None,
            facts: Facts::default(),
        }
    }
}

impl Observed {
    /// The field of that name, if this event carries it.
    pub fn field(&self, name: &str) -> Option<EventValue<'_>> {
        if let Some(value) = self.event.given.as_ref().and_then(|given| given.get(name)) {
            return Some(value.into());
        }
        match field_by_name(name) {
            Some(field) => self.value(field),
            None => self.scores().find(|(field, _)| *field == name).map(|(_, sum)| sum),
        }
    }

    /// The fields of the scores, whose names are their authors' and stand in no table.
    fn scores(&self) -> impl Iterator<Item = (&str, EventValue<'_>)> {
        let scores = self.facts.scores.iter();
        scores.map(|scored| (&*scored.field, EventValue::Int(scored.sum)))
    }

    /// The value of a row of the table. A recorded event has what was recorded, and what follows from other events; its
    /// typed half stands only for the tables.
    pub fn value(&self, field: &Field) -> Option<EventValue<'_>> {
        let Some(given) = &self.event.given else {
            return (field.get)(self);
        };
        match given.get(field.name) {
            Some(value) => Some(value.into()),
            None if field.worked_out => (field.get)(self),
            None => None,
        }
    }

    /// The family whose rules judge this.
    pub fn log_source(&self) -> Option<LogSource> {
        self.event.kind.log_source()
    }

    /// Every field that this event carries and that may be quoted, flat, under the names that rules use.
    pub fn fields(&self) -> impl Iterator<Item = (&str, EventValue<'_>)> {
        let given = self.event.given.as_deref();
        let from_table = FIELDS
            .iter()
            .filter(|field| field.quotable)
            .filter(move |field| given.is_none_or(|given| field.worked_out && !given.contains_key(field.name)))
            .filter_map(|field| Some((field.name, (field.get)(self)?)));
        let given = given
            .into_iter()
            .flat_map(Map::iter)
            .filter(|(name, _)| is_quotable(name))
            .map(|(name, value)| (name.as_str(), value.into()));
        from_table.chain(self.scores()).chain(given)
    }
}

/// The table's row of that name.
pub fn field_by_name(name: &str) -> Option<&'static Field> {
    static BY_NAME: LazyLock<FxHashMap<&'static str, &'static Field>> =
        LazyLock::new(|| FIELDS.iter().map(|field| (field.name, field)).collect());
    BY_NAME.get(name).copied()
}

/// Whether a field of that name may leave the agent.
pub fn is_quotable(name: &str) -> bool {
    field_by_name(name).is_none_or(|field| field.quotable)
}

impl rsigma_eval::Event for Observed {
    fn get_field(&self, path: &str) -> Option<EventValue<'_>> {
        self.field(path)
    }

    fn any_string_value(&self, pred: &dyn Fn(&str) -> bool) -> bool {
        self.fields()
            .any(|(_, value)| value.as_str().is_some_and(|text| pred(&text)))
    }

    fn all_string_values(&self) -> Vec<std::borrow::Cow<'_, str>> {
        self.fields()
            .filter_map(|(_, value)| match value {
                EventValue::Str(text) => Some(text),
                _ => None,
            })
            .collect()
    }

    fn to_json(&self) -> Value {
        self.fields()
            .map(|(name, value)| (name.to_owned(), value.to_json()))
            .collect::<Map<_, _>>()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::samples,
        event::{Kind, ListenAddress, PublishedPort},
    };

    /// How far a listener can be reached whose port is published at those addresses.
    fn check_published(addresses: &[(&str, u16)], expected: Option<&str>) {
        let mut observed = Observed::clone(&samples::listen().observed);
        let Kind::Listen(listener) = &mut observed.event.kind else {
            panic!("no listener: {observed:?}");
        };
        listener.address = ListenAddress::Tcp(([0, 0, 0, 0], 22).into());
        let published = addresses.iter().map(|(address, container_port)| PublishedPort {
            address: (*address).into(),
            port: 2022,
            container_port: *container_port,
        });
        observed.container = Some(Arc::new(Container {
            published_ports: published.collect(),
            ..samples::container_facts()
        }));
        let found = observed.field("listener.published").map(|value| value.to_json());
        assert_eq!(found, expected.map(Value::from), "{addresses:?}");
    }

    /// How long after its container's start an executable was written, that was written at second 0, where the
    /// runtime tells one start and the agent saw another.
    fn check_written_after(told: Option<i64>, seen: Option<i64>, expected: Option<i64>) {
        let mut observed = Observed::clone(&samples::exec().observed);
        let process = Arc::make_mut(observed.process.as_mut().expect("a process"));
        Arc::make_mut(&mut process.execution).modified = samples::at(0).as_second();
        observed.container = Some(Arc::new(Container {
            started_at: told
                .map_or_else(String::new, |second| samples::at(second).to_string())
                .into(),
            ..samples::container_facts()
        }));
        observed.facts.container_began = seen.map(samples::at);
        let found = observed.field("process.exe_written_after").map(|value| value.to_json());
        assert_eq!(found, expected.map(Value::from), "{told:?} {seen:?}");
    }

    #[test]
    fn a_container_of_which_no_runtime_tells_starts_with_its_first_process() {
        check_written_after(Some(-90), Some(-80), Some(90));
        check_written_after(None, Some(-80), Some(80));
        check_written_after(None, None, None);
    }

    #[test]
    fn a_listener_is_published_as_far_as_the_widest_of_its_ports() {
        check_published(&[], None);
        check_published(&[("0.0.0.0", 80)], None);
        check_published(&[("127.0.0.1", 22), ("0.0.0.0", 80)], Some("loopback"));
        check_published(&[("127.0.0.1", 22), ("10.0.0.1", 22)], Some("private"));
        check_published(&[("203.0.113.1", 22), ("10.0.0.1", 22)], Some("public"));
        check_published(&[("203.0.113.1", 22), ("::", 22)], Some("any"));
        check_published(&[("a name", 22)], Some("any"));
    }

    #[test]
    fn an_environment_is_judged_and_never_quoted() {
        let mut observed = Observed::clone(&samples::exec().observed);
        observed.container = Some(Arc::new(Container {
            environment: vec!["SALT=pepper".into()],
            ..samples::container_facts()
        }));
        let judged = observed.field("container.environment").map(|value| value.to_json());
        assert_eq!(judged, Some(serde_json::json!(["SALT=pepper"])));
        assert!(!rsigma_eval::Event::to_json(&observed).to_string().contains("pepper"));
        let mut recorded = Observed::from(observed.event.clone());
        recorded.event.given = Some(Box::new(Map::from_iter([(
            "container.environment".to_owned(),
            "SALT=pepper".into(),
        )])));
        assert!(recorded.fields().all(|(name, _)| name != "container.environment"));
    }
}
