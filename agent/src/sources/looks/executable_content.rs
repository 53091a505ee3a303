//! Which of a rule's texts stand in the executable of a process: a program's name is its owner's choice, what it says is
//! its maker's.
//!
//! A program is read once, however often it runs and in however many containers.

use std::{
    fs::File,
    io::{self, Read},
    num::NonZeroUsize,
    os::linux::fs::MetadataExt as _,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;
use memchr::memmem::Finder;
use rustix::fs::fstatfs;

use super::{AT_ONCE, Look, Question, inside::executable, limiter::Limits};
use crate::{
    detect::Ask,
    event::{Event, Kind},
    observed::Observed,
};

pub(super) const LOOK: Look = Look {
    ask: Ask::ExecutableContent,
    // Of a program that is known a look takes a tenth of a millisecond. What others may cost, `Memory` limits.
    limits: Limits {
        each: (8, Duration::from_secs(1)),
        all: (2_000, Duration::from_secs(1)),
        at_once: 1,
    },
    concerns,
    subject: |observed| Some(observed.process.as_ref()?.key),
    timing: AT_ONCE,
    answer,
    unanswered: |_| None,
};

/// Bytes of an executable that are read.
const LONGEST: u64 = 256 << 20;

/// Bytes that are read in a minute, of all executables.
const READ_IN_A_MINUTE: u64 = 2 << 30;

/// Executables whose content is remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(2_048).expect("not 0");

/// Bytes that are read at a time.
const PART: usize = 1 << 20;

/// What `statfs(2)` says of an overlay (`OVERLAYFS_SUPER_MAGIC`, `include/uapi/linux/magic.h`).
const OVERLAY: i64 = 0x794C_7630;

static MEMORY: LazyLock<Mutex<Memory>> = LazyLock::new(Mutex::default);

fn concerns(observed: &Observed) -> bool {
    let examined = matches!(observed.event.kind, Kind::Exec(_) | Kind::Listen(_));
    examined && observed.process.is_some() && observed.facts.content.is_none()
}

/// The event again, if anything was found.
fn answer(question: &Question) -> Vec<Event> {
    let Some(process) = question.about.process.as_ref().map(|process| process.key) else {
        return Vec::new();
    };
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let found = executable(process).and_then(|file| memory.content(&file, &question.texts));
    match found {
        Ok(found) if found.is_empty() => Vec::new(),
        Ok(found) => {
            let mut observed = Observed::clone(&question.about);
            observed.facts.content = Some(found);
            vec![question.again(observed)]
        }
        Err(error) => {
            tracing::debug!(pid = process.pid, %error, "executable not looked into");
            Vec::new()
        }
    }
}

/// A file as it was when it was read.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Version {
    /// 0 of a file in a container's image: each container sees it on a device of its own.
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Unlike the time before, nobody can choose this one.
    changed: (i64, i64),
    texts: Vec<Box<str>>,
}

/// What is known of executables, and how much was read to know it.
#[derive(Debug)]
struct Memory {
    found: LruCache<Version, Arc<[Box<str>]>>,
    since: Instant,
    read: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            found: LruCache::new(REMEMBERED),
            since: Instant::now(),
            read: 0,
        }
    }
}

impl Memory {
    /// Those of the texts that stand in the file.
    fn content(&mut self, file: &File, texts: &[Box<str>]) -> io::Result<Arc<[Box<str>]>> {
        let version = version(file, texts)?;
        if let Some(found) = self.found.get(&version) {
            return Ok(Arc::clone(found));
        }
        if self.since.elapsed() >= Duration::from_mins(1) {
            (self.since, self.read) = (Instant::now(), 0);
        }
        if self.read >= READ_IN_A_MINUTE {
            return Err(io::Error::other("too much was read in this minute"));
        }
        self.read += version.size.min(LONGEST);
        let found: Arc<[Box<str>]> = search(file.take(LONGEST), texts)?.into();
        self.found.put(version, Arc::clone(&found));
        Ok(found)
    }
}

