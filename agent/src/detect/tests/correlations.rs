//! Correlations: what counts, for how long, and what is not counted twice.

use super::*;

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
