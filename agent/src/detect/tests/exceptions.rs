//! What operators say of others' rules: exceptions and overrides.

use super::*;

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
