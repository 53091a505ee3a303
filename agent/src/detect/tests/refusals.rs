//! What is refused, with its reason and its line.

use super::*;

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let without = |line: &str| LOGIN.replace(line, "");
    check(
        &[LOGIN, "title: [\n"],
        &["1.yml:2: not YAML: did not find expected node content"],
        1,
    );
    check(
        &[&without("title: Failed login")],
        &["0.yml:1: missing required field 'title'"],
        0,
    );
    check(
        &[&LOGIN.replace("level: low", "level: lwo")],
        &["0.yml:8: lwo is no level: informational, low, medium, high or critical"],
        0,
    );
    check(
        &[&LOGIN.replace("11111111", "one")],
        &["0.yml:2: the id one-1111-4111-8111-one1111 is not a UUID"],
        0,
    );
    check(
        &[&LOGIN.replace("condition: selection", "condition: selektion")],
        &["0.yml:5: unknown detection identifier: selektion"],
        0,
    );
    check(
        &[&LOGIN.replace("Image:", "Image|endwith:")],
        &["0.yml:6: unknown modifier 'endwith'"],
        0,
    );
    check(
        &[&LOGIN.replace("Image:", "Immage:")],
        &["0.yml:6: warning: process_creation events never carry the field Immage"],
        1,
    );
    check(
        &[&LOGIN.replace("linux", "windows")],
        &["0.yml:4: note: no source of this agent carries windows/process_creation"],
        0,
    );
    check(
        &[LOGIN, LOGIN],
        &["1.yml:2: the id 11111111-1111-4111-8111-111111111111 is already that of Failed login (0.yml:1)"],
        1,
    );
    check(
        &[&format!("{LOGIN}tocsin: {{ask: the-oracle}}\n")],
        &["0.yml:9: nobody answers the question the-oracle"],
        0,
    );
    check(
        &[&format!("{LOGIN}tocsin: {{compatibility: ['VM_A,VM_B']}}\n")],
        &[r#"0.yml:9: "VM_A,VM_B" is no alert type id: letters, digits, dots, dashes and underscores"#],
        0,
    );
    check(&["- a list\n"], &["0.yml:1: document is not a YAML mapping"], 0);
}

#[test]
fn a_field_that_no_event_carries_is_our_own_mistake() {
    let file = file("built-in.yml", &LOGIN.replace("Image:", "QueryName:"));
    let (rules, problems) = load(&[file], Timestamp::UNIX_EPOCH);
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["built-in.yml:6: process_creation events never carry the field QueryName"]
    );
    assert_eq!(rules.iter().count(), 0);
}

#[test]
fn documents_of_one_file_keep_their_lines() {
    let two = format!(
        "# a comment\n---{LOGIN}---{}",
        LOGIN
            .replace("11111111", "33333333")
            .replace("Image:", "Image|endwith:")
    );
    check(&[&two], &["0.yml:17: unknown modifier 'endwith'"], 1);
}

#[test]
fn a_correlation_that_would_never_fire_is_refused() {
    let other = LOGIN
        .replace("process_creation", "network_listen")
        .replace("11111111", "33333333")
        .replace("failed-login", "other");
    let both = MANY.replace("[failed-login]", "[failed-login, other]");
    let nameless = LOGIN.replace("id: 11111111-1111-4111-8111-111111111111\n", "");
    let itself = MANY
        .replace("correlation:", "name: many\ncorrelation:")
        .replace("[failed-login]", "[many]");
    check(&[MANY], &["0.yml:5: no rule has the id or name failed-login"], 0);
    check(
        &[LOGIN, &other, &both],
        &[
            "2.yml:5: other judges network_listen events, the rules before it others: no correlation crosses log sources",
        ],
        2,
    );
    check(
        &[&nameless, MANY],
        &["1.yml:5: failed-login has no id, and a correlation can only name rules that have one"],
        1,
    );
    check(
        &[&LOGIN.replace("linux", "windows"), MANY],
        &[
            "0.yml:4: note: no source of this agent carries windows/process_creation",
            "1.yml:5: note: left out, since the rule failed-login is not in force",
        ],
        0,
    );
    check(&[&itself], &["0.yml:6: the correlation builds upon itself"], 0);
    check(
        &[LOGIN, &LOGIN.replace("11111111", "33333333"), MANY],
        &["2.yml:5: 2 rules bear the name failed-login: say which by its id"],
        2,
    );
}
