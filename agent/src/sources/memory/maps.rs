//! What a process has mapped, from `/proc/PID/maps`.
//!
//! The crate `procfs` reads it as well, but takes the names for well-formed: whoever maps a file called `/SYSV` would end
//! it. Their owners choose them, and here any bytes are a name.

use std::{
    io::{self, Read as _},
    sync::Arc,
};

use procfs::process::Process;

use super::Backing;

/// Bytes of the list that are read: some 300,000 mappings, while the kernel allows 65,530 by default.
const LONGEST: u64 = 32 << 20;

/// How the kernel marks a file that no directory holds any more.
const DELETED: &str = " (deleted)";

/// All that a process has mapped, by address.
#[derive(Debug, Default)]
pub(super) struct Maps(Vec<Mapping>);

/// A part of a process's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    /// `r-xp` and the like.
    pub(super) protection: [u8; 4],
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// The device and the inode of the file; 0 without one.
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
    /// What is behind it; `None` for what the kernel itself has put there, and for devices.
    pub(super) backing: Option<Backing>,
    /// The file's path, `memfd:NAME`, or the name that the process gave; without the kernel's marks.
    pub(super) path: Box<str>,
}

impl Maps {
    pub(super) fn of(entry: &Process) -> io::Result<Self> {
        let file = entry.open_relative("maps").map_err(refusal)?;
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text)?;
        Ok(Self::parse(&text))
    }

    pub(super) fn parse(text: &[u8]) -> Self {
        Self(text.split(|byte| *byte == b'\n').filter_map(Mapping::parse).collect())
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Mapping> {
        self.0.iter()
    }

    /// The mappings that touch each other up to this one, the nearest first.
    pub(super) fn before(&self, index: usize) -> impl Iterator<Item = &Mapping> {
        let mut start = self.0.get(index).map_or(0, |mapping| mapping.start);
        let before = self.0.get(..index).unwrap_or_default().iter().rev();
        before.take_while(move |mapping| {
            let touches = mapping.end == start;
            start = mapping.start;
            touches
        })
    }

    /// The mapping that holds that address.
    pub(super) fn at(&self, address: u64) -> Option<&Mapping> {
        let index = self.0.partition_point(|mapping| mapping.end <= address);
        self.0.get(index).filter(|mapping| mapping.start <= address)
    }

    /// The files that are mapped to be executed, each once.
    pub(super) fn libraries(&self, most: usize) -> Arc<[Box<str>]> {
        let mut files: Vec<Box<str>> = Vec::new();
        let executable = self.iter().filter(|mapping| mapping.is_executable());
        for mapping in executable.filter(|mapping| mapping.is_of_file()) {
            if files.len() < most && !files.contains(&mapping.path) {
                files.push(mapping.path.clone());
            }
        }
        files.into()
    }
}

impl Mapping {
    /// `7f3c12a45000-7f3c12a46000 r-xp 00001000 fe:01 1234   /usr/lib/libc.so.6`
    fn parse(line: &[u8]) -> Option<Self> {
        let mut parts = line.splitn(6, |byte| *byte == b' ');
        let (start, end) = str::from_utf8(parts.next()?).ok()?.split_once('-')?;
        let protection = parts.next()?.try_into().ok()?;
        let offset = str::from_utf8(parts.next()?).ok()?;
        let device = str::from_utf8(parts.next()?).ok()?.split_once(':')?;
        let inode = str::from_utf8(parts.next()?).ok()?;
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default());
        let (backing, path) = backing(name.trim_start_matches(' '));
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            protection,
            offset: u64::from_str_radix(offset, 16).ok()?,
            device: (
                u32::from_str_radix(device.0, 16).ok()?,
                u32::from_str_radix(device.1, 16).ok()?,
            ),
            inode: inode.parse().ok()?,
            backing,
            path: path.into(),
        })
    }

    pub(super) fn is_executable(&self) -> bool {
        self.protection[2] == b'x'
    }

    pub(super) fn is_writable(&self) -> bool {
        self.protection[1] == b'w'
    }

    pub(super) fn is_readable(&self) -> bool {
        self.protection[0] == b'r'
    }

    pub(super) fn is_private(&self) -> bool {
        self.protection[3] == b'p'
    }

    /// Whether it is part of a file that is, or was, in a folder.
    pub(super) fn is_of_file(&self) -> bool {
        matches!(self.backing, Some(Backing::File | Backing::Deleted))
    }

    pub(super) fn size(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    pub(super) fn protection(&self) -> Box<str> {
        String::from_utf8_lossy(&self.protection).into()
    }

    /// As it stands in `/proc/PID/maps`.
    pub(super) fn address(&self) -> Box<str> {
        format!("{:x}-{:x}", self.start, self.end).into()
    }
}

