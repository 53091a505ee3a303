//! Processes that those who list processes do not see: another thing is mounted over their entry in `/proc`, or the kernel
//! was made to leave them out of the listing.

use std::{collections::HashSet, fs, io};

use procfs::{ProcResult, process::Process};
use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};
use tracing::warn;

use crate::event::Hider;

/// Where the kernel says how high process ids go.
const HIGHEST: &str = "/proc/sys/kernel/pid_max";

/// The process ids, and how they hide. Where one of the two cannot be told, that is said: it is not the same as nobody.
pub(super) fn find() -> Vec<(u32, Hider)> {
    let mut found = Vec::new();
    for (hider, pids) in [
        (Hider::Mount, covered().map_err(io::Error::other)),
        (Hider::Listing, unlisted()),
    ] {
        match pids {
            Ok(pids) => found.extend(pids.into_iter().map(|pid| (pid, hider))),
            Err(error) => warn!(%error, by = hider.name(), "not looked for hidden processes"),
        }
    }
    found
}

/// Processes over whose folder in `/proc`, or over something in it, another is mounted.
fn covered() -> ProcResult<Vec<u32>> {
    let mounts = Process::myself()?.mountinfo()?;
    let mounts = mounts.0.iter().filter_map(|mount| mount.mount_point.to_str());
    let mut covered: Vec<u32> = mounts.filter_map(covered_by).collect();
    covered.sort_unstable();
    covered.dedup();
    Ok(covered)
}

/// The process that a mount at this path covers.
fn covered_by(mount_point: &str) -> Option<u32> {
    mount_point.strip_prefix("/proc/")?.split('/').next()?.parse().ok()
}

/// Processes that answer to their number and are not listed, be it as a process or as another's thread.
fn unlisted() -> io::Result<Vec<u32>> {
    let highest: i32 = fs::read_to_string(HIGHEST)?.trim().parse().map_err(io::Error::other)?;
    let before = listed()?;
    let candidates: Vec<u32> = (1..=highest)
        .filter(|number| !before.contains(&number.unsigned_abs()) && answers(*number))
        .map(i32::unsigned_abs)
        .collect();
    without_new(candidates, listed, |pid| answers(pid.cast_signed()))
}

/// Leaves out what was started meanwhile, which a later listing has, and what has ended. Twice, since a number may be
/// another's within one such look.
fn without_new(
    mut candidates: Vec<u32>,
    listed: impl Fn() -> io::Result<HashSet<u32>>,
    answers: impl Fn(u32) -> bool,
) -> io::Result<Vec<u32>> {
    for _ in 0..2 {
        if candidates.is_empty() {
            break;
        }
        let now = listed()?;
        candidates.retain(|pid| !now.contains(pid) && answers(*pid) && !is_thread(*pid));
    }
    Ok(candidates)
}

/// Whether a process or a thread has that number. Signal 0 is none: nothing is sent.
fn answers(number: i32) -> bool {
    Pid::from_raw(number).is_some_and(|pid| matches!(test_kill_process(pid), Ok(()) | Err(Errno::PERM)))
}

/// Whether the kernel says that this is the number of a thread beside others.
fn is_thread(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    group.is_some_and(|group| group.trim() != pid.to_string())
}

/// The numbers of all processes and their threads.
fn listed() -> io::Result<HashSet<u32>> {
    let mut listed = HashSet::new();
    for pid in numbers("/proc")? {
        listed.insert(pid);
        listed.extend(numbers(&format!("/proc/{pid}/task")).unwrap_or_default());
    }
    Ok(listed)
}

fn numbers(folder: &str) -> io::Result<Vec<u32>> {
    let names = fs::read_dir(folder)?.flatten();
    Ok(names
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_listing_has_is_hidden() {
        let own = std::process::id();
        let nobody = || Ok(HashSet::new());
        let everybody = || Ok(HashSet::from([own]));
        assert_eq!(without_new(vec![own], nobody, |_| true).unwrap(), [own]);
        assert!(without_new(vec![own], everybody, |_| true).unwrap().is_empty());
        assert!(without_new(vec![own], nobody, |_| false).unwrap().is_empty());
    }

    #[test]
    fn nothing_of_this_machine_is_taken_for_hidden() {
        let thread = std::thread::spawn(std::thread::park);
        let found = unlisted().unwrap();
        thread.thread().unpark();
        thread.join().unwrap();
        assert!(found.is_empty(), "{found:?}");
        assert!(answers(std::process::id().cast_signed()));
    }

    #[test]
    fn a_mount_covers_the_process_whose_folder_it_is_in() {
        for (mount_point, expected) in [
            ("/proc/12", Some(12)),
            ("/proc/12/maps", Some(12)),
            ("/proc/sys", None),
            ("/proc", None),
            ("/mnt/proc/12", None),
        ] {
            assert_eq!(covered_by(mount_point), expected, "{mount_point}");
        }
    }
}
