//! What the kernel itself counts of a process's BPF programs.

use std::fs;

use anyhow::{Context, Result};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Switches the kernel's counting on, and back to what it was when dropped.
pub(super) struct Counting {
    before: String,
}

impl Counting {
    /// Starts to count.
    pub(super) fn start() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).context("this kernel does not count the time of BPF programs")?;
        fs::write(SWITCH, "1").with_context(|| format!("failed to write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, &self.before) {
            eprintln!("{SWITCH} stays 1: {error}");
        }
    }
}

/// Nanoseconds that the programs which process `pid` holds have run in the kernel.
pub(super) fn run_time(pid: u32) -> Result<u64> {
    let mut programs = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("the agent ended")? {
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        let value = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        if let (Some(id), Some(time)) = (value("prog_id:"), value("run_time_ns:")) {
            programs.push((id, time));
        }
    }
    // A program may be held by several descriptors.
    programs.sort_unstable();
    programs.dedup_by_key(|(id, _)| *id);
    Ok(programs.into_iter().map(|(_, time)| time).sum())
}
