//! What loads, what is refused and why, and what a loaded set says to events.

use std::{env, fs, path::PathBuf};

use super::*;
use crate::event::recorded::event_from_line;

const LOGIN: &str = "
title: Failed login
id: 11111111-1111-4111-8111-111111111111
name: failed-login
logsource: {product: linux, category: process_creation}
detection:
    selection: {Image: /bin/login}
    condition: selection
level: low
";

const MANY: &str = "
title: Many failed logins
id: 22222222-2222-4222-8222-222222222222
correlation:
    type: event_count
    rules: [failed-login]
    group-by: [User]
    timespan: 1m
    condition: {gte: 3}
level: high
";

pub(super) fn file(name: &str, text: &str) -> RuleFile {
    RuleFile {
        path: name.into(),
        text: text.trim_start().to_owned(),
        built_in: name.starts_with("built-in"),
    }
}

/// Loads documents, each as a file of its own called `0.yml`, `1.yml`…
pub(super) fn load_all(documents: &[&str]) -> (Rules, Vec<String>) {
    let files = documents.iter().enumerate();
    let files: Vec<_> = files
        .map(|(number, text)| file(&format!("{number}.yml"), text))
        .collect();
    let (rules, problems) = load(&files, Timestamp::UNIX_EPOCH);
    (rules, problems.iter().map(ToString::to_string).collect())
}

fn observed(line: &str) -> Observed {
    event_from_line(line).unwrap().into()
}

fn login(user: &str, second: u32) -> Observed {
    observed(&format!(
        r#"{{"time":{second},"category":"process_creation","Image":"/bin/login","User":"{user}"}}"#
    ))
}

fn titles(rules: &mut Rules, event: &mut Observed) -> Vec<String> {
    rules
        .judge(event)
        .iter()
        .map(|found| found.rule.title.to_string())
        .collect()
}

/// Loading `documents` reports exactly `expected`, and leaves so many rules in force.
fn check(documents: &[&str], expected: &[&str], in_force: usize) {
    let (rules, problems) = load_all(documents);
    assert_eq!(problems, expected);
    assert_eq!(rules.iter().count(), in_force);
}

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

#[test]
fn a_correlation_counts_by_group_and_by_the_events_own_time() {
    let (mut rules, problems) = load_all(&[LOGIN, MANY]);
    assert!(problems.is_empty(), "{problems:?}");
    let none: [&str; 0] = [];
    assert_eq!(titles(&mut rules, &mut login("ada", 1)), none);
    assert_eq!(titles(&mut rules, &mut login("ada", 2)), none);
    assert_eq!(titles(&mut rules, &mut login("bob", 3)), none);
    assert_eq!(
        titles(&mut rules, &mut login("ada", 100)),
        none,
        "the first two are long past"
    );
    assert_eq!(titles(&mut rules, &mut login("ada", 110)), none);
    let found = rules.judge(&mut login("ada", 120));
    assert_eq!(*found[0].rule.title, *"Many failed logins");
    assert_eq!(
        found[0].matched,
        [("User".into(), "ada".into()), ("event_count".into(), 3.0.into())]
    );
}

#[test]
fn a_correlation_that_says_so_lets_its_rules_speak() {
    let (mut rules, _) = load_all(&[LOGIN, &format!("{MANY}generate: true\n")]);
    assert_eq!(titles(&mut rules, &mut login("ada", 1)), ["Failed login"]);
}

#[test]
fn correlations_build_upon_correlations() {
    let often = MANY
        .replace("22222222", "44444444")
        .replace("Many failed logins", "A siege")
        .replace("[failed-login]", "[22222222-2222-4222-8222-222222222222]")
        .replace("gte: 3", "gte: 2");
    let (mut rules, problems) = load_all(&[&often, MANY, LOGIN]);
    assert!(problems.is_empty(), "{problems:?}");
    let found: Vec<_> = (1..=4)
        .map(|second| titles(&mut rules, &mut login("ada", second)))
        .collect();
    assert_eq!(found[2], ["Many failed logins"]);
    assert!(found[3].contains(&"A siege".to_owned()), "{found:?}");
}

