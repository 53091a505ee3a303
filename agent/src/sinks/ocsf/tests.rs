use serde_json::Value;

use super::*;
use crate::{
    alert::samples,
    event::{ExeFlags, Execution, Process},
    observed::Observed,
};

fn line(alert: &Alert) -> Value {
    let host = Host {
        name: "node-1".to_owned(),
        os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        kernel: "6.1.0".to_owned(),
        agent_version: "0.1.0",
    };
    let mut out = Vec::new();
    write(alert, &host, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 1, "one line");
    serde_json::from_str(&text).unwrap()
}

/// What the schema's pages (1.5.0) say of the objects used: path of the object, its attribute, type, and whether it is
/// required there. `*` stands for every element. An object that is absent is not looked into.
#[rustfmt::skip] // to be read as a table
const SCHEMA_TABLE: &[(&str, &str, &str, bool)] = &[
    ("", "activity_id", "integer", true),
    ("", "category_uid", "integer", true),
    ("", "class_uid", "integer", true),
    ("", "type_uid", "integer", true),
    ("", "severity_id", "integer", true),
    ("", "time", "integer", true),
    ("", "metadata", "object", true),
    ("", "finding_info", "object", true),
    ("", "status_id", "integer", false),
    ("", "message", "string", false),
    ("", "count", "integer", false),
    ("", "start_time", "integer", false),
    ("", "end_time", "integer", false),
    ("", "is_alert", "boolean", false),
    ("", "evidences", "array", false),
    ("", "resources", "array", false),
    ("", "remediation", "object", false),
    ("", "unmapped", "object", false),
    // The host profile.
    ("", "device", "object", true),
    ("/device", "type_id", "integer", true),
    ("/device", "hostname", "string", false),
    ("/device/os", "name", "string", true),
    ("/device/os", "type_id", "integer", true),
    ("/metadata", "version", "string", true),
    ("/metadata", "product", "object", true),
    ("/metadata", "uid", "string", false),
    ("/metadata", "profiles", "array", false),
    ("/metadata/product", "vendor_name", "string", true),
    ("/metadata/product", "name", "string", true),
    ("/finding_info", "uid", "string", true),
    ("/finding_info", "title", "string", true),
    ("/finding_info", "desc", "string", false),
    ("/finding_info", "created_time", "integer", false),
    ("/finding_info", "first_seen_time", "integer", false),
    ("/finding_info", "last_seen_time", "integer", false),
    ("/finding_info", "types", "array", false),
    ("/finding_info", "data_sources", "array", false),
    ("/finding_info", "attacks", "array", false),
    ("/finding_info/analytic", "type_id", "integer", true),
    ("/finding_info/analytic", "uid", "string", false),
    ("/finding_info/analytic", "name", "string", false),
    ("/remediation", "desc", "string", true),
    ("/remediation", "references", "array", false),
    ("/resources/0", "name", "string", true),
    ("/evidences/0/process", "pid", "integer", true),
    ("/evidences/0/process", "uid", "string", false),
    ("/evidences/0/process", "name", "string", false),
    ("/evidences/0/process", "cmd_line", "string", false),
    ("/evidences/0/process", "created_time", "integer", false),
    ("/evidences/0/process", "parent_process", "object", false),
    ("/evidences/0/process/file", "name", "string", true),
    ("/evidences/0/process/file", "type_id", "integer", true),
    ("/evidences/0/process/file", "path", "string", false),
    ("/evidences/0/process/user", "uid", "string", true),
    ("/evidences/0/process/user", "name", "string", false),
    ("/evidences/0/process/session", "uid", "string", false),
    ("/evidences/0/process/session", "terminal", "string", false),
    ("/evidences/0/process/parent_process", "pid", "integer", true),
    ("/evidences/0/process/parent_process/parent_process/parent_process", "pid", "integer", true),
    ("/evidences/0/process/container", "uid", "string", true),
    ("/evidences/0/container", "uid", "string", true),
    ("/evidences/0/container", "name", "string", false),
    ("/evidences/0/container/image", "uid", "string", true),
    ("/evidences/0/container/image", "name", "string", false),
    ("/evidences/0/connection_info", "direction_id", "integer", true),
    ("/evidences/0/connection_info", "protocol_num", "integer", false),
    ("/evidences/0/dst_endpoint", "ip", "string", true),
    ("/evidences/0/dst_endpoint", "port", "integer", false),
    ("/evidences/0/src_endpoint", "ip", "string", true),
    ("/evidences/0/query", "hostname", "string", true),
];