fn version(file: &File, texts: &[Box<str>]) -> io::Result<Version> {
    let metadata = file.metadata()?;
    let overlay = fstatfs(file)?.f_type == OVERLAY;
    Ok(Version {
        device: if overlay { 0 } else { metadata.st_dev() },
        inode: metadata.st_ino(),
        size: metadata.st_size(),
        modified: (metadata.st_mtime(), metadata.st_mtime_nsec()),
        changed: (metadata.st_ctime(), metadata.st_ctime_nsec()),
        texts: texts.to_vec(),
    })
}

/// Those of the texts that are read, in their order.
fn search(mut from: impl Read, texts: &[Box<str>]) -> io::Result<Vec<Box<str>>> {
    let longest = texts.iter().map(|text| text.len()).max().unwrap_or_default();
    let finders: Vec<_> = texts.iter().map(|text| Finder::new(text.as_bytes())).collect();
    let mut found = vec![false; texts.len()];
    let mut buffer = vec![0; PART + longest];
    // What may be the beginning of a text that goes on in the next part.
    let mut kept = 0;
    loop {
        let read = from.read(&mut buffer[kept..])?;
        if read == 0 {
            break;
        }
        let part = &buffer[..kept + read];
        for (found, finder) in found.iter_mut().zip(&finders) {
            *found = *found || finder.find(part).is_some();
        }
        let end = part.len();
        kept = end.min(longest.saturating_sub(1));
        buffer.copy_within(end - kept..end, 0);
    }
    let found = texts.iter().zip(found).filter(|(_, found)| *found);
    Ok(found.map(|(text, _)| text.clone()).collect())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    fn texts(texts: &[&str]) -> Vec<Box<str>> {
        texts.iter().map(|text| (*text).into()).collect()
    }

    /// Hands out a byte, two, three… at a time.
    struct Unsteady<'a>(&'a [u8], usize);

    impl Read for Unsteady<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1 % 7 + 1;
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    #[test]
    fn a_text_is_found_wherever_the_parts_end() {
        let wanted = texts(&["Server listening", "SSH-2.0-dropbear", "listening on"]);
        let content = b"\x7fELF Server listening on \xff SSH-2.0-dropbea";
        let found = search(Unsteady(content, 0), &wanted).unwrap();
        assert_eq!(found, texts(&["Server listening", "listening on"]));
        let mut across = vec![0; PART - 3];
        across.extend(b"SSH-2.0-dropbear");
        assert_eq!(search(&*across, &wanted).unwrap(), texts(&["SSH-2.0-dropbear"]));
        assert_eq!(search(&b""[..], &wanted).unwrap(), texts(&[]));
    }

    #[test]
    fn a_program_is_read_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, "Server listening on %s").unwrap();
        let (wanted, mut memory) = (texts(&["Server listening"]), Memory::default());
        let look = |memory: &mut Memory| memory.content(&File::open(&path).unwrap(), &wanted).unwrap().len();
        for _ in 0..1_000 {
            assert_eq!(look(&mut memory), 1);
        }
        assert_eq!(memory.read, 22, "as long as the file is");
        let other = texts(&["%s and more"]);
        assert_eq!(memory.content(&File::open(&path).unwrap(), &other).unwrap().len(), 0);
        assert_eq!(memory.read, 44, "other texts are searched for anew");
        // The same size and the same time of writing.
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        let mut file = File::options().write(true).open(&path).unwrap();
        file.write_all(b"Server sleeping on %s!").unwrap();
        file.set_modified(written).unwrap();
        assert_eq!(look(&mut memory), 0);
    }

    #[test]
    fn what_is_read_in_a_minute_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        fs::write(&path, "Server listening on %s").unwrap();
        let mut memory = Memory {
            read: READ_IN_A_MINUTE,
            ..Memory::default()
        };
        assert!(
            memory
                .content(&File::open(&path).unwrap(), &texts(&["Server listening"]))
                .is_err()
        );
    }
}
