//! The outputs as a whole, and the file: what is configured gets every alert, whatever happens to it meanwhile.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    deadline::wait_for,
    logging::Logging,
    ocsf::{exe, fact, text, title},
    programs::run_deleted,
    receiver::{Answer, Receiver},
    tocsin::{PATIENCE, Tocsin},
};

const TITLE: &str = "Process execution from temporary folder";

#[test]
fn selftest_says_how_each_output_fares() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start("127.0.0.1:0".parse().unwrap(), |_, _| Answer::Status(200));
    let nobody = Receiver::reserve();
    let good = format!(
        "[output.file]\npath = '{}/alerts'\n[output.webhook]\nurl = 'http://{}/in'\nformat = 'falco'\n",
        folder.path().display(),
        receiver.address
    );
    let (code, report, alerts) = selftest(&folder, &good);
    assert_eq!(
        (code, &*report),
        (0, "stdout: delivered\nfile: delivered\nwebhook: delivered\n")
    );
    assert_eq!((title(&alerts[0]), alerts.len()), ("Test alert", 1));
    let file = folder.path().join("alerts");
    assert_eq!(alerts_of(&file), alerts, "the same alert everywhere");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(receiver.posted()[0].json()["rule"], "Test alert");

    // Beside an agent that writes to the same file, and with outputs that fail.
    let configuration = folder.path().join("running.toml");
    fs::write(&configuration, &good).unwrap();
    let agent = Tocsin::start_in(&folder.path().join("state"), &configuration, &[]);
    let bad = format!(
        "{good}[output.syslog]\naddress = 'tcp://{nobody}'\n[output.journald]\nenabled = true\nsocket = '{0}/none'\n\
         [output.stdout]\nenabled = false\n",
        folder.path().display()
    );
    let (code, report, alerts) = selftest(&folder, &bad);
    let expected = format!(
        "file: delivered\n\
         journald: failed: writing to the journal at {}/none: No such file or directory (os error 2)\n\
         syslog: failed: sending to tcp://{nobody}: Connection refused (os error 111)\n\
         webhook: delivered\n",
        folder.path().display()
    );
    assert_eq!((code, report, alerts.len()), (1, expected, 0));
    let program = run_deleted("/dev/shm");
    agent.wait_for_alert(TITLE, |alert| exe(alert) == program);
    wait_for("the agent's alert in the file", PATIENCE, || {
        let alerts = alerts_of(&file);
        let tests = alerts.iter().filter(|alert| title(alert) == "Test alert").count();
        (tests == 2 && alerts.iter().any(|alert| exe(alert) == program)).then_some(())
    });
    assert!(agent.stop().0.success());
}

#[test]
fn a_restart_under_load_loses_and_repeats_nothing_that_the_file_had() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alerts");
    let configuration = configuration(&folder, &format!("[output.file]\npath = '{}'\n", file.display()));
    let start = || Tocsin::start_in(&folder.path().join("state"), &configuration, &["--dedup", "0"]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                run_deleted("/dev/shm");
            }
        });
        let some = |agent: &Tocsin| wait_for("alerts", PATIENCE, || (agent.alerts().len() > 20).then_some(()));
        let agent = start();
        some(&agent);
        let (status, first) = agent.stop();
        assert!(status.success());
        assert_eq!(
            uids(&alerts_of(&file)),
            uids(&first),
            "a stop delivers what there is, and all in order"
        );
        let agent = start();
        some(&agent);
        // Killed.
        drop(agent);
        let agent = start();
        some(&agent);
        let (status, last) = agent.stop();
        done.store(true, Ordering::Relaxed);
        assert!(status.success());
        let written = fs::read_to_string(&file).unwrap();
        let whole: Vec<Value> = written
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        assert!(
            written.lines().count() - whole.len() <= 1,
            "at most the line at which it was killed"
        );
        let all = uids(&whole);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "none twice");
        assert!(all.starts_with(&uids(&first)) && all.ends_with(&uids(&last)));
    });
}

#[test]
fn logrotate_may_move_the_file_away_or_cut_it() {
    let Some(logging) = Logging::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alerts");
    let configuration = configuration(&folder, &format!("[output.file]\npath = '{}'\n", file.display()));
    let agent = Tocsin::start_in(&folder.path().join("state"), &configuration, &[]);
    let mut provoked = Vec::new();
    for how in ["rotate 9\nnocreate", "rotate 9\ncopytruncate", "rotate 9\ncreate 0600"] {
        let program = run_deleted("/dev/shm");
        wait_for("the alert in the file", PATIENCE, || {
            alerts_of(&file).iter().any(|alert| exe(alert) == program).then_some(())
        });
        provoked.push(program);
        logging.logrotate(&file, how);
    }
    provoked.push(run_deleted("/dev/shm"));
    let last = provoked.last().unwrap();
    wait_for("the last alert in the file", PATIENCE, || {
        alerts_of(&file).iter().any(|alert| exe(alert) == last).then_some(())
    });
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (_, alerts) = agent.stop();
    let rotated = (0..=3).rev().map(|number| match number {
        0 => file.clone(),
        number => file.with_extension(number.to_string()),
    });
    let written: Vec<Value> = rotated.flat_map(|file| alerts_of(&file)).collect();
    assert_eq!(uids(&written), uids(&alerts));
    let of_ours = written
        .iter()
        .map(exe)
        .filter(|exe| provoked.iter().any(|program| program == exe));
    assert_eq!(of_ours.collect::<Vec<_>>(), provoked);
}

