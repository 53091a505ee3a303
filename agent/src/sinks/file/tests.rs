use std::{
    collections::BTreeSet,
    os::unix::fs::{PermissionsExt, symlink},
};

use tempfile::TempDir;

use super::*;
use crate::alert::samples;

const WIDE: Limits = Limits {
    bytes: 1 << 30,
    age: None,
    keep: 2,
};

/// A folder, and a sink whose file is `logs/alerts` in it.
fn sink(limits: Limits) -> (TempDir, PathBuf, Rotating) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs/alerts");
    let formatter = Formatter::plain(Format::Ocsf, &Arc::default());
    let sink = Rotating::new(&path, limits, formatter);
    (folder, path, sink)
}

fn deliver(sink: &mut Rotating) -> String {
    let alert = Arc::new(samples::health());
    sink.deliver(&[Arc::clone(&alert)]).unwrap();
    alert.id.to_string()
}

/// The ids in a file, whose lines are all whole.
fn ids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let id = |line: &str| -> Option<String> {
        let alert: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(alert["finding_info"]["uid"].as_str()?.to_owned())
    };
    text.lines()
        .map(|line| id(line).unwrap_or_else(|| line.to_owned()))
        .collect()
}

fn files(path: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn reason(sink: &mut Rotating) -> String {
    let Err(Failure::Later(error)) = sink.deliver(&[]) else {
        panic!("it is delivered");
    };
    format!("{error:#}")
}

#[test]
fn only_root_reads_what_is_created() {
    let (_folder, path, mut sink) = sink(WIDE);
    let first = deliver(&mut sink);
    let second = deliver(&mut sink);
    assert_eq!(ids(&path), [first, second]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn what_grows_is_rotated_and_the_oldest_goes() {
    let (_folder, path, mut sink) = sink(Limits { bytes: 1, ..WIDE });
    let all: Vec<_> = (0..4).map(|_| deliver(&mut sink)).collect();
    assert_eq!(
        files(&path),
        ["alerts", "alerts.1", "alerts.2"].map(String::from).into()
    );
    assert_eq!(ids(&path), all[3..]);
    assert_eq!(ids(&path.with_extension("1")), all[2..3]);
    assert_eq!(ids(&path.with_extension("2")), all[1..2]);
}

#[test]
fn nothing_rotated_is_kept_if_none_is_wanted() {
    let (_folder, path, mut sink) = sink(Limits {
        bytes: 1,
        keep: 0,
        ..WIDE
    });
    deliver(&mut sink);
    let last = deliver(&mut sink);
    assert_eq!((ids(&path), files(&path).len()), (vec![last], 1));
}

#[test]
fn what_is_old_is_rotated_before_the_next_alert() {
    let (_folder, path, mut sink) = sink(Limits {
        age: Some(Duration::from_nanos(1)),
        ..WIDE
    });
    let (first, second) = (deliver(&mut sink), deliver(&mut sink));
    assert_eq!(
        (ids(&path.with_extension("1")), ids(&path)),
        (vec![first], vec![second])
    );
    sink.limits.age = Some(Duration::from_hours(1));
    deliver(&mut sink);
    assert_eq!(ids(&path).len(), 2);
}

#[test]
fn a_file_that_others_move_remove_or_cut_is_followed() {
    let (_folder, path, mut sink) = sink(WIDE);
    let first = deliver(&mut sink);
    fs::rename(&path, path.with_extension("old")).unwrap();
    let second = deliver(&mut sink);
    assert_eq!(
        (ids(&path.with_extension("old")), ids(&path)),
        (vec![first], vec![second])
    );
    fs::remove_file(&path).unwrap();
    let third = deliver(&mut sink);
    assert_eq!(ids(&path), [third]);
    File::options().write(true).truncate(true).open(&path).unwrap();
    let fourth = deliver(&mut sink);
    assert_eq!(ids(&path), [fourth]);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let fifth = deliver(&mut sink);
    assert_eq!(ids(&path), [fifth]);
}

/// As if a full disk had taken one alert and half of the next; gives the ids of both.
fn half_written(path: &Path, sink: &mut Rotating) -> [String; 2] {
    deliver(sink);
    let (first, second) = (samples::health(), samples::health());
    let mut line = Vec::new();
    sink.formatter.write(&first, &mut line);
    let mut taken = vec![0; line.len() + 9];
    for alert in [&first, &second] {
        sink.pending.push(alert, &sink.formatter);
    }
    sink.pending.write_to(&mut &mut taken[..]).unwrap_err();
    assert_eq!(sink.undelivered(), 1);
    fs::write(path, &taken).unwrap();
    sink.open.as_mut().unwrap().size = taken.len() as u64;
    [first, second].map(|alert| alert.id.to_string())
}

#[test]
fn an_alert_that_was_begun_is_whole_in_one_file() {
    let (_folder, path, mut sink) = sink(WIDE);
    let both = half_written(&path, &mut sink);
    sink.deliver(&[]).unwrap();
    assert_eq!(ids(&path), both, "the same file goes on");

    let [_, second] = half_written(&path, &mut sink);
    fs::rename(&path, path.with_extension("old")).unwrap();
    sink.deliver(&[]).unwrap();
    assert_eq!(ids(&path), [second], "another begins the alert again");
}

#[test]
fn a_line_that_a_killed_agent_left_is_ended() {
    let (_folder, path, mut sink) = sink(WIDE);
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, "{\"half").unwrap();
    let id = deliver(&mut sink);
    assert_eq!(ids(&path), ["{\"half", &id]);
}

#[test]
fn what_is_no_file_of_ours_is_not_written_to() {
    let (folder, path, mut sink) = sink(WIDE);
    let other = folder.path().join("other");
    fs::write(&other, "").unwrap();
    fs::create_dir(path.parent().unwrap()).unwrap();
    symlink(&other, &path).unwrap();
    let error = reason(&mut sink);
    assert!(
        error.ends_with("logs/alerts: it is a symbolic link, which is not followed"),
        "{error}"
    );
    assert_eq!(fs::metadata(&other).unwrap().len(), 0);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(reason(&mut sink).contains("directory"));
    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert!(reason(&mut sink).ends_with("it is no regular file"));
    fs::remove_file(&path).unwrap();
    sink.deliver(&[]).unwrap();
}
