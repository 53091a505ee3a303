//! The bytes of a process's memory, page by page: those that are there, and no more than may be read.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, sync::OnceLock};

use procfs::process::Process;

use super::{Mapping, maps::refusal};
use crate::sources::looks::inside::Mounted;

/// Entries of the page table that are read at a time.
const ENTRIES: usize = 4_096;

/// Entries that are read of one mapping: 4 GiB of memory. Address space that was only set aside is larger, and empty.
const MOST_ENTRIES: u64 = 1 << 20;

/// What stands in the entries (`Documentation/admin-guide/mm/pagemap.rst`).
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

/// The memory of a process.
pub(super) struct Pages<'a> {
    entry: &'a Process,
    memory: File,
    table: File,
    /// What is mounted for the process, once somebody wants to know.
    mounted: OnceLock<Mounted>,
    /// Bytes that may still be read.
    left: u64,
    /// Bytes that were read.
    pub(super) read: u64,
    /// Bytes that were not, since they were too many.
    pub(super) left_out: u64,
    /// Bytes that were not, since they would have to be fetched from swap.
    pub(super) swapped: u64,
    /// Files that were not read, since nobody may answer for them.
    pub(super) unhurried: u64,
}

/// Which pages of a mapping are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All that are there.
    Present,
    /// Those that are the process's own, though a file is mapped: they were written to.
    Written,
}

impl<'a> Pages<'a> {
    /// The memory of that process, of which so many bytes may be read.
    pub(super) fn of(entry: &'a Process, limit: u64) -> io::Result<Self> {
        Ok(Self {
            entry,
            memory: entry.open_relative("mem").map_err(refusal)?,
            table: entry.open_relative("pagemap").map_err(refusal)?,
            mounted: OnceLock::new(),
            left: limit,
            read: 0,
            left_out: 0,
            swapped: 0,
            unhurried: 0,
        })
    }

    /// The file that is mapped there, also where it has no name any more; not of a file system that may not answer.
    pub(super) fn file(&mut self, mapping: &Mapping) -> io::Result<File> {
        if !self
            .mounted
            .get_or_init(|| Mounted::of(self.entry))
            .answers(mapping.device)
        {
            self.unhurried += 1;
            return Err(io::Error::other("it is on a file system that may not answer"));
        }
        let link = format!("map_files/{:x}-{:x}", mapping.start, mapping.end);
        self.entry.open_relative(link).map_err(refusal)
    }

    /// Where in a mapping such pages are, neighbours joined.
    pub(super) fn find(&mut self, mapping: &Mapping, which: Which) -> Vec<Range<u64>> {
        self.find_between(mapping.start, mapping.end, which)
    }

    /// The same of so much of the address space.
    pub(super) fn find_between(&mut self, start: u64, end: u64, which: Which) -> Vec<Range<u64>> {
        let page = procfs::page_size();
        let (first, last) = (start / page, end.div_ceil(page));
        let end = last.min(first.saturating_add(MOST_ENTRIES));
        self.left_out += (last - end) * page;
        let mut found: Vec<Range<u64>> = Vec::new();
        let mut bytes = vec![0; ENTRIES * size_of::<u64>()];
        let mut number = first;
        while number < end {
            let count = ENTRIES.min((end - number) as usize);
            let bytes = &mut bytes[..count * size_of::<u64>()];
            if self
                .table
                .read_exact_at(bytes, number * size_of::<u64>() as u64)
                .is_err()
            {
                break;
            }
            for (at, entry) in (number..).zip(bytes.as_chunks().0) {
                let entry = u64::from_ne_bytes(*entry);
                if entry & SWAPPED != 0 {
                    self.swapped += page;
                } else if entry & PRESENT != 0 && (which == Which::Present || entry & OF_FILE == 0) {
                    match found.last_mut() {
                        Some(last) if last.end == at * page => last.end += page,
                        _ => found.push(at * page..(at + 1) * page),
                    }
                }
            }
            number += count as u64;
        }
        found
    }

    /// Reads what stands there; `None` if it is too much, or gone.
    pub(super) fn read(&mut self, address: u64, bytes: &mut [u8]) -> Option<()> {
        let length = bytes.len() as u64;
        if length > self.left {
            self.left_out += length;
            return None;
        }
        self.memory.read_exact_at(bytes, address).ok()?;
        self.left -= length;
        self.read += length;
        Some(())
    }

    /// Counts what is not even tried.
    pub(super) fn leave_out(&mut self, bytes: u64) {
        self.left_out += bytes;
    }

    /// How many bytes may still be read.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Whether that page is there and begins so. It is so little that it may be read whatever else was.
    pub(super) fn begins_with(&mut self, address: u64, beginning: [u8; 4]) -> bool {
        let page = procfs::page_size();
        let mut entry = [0; size_of::<u64>()];
        let at = address / page * size_of::<u64>() as u64;
        let known = self.table.read_exact_at(&mut entry, at);
        let mut found = [0; 4];
        known.is_ok()
            && u64::from_ne_bytes(entry) & PRESENT != 0
            && self.memory.read_exact_at(&mut found, address).is_ok()
            && found == beginning
    }
}
