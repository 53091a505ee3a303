//! Recorded events: JSON objects with a time, a category, and fields by the names that rules use.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::{
    Connection, Credentials, DnsMessage, Event, Exec, Execution, Findings, Kind, ListenAddress, Listener, LogSource,
    Login, Outcome, Owner, ProcessKey, Protocol, Said,
};
use crate::{enrich::container::is_container_id, observed::Observed};

/// An event as `tocsin record` writes it: `time` (RFC 3339, or seconds since 1970), `category`, and the fields, flat.
pub fn event_from_json(mut fields: Map<String, Value>) -> Result<Event> {
    let category = fields.remove("category").context("the event has no category")?;
    let category = category.as_str().context("the event's category is no text")?;
    let source = LogSource::by_name(category).with_context(|| format!("no event is of the category {category}"))?;
    let time = timestamp(&fields.remove("time").context("the event has no time")?)?;
    let recorded = Fields(&fields);
    let kind = match source {
        LogSource::ProcessCreation => recorded.exec(time),
        LogSource::NetworkConnection => recorded.connection(),
        LogSource::NetworkListen => recorded.listener(),
        LogSource::DnsQuery => Some(recorded.dns()),
        LogSource::Sshd | LogSource::Sudo | LogSource::Auth => Some(recorded.login(source)),
        // All that rules ask of a finding is given.
        LogSource::Memory | LogSource::Container | LogSource::Webserver | LogSource::Health => None,
    };
    Ok(Event {
        time,
        startup: recorded
            .0
            .get("event.startup")
            .and_then(Value::as_bool)
            .unwrap_or_default(),
        kind: kind.unwrap_or(Kind::Recorded(source)),
        given: Some(Box::new(fields)),
    })
}

/// An event of a line of JSON.
pub fn event_from_line(line: &str) -> Result<Event> {
    let Value::Object(fields) = serde_json::from_str(line).context("not JSON")? else {
        bail!("the line is no JSON object");
    };
    event_from_json(fields)
}

/// Writes an event as one line that [`event_from_line`] takes; nothing of one that no rule would see.
pub fn write_event(output: &mut dyn Write, observed: &Observed) -> io::Result<()> {
    let Some(source) = observed.log_source() else {
        return Ok(());
    };
    let mut line = Vec::with_capacity(1024);
    let mut json = serde_json::Serializer::new(&mut line);
    let mut map = json.serialize_map(None)?;
    map.serialize_entry("time", &observed.event.time)?;
    map.serialize_entry("category", source.name())?;
    for (name, value) in observed.fields() {
        map.serialize_entry(name, &value.to_json())?;
    }
    map.end()?;
    line.push(b'\n');
    output.write_all(&line)
}

/// The fields of a record, from which the tables learn: who made whom, and what runs where.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number, also one that a converter wrote as text.
    fn number(&self, name: &str) -> Option<u64> {
        let value = self.0.get(name)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    }

    fn id(&self, name: &str) -> Option<u32> {
        self.number(name)?.try_into().ok()
    }

    fn process(&self, pid: &str, start: &str) -> Option<ProcessKey> {
        Some(ProcessKey {
            pid: self.id(pid)?,
            start: self.number(start).unwrap_or_default(),
        })
    }

    /// An execution, if it is said whose.
    fn exec(&self, time: Timestamp) -> Option<Kind> {
        let process = self.process("ProcessId", "process.start")?;
        let parent = self
            .process("ParentProcessId", "process.parent_start")
            .unwrap_or_default();
        let execution = Execution {
            time,
            exe: self.text("Image").into(),
            command_line: self.text("CommandLine").into(),
            directory: self.text("CurrentDirectory").into(),
            credentials: Credentials {
                uid: self.id("process.uid").unwrap_or_default(),
                euid: self.id("process.euid").or(self.id("process.uid")).unwrap_or_default(),
                ..Credentials::default()
            },
            tty: self.text("process.tty").into(),
            cgroup: self.cgroup(),
            cgroup_id: self.number("process.cgroup_id").unwrap_or_default(),
            ..Execution::default()
        };
        Some(Kind::Exec(Box::new(Exec {
            process,
            parent,
            execution: Arc::new(execution),
        })))
    }

    /// The cgroup; where only the container is said, one that such a container could have.
    fn cgroup(&self) -> Box<str> {
        let id = self.text("container.id");
        match self.text("process.cgroup") {
            "" if is_container_id(id) => format!("/docker/{id}").into(),
            cgroup => cgroup.into(),
        }
    }

    fn owner(&self) -> Owner {
        Owner {
            process: self.process("ProcessId", "process.start"),
            cgroup_id: self.number("process.cgroup_id").unwrap_or_default(),
            network_namespace: self.id("process.network_namespace").unwrap_or_default(),
            uid: self.id("process.uid").unwrap_or_default(),
        }
    }

    fn endpoint(&self, ip: &str, port: &str) -> Option<SocketAddr> {
        let ip: IpAddr = self.text(ip).parse().ok()?;
        Some(SocketAddr::new(ip, u16::try_from(self.number(port)?).ok()?))
    }

    fn connection(&self) -> Option<Kind> {
        let connection = Connection {
            owner: self.owner(),
            protocol: if self.text("Protocol") == "udp" {
                Protocol::Udp
            } else {
                Protocol::Tcp
            },
            initiated: self
                .0
                .get("Initiated")
                .is_none_or(|value| value != &Value::Bool(false) && value != "false"),
            source: self.endpoint("SourceIp", "SourcePort"),
            destination: self.endpoint("DestinationIp", "DestinationPort")?,
            socket: self.number("connection.id").unwrap_or_default(),
            said: self.said(),
        };
        Some(Kind::Connection(Box::new(connection)))
    }

    /// What a connection said, if it has spoken.
    fn said(&self) -> Option<Box<Said>> {
        let text = |name| Some(self.text(name)).filter(|text| !text.is_empty()).map(Box::from);
        let said = Said {
            server_name: text("tls.sni"),
            host: text("http.host"),
            path: text("http.path"),
            user_agent: text("http.user_agent"),
        };
        (said != Said::default()).then(|| Box::new(said))
    }

    fn dns(&self) -> Kind {
        let addresses = self.0.get("dns.addresses").and_then(Value::as_array);
        let addresses = addresses
            .into_iter()
            .flatten()
            .filter_map(|ip| ip.as_str()?.parse().ok());
        let server = (Ipv4Addr::UNSPECIFIED, 53).into();
        Kind::Dns(Box::new(DnsMessage {
            owner: self.owner(),
            server,
            name: self.text("QueryName").into(),
            record_type: self.text("QueryType").into(),
            addresses: addresses.collect(),
            ttl: self.id("dns.ttl").unwrap_or_default(),
            answer: self.0.get("dns.answer") == Some(&Value::Bool(true)),
        }))
    }

    /// What the tables learn from: who came from where, and what came of it. One that says no program is by its family's.
    fn login(&self, source: LogSource) -> Kind {
        let program = match self.text("login.service") {
            "" => source.name(),
            service => service,
        };
        let outcome = [Outcome::Success, Outcome::Failure]
            .into_iter()
            .find(|outcome| outcome.name() == self.text("login.outcome"));
        Kind::Login(Box::new(Login {
            program: program.into(),
            message: self.text("login.message").into(),
            outcome,
            reason: self.text("login.reason").into(),
            method: self.text("login.method").into(),
            user: self.text("User").into(),
            invalid_user: self.0.get("login.invalid_user") == Some(&Value::Bool(true)),
            target_user: self.text("login.target_user").into(),
            source: self.text("SourceIp").parse().ok(),
            source_port: self.number("SourcePort").and_then(|port| port.try_into().ok()),
            command: self.text("login.command").into(),
            times: self.id("login.times").unwrap_or(1),
            ..Login::default()
        }))
    }

    fn listener(&self) -> Option<Kind> {
        let finding = self.text("listener.finding");
        let address = match self.text("listener.path") {
            "" => ListenAddress::Tcp(self.endpoint("SourceIp", "SourcePort")?),
            path => ListenAddress::Unix(path.into()),
        };
        let listener = Listener {
            owner: self.owner(),
            address,
            looked_up: false,
            findings: Findings {
                docker_api: (!finding.is_empty()).then(|| finding.into()),
                ..Findings::default()
            },
        };
        Some(Kind::Listen(Box::new(listener)))
    }
}

