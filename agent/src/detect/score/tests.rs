//! What scores come to, which of them hold, and what rules see of them.

use jiff::Timestamp;

use super::*;
use crate::{
    detect::{
        document::RuleFile,
        load,
        tests::{file, load_all},
    },
    event::recorded::event_from_line,
};

const SCORE: &str = "
title: Odd child
name: odd-child
description: What a server has no need of.
logsource: {product: linux, category: process_creation}
detection:
    below: {ParentImage: /srv}
    condition: below
signals:
    - name: shell
      weight: 3
      why: a shell
      detection:
          shell: {Image|endswith|expand: '%shells%'}
          condition: shell
    - name: health-check
      weight: -2
      why: what it asks every minute
      detection:
          check: {CommandLine: sh -c check}
          condition: check
";

const SHELLS: &str = "name: programs\nvars: {shells: [/sh, /bash]}\n";

const RULE: &str = "
title: Odd
id: 11111111-1111-4111-8111-111111111111
logsource: {product: linux, category: process_creation}
detection:
    odd: {score.odd-child|gte: 1}
    condition: odd
level: low
";

fn event(parent: &str, image: &str, arguments: &str) -> Observed {
    let line = format!(
        r#"{{"time":1,"category":"process_creation","ParentImage":"{parent}","Image":"{image}","CommandLine":"{arguments}"}}"#
    );
    event_from_line(&line).unwrap().into()
}

#[test]
fn signals_add_up_to_a_fact() {
    let (mut rules, problems) = load_all(&[SCORE, SHELLS, RULE]);
    assert!(problems.is_empty(), "{problems:?}");
    let cases = [
        ("/srv", "/bin/sh", "sh -c id", Some(3), &["shell"][..], true),
        (
            "/srv",
            "/bin/sh",
            "sh -c check",
            Some(1),
            &["shell", "health-check"],
            true,
        ),
        ("/srv", "/bin/ls", "ls", Some(0), &[], false),
        ("/srv", "/bin/ls", "sh -c check", Some(-2), &["health-check"], false),
        ("/bin/login", "/bin/sh", "sh", None, &[], false),
    ];
    for (parent, image, arguments, sum, signals, expected) in cases {
        let mut event = event(parent, image, arguments);
        let found = rules.judge(&mut event);
        let number = |value: rsigma_eval::EventValue<'_>| value.to_json().as_i64();
        assert_eq!(event.field("score.odd-child").and_then(number), sum, "{arguments}");
        let named = event.field("signals").map(|signals| signals.to_json());
        assert_eq!(named, (!signals.is_empty()).then(|| signals.into()), "{arguments}");
        assert_eq!(!found.is_empty(), expected, "{arguments}");
        if let [found] = &found[..] {
            let expected = [
                ("score.odd-child".into(), sum.into()),
                ("signals".into(), signals.into()),
            ];
            assert_eq!(found.matched, expected);
        }
    }
}

#[test]
fn what_is_given_stands() {
    let (mut rules, _) = load_all(&[SCORE, SHELLS, RULE]);
    let line = r#"{"time":1,"category":"process_creation","score.odd-child":7}"#;
    assert_eq!(rules.judge(&mut event_from_line(line).unwrap().into()).len(), 1);
}

fn check(documents: &[&str], expected: &[&str]) {
    assert_eq!(load_all(documents).1, expected);
}

#[test]
fn what_is_wrong_with_a_score_is_said() {
    check(
        &[RULE],
        &["0.yml:5: warning: process_creation events never carry the field score.odd-child"],
    );
    check(&[SCORE], &["0.yml:13: there is no list of the name shells"]);
    check(
        &[&SCORE.replace("weight: 3", "weight: heavy"), SHELLS],
        &["0.yml:10: not a score: signals[0].weight: invalid type: string \"heavy\", expected i32"],
    );
    check(
        &[&SCORE.replace("condition: check", "condition: chekc"), SHELLS],
        &["0.yml:15: unknown detection identifier: chekc"],
    );
    check(
        &[&SCORE.replace("health-check", "shell"), SHELLS],
        &["0.yml:9: two signals bear the name shell"],
    );
    check(
        &[SCORE, SCORE, SHELLS],
        &["1.yml:2: another score bears the name odd-child"],
    );
}

#[test]
fn an_operators_score_stands_for_ours_of_the_same_name() {
    let ours = file("built-in.yml", SCORE);
    let theirs = file("theirs.yml", &SCORE.replace("weight: 3", "weight: 30"));
    let files: Vec<RuleFile> = vec![ours, theirs, file("lists.yml", SHELLS)];
    let (mut rules, problems) = load(&files, Timestamp::UNIX_EPOCH);
    assert!(problems.is_empty(), "{problems:?}");
    let mut event = event("/srv", "/bin/sh", "sh");
    rules.judge(&mut event);
    assert_eq!(event.facts.scores[0].sum, 30);
}

#[test]
fn a_score_explains_itself() {
    let (rules, _) = load_all(&[SCORE, SHELLS]);
    let told = |event: &Observed| {
        let [score] = <[_; 1]>::try_from(rules.explain_scores(event)).unwrap();
        let signals = score.signals.iter();
        let hits: Vec<_> = signals.map(|signal| (signal.weight, signal.hit.matched)).collect();
        (score.sum, hits)
    };
    let hits = vec![(3, true), (-2, false)];
    assert_eq!(told(&event("/srv", "/bin/sh", "sh")), (Some(3), hits.clone()));
    assert_eq!(told(&event("/bin/login", "/bin/sh", "sh")), (None, hits));
}
