//! State that cannot be written: one clear line for each that is lost by that, and the agent goes on.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::PathBuf,
};

use tempfile::TempDir;

use crate::{
    deadline::wait_for,
    outputs::Disk,
    tocsin::{PATIENCE, Tocsin},
};

const LEARNED: &str = "what was learned cannot be kept, and goes with the agent";
const LOGINS: &str = "where logins were read to cannot be kept";

#[test]
fn a_folder_that_is_read_only_is_said_at_the_start() {
    let node = Node::new();
    node.disk.make_read_only();
    let agent = node.agent();
    node.log_in();
    node.goes_on_in_vain(&agent, "Read-only file system (os error 30)");
    assert!(agent.stop().0.success());
}

#[test]
fn a_full_disk_is_said_once_and_its_end_too() {
    let node = Node::new();
    let filler = node.disk.fill();
    let agent = node.agent();
    node.log_in();
    node.goes_on_in_vain(&agent, "No space left on device (os error 28)");

    fs::remove_file(filler).unwrap();
    for expected in [
        "what was learned can be kept again",
        "where logins were read to can be kept again",
    ] {
        wait_for(expected, PATIENCE, || agent.log().contains(expected).then_some(()));
    }
    for kept in ["baseline.json", "logins.json"] {
        assert!(node.disk.0.join(kept).metadata().unwrap().len() > 0, "{kept}");
    }
    assert!(agent.stop().0.success());
}

/// A small disk for the state, and a log of logins.
struct Node {
    disk: Disk,
    log: PathBuf,
    folder: TempDir,
}

impl Node {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (disk, log) = (
            Disk::mount(&folder.path().join("state")),
            folder.path().join("auth.log"),
        );
        File::create(&log).unwrap();
        Self { disk, log, folder }
    }

    fn agent(&self) -> Tocsin {
        let config = self.folder.path().join("tocsin.toml");
        let text = format!(
            "[baseline]\nkeep-every = '1s'\n[logins]\nsource = 'file'\nfile = '{}'\n",
            self.log.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Tocsin::command();
        command.args(["run", "--format", "ocsf", "--config"]).arg(config);
        command.arg("--state-dir").arg(&self.disk.0);
        Tocsin::spawn(&mut command, "watching")
    }

    /// Somebody comes in, which is worth to be remembered.
    fn log_in(&self) {
        let mut log = OpenOptions::new().append(true).open(&self.log).unwrap();
        let line =
            "Nov 29 01:02:03 node sshd[4711]: Accepted publickey for ada from 192.0.2.7 port 4242 ssh2: ED25519 x\n";
        log.write_all(line.as_bytes()).unwrap();
    }

    /// The agent alerts while it cannot write, and says of each thing once that it cannot, and why.
    fn goes_on_in_vain(&self, agent: &Tocsin, reason: &str) {
        for expected in [LEARNED, LOGINS] {
            wait_for(expected, PATIENCE, || agent.log().contains(expected).then_some(()));
        }
        // Which waits for an alert, and longer than from one vain try to the next.
        agent.alerts_after_quiet();
        let log = agent.log();
        let state = self.disk.0.display().to_string();
        let about: Vec<_> = log.lines().filter(|line| line.contains(&state)).collect();
        assert_eq!(about.len(), 2, "one line each: {log}");
        assert!(about.iter().all(|line| line.contains(reason)), "{about:#?}");
    }
}
