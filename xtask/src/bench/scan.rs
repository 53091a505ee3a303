//! What looking at a node once takes, with many processes on it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// How many processes stand on the node, beside those that it has anyway.
pub(super) const PROCESSES: usize = 500;

/// Processes that wait; ended when dropped.
pub(super) struct Crowd(Vec<Child>);

impl Crowd {
    /// Starts `PROCESSES` of them.
    pub(super) fn gather() -> Result<Self> {
        let mut crowd = Self(Vec::with_capacity(PROCESSES));
        for _ in 0..PROCESSES {
            let mut sleep = Command::new("sleep");
            sleep.arg("infinity").stdin(Stdio::null());
            crowd.0.push(sleep.spawn().context("failed to start sleep")?);
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended already is what was wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs `tocsin scan`; gives the time it took.
pub(super) fn scan(agent: &Path) -> Result<Duration> {
    let mut scan = Command::new(agent);
    scan.args(["scan", "--config", "/dev/null"]);
    scan.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let status = scan.status().context("the agent did not start")?;
    ensure!(status.success(), "the scan failed: {status}");
    Ok(began.elapsed())
}
