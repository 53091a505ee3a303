use std::thread;

use super::*;
use crate::alert::samples;

fn log() -> Arc<Log> {
    Log::new(Redactor::off())
}

/// The counts of the alerts of a batch, which tests use as their names, and what was lost.
fn names(batch: Option<Batch>) -> (Vec<u64>, u64) {
    let batch = batch.expect("an open log");
    (batch.alerts.iter().map(|alert| alert.count).collect(), batch.lost)
}

fn named(name: u64) -> Alert {
    let mut alert = samples::health();
    alert.count = name;
    alert
}

#[test]
fn readers_read_at_their_own_pace() {
    let log = log();
    assert_eq!(log.append(named(0)), 0, "nobody reads yet");
    let (mut fast, mut slow) = (log.reader(Wanted::ALL), log.reader(Wanted::ALL));
    assert_eq!((log.append(named(1)), log.append(named(2))), (1, 2));
    assert_eq!(names(fast.read(10)), (vec![1, 2], 0));
    assert_eq!(names(slow.read(1)), (vec![1], 0));
    assert_eq!(log.state().alerts.len(), 1, "what all have read is let go");
    assert_eq!((log.waiting(fast.index()), log.waiting(slow.index())), (0, 1));
    log.append(named(3));
    assert_eq!(names(slow.read(10)), (vec![2, 3], 0));
    assert_eq!(names(fast.read(10)), (vec![3], 0));
    assert_eq!(log.state().alerts.len(), 0);
    log.close();
    assert!(fast.read(1).is_none() && slow.read(1).is_none());
}

#[test]
fn a_slow_reader_loses_the_oldest_and_is_told() {
    let log = log();
    let mut reader = log.reader(Wanted::ALL);
    for name in 0..MAX_ALERTS as u64 + 5 {
        log.append(named(name));
    }
    assert_eq!(names(reader.read(2)), (vec![5, 6], 5));
    assert_eq!(names(reader.read(1)), (vec![7], 0));
    assert_eq!(log.lost(), 5);
}

#[test]
fn a_reader_has_a_queue_of_its_own_and_gets_what_it_wants() {
    let log = log();
    let wanted = Wanted {
        min_level: Level::High,
        queue: 2,
    };
    let (mut picky, mut patient) = (log.reader(wanted), log.reader(Wanted::ALL));
    for _ in 0..3 {
        log.append(samples::health());
        log.append(samples::listen());
    }
    assert_eq!(log.waiting(picky.index()), 2);
    assert_eq!(
        (picky.take_lost(), picky.take_lost()),
        (1, 0),
        "of the three that are high"
    );
    let batch = picky.read(10).expect("an open log");
    assert!(batch.alerts.iter().all(|alert| alert.rule.level == Level::High));
    assert_eq!((batch.alerts.len(), batch.lost), (2, 0));
    let batch = patient.read(10).expect("an open log");
    assert_eq!((batch.alerts.len(), batch.lost, log.lost()), (6, 0, 1));
    assert_eq!(log.state().alerts.len(), 0);
}

#[test]
fn a_reader_that_is_ended_gets_what_waits_and_nothing_more() {
    let log = log();
    let (mut ended, mut other) = (log.reader(Wanted::ALL), log.reader(Wanted::ALL));
    log.append(named(1));
    log.end(ended.index());
    for name in 2..MAX_ALERTS as u64 + 5 {
        log.append(named(name));
    }
    assert_eq!(log.waiting(ended.index()), 0, "the log was full, and let the oldest go");
    assert_eq!(names(ended.read(10)), (vec![], 1));
    assert!(ended.read(10).is_none());
    assert_eq!(names(other.read(1)), (vec![5], 4));
    drop(ended);
    assert_eq!(other.give_up(), MAX_ALERTS - 1);
    assert_eq!(log.state().alerts.len(), 0);
}

#[test]
fn what_a_reader_wants_can_change_also_of_what_waits() {
    let log = log();
    let mut reader = log.reader(Wanted::ALL);
    for _ in 0..3 {
        log.append(samples::health());
        log.append(samples::listen());
    }
    let wanted = Wanted {
        min_level: Level::High,
        queue: 2,
    };
    log.set_wanted(reader.index(), wanted);
    let batch = reader.read(10).expect("an open log");
    assert!(batch.alerts.iter().all(|alert| alert.rule.level == Level::High));
    assert_eq!((batch.alerts.len(), batch.lost, log.lost()), (2, 1, 1));
    log.set_wanted(reader.index(), Wanted::ALL);
    log.append(named(7));
    assert_eq!(names(reader.read(10)), (vec![7], 0));
}

#[test]
fn a_nudge_is_noticed_once_whether_the_reader_sleeps_or_not() {
    let log = log();
    let mut reader = log.reader(Wanted::ALL);
    log.nudge(reader.index());
    assert_eq!(names(reader.read(1)), (vec![], 0));
    log.nudge(reader.index());
    assert!(!reader.pause(Duration::from_mins(10)), "nothing is over");
    let index = reader.index();
    let thread = thread::spawn(move || names(reader.read(1)));
    log.nudge(index);
    assert_eq!(thread.join().unwrap(), (vec![], 0));
}

#[test]
fn long_command_lines_do_not_fill_the_memory() {
    let log = log();
    let reader = log.reader(Wanted::ALL);
    let line = samples::process(1, "/tmp/x", &"a".repeat(32 << 10), None);
    let mut alert = samples::exec_on_host();
    let mut observed = crate::observed::Observed::clone(&alert.observed);
    observed.process = Some(line);
    alert.observed = Arc::new(observed);
    for _ in 0..3000 {
        log.append(alert.clone());
    }
    assert!(log.state().bytes <= MAX_BYTES);
    drop(reader);
    assert_eq!(log.state().bytes, 0, "nobody reads");
}

#[test]
fn an_append_wakes_a_sleeping_reader() {
    let log = log();
    let mut reader = log.reader(Wanted::ALL);
    let thread = thread::spawn(move || {
        let mut got = Vec::new();
        while let Some(batch) = reader.read(3) {
            got.extend(batch.alerts.iter().map(|alert| alert.count));
        }
        got
    });
    for name in 0..100 {
        log.append(named(name));
    }
    log.close();
    assert_eq!(thread.join().unwrap(), (0..100).collect::<Vec<_>>());
}

#[test]
fn what_leaves_is_redacted() {
    let log = Log::new(Redactor::new(&[]).unwrap());
    let mut reader = log.reader(Wanted::ALL);
    log.append(samples::with_secret(&samples::exec(), "--password hunter2"));
    let batch = reader.read(1).unwrap();
    assert!(!format!("{batch:?}").contains("hunter2"));
}