/// What is behind a mapping of that name, and what it is called. The names are those of `fs/proc/task_mmu.c` and of the
/// callers of `shmem_kernel_file_setup`.
fn backing(name: &str) -> (Option<Backing>, &str) {
    if let Some(name) = enclosed(name, "[anon:") {
        return (Some(Backing::Anonymous), name);
    }
    if let Some(name) = enclosed(name, "[anon_shmem:") {
        return (Some(Backing::Shared), name);
    }
    let bare = name.strip_suffix(DELETED);
    match name {
        // Private memory may also be had from this device, which the kernel then forgets.
        "" | "/dev/zero" | "/anon_hugepage (deleted)" => (Some(Backing::Anonymous), ""),
        "[heap]" => (Some(Backing::Heap), ""),
        "[stack]" => (Some(Backing::Stack), ""),
        "/dev/zero (deleted)" => (Some(Backing::Shared), ""),
        _ if name.starts_with("/SYSV") && bare.is_some() => (Some(Backing::Shared), ""),
        _ if name.starts_with("/memfd:") => (Some(Backing::Memfd), bare.unwrap_or(name).trim_start_matches('/')),
        "/secretmem (deleted)" => (Some(Backing::Memfd), "secretmem"),
        _ if name.starts_with("/dev/") && !name.starts_with("/dev/shm/") => (None, name),
        _ if name.starts_with('/') => match bare {
            Some(path) => (Some(Backing::Deleted), path),
            None => (Some(Backing::File), name),
        },
        // `[vdso]`, `[uprobes]`, `anon_inode:[perf_event]`…
        _ => (None, name),
    }
}

fn enclosed<'a>(name: &'a str, begin: &str) -> Option<&'a str> {
    name.strip_prefix(begin)?.strip_suffix(']')
}

/// The kind of an error of the crate `procfs`, which tells that somebody may not look.
pub(super) fn refusal(error: procfs::ProcError) -> io::Error {
    match error {
        procfs::ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied.into(),
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<Backing>, path: &str) {
        let line = format!("7f00-8000 r-xp 00001000 fe:01 1234       {name}");
        let mapping = Mapping::parse(line.as_bytes()).unwrap();
        assert_eq!((mapping.backing, &*mapping.path), (expected, path), "{name}");
        assert_eq!((mapping.start, mapping.end, mapping.offset), (0x7F00, 0x8000, 0x1000));
    }

    #[test]
    fn a_name_tells_what_is_behind() {
        check("", Some(Backing::Anonymous), "");
        check("[anon:v8]", Some(Backing::Anonymous), "v8");
        check("[anon:[vdso]]", Some(Backing::Anonymous), "[vdso]");
        check("[heap]", Some(Backing::Heap), "");
        check("/dev/zero (deleted)", Some(Backing::Shared), "");
        check("/SYSV0000002a (deleted)", Some(Backing::Shared), "");
        check("/SYSV", Some(Backing::File), "/SYSV");
        check("/memfd:a b (deleted)", Some(Backing::Memfd), "memfd:a b");
        check("/tmp/x.so (deleted)", Some(Backing::Deleted), "/tmp/x.so");
        check("/dev/shm/ffi (deleted)", Some(Backing::Deleted), "/dev/shm/ffi");
        check("/usr/lib/libc.so.6", Some(Backing::File), "/usr/lib/libc.so.6");
        check("/usr/lib/a  b", Some(Backing::File), "/usr/lib/a  b");
        check("[vdso]", None, "[vdso]");
        check("/dev/nvidia0", None, "/dev/nvidia0");
        check("anon_inode:[perf_event]", None, "anon_inode:[perf_event]");
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        let maps = Maps::parse(
            b"1000-2000 r-xp 0 0:0 0 \n\nx-y r-xp\n2000-3000 r\xFF-p 0 0:0 0 /\xFF\n5000-6000 rwxp 0 0:0 0",
        );
        assert_eq!(maps.iter().count(), 3);
        assert_eq!(maps.before(1).count(), 1);
        assert_eq!(maps.before(2).count(), 0);
        assert_eq!(maps.at(0x2FFF).map(|mapping| mapping.start), Some(0x2000));
        assert_eq!(maps.at(0x4000), None);
    }
}
