use super::*;
use crate::{
    alert::{Level, samples},
    event::{Kind, ListenAddress},
    observed::Observed,
};

const WINDOW: SignedDuration = SignedDuration::from_secs(600);

/// An alert `seconds` after the start, changed by `change`.
fn alert(seconds: i64, level: Level, change: impl FnOnce(&mut Alert, &mut Observed)) -> Alert {
    let mut alert = samples::exec();
    let mut observed = Observed::clone(&alert.observed);
    observed.event.time = samples::at(seconds);
    let mut rule = alert.rule.as_ref().clone();
    rule.level = level;
    alert.rule = Arc::new(rule);
    change(&mut alert, &mut observed);
    Alert::new(alert.rule, Arc::new(observed), alert.matched)
}

fn plain(seconds: i64, level: Level) -> Alert {
    alert(seconds, level, |_, _| {})
}

fn running(seconds: i64, exe: &str) -> Alert {
    alert(seconds, Level::Medium, |_, observed| {
        observed.process = Some(samples::process(4711, exe, exe, None));
    })
}

/// What went out, in short: `create 1 medium`, `update 3 high`.
fn short(alerts: &[Alert]) -> Vec<String> {
    let activity = |alert: &Alert| match alert.activity {
        Activity::Create => "create",
        Activity::Update => "update",
    };
    let line = |alert: &Alert| format!("{} {} {}", activity(alert), alert.count, alert.rule.level);
    alerts.iter().map(line).collect()
}

/// Feeds events, each the alerts of one, and compares what goes out for each, and then at the end.
fn check(window: SignedDuration, events: Vec<Vec<Alert>>, expected: &[&[&str]]) -> Vec<Alert> {
    let mut dedup = Dedup::new(window);
    let mut all = Vec::new();
    let mut out: Vec<_> = events.into_iter().map(|event| dedup.admit(event)).collect();
    out.push(dedup.finish());
    for (index, (out, expected)) in out.into_iter().zip(expected).enumerate() {
        assert_eq!(short(&out), *expected, "of event {index}");
        all.extend(out);
    }
    all
}

#[test]
fn repeats_become_one_update_when_the_window_ends() {
    let events = vec![
        vec![plain(0, Level::Medium)],
        vec![plain(1, Level::Medium)],
        vec![plain(599, Level::Medium)],
        vec![plain(600, Level::Medium)],
        vec![plain(601, Level::Medium)],
    ];
    let expected: &[&[&str]] = &[
        &["create 1 medium"],
        &[],
        &[],
        &["update 3 medium", "create 1 medium"],
        &[],
        &["update 2 medium"],
    ];
    let all = check(WINDOW, events, expected);
    assert_eq!(all[0].id, all[1].id);
    assert_ne!(all[1].id, all[2].id);
    assert_eq!((all[1].first_seen, all[1].time), (samples::at(0), samples::at(599)));
}

#[test]
fn what_happens_once_has_no_update() {
    check(WINDOW, vec![vec![plain(0, Level::Low)]], &[&["create 1 low"], &[]]);
}

#[test]
fn the_highest_level_of_a_title_wins() {
    let events = vec![
        vec![plain(0, Level::Medium), plain(0, Level::High)],
        vec![plain(1, Level::Medium)],
        vec![plain(2, Level::Critical)],
        vec![plain(3, Level::High)],
    ];
    let expected: &[&[&str]] = &[
        &["create 1 high"],
        &[],
        &["update 3 critical"],
        &[],
        &["update 4 critical"],
    ];
    let all = check(WINDOW, events, expected);
    assert!(all.iter().all(|alert| alert.id == all[0].id));
}

#[test]
fn zero_passes_all_on_but_one_of_each_event_and_title() {
    let events = vec![
        vec![plain(0, Level::Medium), plain(0, Level::High)],
        vec![plain(0, Level::Medium)],
    ];
    check(
        SignedDuration::ZERO,
        events,
        &[&["create 1 high"], &["create 1 medium"], &[]],
    );
}

#[test]
fn subjects_are_told_apart() {
    let second: [(&str, Alert, bool); 8] = [
        ("the same", plain(1, Level::Medium), false),
        ("another executable", running(1, "/tmp/y"), true),
        (
            "another argument",
            alert(1, Level::Medium, |_, observed| {
                observed.process = Some(samples::process(4712, "/tmp/x", "/tmp/x --other", None));
            }),
            false,
        ),
        (
            "another container",
            alert(1, Level::Medium, |_, observed| {
                let mut container = samples::container_facts();
                container.id = "other".into();
                observed.container = Some(Arc::new(container));
            }),
            true,
        ),
        (
            "the host",
            alert(1, Level::Medium, |_, observed| observed.container = None),
            true,
        ),
        (
            "another title",
            alert(1, Level::Medium, |alert, _| {
                Arc::make_mut(&mut alert.rule).title = "Other".into();
            }),
            true,
        ),
        (
            "another rule of the title",
            alert(1, Level::Medium, |alert, _| {
                Arc::make_mut(&mut alert.rule).id = uuid::Uuid::nil();
            }),
            false,
        ),
        (
            "a title that differs in case",
            alert(1, Level::Medium, |alert, _| {
                let rule = Arc::make_mut(&mut alert.rule);
                rule.title = rule.title.to_lowercase().into();
            }),
            true,
        ),
    ];
    for (what, second, another) in second {
        let mut dedup = Dedup::new(WINDOW);
        dedup.admit(vec![plain(0, Level::Medium)]);
        assert_eq!(dedup.admit(vec![second]).len(), usize::from(another), "{what}");
    }
}

