//! What one event teaches about others.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::{sync::mpsc, time::sleep};

use super::{Last, Stream, entrance::Entrance, judge::Judge};
use crate::{
    alert::{Level, log::Log, redact::Redactor},
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
