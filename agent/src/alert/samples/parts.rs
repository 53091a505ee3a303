//! What the samples are made of.

use std::{net::SocketAddr, sync::Arc};

use uuid::Uuid;

use super::{CONTAINER_ID, at};
use crate::{
    alert::Level,
    detect::Rule,
    event::{
        Container, Credentials, Descriptor, Event, ExeFlags, Exec, Execution, HostNamespaces, Kind, LogSource,
        Metadata, Mount, Owner, Process, ProcessKey, Seccomp,
    },
    observed::{Facts, Observed},
};

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

pub(super) fn exec_event(exe: &str, command_line: &str) -> Kind {
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
            leads_to: None,
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

pub(super) fn owner() -> Owner {
    Owner {
        process: Some(ProcessKey {
            pid: 4711,
            start: 47110,
        }),
        uid: 33,
        ..Owner::default()
    }
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
