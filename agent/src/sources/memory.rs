//! A look into the memory of processes: executable code that no file holds or that differs from its file, and what was
//! loaded before everything else, is held though it is deleted, or hides.
//!
//! It reads and nothing else. No process is attached to or stopped, and only pages that are there are read: others would
//! have to be fetched from swap or from a file system, which costs the process memory, and time where nobody answers.
//! Each process is held by its folder in `/proc`, so that no other that gets its number is taken for it.

mod maps;
mod pages;
mod code;
mod changed;
mod preload;
mod held;
mod hidden;
pub mod signatures;

use std::{fmt, io, sync::Arc};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use procfs::process::{Process, all_processes};
use rustc_hash::FxHashMap;
use rustix::fs::makedev;
use tracing::debug;

use self::{
    maps::{Mapping, Maps},
    pages::Pages,
    preload::Roots,
    signatures::Signatures,
};
use crate::{
    event::{Backing, Event, FindingKind, Kind, MemoryFinding, ProcessKey},
    sources::looks::inside::known_of_executable,
};

/// The flag of a personality by which all that is readable is executable.
const READ_IMPLIES_EXEC: u32 = 0x0040_0000;

/// Executable files of a process that are told.
const LIBRARIES: usize = 1_024;

/// How much is understood of any bytes as what a process says of its memory: a list of mappings, an environment, and what
/// stands in `ld.so.preload`. For who looks whether some of them break a reader (`cargo xtask fuzz`).
pub fn understood_of(bytes: &[u8]) -> usize {
    let maps = Maps::parse(bytes);
    let touching = (0..maps.iter().count()).map(|index| maps.before(index).take(LIBRARIES).count());
    let held = maps.iter().filter(|mapping| maps.at(mapping.start).is_some());
    let mapped = touching.sum::<usize>() + held.count() + maps.libraries(LIBRARIES).len();
    let variables = preload::VARIABLES.map(|name| preload::values(bytes, name).len());
    let named = preload::named_in_file(&String::from_utf8_lossy(bytes)).len();
    mapped + variables.iter().sum::<usize>() + named
}

/// How much may be read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of each process.
    pub process: u64,
    /// Bytes of all.
    pub total: u64,
}

/// What a look came upon, and what it cost.
#[derive(Debug, Default)]
pub struct Looked {
    /// What was found.
    pub events: Vec<Event>,
    /// Processes that were looked at.
    pub processes: usize,
    /// Processes that may not be looked at.
    pub refused: usize,
    /// Processes that run another program than they were known to run.
    pub changed: usize,
    /// Processes of whose code something was not compared: it was too much, or its file system may not answer.
    pub uncompared: usize,
    /// Processes that were not searched to the end, since it took too long.
    pub unsearched: usize,
    /// Bytes that were read.
    pub read: u64,
    /// Bytes that were left out, since it would have been too much.
    pub left_out: u64,
    /// Bytes that were left out, since they are swapped out.
    pub swapped: u64,
}

/// What a look took in, for people.
impl fmt::Display for Looked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        let Self {
            events,
            processes,
            refused,
            changed,
            uncompared,
            unsearched,
            read,
            left_out,
            swapped,
        } = self;
        write!(
            out,
            "memory of {processes} processes: {} MiB read, {} MiB left out (limits), {} MiB swapped out, {refused} \
             processes not readable, ",
            read / MIB,
            left_out.div_ceil(MIB),
            swapped.div_ceil(MIB),
        )?;
        for (count, what) in [
            (changed, "became another program"),
            (uncompared, "not compared in full"),
            (unsearched, "not searched in full"),
        ] {
            if *count != 0 {
                write!(out, "{count} {what}, ")?;
            }
        }
        write!(out, "{} facts to judge", events.len())
    }
}

/// A process that is being looked at.
struct Target<'a> {
    entry: &'a Process,
    key: ProcessKey,
    maps: &'a Maps,
    pages: Pages<'a>,
}

/// Processes, with the inode of the program that each runs: only what is known to stand is looked at, as what it is known
/// to be. What a process becomes meanwhile would be put down to what it was.
pub type Standing = FxHashMap<ProcessKey, u64>;