/// The attributes of which an evidence needs one (`constraints.at_least_one` of the object).
const EVIDENCE_NEEDS: [&str; 6] = [
    "process",
    "connection_info",
    "dst_endpoint",
    "query",
    "resources",
    "src_endpoint",
];

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "float",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[test]
fn every_kind_of_alert_keeps_to_the_schema() {
    for alert in samples::all() {
        let line = line(&alert);
        for (path, attribute, expected, required) in SCHEMA_TABLE {
            let Some(object) = line.pointer(path) else {
                continue;
            };
            match object.get(attribute) {
                Some(value) => assert_eq!(type_name(value), *expected, "{path}/{attribute} in {line}"),
                None => assert!(!required, "{path}/{attribute} is missing in {line}"),
            }
        }
        if let Some(evidence) = line.pointer("/evidences/0") {
            assert!(
                EVIDENCE_NEEDS.iter().any(|name| evidence.get(name).is_some()),
                "{evidence}"
            );
        }
    }
}

fn check(alert: &Alert, expected: &[(&str, Value)]) {
    let line = line(alert);
    for (path, expected) in expected {
        assert_eq!(line.pointer(path), Some(expected), "{path} in {line:#}");
    }
}

#[test]
fn an_execution_is_told_in_full() {
    let alert = samples::exec();
    let expected = [
        ("/activity_id", 1.into()),
        ("/category_uid", 2.into()),
        ("/class_uid", 2004.into()),
        ("/type_uid", 200_401.into()),
        ("/severity_id", 3.into()),
        ("/status_id", 1.into()),
        ("/time", 1_795_482_123_456_i64.into()),
        ("/metadata/version", "1.5.0".into()),
        ("/metadata/profiles/1", "container".into()),
        ("/finding_info/uid", alert.id.to_string().into()),
        ("/finding_info/title", "Process execution from temporary folder".into()),
        ("/finding_info/analytic/uid", alert.rule.id.to_string().into()),
        (
            "/finding_info/types",
            serde_json::json!(["VM_Sample", "K8S.NODE_Sample"]),
        ),
        ("/finding_info/data_sources/0", "process_creation".into()),
        ("/finding_info/attacks/1/sub_technique/uid", "T1059.004".into()),
        ("/evidences/0/process/pid", 4711.into()),
        ("/evidences/0/process/cmd_line", "/tmp/x -o pool.example:3333".into()),
        ("/evidences/0/process/file/path", "/tmp/x".into()),
        ("/evidences/0/process/user/name", "www-data".into()),
        ("/evidences/0/process/session/terminal", "pts3".into()),
        ("/evidences/0/process/parent_process/name", "nginx".into()),
        (
            "/evidences/0/process/parent_process/parent_process/parent_process/pid",
            1.into(),
        ),
        ("/evidences/0/container/uid", samples::CONTAINER_ID.into()),
        ("/evidences/0/container/image/tag", "1.27".into()),
        ("/resources/0/type", "container".into()),
        ("/device/hostname", "node-1".into()),
        ("/unmapped/matched/Image", "/tmp/x".into()),
        ("/unmapped/container.metadata", "known".into()),
        ("/unmapped/rule.author", "Tocsin".into()),
    ];
    check(&alert, &expected);
    assert!(
        line(&alert)["remediation"]["desc"]
            .as_str()
            .unwrap()
            .starts_with("Find out who")
    );
}

