//! The agent with its output in a file, for forms that are no JSON and alerts too many to be parsed as they come.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    deadline::wait_for,
    tocsin::{PATIENCE, Tocsin},
};

/// A running agent; killed when dropped.
pub(crate) struct ToFile {
    child: Child,
    folder: TempDir,
}

impl ToFile {
    /// Starts `tocsin run` with these further arguments, and waits until it watches.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name| File::create(folder.path().join(name)).unwrap();
        let mut command = Tocsin::command();
        command
            .args(["run", "--config", "/dev/null", "--state-dir"])
            .arg(folder.path());
        command.args(arguments);
        command.stdin(Stdio::null()).stdout(file("output")).stderr(file("log"));
        let child = command.spawn().unwrap();
        let agent = Self { child, folder };
        wait_for("`watching` in the agent's log", Duration::from_secs(30), || {
            agent.read("log").contains("watching").then_some(())
        });
        agent
    }

    /// The agent's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written so far.
    pub(crate) fn output(&self) -> String {
        self.read("output")
    }

    /// What it has written, once that holds this text.
    pub(crate) fn output_with(&self, text: &str) -> String {
        wait_for(text, PATIENCE, || {
            Some(self.output()).filter(|output| output.contains(text))
        })
    }

    fn read(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
    }
}

impl Drop for ToFile {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