fn timestamp(time: &Value) -> Result<Timestamp> {
    if let Some(text) = time.as_str() {
        return text.parse().with_context(|| format!("{text} is no RFC 3339 time"));
    }
    let seconds = time.as_f64().with_context(|| format!("{time} is no time"))?;
    // What a timestamp can hold ends far beyond any clock, and before the cast could lose anything that matters.
    ensure!(seconds.abs() < 1e11, "{time} is no time in seconds since 1970");
    let nanoseconds = (seconds.fract() * 1e9) as i32;
    Ok(Timestamp::new(seconds.trunc() as i64, nanoseconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<(&str, LogSource), &str>) {
        let event = event_from_line(line);
        let found = event
            .as_ref()
            .map(|event| (event.time.to_string(), event.kind.log_source().unwrap()));
        let found = found.map_err(|error| format!("{error:#}"));
        let expected = expected.map(|(time, source)| (time.to_owned(), source));
        match (found, expected) {
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => assert_eq!(found, expected.map_err(str::to_owned)),
        }
    }

    #[test]
    fn a_line_becomes_an_event_or_says_why_not() {
        let exec = LogSource::ProcessCreation;
        check(
            r#"{"time":"2026-11-24T01:02:03Z","category":"process_creation","Image":"/bin/true"}"#,
            Ok(("2026-11-24T01:02:03Z", exec)),
        );
        check(
            r#"{"time":1.5,"category":"process_creation"}"#,
            Ok(("1970-01-01T00:00:01.5Z", exec)),
        );
        check(
            r#"{"time":86400,"category":"health"}"#,
            Ok(("1970-01-02T00:00:00Z", LogSource::Health)),
        );
        check(
            r#"{"time":1e300,"category":"health"}"#,
            Err("is no time in seconds since 1970"),
        );
        check(
            r#"{"time":"yesterday","category":"health"}"#,
            Err("yesterday is no RFC 3339 time"),
        );
        check(r#"{"time":[],"category":"health"}"#, Err("[] is no time"));
        check(r#"{"category":"health"}"#, Err("the event has no time"));
        check(r#"{"time":1}"#, Err("the event has no category"));
        check(r#"{"time":1,"category":"nap"}"#, Err("no event is of the category nap"));
        check("[1]", Err("no JSON object"));
        check("{", Err("not JSON"));
    }

    #[test]
    fn the_fields_are_kept_and_a_standing_thing_is_known_as_such() {
        let line = r#"{"time":1,"category":"process_creation","event.startup":true,"Image":"/bin/true"}"#;
        let event = event_from_line(line).unwrap();
        assert!(event.startup);
        assert_eq!(event.given.unwrap()["Image"], "/bin/true");
    }
}