#[test]
fn a_full_disk_delays_the_file_and_is_an_alert_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::mount(&folder.path().join("disk"));
    let file = disk.0.join("alerts");
    let configuration = configuration(&folder, &format!("[output.file]\npath = '{}'\n", file.display()));
    let agent = Tocsin::start_in(&folder.path().join("state"), &configuration, &[]);
    let filler = disk.fill();
    let meanwhile: Vec<_> = (0..4).map(|_| run_deleted("/dev/shm")).collect();
    let down = agent.wait_for_alert("An output is down", |_| true);
    let expected = format!(
        "file: writing to {}: No space left on device (os error 28)",
        file.display()
    );
    assert_eq!(fact(&down, "health.detail"), &expected);
    fs::remove_file(filler).unwrap();
    agent.wait_for_alert("An output works again", |_| true);
    wait_for("the alerts in the file", PATIENCE, || {
        let text = fs::read_to_string(&file).unwrap();
        text.contains("An output works again").then_some(())
    });
    let (status, alerts) = agent.stop();
    assert!(status.success());
    assert_eq!(
        uids(&alerts_of(&file)),
        uids(&alerts),
        "all of them, whole and in order"
    );
    let of_ours: Vec<_> = alerts
        .iter()
        .map(exe)
        .filter(|exe| meanwhile.iter().any(|program| program == exe))
        .collect();
    assert_eq!(of_ours, meanwhile);
    assert_eq!(
        alerts
            .iter()
            .filter(|alert| title(alert) == "An output is down")
            .count(),
        1
    );
}

#[test]
fn a_file_that_cannot_be_written_is_said_at_once_and_the_agent_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no/such/alerts");
    let configuration = configuration(&folder, &format!("[output.file]\npath = '{}'\n", file.display()));
    let agent = Tocsin::start_in(&folder.path().join("state"), &configuration, &[]);
    let down = agent.wait_for_alert("An output is down", |_| true);
    let detail = fact(&down, "health.detail").as_str().unwrap();
    assert!(detail.contains("No such file or directory"), "{detail}");
    let about = |log: &str| {
        log.lines()
            .filter(|line| line.contains("alerts cannot be delivered"))
            .count()
    };
    assert_eq!(about(&agent.log()), 1, "{}", agent.log());
    let program = run_deleted("/dev/shm");
    agent.wait_for_alert(TITLE, |alert| exe(alert) == program);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    agent.wait_for_alert("An output works again", |_| true);
    assert!(alerts_of(&file).iter().any(|alert| exe(alert) == program));
}

#[test]
fn an_agent_whose_standard_output_has_gone_goes_on_with_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alerts");
    let configuration = configuration(&folder, &format!("[output.file]\npath = '{}'\n", file.display()));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Tocsin::command();
    command.args(["run", "--config"]).arg(&configuration);
    command.arg("--state-dir").arg(folder.path());
    let log = File::create(folder.path().join("log")).unwrap();
    let mut agent = command.stdout(Stdio::from(writer)).stderr(log).spawn().unwrap();
    let found = std::panic::catch_unwind(|| {
        wait_for(
            "the end of standard output as an alert in the file",
            Duration::from_secs(30),
            || {
                run_deleted("/dev/shm");
                let alerts = alerts_of(&file);
                let down = alerts.iter().find(|alert| title(alert) == "An output is down")?;
                Some(fact(down, "health.detail").clone())
            },
        )
    });
    let still_runs = agent.try_wait().unwrap().is_none();
    agent.kill().unwrap();
    agent.wait().unwrap();
    let detail = found.unwrap();
    assert_eq!(
        detail,
        "stdout: writing to standard output: Broken pipe (os error 32); it is given up"
    );
    assert!(still_runs);
}

/// A small disk; unmounted when dropped.
pub(crate) struct Disk(pub(crate) PathBuf);

impl Disk {
    pub(crate) fn mount(at: &Path) -> Self {
        fs::create_dir(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tocsin-test"])
            .arg(at)
            .status();
        assert!(mounted.unwrap().success());
        Self(at.to_owned())
    }

    /// Leaves no room, until the file is removed that it gives.
    pub(crate) fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let dd = Command::new("dd")
            .args(["if=/dev/zero", &format!("of={}", filler.display()), "bs=4k"])
            .stderr(Stdio::null())
            .status();
        assert!(!dd.unwrap().success(), "the disk is full");
        filler
    }

    /// Lets nobody write to it any more.
    pub(crate) fn make_read_only(&self) {
        let mounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status();
        assert!(mounted.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: an agent that is still there may have a file open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Runs `tocsin selftest`: its exit code, its report, and the alerts on standard output.
fn selftest(folder: &TempDir, text: &str) -> (i32, String, Vec<Value>) {
    let configuration = configuration(folder, text);
    let output = Tocsin::command()
        .args(["selftest", "--config"])
        .arg(configuration)
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let alerts = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let report = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), report, alerts)
}

fn configuration(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("tocsin.toml");
    fs::write(&path, text).unwrap();
    path
}

/// The alerts of a file, of which every line is one.
pub(crate) fn alerts_of(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let alert = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    whole.lines().map(alert).collect()
}

pub(crate) fn uids(alerts: &[Value]) -> Vec<String> {
    alerts
        .iter()
        .map(|alert| text(alert, "/finding_info/uid").to_owned())
        .collect()
}
