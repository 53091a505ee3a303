//! What an exception looks like, and what is refused: by alerts of one small rule.

use super::*;

const RULE: &str = "title: Something ran\nid: 11111111-1111-4111-8111-111111111111\nname: ran-low\n\
    logsource: {product: linux, category: process_creation}\ndetection:\n    selection: {Image|contains: /}\n    \
    condition: selection\nlevel: low\n---\ntitle: Something ran\nid: 22222222-2222-4222-8222-222222222222\nname: ran-high\n\
    logsource: {product: linux, category: process_creation}\ndetection:\n    selection: {User: root}\n    condition: selection\n\
    level: high\n";

fn own_rules() -> Rules {
    let file = RuleFile {
        path: "own.yml".into(),
        text: RULE.to_owned(),
        built_in: false,
    };
    load(&[file], Timestamp::UNIX_EPOCH).0
}

fn event(fields: Value) -> Fields {
    let Value::Object(mut fields) = fields else { panic!() };
    fields.insert("time".into(), json!(0));
    fields.insert("category".into(), json!("process_creation"));
    fields
}

#[test]
fn it_is_a_filter_to_be_read_by_people() {
    let mut rules = own_rules();
    let event = event(json!({"Image": "/opt/b?ck*p\\run", "CommandLine": "run --all", "User": "root"}));
    let mut alert = raise(&mut rules, &event).unwrap();
    alert.id = uuid::Uuid::nil();
    let text = except(&rules, &alert, Format::Ocsf, &[]).unwrap().text;
    let id = text.lines().find(|line| line.starts_with("id: ")).unwrap();
    let expected = r#"# Written by `tocsin rules except` on 2026-11-24 from the alert 00000000-0000-0000-0000-000000000000.
title: "Exception to Something ran"
ID
description: Say here why it is right, and who may be asked.
date: 2026-11-24
logsource:
    product: linux
    category: process_creation
filter:
    rules:
        - 11111111-1111-4111-8111-111111111111 # ran-low
        - 22222222-2222-4222-8222-222222222222 # ran-high
    selection:
        # the program
        Image|cased: "/opt/b\\?ck\\*p\\\\run"
        # what it is told to do
        CommandLine|cased: "run --all"
        # as whom it runs
        User|cased: "root"
        # on the host: the same in a container is not excepted
        container.id|exists: false
    condition: not selection
tocsin:
    expires: 2027-02-22
"#;
    assert_eq!(text, expected.replace("ID", id));
}

#[test]
fn what_is_missing_is_said_and_too_little_is_refused() {
    let rules = own_rules();
    let raise = |fields: Value| raise(&mut own_rules(), &event(fields)).unwrap();
    let made = |alert: &alert::Alert| except(&rules, alert, Format::Ocsf, &[]);
    let secret = raise(
        json!({"Image": "/bin/db", "CommandLine": "db --password=hunter2", "User": "db", "ParentImage": "/bin/sh"}),
    );
    let secret = Redactor::new(&[]).unwrap().alert(secret);
    let Made { choice, text, .. } = made(&secret).unwrap();
    assert_eq!(
        choice.notes,
        [
            "CommandLine is left out: a secret was removed from it",
            "process.script is left out: the alert does not tell it"
        ]
    );
    assert!(
        text.contains("ParentImage|cased: \"/bin/sh\"") && !text.contains("redacted"),
        "{text}"
    );

    let named = raise(
        json!({"Image": "/bin/db", "CommandLine": "db", "User": "db", "container.id": "f00d", "container.image": "db:1"}),
    );
    let Made { choice, text, .. } = made(&named).unwrap();
    assert_eq!(
        choice.notes,
        ["the alert does not tell the image's digest: its name alone would prove nothing"]
    );
    assert!(
        text.contains("container.image|cased: \"db:1\"") && text.contains("Image|cased: \"/bin/db\""),
        "{text}"
    );

    let refused = |alert: &alert::Alert, fields: &[&str]| {
        let error = except(&rules, alert, Format::Falco, fields).unwrap_err();
        error.to_string()
    };
    let cases: [(&[&str], &str); 4] = [
        (
            &["User"],
            "refused: nothing here tells this cause from others, so that everything would be excepted",
        ),
        (
            &["container.image", "User"],
            "refused: anybody can give an image that name; add its digest or the program",
        ),
        (&["ParentImage"], "the alert does not tell ParentImage"),
        (
            &["QueryName"],
            "process_creation events never carry the field QueryName",
        ),
    ];
    for (fields, reason) in cases {
        assert_eq!(refused(&named, fields), reason);
    }
    assert_eq!(
        refused(&secret, &["CommandLine"]),
        "CommandLine holds a secret, which the alert does not tell"
    );
    let bare = raise(json!({"User": "root"}));
    assert!(
        refused(&bare, &[]).starts_with("refused: nothing here tells"),
        "{}",
        refused(&bare, &[])
    );
}

#[test]
fn an_end_is_a_number_of_days_a_moment_or_never() {
    let cases = [
        ("30d", Some(Expires::Days(30))),
        ("never", Some(Expires::Never)),
        ("9999-12-24", Some(Expires::Moment("9999-12-24".into()))),
        ("2001-12-24", None),
        ("soon", None),
        ("-3d", None),
    ];
    for (written, expected) in cases {
        assert_eq!(parse_expires(written).ok(), expected, "{written}");
    }
}

#[test]
fn an_alert_is_one_object_of_ours() {
    for text in [
        "",
        "{}",
        "[]",
        "{} {}",
        r#"{"rule": "Read sensitive file", "output_fields": {}}"#,
    ] {
        Alert::read(text).unwrap_err();
    }
}
