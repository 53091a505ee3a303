//! What is learned, by whom, for how long, and what never is.

use super::*;
use crate::event::recorded::event_from_line;

const HOUR: i64 = 3_600;

/// An event of the container `container` of the image `image`, so many seconds after the beginning.
fn event(second: i64, image: &str, container: &str, fields: &str) -> Observed {
    let line = format!(
        r#"{{"time":{second},"container.id":"{container}","container.image_digest":"{image}","container.image":"x:1",{fields}}}"#
    );
    event_from_line(&line).unwrap().into()
}

/// A request of that program to the API.
fn request(second: i64, image: &str, container: &str, program: &str) -> Observed {
    let fields = format!(
        r#""category":"network_connection","Initiated":true,"DestinationIp":"10.96.0.1","DestinationPort":443,"destination.role":"kubernetes-api","Image":"{program}","CommandLine":"{program} --watch""#
    );
    event(second, image, container, &fields)
}

/// A day of learning, two minutes or three containers.
fn table() -> Baseline {
    Baseline::new(Learning {
        duration: SignedDuration::from_hours(24),
        minutes: 2,
        containers: 3,
    })
}

/// What the table says of an event, which then teaches or does not.
fn see(baseline: &mut Baseline, observed: &Observed, teaches: bool) -> Option<State> {
    let remembered = baseline.recall(observed)?;
    baseline.note(&remembered, observed.event.time, teaches);
    Some(remembered.state)
}

/// A request of /manager is known, one of /curl was seen and taught nothing.
pub(super) fn learned() -> Learned {
    let mut baseline = table();
    for minute in 0..2 {
        see(&mut baseline, &request(minute * 60, "sha256:a", "c1", "/manager"), true);
        see(&mut baseline, &request(minute * 60, "sha256:a", "c1", "/curl"), false);
    }
    baseline.learned()
}

fn check(baseline: &mut Baseline, observed: &Observed, expected: Option<State>) {
    assert_eq!(see(baseline, observed, false), expected, "{:?}", observed.event.given);
}

#[test]
fn what_is_seen_in_enough_minutes_is_known() {
    let mut baseline = table();
    let at = |second, program| request(second, "sha256:a", "c1", program);
    assert_eq!(see(&mut baseline, &at(0, "/manager"), true), Some(State::Learning));
    assert_eq!(see(&mut baseline, &at(50, "/manager"), true), Some(State::Learning));
    check(&mut baseline, &at(55, "/manager"), Some(State::Learning));
    assert_eq!(see(&mut baseline, &at(61, "/manager"), true), Some(State::Learning));
    check(&mut baseline, &at(62, "/manager"), Some(State::Known));
    check(&mut baseline, &at(48 * HOUR, "/manager"), Some(State::Known));
    check(&mut baseline, &at(48 * HOUR, "/other"), Some(State::New));
}

#[test]
fn a_clock_that_was_ahead_lets_nobody_learn_for_years() {
    let mut baseline = table();
    check(
        &mut baseline,
        &request(24 * 365 * HOUR, "sha256:a", "c1", "/early"),
        Some(State::Learning),
    );
    check(
        &mut baseline,
        &request(0, "sha256:a", "c1", "/x"),
        Some(State::Learning),
    );
    check(
        &mut baseline,
        &request(25 * HOUR, "sha256:a", "c1", "/x"),
        Some(State::New),
    );
}

#[test]
fn what_is_seen_in_enough_containers_is_known() {
    let mut baseline = table();
    for container in ["c1", "c2", "c3"] {
        let observed = request(1, "sha256:a", container, "/manager");
        assert_eq!(see(&mut baseline, &observed, true), Some(State::Learning));
    }
    check(
        &mut baseline,
        &request(2, "sha256:a", "c4", "/manager"),
        Some(State::Known),
    );
}

#[test]
fn once_is_not_enough_and_later_is_too_late() {
    let mut baseline = table();
    let at = |second| request(second, "sha256:a", "c1", "/manager");
    see(&mut baseline, &at(0), true);
    for hour in 24..30 {
        assert_eq!(see(&mut baseline, &at(hour * HOUR), true), Some(State::New), "{hour}");
    }
    let first_seen = baseline.recall(&at(31 * HOUR)).unwrap().first_seen;
    assert_eq!(first_seen, Some(Timestamp::UNIX_EPOCH));
}

