//! The process that is meant: its number may be another's by the time that somebody looks.

use std::io;

use procfs::process::Process;

use crate::event::ProcessKey;

/// The `/proc` entry of that process; an error if another has its number by now. What was opened by the number before
/// this call is the process's own.
pub(super) fn the_same(key: ProcessKey) -> io::Result<Process> {
    let entry = i32::try_from(key.pid).map_err(io::Error::other)?;
    let entry = Process::new(entry).map_err(io::Error::other)?;
    let start = entry.stat().map_err(io::Error::other)?.starttime;
    if start == key.start {
        Ok(entry)
    } else {
        Err(io::Error::other(format!("process {} is another by now", key.pid)))
    }
}