#[test]
fn a_rule_may_name_its_subject() {
    let by_container = |seconds, exe: &str| {
        let mut alert = running(seconds, exe);
        Arc::make_mut(&mut alert.rule).subject = vec!["container.id".to_owned()];
        alert
    };
    let events = vec![vec![by_container(0, "/tmp/x")], vec![by_container(1, "/tmp/y")]];
    check(WINDOW, events, &[&["create 1 medium"], &[], &["update 2 medium"]]);
}

#[test]
fn each_family_has_subjects() {
    for first in samples::all() {
        let mut dedup = Dedup::new(WINDOW);
        let again = Alert::new(
            Arc::clone(&first.rule),
            Arc::clone(&first.observed),
            first.matched.clone(),
        );
        assert_eq!(dedup.admit(vec![first]).len(), 1);
        assert_eq!(dedup.admit(vec![again]).len(), 0);
    }
}

#[test]
fn listeners_differ_by_address_and_health_by_words() {
    let listener = |port| {
        let mut alert = samples::listen();
        let mut observed = Observed::clone(&alert.observed);
        if let Kind::Listen(listener) = &mut observed.event.kind {
            listener.address = ListenAddress::Tcp(([0, 0, 0, 0], port).into());
        }
        alert.observed = Arc::new(observed);
        alert
    };
    let health = |detail: &str| {
        let mut alert = samples::health();
        let mut observed = Observed::clone(&alert.observed);
        if let Kind::Health(health) = &mut observed.event.kind {
            detail.clone_into(&mut health.detail);
        }
        alert.observed = Arc::new(observed);
        alert
    };
    let cases = [
        (listener(2375), listener(2375), 0),
        (listener(2375), listener(2376), 1),
        (health("12 events lost"), health("7 events lost"), 0),
        (health("sensor dns is off"), health("sensor exec is off"), 1),
    ];
    for (first, second, expected) in cases {
        let mut dedup = Dedup::new(WINDOW);
        dedup.admit(vec![first]);
        let what = format!("{:?}", second.observed.event.kind);
        assert_eq!(dedup.admit(vec![second]).len(), expected, "{what}");
    }
}

#[test]
fn windows_end_in_time_without_events() {
    let mut dedup = Dedup::new(WINDOW);
    assert_eq!(dedup.next_deadline(), None);
    dedup.admit(vec![plain(0, Level::Medium)]);
    dedup.admit(vec![plain(5, Level::Medium)]);
    assert_eq!(dedup.next_deadline(), Some(samples::at(600)));
    assert!(dedup.due(samples::at(599)).is_empty());
    assert_eq!(short(&dedup.due(samples::at(600))), ["update 2 medium"]);
    assert_eq!(dedup.next_deadline(), None);
}

#[test]
fn beyond_its_bounds_the_oldest_window_closes_early() {
    let mut dedup = Dedup::new(WINDOW);
    dedup.admit(vec![running(0, "/tmp/first")]);
    dedup.admit(vec![running(0, "/tmp/first")]);
    let mut early = Vec::new();
    for number in 0..MAX_SUBJECTS {
        early.extend(dedup.admit(vec![running(1, &format!("/tmp/{number}"))]));
    }
    let updates: Vec<_> = early
        .iter()
        .filter(|alert| alert.activity == Activity::Update)
        .collect();
    assert_eq!(updates.len(), 1, "the first subject's count is told");
    assert_eq!(updates[0].count, 2);
    assert!(dedup.open.len() <= MAX_SUBJECTS && dedup.bytes <= MAX_BYTES);

    let long = "a".repeat(32 << 10);
    for number in 0..1000 {
        dedup.admit(vec![alert(2, Level::Medium, |_, observed| {
            observed.process = Some(samples::process(1, &format!("/tmp/{number}"), &long, None));
        })]);
    }
    assert!(dedup.bytes <= MAX_BYTES, "{} bytes", dedup.bytes);
    dedup.finish();
    assert_eq!((dedup.bytes, dedup.open.len()), (0, 0));
}