#[test]
fn what_was_counted_outlives_a_reload_of_the_same_correlation() {
    let (mut before, _) = load_all(&[LOGIN, MANY]);
    (1..=2).for_each(|second| drop(before.judge(&mut login("ada", second))));
    let (mut same, _) = load_all(&[LOGIN, MANY]);
    same.continue_from(&before);
    assert_eq!(titles(&mut same, &mut login("ada", 3)), ["Many failed logins"]);
    let (mut changed, _) = load_all(&[LOGIN, &MANY.replace("1m", "2m")]);
    changed.continue_from(&before);
    assert!(titles(&mut changed, &mut login("ada", 3)).is_empty());
}

#[test]
fn a_filter_takes_its_exceptions_out() {
    let filter = |rules: &str, condition: &str| {
        format!(
            "title: Root may\nlogsource: {{product: linux, category: process_creation}}\nfilter:\n    rules: {rules}\n    \
             who_root: {{User: root}}\n    who_ada: {{User: ada}}\n    condition: {condition}\n"
        )
    };
    let cases = [
        ("[failed-login]", "not who_root", "root", false),
        ("[11111111-1111-4111-8111-111111111111]", "not 1 of who_*", "ada", false),
        ("any", "not who_root", "root", false),
        ("[failed-login]", "not who_root", "bob", true),
    ];
    for (target, condition, user, expected) in cases {
        let (mut rules, problems) = load_all(&[LOGIN, &filter(target, condition)]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(
            !rules.judge(&mut login(user, 1)).is_empty(),
            expected,
            "{target} {condition} {user}"
        );
    }
    check(
        &[LOGIN, &filter("[nobody]", "not who_root")],
        &["1.yml:4: warning: no rule has the id or name nobody"],
        1,
    );
    check(
        &[LOGIN, &filter("any", "not who_bob")],
        &["1.yml:7: the filter has no selection who_bob"],
        1,
    );
}

#[test]
fn an_exception_ends_when_it_says() {
    let filter = |last: &str| {
        format!(
            "title: Root may\nfilter:\n    rules: [failed-login]\n    selection: {{User: root}}\n    condition: not selection\n{last}\n"
        )
    };
    let ends = filter("tocsin: {expires: 2026-12-24}");
    let files = [file("a.yml", LOGIN), file("b.yml", &ends)];
    let cases = [
        ("2026-12-24T23:59:59Z", 0, None, Some("2026-12-25T00:00:00Z")),
        (
            "2026-12-25T00:00:00Z",
            1,
            Some("b.yml:6: note: the exception ended at 2026-12-25T00:00:00Z and is no longer in force"),
            None,
        ),
    ];
    for (now, matches, note, next) in cases {
        let (mut rules, problems) = load(&files, now.parse().unwrap());
        assert_eq!(rules.judge(&mut login("root", 1)).len(), matches, "{now}");
        let said: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(said, Vec::from_iter(note), "{now}");
        assert_eq!(rules.expiries().next, next.map(|next| next.parse().unwrap()), "{now}");
    }
    let wrong = [
        (
            "tocsin: {expires: 24.12.2026}",
            "24.12.2026 is neither a date such as 2026-12-24 nor a time such as 2026-12-24T18:00:00Z",
        ),
        (
            "tocsin: {expire: 2026-12-24}",
            "not an attribute of ours: unknown field `expire`, expected `expires`",
        ),
        (
            "expires: 2026-12-24",
            "expires has no effect here: write tocsin: {expires: …}",
        ),
    ];
    for (last, reason) in wrong {
        let line = if last.contains("expires") { 6 } else { 1 };
        check(&[LOGIN, &filter(last)], &[&format!("1.yml:{line}: {reason}")], 1);
    }
}

#[test]
fn a_list_stands_for_its_values() {
    let lists = |values: &str| format!("name: programs\nvars:\n    logins: {values}\n");
    let rule = LOGIN.replace("Image: /bin/login", "Image|endswith|expand: '%logins%'");
    let (mut rules, problems) = load_all(&[&rule, &lists("[/login]"), &lists("[/su]")]);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(titles(&mut rules, &mut login("ada", 1)), ["Failed login"]);
    let mut su = observed(r#"{"time":1,"category":"process_creation","Image":"/bin/su"}"#);
    assert_eq!(
        titles(&mut rules, &mut su),
        ["Failed login"],
        "the second list extends the first"
    );
    check(&[&rule], &["0.yml:6: there is no list of the name logins"], 0);
    check(
        &[&rule, &lists("[]")],
        &[
            "1.yml:3: the list logins is empty",
            "0.yml:6: there is no list of the name logins",
        ],
        0,
    );
    check(
        &[&lists("7")],
        &["0.yml:3: not a file of lists: vars.logins: invalid type: integer `7`, expected a sequence"],
        0,
    );
    let filter = "title: May\nlogsource: {product: linux, category: process_creation}\nfilter:\n    rules: any\n    who:\n        \
                  User|expand: '%admins%'\n    condition: not who\n";
    let admins = "name: people\nvars: {admins: [ada]}\n";
    check(&[LOGIN, filter], &["1.yml:6: there is no list of the name admins"], 1);
    let (mut rules, problems) = load_all(&[LOGIN, filter, admins]);
    assert!(problems.is_empty(), "{problems:?}");
    assert!(titles(&mut rules, &mut login("ada", 1)).is_empty());
}

#[test]
fn wildcards_are_anchored_at_the_right_end() {
    let cases = [
        ("Image|endswith: '/log?n'", true),
        ("Image|endswith: '/log?'", false),
        ("Image|startswith: '/b?n/'", true),
        ("Image|startswith: 'b?n/'", false),
        ("Image|endswith: [/su, '/lo*n']", true),
    ];
    for (item, expected) in cases {
        let (mut rules, problems) = load_all(&[&LOGIN.replace("Image: /bin/login", item)]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(!titles(&mut rules, &mut login("ada", 1)).is_empty(), expected, "{item}");
    }
}

#[test]
fn an_override_switches_off_and_grades_otherwise() {
    let word = |rest: &str| format!("tocsin_override:\n  id: 11111111-1111-4111-8111-111111111111\n  {rest}\n");
    check(&[LOGIN, &word("enabled: false")], &[], 0);
    check(
        &[LOGIN, &word("severity: high")],
        &[
            "1.yml:3: not an override: tocsin_override: unknown field `severity`, expected one of `id`, `enabled`, `level`",
        ],
        1,
    );
    check(
        &[LOGIN, "tocsin_override: {id: 11111111-1111-4111-8111-111111111111}"],
        &["1.yml:1: the override changes nothing: give it enabled or level"],
        1,
    );
    check(
        &[&word("enabled: true")],
        &["0.yml:2: warning: no rule has the id 11111111-1111-4111-8111-111111111111"],
        0,
    );
    let (rules, problems) = load_all(&[LOGIN, &word("level: critical")]);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(rules.iter().next().unwrap().level, Level::Critical);
}

#[test]
fn a_rule_can_ask_instead_of_alerting() {
    let asking = format!("{LOGIN}tocsin: {{ask: docker-api-probe}}\n");
    let (mut rules, problems) = load_all(&[&asking, &LOGIN.replace("11111111", "33333333").replace("low", "high")]);
    assert!(problems.is_empty(), "{problems:?}");
    let asks: Vec<_> = rules
        .judge(&mut login("ada", 1))
        .iter()
        .map(|found| found.asks)
        .collect();
    assert_eq!(asks, [Some(Ask::DockerApiProbe), None]);
}

#[test]
fn a_rule_can_have_texts_searched_for() {
    let list = "name: more\nvars: {servers: [Server listening on %s, SSH-2.0-server]}\n";
    let asking = |texts: &str| format!("{LOGIN}tocsin: {{ask: executable-content, texts: {texts}}}\n");
    let (rules, problems) = load_all(&[list, &asking("['%servers%', SSH-2.0-server, another one]")]);
    assert!(problems.is_empty(), "{problems:?}");
    let texts: Vec<_> = rules.iter().flat_map(|rule| &rule.texts).map(|text| &**text).collect();
    assert_eq!(texts, ["Server listening on %s", "SSH-2.0-server", "another one"]);
    let only_then = "0.yml:9: a rule has texts if it asks for executable-content, and only then";
    check(&[&asking("[]")], &[only_then], 0);
    check(
        &[&format!("{LOGIN}tocsin: {{texts: [SSH-2.0-server]}}\n")],
        &[only_then],
        0,
    );
    check(
        &[&asking("['%nothing%']")],
        &["0.yml:9: there is no list of the name nothing"],
        0,
    );
    let odd = "0.yml:9: cannot search for \"SSH-*-server\": 8 to 128 bytes, without *, ? and \\";
    check(&[&asking("[SSH-*-server]")], &[odd], 0);
}

#[test]
fn a_rule_can_give_a_role_instead_of_alerting() {
    let giving = format!("{LOGIN}tocsin: {{role: door}}\n");
    let (mut rules, problems) = load_all(&[&giving]);
    assert!(problems.is_empty(), "{problems:?}");
    let found = rules.judge(&mut login("ada", 1));
    assert_eq!(found[0].rule.role.as_deref(), Some("door"));
    let both = format!("{LOGIN}tocsin: {{role: door, ask: docker-api-probe}}\n");
    check(&[&both], &["0.yml:9: a rule either asks or gives a role"], 0);
}

#[test]
fn a_match_names_its_fields() {
    let (mut rules, _) = load_all(&[LOGIN]);
    let found = rules.judge(&mut login("ada", 1));
    assert_eq!(found[0].matched, [("Image".into(), "/bin/login".into())]);
    assert_eq!(found[0].rule.file, Some(PathBuf::from("0.yml")));
}

#[test]
fn a_match_names_secret_variables_without_their_values() {
    let rule = LOGIN.replace("{Image: /bin/login}", "{container.environment|contains: hunter}");
    let (mut rules, _) = load_all(&[&rule]);
    let line = r#"{"time":1,"category":"process_creation","container.environment":["PASS=hunter2","A=b"]}"#;
    let matched = &rules.judge(&mut observed(line))[0].matched;
    let expected = serde_json::json!(["PASS=[redacted]", "A=[redacted]"]);
    assert_eq!(*matched, [("container.environment".into(), expected)]);
}

/// `SigmaHQ`'s rules, if they are at hand; in CI they must be.
fn sigmahq() -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus"));
    let corpus = env::var_os("TOCSIN_CORPUS").map_or_else(beside, PathBuf::from);
    let rules = corpus.join("sigmahq/rules");
    if rules.is_dir() {
        return Some(rules);
    }
    let message = format!(
        "no corpus in {}: set TOCSIN_CORPUS to test SigmaHQ's rules",
        corpus.display()
    );
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
    eprintln!("skipped: {message}");
    None
}

#[test]
fn sigmahqs_rules_load_unmodified() {
    let Some(folder) = sigmahq() else { return };
    let families = [
        ("linux/process_creation", 122),
        ("linux/network_connection", 5),
        ("web/webserver_generic", 13),
    ];
    for (family, expected) in families {
        let files = fs::read_dir(folder.join(family))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let files: Vec<_> = files
            .map(|path| file(path.to_str().unwrap(), &fs::read_to_string(&path).unwrap()))
            .collect();
        let (rules, problems) = load(&files, Timestamp::UNIX_EPOCH);
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!((rules.iter().count(), problems), (expected, Vec::new()), "{family}");
    }
}

#[test]
fn an_event_that_is_judged_again_counts_once() {
    let (mut rules, problems) = load_all(&[LOGIN, MANY, &with_image("/bin/", "Another")]);
    assert_eq!(problems, [""; 0]);
    let mut event = login("eve", 1);
    let first: Vec<_> = rules.judge(&mut event).iter().map(|found| found.rule.id).collect();
    assert_eq!(first.len(), 1, "the counted rule alone is silent");
    event.facts.judged_before = [first, vec![Uuid::from_u128(0x1111_1111_1111_4111_8111_1111_1111_1111)]].concat();
    for _ in 0..5 {
        assert_eq!(titles(&mut rules, &mut event), [""; 0]);
    }
}

/// A rule about programs whose paths begin so.
fn with_image(start: &str, title: &str) -> String {
    let id = Uuid::new_v4();
    format!(
        "title: {title}\nid: {id}\nlogsource: {{product: linux, category: process_creation}}\ndetection:\n    selection: {{Image|startswith: {start}}}\n    condition: selection\n"
    )
}
