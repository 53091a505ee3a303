//! One alert of each kind, for tests of whatever takes alerts.

use std::{net::SocketAddr, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Alert, Level};
use crate::{
    detect::Rule,
    event::{
        Backing, Code, Connection, Container, ContainerAction, ContainerChange, Credentials, Descriptor, DnsMessage,
        Event, ExeFlags, Exec, Execution, FindingKind, Findings, Health, HostNamespaces, Kind, ListenAddress, Listener,
        LogSource, Login, MemoryFinding, Metadata, Mount, Outcome, Owner, Process, ProcessKey, Protocol, Remembered,
        Said, Seccomp,
    },
    observed::{Facts, Observed},
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

/// A rule of that title and family, level medium.
pub(crate) fn rule(title: &str, log_source: LogSource) -> Rule {
    Rule {
        id: Uuid::from_u128(0x7d3c_0a5e_51f1_4c55_9a77_1f0f_6f2d_0001),
        title: title.into(),
        name: title.to_lowercase().replace(' ', "-").into(),
        description: "Something happened that seldom has a good reason.\n\nFind out who started it; stop the \
                      container and keep its file system for a look."
            .into(),
        author: "Tocsin".into(),
        level: Level::Medium,
        tags: [
            "attack.execution",
            "attack.t1059.004",
            "attack.t1611",
            "cve.2024-1",
            "attack.g0016",
        ]
        .map(str::to_owned)
        .into(),
        references: vec!["https://attack.mitre.org/techniques/T1059/004/".to_owned()],
        false_positives: vec!["Installers that unpack themselves".to_owned()],
        log_source,
        subject: Vec::new(),
        teaches: None,
        texts: Vec::new(),
        role: None,
        compatibility: vec!["VM_Sample".to_owned(), "K8S.NODE_Sample".to_owned()],
        file: None,
    }
}

/// Seen at [`at`]`(0)` by the last of three processes.
pub(crate) fn observed(kind: Kind) -> Observed {
    Observed {
        event: Event {
            time: at(0),
            startup: false,
            kind,
            given: None,
        },
        process: Some(line()),
        container: None,
        facts: Facts {
            user: Some("www-data".into()),
            ..Facts::default()
        },
    }
}

/// systemd, a web server in a container, and what it started.
fn line() -> Arc<Process> {
    let systemd = process(1, "/usr/lib/systemd/systemd", "/sbin/init", None);
    let shim = process(
        801,
        "/usr/bin/containerd-shim-runc-v2",
        "containerd-shim -id 3f4e",
        Some(systemd),
    );
    let nginx = process(1203, "/usr/sbin/nginx", "nginx: worker process", Some(shim));
    process(4711, "/tmp/x", "/tmp/x -o pool.example:3333", Some(nginx))
}

/// A process with those facts.
pub(crate) fn process(pid: u32, exe: &str, command_line: &str, parent: Option<Arc<Process>>) -> Arc<Process> {
    Arc::new(Process {
        key: ProcessKey {
            pid,
            start: u64::from(pid) * 10,
        },
        depth: parent.as_ref().map_or(0, |parent| parent.depth + 1),
        parent,
        execution: Arc::new(execution(exe, command_line)),
        container: None,
        escaped_cgroup: false,
        entered: false,
        replaced: None,
        former_exe: None,
    })
}

fn execution(exe: &str, command_line: &str) -> Execution {
    Execution {
        time: at(-1),
        exe: exe.into(),
        command_line: command_line.into(),
        directory: "/tmp".into(),
        invoked: exe.into(),
        file: ExeFlags {
            overlay: true,
            upper_layer: true,
            ..ExeFlags::default()
        },
        inode: 4242,
        modified: 1_795_482_000,
        credentials: Credentials {
            uid: 33,
            gid: 33,
            euid: 33,
            egid: 33,
            login_uid: Some(1000),
            ..Credentials::default()
        },
        tty: "pts3".into(),
        session: 4711,
        pid_in_namespace: 17,
        seccomp: Seccomp::Filter,
        stdio: [Descriptor::Null, Descriptor::Pipe, Descriptor::InternetSocket],
        cgroup: format!("/docker/{CONTAINER_ID}").into(),
        ..Execution::default()
    }
}

fn exec_event(exe: &str, command_line: &str) -> Kind {
    let exec = Exec {
        process: ProcessKey {
            pid: 4711,
            start: 47110,
        },
        parent: ProcessKey {
            pid: 1203,
            start: 12030,
        },
        execution: Arc::new(execution(exe, command_line)),
    };
    Kind::Exec(Box::new(exec))
}

/// A privileged web server.
pub(crate) fn container_facts() -> Container {
    Container {
        id: CONTAINER_ID.into(),
        metadata: Metadata::Known,
        runtime: "docker".into(),
        name: "web".into(),
        image: "registry.example:5000/shop/nginx:1.27".into(),
        image_digest: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        labels: [("com.example.team".to_owned(), "shop".to_owned())].into(),
        privileged: Some(true),
        mounts: vec![Mount {
            source: "/".into(),
            target: "/host".into(),
            writable: true,
        }],
        host_namespaces: HostNamespaces {
            pid: true,
            ..HostNamespaces::default()
        },
        command: "nginx -g daemon off;".into(),
        started_at: "2026-11-24T01:00:00Z".into(),
        init_pid: 1200,
        ..Container::default()
    }
}

fn owner() -> Owner {
    Owner {
        process: Some(ProcessKey {
            pid: 4711,
            start: 47110,
        }),
        uid: 33,
        ..Owner::default()
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
