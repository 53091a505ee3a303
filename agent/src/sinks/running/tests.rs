use std::{fs, path::Path, thread};

use super::*;
use crate::{
    alert::{Alert, redact::Redactor, samples},
    sinks::Outputs,
};

/// What is written there.
fn ids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let id = |line: &str| -> Option<String> {
        let alert: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(alert["finding_info"]["uid"].as_str()?.to_owned())
    };
    text.lines().filter_map(id).collect()
}

fn outputs(text: &str) -> Outputs {
    toml::from_str(&format!("[stdout]\nenabled = false\n{text}")).unwrap()
}

fn file(path: &Path) -> Outputs {
    outputs(&format!("[file]\npath = '{}'\n", path.display()))
}

fn started(outputs: &Outputs, log: &Arc<Log>) -> Handle {
    let host = Arc::<Host>::default();
    start(open(outputs, &host).unwrap(), host, log, None).unwrap()
}

fn append(log: &Log) -> String {
    let alert: Alert = samples::health();
    let id = alert.id.to_string();
    log.append(alert);
    id
}

fn names(handle: &Handle) -> Vec<&'static str> {
    handle.status().iter().map(|sink| sink.name).collect()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = soon();
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_output_that_cannot_deliver_hands_all_to_the_one_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (bad, good) = (folder.path().join("none/none/alerts"), folder.path().join("alerts"));
    let log = Log::new(Redactor::off());
    let handle = started(&file(&bad), &log);
    let all: Vec<_> = (0..600).map(|_| append(&log)).collect();
    let failures = || handle.status()[0].counters.failures.load(Ordering::Relaxed);
    wait_until("a failure", || failures() > 1);
    handle.reconfigure(&file(&good)).unwrap();
    wait_until("the alerts", || ids(&good).len() == all.len());
    assert_eq!(ids(&good), all, "each once, in order");
    assert_eq!(names(&handle), ["file"]);
    assert_eq!(handle.finish(soon()), []);
    assert_eq!(handle.status()[0].counters.lost.load(Ordering::Relaxed), 0);
}

#[test]
fn outputs_come_and_go_and_no_alert_is_lost_or_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let log = Log::new(Redactor::off());
    let handle = started(&file(&at("0")), &log);
    let mut all = Vec::new();
    for turn in 1..20 {
        all.extend((0..50).map(|_| append(&log)));
        handle.reconfigure(&file(&at(&turn.to_string()))).unwrap();
    }
    all.extend((0..50).map(|_| append(&log)));
    assert_eq!(handle.finish(soon()), []);
    let written: Vec<_> = (0..20).flat_map(|turn| ids(&at(&turn.to_string()))).collect();
    assert_eq!(written, all);
}

#[test]
fn one_that_did_not_change_is_left_alone_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alerts");
    let log = Log::new(Redactor::off());
    let handle = started(&file(&path), &log);
    let thread = |handle: &Handle| handle.sinks()[0].thread.thread().id();
    let before = thread(&handle);
    let journal = format!(
        "[file]\npath = '{}'\n[journald]\nenabled = true\nsocket = '/nonexistent'\n",
        path.display()
    );
    handle.reconfigure(&outputs(&journal)).unwrap();
    assert_eq!(names(&handle), ["file", "journald"]);
    let error = handle.reconfigure(&outputs("[webhook]\nurl = 'logs'\n")).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "output.webhook.url: not http:// or https:// with a host"
    );
    let error = handle.reconfigure(&outputs("")).unwrap_err();
    assert_eq!(format!("{error:#}"), "every output is off: alerts would go nowhere");
    assert_eq!((names(&handle), thread(&handle)), (vec!["file", "journald"], before));
    handle.reconfigure(&file(&path)).unwrap();
    assert_eq!(names(&handle), ["file"]);
}

#[test]
fn a_removed_output_delivers_what_it_has_and_gives_the_rest_up() {
    let folder = tempfile::tempdir().unwrap();
    let (file_path, socket) = (folder.path().join("alerts"), folder.path().join("journal"));
    let both = outputs(&format!(
        "[file]\npath = '{}'\n[journald]\nenabled = true\nsocket = '{}'\n",
        file_path.display(),
        socket.display()
    ));
    let log = Log::new(Redactor::off());
    let handle = started(&both, &log);
    let all: Vec<_> = (0..3).map(|_| append(&log)).collect();
    let journal = Arc::clone(&handle.status()[1].counters);
    handle.reconfigure(&file(&file_path)).unwrap();
    append(&log);
    assert_eq!(names(&handle), ["file"]);
    // Nobody listens there within the time that it has.
    wait_until("the loss", || journal.lost.load(Ordering::Relaxed) > 0);
    assert_eq!(
        journal.lost.load(Ordering::Relaxed),
        all.len() as u64,
        "what came later was not for it"
    );
    assert_eq!(handle.finish(soon()), []);
    assert_eq!(ids(&file_path).len(), all.len() + 1);
}