/// Looks at one process, or at all and at what hides from those who list them.
pub fn look(only: Option<u32>, standing: &Standing, limits: Limits, signatures: &Signatures) -> Result<Looked> {
    let mut looked = Looked::default();
    let mut roots = Roots::default();
    let entries = match only {
        Some(pid) => vec![Process::new(pid.cast_signed()).with_context(|| format!("no process {pid}"))?],
        None => all_processes()?.flatten().collect(),
    };
    let mut seen = Vec::with_capacity(entries.len());
    for entry in &entries {
        let facts = |target: &mut Target<'_>| find_facts(target, &mut roots);
        match visit(entry, standing, limits, &mut looked, facts) {
            Ok(Some(is_whole)) => {
                looked.processes += 1;
                looked.uncompared += usize::from(!is_whole);
                seen.push(entry);
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => looked.refused += 1,
            Err(error) => debug!(pid = entry.pid, %error, "a process was gone before it could be looked at"),
        }
    }
    // Only then: to search takes as much as it may, and what costs little is looked for in all of them.
    let itself = identity(&Process::myself()?)?;
    for entry in seen {
        // An agent holds the rules, and so all that they look for.
        if identity(entry).is_ok_and(|program| program == itself) {
            continue;
        }
        let mut is_whole = true;
        let search = |target: &mut Target<'_>| {
            let found;
            (found, is_whole) = signatures.find(target);
            found.into_iter().map(FindingKind::Signature).collect()
        };
        if let Err(error) = visit(entry, standing, limits, &mut looked, search) {
            debug!(pid = entry.pid, %error, "a process was gone before it could be searched");
        }
        looked.unsearched += usize::from(!is_whole);
    }
    looked.events.extend(roots.findings().map(event));
    if only.is_none() {
        let hidden = hidden::find().into_iter().map(|(pid, hider)| MemoryFinding {
            process: ProcessKey { pid, start: 0 },
            kind: FindingKind::HiddenProcess(hider),
            libraries: Arc::default(),
            read_implies_exec: false,
        });
        looked.events.extend(hidden.map(event));
    }
    Ok(looked)
}

/// Has somebody look at a process, if it still is what it is known to be; whether all was read that was asked for. What is
/// found and what it cost is noted.
fn visit(
    entry: &Process,
    standing: &Standing,
    limits: Limits,
    looked: &mut Looked,
    find: impl FnOnce(&mut Target<'_>) -> Vec<FindingKind>,
) -> io::Result<Option<bool>> {
    let stat = entry.stat().map_err(io::Error::other)?;
    let key = ProcessKey {
        pid: stat.pid.unsigned_abs(),
        start: stat.starttime,
    };
    let Some(known) = standing.get(&key) else {
        return Ok(None);
    };
    if *known != identity(entry).unwrap_or_default().1 {
        looked.changed += 1;
        return Ok(None);
    }
    let maps = Maps::of(entry)?;
    let mut target = Target {
        entry,
        key,
        maps: &maps,
        pages: Pages::of(entry, limits.process.min(limits.total.saturating_sub(looked.read)))?,
    };
    let found = find(&mut target);
    let pages = target.pages;
    looked.read += pages.read;
    looked.left_out += pages.left_out;
    looked.swapped += pages.swapped;
    if !found.is_empty() {
        let libraries = maps.libraries(LIBRARIES);
        let read_implies_exec = personality(entry).is_some_and(|flags| flags & READ_IMPLIES_EXEC != 0);
        let findings = found.into_iter().map(|kind| MemoryFinding {
            process: key,
            kind,
            libraries: Arc::clone(&libraries),
            read_implies_exec,
        });
        looked.events.extend(findings.map(event));
    }
    Ok(Some(pages.left_out + pages.unhurried == 0))
}

/// What tells of an intruder by itself.
fn find_facts(target: &mut Target<'_>, roots: &mut Roots) -> Vec<FindingKind> {
    let mut found: Vec<FindingKind> = code::find(target).into_iter().map(FindingKind::Code).collect();
    found.extend(changed::find(target).into_iter().map(FindingKind::ChangedCode));
    found.extend(held::find(target).into_iter().map(FindingKind::HeldFile));
    found.extend(preload::in_environment(target).into_iter().map(FindingKind::Preload));
    roots.note(target);
    found
}

/// The file that a process runs.
fn identity(entry: &Process) -> io::Result<(u64, u64)> {
    let exe = known_of_executable(entry)?;
    Ok((makedev(exe.stx_dev_major, exe.stx_dev_minor), exe.stx_ino))
}

fn personality(entry: &Process) -> Option<u32> {
    let mut text = String::new();
    io::Read::read_to_string(&mut entry.open_relative("personality").ok()?, &mut text).ok()?;
    u32::from_str_radix(text.trim(), 16).ok()
}

fn event(finding: MemoryFinding) -> Event {
    Event {
        time: Timestamp::now(),
        startup: true,
        kind: Kind::Memory(Box::new(finding)),
        given: None,
    }
}
