//! One alert of each kind, for tests of whatever takes alerts.

mod parts;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use self::parts::{address, exec_event, owner};
pub(crate) use self::parts::{container_facts, observed, process, rule};
use super::{Alert, Level};
use crate::{
    event::{
        Backing, Code, Connection, Container, ContainerAction, ContainerChange, DnsMessage, Execution, FindingKind,
        Findings, Health, Kind, ListenAddress, Listener, LogSource, Login, MemoryFinding, Outcome, Process, ProcessKey,
        Protocol, Remembered, Said,
    },
    observed::Observed,
};

/// The id of [`container_facts`].
pub(crate) const CONTAINER_ID: &str = "3f4e8a0c9d7b6a5f4e3d2c1b0a9f8e7d6c5b4a3f2e1d0c9b8a7f6e5d4c3b2a19";

/// Where the samples' time starts: 2026-11-24 01:02:03.456789012 UTC, a Tuesday night.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let start = Timestamp::new(1_795_482_123, 456_789_012).unwrap();
    start + SignedDuration::from_secs(seconds)
}

/// One of each.
pub(crate) fn all() -> Vec<Alert> {
    vec![
        exec(),
        exec_on_host(),
        connection(),
        listen(),
        dns(),
        memory(),
        container(),
        login(),
        health(),
        web(),
    ]
}

/// A file in /tmp run by a web server's user inside a container.
pub(crate) fn exec() -> Alert {
    let rule = rule("Process execution from temporary folder", LogSource::ProcessCreation);
    let mut observed = observed(exec_event("/tmp/x", "/tmp/x -o pool.example:3333"));
    observed.container = Some(Arc::new(container_facts()));
    let matched = vec![("Image".into(), json!("/tmp/x")), ("process.uid".into(), json!(33))];
    Alert::new(Arc::new(rule), Arc::new(observed), matched)
}

/// The same on the host itself, from a terminal.
pub(crate) fn exec_on_host() -> Alert {
    let mut alert = exec();
    let mut observed = Observed::clone(&alert.observed);
    observed.container = None;
    alert.observed = Arc::new(observed);
    alert
}

/// A container's process asks the cluster's API.
pub(crate) fn connection() -> Alert {
    let connection = Connection {
        owner: owner(),
        protocol: Protocol::Tcp,
        initiated: true,
        source: Some(address("172.17.0.2:40112")),
        destination: address("10.96.0.1:443"),
        socket: 7,
        said: None,
    };
    let mut observed = observed(Kind::Connection(Box::new(connection)));
    observed.container = Some(Arc::new(container_facts()));
    observed.facts.destination_role = Some("kubernetes-api");
    observed.facts.destination_name = Some("kubernetes.default.svc".into());
    let rule = rule("Suspicious request to Kubernetes API", LogSource::NetworkConnection);
    let matched = vec![("destination.role".into(), json!("kubernetes-api"))];
    Alert::new(Arc::new(rule), Arc::new(observed), matched)
}

/// A Docker API without TLS.
pub(crate) fn listen() -> Alert {
    let listener = Listener {
        owner: owner(),
        address: ListenAddress::Tcp(address("0.0.0.0:2375")),
        looked_up: false,
        findings: Findings {
            docker_api: Some("docker-api-open".into()),
            ..Findings::default()
        },
    };
    let mut rule = rule("Exposed Docker daemon detected", LogSource::NetworkListen);
    rule.level = Level::High;
    let matched = vec![("listener.finding".into(), json!("docker-api-open"))];
    let observed = observed(Kind::Listen(Box::new(listener)));
    Alert::new(Arc::new(rule), Arc::new(observed), matched)
}

/// A miner pool's name is asked for.
pub(crate) fn dns() -> Alert {
    let message = DnsMessage {
        owner: owner(),
        server: address("[2001:db8::53]:53"),
        name: "pool.example".into(),
        record_type: "AAAA".into(),
        addresses: Vec::new(),
        ttl: 0,
        answer: false,
    };
    let rule = rule("Name of a miner pool", LogSource::DnsQuery);
    let matched = vec![("QueryName".into(), json!("pool.example"))];
    Alert::new(
        Arc::new(rule),
        Arc::new(observed(Kind::Dns(Box::new(message)))),
        matched,
    )
}

/// A library that was put into a process's memory.
pub(crate) fn memory() -> Alert {
    let code = Code {
        backing: Backing::Anonymous,
        protection: "rwxp".into(),
        address: "7f3c12a45000-7f3c12a46000".into(),
        count: 1,
        size: 4096,
        elf_head: true,
        ..Code::default()
    };
    let finding = MemoryFinding {
        process: ProcessKey::default(),
        kind: FindingKind::Code(code),
        libraries: Arc::default(),
        read_implies_exec: false,
    };
    let rule = rule("Injected code detected", LogSource::Memory);
    let matched = vec![("memory.elf_head".into(), json!(true))];
    let observed = observed(Kind::Memory(Box::new(finding)));
    Alert::new(Arc::new(rule), Arc::new(observed), matched)
}

