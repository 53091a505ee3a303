//! What is read of a journal that anybody writes into, by any clock.

use std::fs;

use super::{super::files::files, *};

#[test]
fn a_writer_is_who_it_can_be() {
    for (program, uid, exe, expected) in [
        ("sshd", Some(0), Some("/usr/sbin/sshd"), true),
        ("sshd-session", Some(0), None, true),
        ("sshd", Some(1000), Some("/usr/bin/logger"), false),
        ("sshd", Some(33), None, false),
        ("sshd", None, None, true),
        ("sudo", Some(1000), Some("/usr/bin/sudo"), true),
        ("sudo", Some(1000), Some("/usr/bin/sudo-rs"), true),
        ("sudo", Some(1000), None, true),
        ("sudo", Some(1000), Some("/usr/bin/logger"), false),
        ("su", Some(0), Some("/usr/bin/bash"), true),
        ("auth", Some(0), Some("/usr/lib/dovecot/auth"), true),
        ("auth", Some(110), None, true),
        ("auth", Some(1000), Some("/usr/bin/logger"), false),
    ] {
        assert_eq!(is_genuine(program, uid, exe), expected, "{program} {uid:?} {exe:?}");
    }
}

const BOOT: [u8; 16] = [1; 16];

/// The clocks at that second since the boot, if it was at that time.
fn clocks(boot_time: i64, second: i64) -> Received {
    let monotonic = second * 1_000_000;
    Received {
        boot: BOOT,
        monotonic,
        realtime: boot_time * 1_000_000 + monotonic,
    }
}

fn unreadable(is_final: bool) -> Unreadable {
    Unreadable {
        reason: "on purpose".to_owned(),
        is_final,
    }
}

/// Looks at these entries, the newest first, and gives the seconds of those that are new, and how many could not be read.
fn sift(
    journal: &mut Journal,
    entries: Vec<Result<Received, Unreadable>>,
    now: &Received,
) -> Result<(Vec<i64>, usize)> {
    let read = |at: &Received| {
        Some(Entry {
            time: Timestamp::UNIX_EPOCH,
            program: "sshd".to_owned(),
            process: None,
            message: (at.monotonic / 1_000_000).to_string(),
            genuine: true,
            by_person: false,
        })
    };
    let found = journal.sift(entries.into_iter(), now, |at| *at, read)?;
    let seconds = found.since.iter().map(|entry| entry.message.parse().unwrap());
    Ok((seconds.collect(), found.unreadable))
}

fn begun() -> Journal {
    let mut journal = Journal::new(Vec::new(), None);
    assert_eq!(sift(&mut journal, Vec::new(), &clocks(0, 100)).unwrap(), (vec![], 0));
    journal
}

#[test]
fn an_entry_that_nobody_can_read_is_counted_once_and_hides_no_other() {
    let mut journal = begun();
    let entry = |second| Ok(clocks(0, second));
    let entries = vec![entry(103), Err(unreadable(true)), entry(102)];
    assert_eq!(
        sift(&mut journal, entries, &clocks(0, 105)).unwrap(),
        (vec![102, 103], 1)
    );
    let entries = || {
        vec![
            Err(unreadable(true)),
            Err(unreadable(true)),
            entry(103),
            Err(unreadable(true)),
            entry(102),
        ]
    };
    assert_eq!(sift(&mut journal, entries(), &clocks(0, 106)).unwrap(), (vec![], 2));
    assert_eq!(sift(&mut journal, entries(), &clocks(0, 107)).unwrap(), (vec![], 0));
    let mut entries = entries();
    entries.insert(0, entry(107));
    assert_eq!(sift(&mut journal, entries, &clocks(0, 108)).unwrap(), (vec![107], 0));
}

#[test]
fn an_entry_that_is_being_written_is_waited_for_and_not_for_ever() {
    let mut journal = begun();
    let entries = || vec![Err(unreadable(false)), Ok(clocks(0, 102))];
    for _ in 0..WAITING {
        assert!(sift(&mut journal, entries(), &clocks(0, 103)).is_err());
    }
    assert_eq!(sift(&mut journal, entries(), &clocks(0, 104)).unwrap(), (vec![102], 1));
    let gave_up = contained::<()>(|| panic!("on purpose"));
    assert!(matches!(gave_up, Some(Err(Unreadable { is_final: false, .. }))));
}

#[test]
fn a_clock_that_is_set_back_hides_nothing_and_repeats_nothing() {
    let mut journal = begun();
    let (before, after) = (|second| clocks(1_000, second), |second| clocks(500, second));
    let entries = |seconds: &[i64], since: &dyn Fn(i64) -> Received| -> Vec<_> {
        seconds.iter().map(|second| Ok(since(*second))).collect()
    };
    let found = sift(&mut journal, entries(&[102, 101], &before), &before(103));
    assert_eq!(found.unwrap().0, [101, 102]);
    // Each file has its order, and they are merged by the time.
    let mut merged = entries(&[102], &before);
    merged.extend(entries(&[105, 104], &after));
    merged.extend(entries(&[101], &before));
    assert_eq!(sift(&mut journal, merged, &after(106)).unwrap().0, [104, 105]);
    let mut merged = entries(&[102, 101], &before);
    merged.extend(entries(&[107, 105, 104], &after));
    assert_eq!(sift(&mut journal, merged, &after(108)).unwrap().0, [107]);
}

#[test]
fn a_new_agent_goes_on_where_the_former_was_also_after_a_reboot() {
    let last = Position {
        realtime: 102_000_000,
        boot: Some(BOOT),
        monotonic: 102_000_000,
    };
    let entry = |second| Ok(clocks(0, second));
    let resumed = |last, entries, now: &Received| {
        let mut journal = Journal::new(Vec::new(), Some(last));
        sift(&mut journal, entries, now).unwrap().0
    };
    let entries = || vec![entry(104), entry(102), entry(101)];
    assert_eq!(resumed(last, entries(), &clocks(0, 105)), [104]);
    let of_a_former_version = Position { boot: None, ..last };
    assert_eq!(resumed(of_a_former_version, entries(), &clocks(0, 105)), [104]);
    // The clock of the new boot is not set yet.
    let booted = |second| Received {
        boot: [2; 16],
        ..clocks(0, second)
    };
    let entries = vec![entry(103), entry(102), Ok(booted(20)), Ok(booted(10))];
    assert_eq!(resumed(last, entries, &booted(30)), [10, 20]);
}

#[test]
fn what_is_no_journal_is_an_error_and_read_later() {
    let folder = tempfile::tempdir().unwrap();
    let machine = folder.path().join("0123456789abcdef0123456789abcdef");
    fs::create_dir(&machine).unwrap();
    let mut journal = Journal::new(vec![folder.path().to_owned()], None);
    assert!(journal.has_changed() && journal.look().is_err());
    fs::write(machine.join("system.journal"), [0; 512]).unwrap();
    assert_eq!(files(folder.path()).len(), 1);
    assert!(journal.has_changed() && journal.look().is_err());
    assert!(journal.has_changed() && journal.position().is_none());
}
