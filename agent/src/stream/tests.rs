//! What one event teaches about others.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::sleep};

use super::{Last, Stream, entrance::Entrance, judge::Judge};
use crate::{
    alert::{
        Level,
        log::{Log, Wanted},
        redact::Redactor,
    },
    detect::{document::RuleFile, load},
    event::recorded::event_from_line,
};

const RULES: &str = "
title: It serves
name: serves
id: 11111111-1111-4111-8111-111111111111
logsource: {product: linux, category: network_listen}
detection:
    port: {SourcePort: 80}
    condition: port
tocsin: {role: web-worker}
level: critical
---
title: Shell below it
id: 22222222-2222-4222-8222-222222222222
logsource: {product: linux, category: process_creation}
detection:
    shell: {Image|endswith: /sh, process.ancestor_roles: web-worker}
    condition: shell
level: high
";

const SERVER: &str = r#"{"time":1,"category":"process_creation","Image":"/srv/x","ProcessId":10,"event.startup":true}"#;
const SHELL: &str = r#"{"time":2,"category":"process_creation","Image":"/bin/sh","ProcessId":11,"ParentProcessId":10}"#;
const LISTENS: &str =
    r#"{"time":3,"category":"network_listen","ProcessId":10,"SourceIp":"::","SourcePort":80,"event.startup":true}"#;

fn stream() -> Stream {
    let file = RuleFile {
        path: "rules.yml".into(),
        text: RULES.into(),
        built_in: false,
    };
    let (rules, problems) = load(&[file], jiff::Timestamp::UNIX_EPOCH);
    assert!(problems.is_empty(), "{problems:?}");
    let judge = Judge::new(rules, SignedDuration::ZERO, Log::new(Redactor::off()), Level::Low, None);
    Stream::new(Entrance::new(None), Last::Judge(Box::new(judge)))
}

fn check(events: &[&str], expected: Option<Level>) {
    let mut stream = stream();
    for line in events {
        stream.carry(vec![event_from_line(line).unwrap()]);
    }
    stream.finish();
    assert_eq!(stream.raised(), expected, "{events:?}");
}

#[tokio::test]
async fn what_comes_until_the_reader_has_ended_is_judged() {
    let event = |line| vec![event_from_line(line).unwrap()];
    let mut stream = stream();
    let (events, mut received) = mpsc::channel(4);
    events.try_send(event(SERVER)).unwrap();
    let sent = async {
        sleep(Duration::from_millis(1)).await;
        for line in [LISTENS, SHELL] {
            events.send(event(line)).await.unwrap();
        }
    };
    stream.run_out(&mut received, sent, Duration::from_mins(1)).await;
    assert_eq!(stream.raised(), Some(Level::High));
}

#[tokio::test]
async fn a_reader_that_does_not_end_is_not_waited_for_too_long() {
    let (_events, mut received) = mpsc::channel(1);
    let never = std::future::pending::<()>();
    stream().run_out(&mut received, never, Duration::from_millis(1)).await;
}