/// A privileged container starts.
pub(crate) fn container() -> Alert {
    let container = Arc::new(container_facts());
    let change = ContainerChange {
        action: ContainerAction::Start,
        container: Arc::clone(&container),
    };
    let mut observed = observed(Kind::Container(Box::new(change)));
    observed.process = None;
    observed.facts.user = None;
    observed.container = Some(container);
    let mut rule = rule("Privileged Container Detected", LogSource::Container);
    rule.subject = vec!["container.id".to_owned()];
    let matched = vec![("container.privileged".into(), json!(true))];
    Alert::new(Arc::new(rule), Arc::new(observed), matched)
}

/// Events were lost.
pub(crate) fn health() -> Alert {
    let health = Health {
        kind: "loss",
        detail: "12 events lost: the ring was full".to_owned(),
    };
    let mut observed = observed(Kind::Health(health));
    observed.process = None;
    observed.facts.user = None;
    let rule = rule("Events were lost", LogSource::Health);
    let matched = vec![("health.kind".into(), json!("loss"))];
    Alert::new(Arc::new(rule), Arc::new(observed), matched)
}

/// Somebody came in after failures.
pub(crate) fn login() -> Alert {
    let login = Login {
        program: "sshd-session".into(),
        process: Some(812),
        message: "Accepted password for root from 203.0.113.9 port 50022 ssh2".into(),
        outcome: Some(Outcome::Success),
        method: "password".into(),
        user: "root".into(),
        source: Some([203, 0, 113, 9].into()),
        source_port: Some(50_022),
        times: 1,
        remembered: Some(Arc::new(Remembered {
            failures: 6,
            ..Remembered::default()
        })),
        ..Login::default()
    };
    let mut observed = observed(Kind::Login(Box::new(login)));
    observed.process = None;
    observed.facts.user = None;
    let rule = rule("Login after failed attempts from a new address", LogSource::Auth);
    let matched = vec![("login.failures".into(), json!(6))];
    Alert::new(Arc::new(rule), Arc::new(observed), matched)
}

/// A request in a recorded access log: all its fields are given.
pub(crate) fn web() -> Alert {
    let given: Map<String, Value> = [
        ("c-ip", json!("203.0.113.9")),
        ("cs-method", json!("GET")),
        ("cs-uri-query", json!("cmd=id")),
        ("cs-uri-stem", json!("/shell.php")),
        ("sc-status", json!(200)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    let mut observed = observed(Kind::Recorded(LogSource::Webserver));
    observed.process = None;
    observed.facts.user = None;
    observed.event.given = Some(Box::new(given));
    let rule = rule("Web shell request", LogSource::Webserver);
    let matched = vec![("cs-uri-query".into(), json!("cmd=id"))];
    Alert::new(Arc::new(rule), Arc::new(observed), matched)
}

/// The alert with a secret in every text of it that can hold one.
pub(crate) fn with_secret(alert: &Alert, secret: &str) -> Alert {
    let mut alert = alert.clone();
    let mut observed = Observed::clone(&alert.observed);
    observed.process = observed.process.map(|process| secret_line(&process, secret));
    observed.container = observed.container.map(|container| secret_container(&container, secret));
    match &mut observed.event.kind {
        Kind::Exec(exec) => Arc::make_mut(&mut exec.execution).command_line = secret.into(),
        Kind::Container(change) => change.container = secret_container(&change.container, secret),
        Kind::Health(health) => secret.clone_into(&mut health.detail),
        Kind::Connection(connection) => {
            connection.said = Some(Box::new(Said {
                path: Some(secret.into()),
                user_agent: Some(secret.into()),
                ..Said::default()
            }));
        }
        Kind::Login(login) => (login.command, login.message) = (secret.into(), secret.into()),
        _ => {}
    }
    if let Some(given) = &mut observed.event.given {
        given.insert("cs-uri".to_owned(), json!(secret));
    }
    alert.observed = Arc::new(observed);
    alert.matched = vec![("any".into(), json!([{"deep": secret}]))];
    alert
}

fn secret_line(process: &Process, secret: &str) -> Arc<Process> {
    let mut process = process.clone();
    process.parent = process.parent.map(|parent| secret_line(&parent, secret));
    let mut execution = Execution::clone(&process.execution);
    execution.command_line = secret.into();
    process.execution = Arc::new(execution);
    Arc::new(process)
}

fn secret_container(container: &Container, secret: &str) -> Arc<Container> {
    let mut container = container.clone();
    container.command = secret.into();
    container.labels.insert("db.password".to_owned(), "hunter2".to_owned());
    Arc::new(container)
}
