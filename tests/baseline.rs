//! What was learned: ten operators who always ask the Kubernetes API, and whoever is not one of them. They are tools that ask as
//! operators do, under their names: what counts is how, how often and from which image.

mod images;
mod state;

use std::{fs, process::Command, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use self::{
    images::{Images, image},
    state::State,
};
use crate::{
    deadline::wait_for,
    dockerd::Dockerd,
    ocsf::{brief, container_id, exe, fact, level, title},
    replay::{Replay, replay},
    tocsin::Tocsin,
};

const TITLE: &str = "Suspicious request to Kubernetes API";

/// An image is learned for so long; one sighting is enough, and all is written down each second.
const CONFIGURATION: &str = "[baseline]\nlearning = '25s'\nminutes = 1\nkeep-every = '1s'\n";
const PATIENCE: Duration = Duration::from_mins(1);

/// Name, program, the program that it is a copy of, and how it asks the API.
#[rustfmt::skip] // a table
const OPERATORS: [(&str, &str, &str, &str); 10] = [
    ("manager", "/manager", "/usr/bin/curl", r#"/manager -s -m 2 -H "Authorization: Bearer eyJhbGciOi" http://10.96.0.1:443/api/v1/pods"#),
    ("coredns", "/coredns", "/busybox", "exec -a nc /coredns -w 2 10.96.0.1 443"),
    ("cert-manager", "/cert-manager-controller", "/usr/bin/socat", "/cert-manager-controller -T 1 - TCP:10.96.0.1:443,connect-timeout=2"),
    ("fluent-bit", "/fluent-bit", "/usr/bin/nc.openbsd", "/fluent-bit -z -w 2 10.96.0.1 443"),
    ("metrics-server", "/metrics-server", "/usr/bin/python3.11", r#"/metrics-server -c 'import socket; socket.create_connection(("10.96.0.1", 443))'"#),
    ("kyverno", "/kyverno", "/usr/bin/perl", r#"/kyverno -MIO::Socket::INET -e 'IO::Socket::INET->new("10.96.0.1:443")'"#),
    ("traefik", "/traefik", "/usr/bin/dbclient", "/traefik -p 443 10.96.0.1"),
    ("etcd-operator", "/etcd-operator", "/client", "/etcd-operator"),
    ("backup", "/usr/local/bin/kubectl", "/client", "kubectl get pods"),
    ("reporter", "/usr/bin/curl", "/usr/bin/curl", "curl -s -m 2 -H @/header http://10.96.0.1:443/readyz"),
];

#[test]
fn operators_that_always_ask_the_api_are_learned() {
    let Some(dockerd) = Dockerd::start() else { return };
    let state = State::new();
    let images = Images::build(&dockerd);
    serve(&dockerd);
    let agent = state.start_agent(&dockerd);
    let operators: Vec<_> = OPERATORS
        .iter()
        .map(|(name, _, _, asks)| operate(&dockerd, name, &image(name), asks))
        .collect();
    let silent = |agent: &Tocsin| {
        let alerts = agent.alerts_after_quiet();
        let loud: Vec<_> = alerts
            .iter()
            .filter(|alert| operators.iter().any(|id| is_loud(alert, id)))
            .collect();
        assert!(
            loud.is_empty(),
            "{:#?}",
            loud.into_iter().map(brief).collect::<Vec<_>>()
        );
    };

    wait_for("first sighting of each operator", PATIENCE, || {
        (state.states().len() == OPERATORS.len()).then_some(())
    });
    silent(&agent);
    wait_for("end of the learning", PATIENCE, || state.learns_no_more().then_some(()));
    assert_eq!(
        state.states(),
        OPERATORS.map(|(_, program, ..)| (program.to_owned(), "known".to_owned()))
    );
    silent(&agent);

    // The same executable, but not the image's.
    let [operator] = &operators[7..8] else { unreachable!() };
    dockerd.docker_ok(&["exec", operator, "touch", "/go"]);
    agent.wait_for_alert(TITLE, |alert| {
        container_id(alert) == operator && exe(alert) == "/opt/copy"
    });
    let alerts = agent.alerts_after_quiet();
    let about_api = alerts
        .iter()
        .filter(|alert| operators.iter().any(|id| is_loud(alert, id)) && title(alert) == TITLE);
    assert_eq!(about_api.count(), 1);

    // Known after a restart as well, and when the agent had no time to say goodbye.
    assert!(agent.stop().0.success());
    let agent = state.start_agent(&dockerd);
    silent(&agent);
    let pid = Pid::from_raw(agent.pid().cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    let agent = state.start_agent(&dockerd);
    silent(&agent);
    assert!(state.learns_no_more());

    another_digest_is_learned_anew(&dockerd, &state, &images, &agent);
}

fn another_digest_is_learned_anew(dockerd: &Dockerd, state: &State, images: &Images, agent: &Tocsin) {
    let image = images.rebuild("reporter");
    let (_, _, _, asks) = OPERATORS[9];
    let id = operate(dockerd, "reporter-2", &image, asks);
    wait_for("another digest's learning", PATIENCE, || {
        (!state.learns_no_more()).then_some(())
    });
    let shown = state.show(&["show", "--format", "json"]);
    let named = shown["subjects"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|subject| subject["image"] == *image);
    assert_eq!(named.count(), 2);
    // What is plainly wrong needs no learning.
    let intrude = r#"cp /usr/bin/curl /tmp/c; /tmp/c -s -m 2 -A kubectl -H "Authorization: Bearer eyJhbGciOi" \
        http://10.96.0.1:443/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"#;
    let intruder = dockerd.run_to_end("intruder", &NETWORK, &[&image, "bash", "-c", intrude]);
    agent.wait_for_alert(TITLE, |alert| container_id(alert) == intruder && level(alert) == "High");
    assert!(!agent.alerts().iter().any(|alert| is_loud(alert, &id)));
}

#[test]
fn what_an_operator_orders_is_done_while_the_agent_runs() {
    let state = State::new();
    fs::write(state.path("baseline.json"), "{").unwrap();
    let agent = Tocsin::start_in(
        &state.folder(),
        &state.path("tocsin.toml"),
        &["--docker-socket", "/nonexistent"],
    );
    let log = agent.log();
    let broken = log.lines().filter(|line| line.contains("baseline.json.broken")).count();
    assert_eq!(broken, 1, "{log}");
    // The node itself is a subject from its first program on.
    Command::new("true").status().unwrap();
    wait_for("copy of what was learned", PATIENCE, || {
        state.path("baseline.json").exists().then_some(())
    });
    let first_seen = || state.show(&["show", "host", "--format", "json"])["subjects"][0]["first_seen"].clone();
    let learns_until = || state.show(&["show", "host", "--format", "json"])["subjects"][0]["learns_until"].clone();
    let before = first_seen();
    state.order(&["approve", "host"]);
    assert_eq!(learns_until(), before, "its learning has ended at once");
    let done = || wait_for("order that is done", PATIENCE, || state.has_no_orders().then_some(()));
    done();
    assert_eq!(learns_until(), before);
    let exported = state.path("export.json");
    state.order(&["export", &exported.to_string_lossy()]);
    state.order(&["reset"]);
    done();
    Command::new("true").status().unwrap();
    wait_for("learning anew", PATIENCE, || {
        let shown = state.show(&["show", "--format", "json"]);
        let subject = shown["subjects"].get(0)?;
        (subject["first_seen"] != before).then_some(())
    });
    state.order(&["import", &exported.to_string_lossy()]);
    done();
    assert_eq!((first_seen(), learns_until()), (before.clone(), before));
    assert!(agent.stop().0.success());
}

#[test]
fn history_teaches_without_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, events: &[(&str, &str)]| {
        let lines: Vec<_> = events
            .iter()
            .map(|(time, command_line)| request(time, command_line))
            .collect();
        let path = folder.path().join(name);
        fs::write(&path, lines.join("\n")).unwrap();
        path
    };
    let usual = "curl -s -H @/etc/header https://10.96.0.1/api/v1/pods";
    let history = write("history", &["01:00", "01:01", "01:02"].map(|minute| (minute, usual)));
    let today = write(
        "today",
        &[("09:00", usual), ("09:01", "curl -sk https://10.96.0.1/api/v1/secrets")],
    );
    let replay = |history: &[&str]| {
        let Replay { status, alerts, said } = replay(&today, &[&["--dedup", "0"], history].concat());
        assert!(status.success(), "{said}");
        // What was recorded without its process stands as it was recorded.
        let asked = |alert: Value| fact(&alert, "given")["CommandLine"].as_str().unwrap().to_owned();
        alerts.into_iter().map(asked).collect::<Vec<_>>()
    };
    assert_eq!(replay(&[]).len(), 2, "what nobody knows is weighed by itself");
    assert_eq!(
        replay(&["--history", history.to_str().unwrap()]),
        ["curl -sk https://10.96.0.1/api/v1/secrets"]
    );
}

/// A recorded request to the API.
fn request(time: &str, command_line: &str) -> String {
    serde_json::json!({
        "time": format!("2026-11-24T{time}:00Z"),
        "category": "network_connection",
        "Initiated": true,
        "DestinationIp": "10.96.0.1",
        "DestinationPort": 443,
        "destination.role": "kubernetes-api",
        "Image": "/usr/bin/curl",
        "CommandLine": command_line,
        "container.id": "c1",
        "container.image": "backup:1",
        "container.image_digest": "sha256:5f",
    })
    .to_string()
}

/// The options of a container in the network of the API.
const NETWORK: [&str; 6] = [
    "--network",
    "container:api",
    "--env",
    "KUBERNETES_SERVICE_HOST=10.96.0.1",
    "--env",
    "KUBERNETES_SERVICE_PORT=443",
];

/// Whether an alert about that container would wake somebody.
fn is_loud(alert: &Value, container: &str) -> bool {
    container_id(alert) == container && matches!(level(alert), "Medium" | "High" | "Critical")
}

/// Plays the API, in a network of its own.
fn serve(dockerd: &Dockerd) {
    let script = "ip address add 10.96.0.1/32 dev lo
        printf 'HTTP/1.0 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}' >/answer
        exec socat TCP-LISTEN:443,fork,reuseaddr OPEN:/answer,rdonly";
    let options = ["--network", "none", "--cap-add", "NET_ADMIN"];
    let id = dockerd.run("api", &options, &[crate::dockerd::DEBIAN, "bash", "-c", script]);
    dockerd.wait_for_listener(&id, 443);
}

/// Runs an operator that asks again and again; when it finds `/go`, it asks by a copy of its program.
fn operate(dockerd: &Dockerd, name: &str, image: &str, asks: &str) -> String {
    let script = format!(
        "while :; do
            ({asks}) >/dev/null 2>&1 </dev/null
            if [ -e /go ]; then rm /go; cp /etcd-operator /opt/copy; /opt/copy; fi
            sleep 1
        done"
    );
    dockerd.run(name, &NETWORK, &[image, "bash", "-c", &script])
}