#[test]
fn sockets_containers_and_health_are_told() {
    check(
        &samples::listen(),
        &[
            ("/severity_id", 4.into()),
            ("/evidences/0/dst_endpoint/ip", "0.0.0.0".into()),
            ("/evidences/0/dst_endpoint/port", 2375.into()),
            ("/evidences/0/connection_info/direction_id", 1.into()),
            ("/unmapped/listener.finding", "docker-api-open".into()),
            ("/resources/0/name", "node-1".into()),
        ],
    );
    check(
        &samples::connection(),
        &[
            ("/evidences/0/connection_info/direction_id", 2.into()),
            ("/evidences/0/dst_endpoint/hostname", "kubernetes.default.svc".into()),
            ("/evidences/0/src_endpoint/port", 40_112.into()),
        ],
    );
    check(
        &samples::dns(),
        &[("/evidences/0/query/hostname", "pool.example".into())],
    );
    check(
        &samples::container(),
        &[("/evidences/0/resources/0/uid", samples::CONTAINER_ID.into())],
    );
    check(
        &samples::login(),
        &[
            ("/evidences/0/actor/user/name", "root".into()),
            ("/evidences/0/src_endpoint/ip", "203.0.113.9".into()),
            ("/evidences/0/src_endpoint/port", 50_022.into()),
            ("/unmapped/login.service", "sshd".into()),
            ("/unmapped/login.failures", 6.into()),
        ],
    );
    check(&samples::web(), &[("/unmapped/given/c-ip", "203.0.113.9".into())]);
    let health = samples::health();
    check(&health, &[("/unmapped/health.kind", "loss".into())]);
    assert_eq!(line(&health).get("evidences"), None);
}

#[test]
fn an_update_keeps_the_finding_and_has_a_line_of_its_own() {
    let mut alert = samples::exec();
    alert.activity = Activity::Update;
    alert.count = 7;
    alert.time = samples::at(60);
    check(
        &alert,
        &[
            ("/activity_id", 2.into()),
            ("/type_uid", 200_402.into()),
            ("/count", 7.into()),
            ("/finding_info/uid", alert.id.to_string().into()),
            ("/metadata/uid", format!("{}-7", alert.id).into()),
            ("/start_time", 1_795_482_123_456_i64.into()),
            ("/end_time", 1_795_482_183_456_i64.into()),
        ],
    );
}

#[test]
fn hostile_texts_and_endless_lines_stay_one_sound_object() {
    let mut parent = None;
    for pid in 1..100 {
        parent = Some(samples::process(
            pid,
            "/bin/a\n\"b",
            "x\u{1b}[31m\r\n\u{2028}{\"}",
            parent.take(),
        ));
    }
    let mut alert = samples::exec();
    let mut observed = Observed::clone(&alert.observed);
    observed.process = parent;
    alert.observed = std::sync::Arc::new(observed);
    let line = line(&alert);
    let mut process = line.pointer("/evidences/0/process").unwrap();
    assert_eq!(process["cmd_line"], "x\u{1b}[31m\r\n\u{2028}{\"}");
    let mut depth = 0;
    while let Some(parent) = process.get("parent_process") {
        process = parent;
        depth += 1;
    }
    assert_eq!(depth, 16);
}

#[test]
fn what_is_unknown_is_left_out() {
    let mut alert = samples::exec();
    let mut observed = Observed::clone(&alert.observed);
    let bare = Process {
        execution: std::sync::Arc::new(Execution {
            file: ExeFlags::default(),
            ..Execution::default()
        }),
        parent: None,
        ..Process::clone(observed.process.as_ref().unwrap())
    };
    observed.process = Some(std::sync::Arc::new(bare));
    observed.facts.user = None;
    alert.observed = std::sync::Arc::new(observed);
    let line = line(&alert);
    let process = line.pointer("/evidences/0/process").unwrap();
    for name in ["cmd_line", "created_time", "working_directory", "parent_process"] {
        assert_eq!(process.get(name), None, "{name}");
    }
}