#[test]
fn what_does_not_teach_is_never_known() {
    let mut baseline = table();
    for minute in 0..100 {
        check(
            &mut baseline,
            &request(minute * 60, "sha256:a", "c1", "/curl"),
            Some(State::Learning),
        );
    }
    check(
        &mut baseline,
        &request(25 * HOUR, "sha256:a", "c1", "/curl"),
        Some(State::New),
    );
}

#[test]
fn another_digest_starts_anew() {
    let mut baseline = table();
    baseline.hear(&Tidings::Learned(learned()));
    check(
        &mut baseline,
        &request(48 * HOUR, "sha256:a", "c1", "/manager"),
        Some(State::Known),
    );
    check(
        &mut baseline,
        &request(48 * HOUR, "sha256:b", "c1", "/manager"),
        Some(State::Learning),
    );
}

#[test]
fn an_image_is_as_old_as_its_first_program() {
    let mut baseline = table();
    let start = event(
        0,
        "sha256:a",
        "c1",
        r#""category":"process_creation","Image":"/bin/sh""#,
    );
    check(&mut baseline, &start, None);
    check(
        &mut baseline,
        &request(25 * HOUR, "sha256:a", "c1", "/manager"),
        Some(State::New),
    );
}

#[test]
fn another_program_of_that_path_and_other_arguments_are_something_else() {
    let mut baseline = table();
    baseline.hear(&Tidings::Learned(learned()));
    let fields = |more: &str| {
        format!(
            r#""category":"network_connection","DestinationIp":"10.96.0.1","DestinationPort":443,"Image":"/manager",{more}"#
        )
    };
    for (more, expected) in [
        (
            r#""destination.role":"kubernetes-api","CommandLine":"/manager --watch""#,
            Some(State::Known),
        ),
        (
            r#""destination.role":"kubernetes-api","CommandLine":"/manager --watch --token=x""#,
            Some(State::New),
        ),
        (
            r#""destination.role":"kubelet","CommandLine":"/manager --watch""#,
            Some(State::New),
        ),
        (
            r#""destination.role":"kubernetes-api","CommandLine":"/manager --watch","process.exe_kind":["upper-layer"]"#,
            Some(State::New),
        ),
        (
            r#""destination.role":"cloud-metadata","CommandLine":"/manager --watch""#,
            None,
        ),
        (r#""CommandLine":"/manager --watch""#, None),
        (
            r#""destination.role":"kubernetes-api","Initiated":false,"CommandLine":"/manager --watch""#,
            None,
        ),
    ] {
        check(
            &mut baseline,
            &event(48 * HOUR, "sha256:a", "c1", &fields(more)),
            expected,
        );
    }
}

#[test]
fn children_and_drift_are_learned_too() {
    let mut baseline = table();
    let run = |second, more: &str| {
        let fields = format!(
            r#""category":"process_creation","Image":"/usr/bin/convert","CommandLine":"convert a.png b.jpg"{more}"#
        );
        event(second, "sha256:w", "c1", &fields)
    };
    let child = r#","web_worker.image":"/usr/sbin/php-fpm""#;
    let drift = r#","process.exe_kind":["script","upper-layer"]"#;
    check(&mut baseline, &run(0, ""), None);
    let kind = |baseline: &mut Baseline, more| baseline.recall(&run(1, more)).map(|found| found.behaviour.kind.name());
    assert_eq!(kind(&mut baseline, child), Some("child"));
    assert_eq!(kind(&mut baseline, drift), Some("drift"));
    for minute in 0..2 {
        for more in [child, drift] {
            assert_eq!(see(&mut baseline, &run(minute * 60, more), true), Some(State::Learning));
        }
    }
    check(&mut baseline, &run(48 * HOUR, child), Some(State::Known));
    check(&mut baseline, &run(48 * HOUR, drift), Some(State::Known));
    check(
        &mut baseline,
        &run(48 * HOUR, r#","web_worker.image":"/usr/sbin/nginx""#),
        Some(State::New),
    );
    check(
        &mut baseline,
        &run(48 * HOUR, r#","process.exe_kind":["memfd"]"#),
        Some(State::New),
    );
}

#[test]
fn what_has_no_digest_is_not_learned_and_the_node_is_a_subject() {
    let mut baseline = table();
    check(&mut baseline, &request(0, "", "c1", "/manager"), None);
    check(&mut baseline, &request(0, "", "", "/usr/bin/kubelet"), None);
    let line = r#"{"time":0,"category":"network_connection","DestinationIp":"10.96.0.1","DestinationPort":443,"destination.role":"kubernetes-api","Image":"/usr/bin/kubelet"}"#;
    check(
        &mut baseline,
        &event_from_line(line).unwrap().into(),
        Some(State::Learning),
    );
    assert!(baseline.learned().subjects.contains_key("host"));
}

#[test]
fn a_flood_pushes_nothing_out_that_is_known() {
    let mut baseline = table();
    baseline.hear(&Tidings::Learned(learned()));
    for number in 0..2_000 {
        see(
            &mut baseline,
            &request(number, "sha256:a", "c1", &format!("/tmp/{number}")),
            false,
        );
        see(
            &mut baseline,
            &request(number, &format!("sha256:flood{number}"), "c2", "/x"),
            false,
        );
    }
    let learned = baseline.learned();
    assert_eq!(learned.subjects["sha256:a"].behaviours.len(), BEHAVIOURS);
    assert_eq!(learned.subjects.len(), SUBJECTS);
    let count: usize = learned.subjects.values().map(|subject| subject.behaviours.len()).sum();
    assert_eq!(baseline.behaviours, count);
    check(
        &mut baseline,
        &request(48 * HOUR, "sha256:a", "c1", "/manager"),
        Some(State::Known),
    );
}

#[test]
fn all_images_together_are_bounded() {
    let mut baseline = table();
    for image in 0..200 {
        for program in 0..BEHAVIOURS {
            see(
                &mut baseline,
                &request(1, &image.to_string(), "c1", &format!("/{program}")),
                true,
            );
        }
    }
    assert_eq!(baseline.behaviours, ALL_BEHAVIOURS);
}

#[test]
fn orders_are_done() {
    let id_of = |learned: &Learned, program: &str| {
        let mut behaviours = learned.subjects["sha256:a"].behaviours.keys();
        behaviours
            .find(|behaviour| &*behaviour.program == program)
            .unwrap()
            .id()
    };
    let at = |program| request(48 * HOUR, "sha256:a", "c1", program);
    let approve = |behaviour: Option<&str>| Order::Approve {
        subject: "sha256:a".into(),
        behaviour: behaviour.map(Into::into),
    };
    let mut baseline = table();
    baseline.hear(&Tidings::Learned(learned()));
    let id = id_of(&baseline.learned(), "/curl");
    baseline.hear(&Tidings::Order("1".into(), approve(Some("nonsense"))));
    check(&mut baseline, &at("/curl"), Some(State::New));
    baseline.hear(&Tidings::Order("2".into(), approve(Some(&id))));
    check(&mut baseline, &at("/curl"), Some(State::Known));
    assert_eq!(baseline.copy().done, ["1".into(), "2".into()]);
    assert!(!baseline.has_changed());

    let mut young = table();
    see(&mut young, &request(0, "sha256:a", "c1", "/manager"), true);
    young.obey(&approve(None));
    check(
        &mut young,
        &request(1, "sha256:a", "c1", "/manager"),
        Some(State::Known),
    );
    check(&mut young, &request(2, "sha256:a", "c1", "/other"), Some(State::New));

    baseline.obey(&Order::Reset {
        subject: Some("sha256:a".into()),
    });
    check(&mut baseline, &at("/manager"), Some(State::Learning));
    baseline.obey(&Order::Import(learned()));
    check(&mut baseline, &at("/manager"), Some(State::Known));
    check(&mut baseline, &at("/curl"), Some(State::New));
    baseline.obey(&Order::Reset { subject: None });
    assert_eq!((baseline.learned().subjects.len(), baseline.behaviours), (0, 0));
}