#[test]
fn a_role_is_known_to_what_comes_after() {
    check(&[SERVER, LISTENS, SHELL], Some(Level::High));
    check(&[SERVER, SHELL, LISTENS], None);
    let given = SHELL.replace("\"ParentProcessId\":10", r#""process.ancestor_roles":["web-worker"]"#);
    check(&[&given], Some(Level::High));
}

#[test]
fn what_stood_is_judged_when_its_listeners_are_known() {
    let stood = SHELL.replace('}', r#","event.startup":true}"#);
    check(&[SERVER, &stood, LISTENS], Some(Level::High));
}

/// A rule that a connection's opening matches, and one that takes what it says.
const CONNECTIONS: &str = "
title: To that port
name: port
id: 33333333-3333-4333-8333-333333333333
logsource: {product: linux, category: network_connection}
detection:
    port: {DestinationPort: 443}
    condition: port
level: medium
---
title: To that server
name: server
id: 44444444-4444-4444-8444-444444444444
logsource: {product: linux, category: network_connection}
detection:
    server: {tls.sni: example.org}
    condition: server
level: high
---
title: By that program
name: program
id: 55555555-5555-4555-8555-555555555555
logsource: {product: linux, category: network_connection}
detection:
    program: {Image: /tmp/evil}
    condition: program
level: high
---
title: Trusted
logsource: {product: linux, category: network_connection}
filter:
    rules: [port]
    selection: {tls.sni: trusted.example}
    condition: not selection
";

/// The titles of the alerts that these connections raise, each by its number, and the server that it asks for once it has
/// spoken.
fn check_connections(connections: &[(u64, Option<&str>)], expected: &[&str]) {
    let events = connections.iter().map(|(number, server)| {
        let mut event = json!({"time": 1, "connection.id": number});
        if let Some(server) = server {
            event["tls.sni"] = (*server).into();
        }
        event
    });
    assert_eq!(titles_of_connections(events), expected, "{connections:?}");
}

/// The titles of the alerts that these events of connections raise, as they go out.
fn titles_of_connections(events: impl Iterator<Item = Value>) -> Vec<String> {
    let file = RuleFile {
        path: "rules.yml".into(),
        text: CONNECTIONS.into(),
        built_in: false,
    };
    let (rules, problems) = load(&[file], jiff::Timestamp::UNIX_EPOCH);
    assert!(problems.is_empty(), "{problems:?}");
    let log = Log::new(Redactor::off());
    let mut reader = log.reader(Wanted::ALL);
    let judge = Judge::new(rules, SignedDuration::ZERO, Arc::clone(&log), Level::Low, None);
    let mut stream = Stream::new(Entrance::new(None), Last::Judge(Box::new(judge)));
    for mut event in events {
        event["category"] = "network_connection".into();
        event["DestinationIp"] = "192.0.2.1".into();
        event["DestinationPort"] = 443.into();
        stream.carry(vec![event_from_line(&event.to_string()).unwrap()]);
    }
    stream.finish();
    log.close();
    let alerts: Vec<_> = std::iter::from_fn(|| reader.read(100))
        .flat_map(|batch| batch.alerts)
        .collect();
    alerts.iter().map(|alert| alert.rule.title.to_string()).collect()
}

#[test]
fn an_alert_stands_though_another_program_speaks() {
    let opened = json!({"time": 1, "connection.id": 7, "Image": "/tmp/evil", "ProcessId": 10});
    for spoken in [
        json!({"time": 1, "connection.id": 7, "tls.sni": "example.com", "Image": "/bin/busybox", "ProcessId": 10}),
        json!({"time": 1, "connection.id": 7, "tls.sni": "example.com"}),
    ] {
        let titles = titles_of_connections([opened.clone(), spoken].into_iter());
        assert_eq!(titles, ["By that program", "To that port"]);
    }
    // An exception still has its say, of that rule alone.
    let spoken = json!({"time": 1, "connection.id": 7, "tls.sni": "trusted.example", "Image": "/bin/busybox"});
    assert_eq!(titles_of_connections([opened, spoken].into_iter()), ["By that program"]);
}

#[test]
fn what_a_connection_says_too_late_comes_after_its_alert_by_the_events_own_time() {
    let opened = |number| json!({"time": "2026-01-01T00:00:00Z", "connection.id": number});
    let spoken = |time, server| json!({"time": time, "connection.id": 7, "tls.sni": server});
    let in_time = spoken("2026-01-01T00:00:00.2Z", "example.org");
    let both = titles_of_connections([opened(7), opened(8), in_time].into_iter());
    assert_eq!(both, ["To that server", "To that port", "To that port"]);
    for server in ["example.org", "trusted.example"] {
        let late = spoken("2026-01-01T00:00:02Z", server);
        let titles = titles_of_connections([opened(7), opened(8), late].into_iter());
        assert_eq!(titles[..2], ["To that port", "To that port"], "{server}");
        assert_eq!(titles.len() > 2, server == "example.org", "{server}");
    }
}

#[test]
fn a_rule_speaks_once_of_a_connection() {
    check_connections(&[(7, None)], &["To that port"]);
    // Both at once, the higher first.
    check_connections(
        &[(7, None), (7, Some("example.org"))],
        &["To that server", "To that port"],
    );
    check_connections(&[(7, None), (7, Some("example.com"))], &["To that port"]);
    // Of the first only what it says was seen, the others are another's.
    check_connections(&[(7, Some("example.com"))], &["To that port"]);
    check_connections(
        &[(7, None), (8, Some("example.com"))],
        &["To that port", "To that port"],
    );
    check_connections(&[(7, None), (7, None)], &["To that port", "To that port"]);
    // What it says is excepted, and what another says.
    check_connections(&[(7, None), (7, Some("trusted.example"))], &[]);
    check_connections(&[(7, None), (8, Some("trusted.example"))], &["To that port"]);
}
