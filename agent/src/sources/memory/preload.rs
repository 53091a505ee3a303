//! Libraries that are loaded before all others: whoever names one there has its functions come before everybody's.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use procfs::process::Process;
use rustix::fs::{OFlags, fstat};
use tracing::debug;

use super::{Mapping, Target, pages::Which};
use crate::{
    event::{FindingKind, MemoryFinding, Preload, ProcessKey},
    sources::looks::inside::Inside,
};

/// Variables that name such libraries (`ld.so(8)`).
pub(super) const VARIABLES: [&str; 2] = ["LD_PRELOAD", "LD_AUDIT"];

/// The file that names them for every program of its root.
const FILE: &str = "/etc/ld.so.preload";

/// Bytes of that file that are read.
const LONGEST: u64 = 256 << 10;

/// Bytes of an environment that are read: more than the kernel allows (`MAX_ARG_STRINGS`, three quarters of `_STK_LIM`).
const LONGEST_ENVIRONMENT: u64 = 8 << 20;

/// Folders in which a library is looked for that is given by its name alone.
const FOLDERS: usize = 64;

/// Libraries that are told of one place.
const MOST: usize = 64;

/// What the environment names with which the process was started, as far as it is there.
pub(super) fn in_environment(target: &mut Target<'_>) -> Vec<Preload> {
    let environment = environment(target);
    let mut preloads: Vec<Preload> = Vec::new();
    for by in VARIABLES {
        // One C library takes the first of a name that is there twice, another the last, and some variables add up.
        for value in values(&environment, by) {
            for library in names(&value, |character| character == ':' || character == ' ') {
                if !preloads.iter().any(|known| known.by == by && known.library == library) {
                    preloads.push(Preload {
                        by,
                        library,
                        loaded: false,
                    });
                }
            }
        }
    }
    if !preloads.is_empty() {
        let folders = values(&environment, "LD_LIBRARY_PATH");
        let folders: Vec<_> = folders.iter().flat_map(|value| value.split([':', ';'])).collect();
        note_loaded(&mut preloads, target, &folders);
    }
    preloads.truncate(MOST);
    preloads
}

/// The pages of the environment that are there. To read it as a file would fetch the others, from wherever the process
/// has put them.
fn environment(target: &mut Target<'_>) -> Vec<u8> {
    let bounds = target
        .entry
        .stat()
        .ok()
        .and_then(|stat| stat.env_start.zip(stat.env_end));
    let Some((start, end)) = bounds.filter(|(start, end)| start < end) else {
        return Vec::new();
    };
    let end = end.min(start.saturating_add(LONGEST_ENVIRONMENT));
    let mut environment = Vec::new();
    for range in target.pages.find_between(start, end, Which::Present) {
        let range = range.start.max(start)..range.end.min(end);
        // What is before a gap does not go on behind it.
        environment.push(0);
        let begin = environment.len();
        environment.resize(begin + (range.end - range.start) as usize, 0);
        if target.pages.read(range.start, &mut environment[begin..]).is_none() {
            environment.truncate(begin);
        }
    }
    environment
}

/// Notes which of these libraries are among the files that a process has mapped to be executed, under the path that these
/// have: the one that is given may be a link, lead through other folders, or be a mere name.
fn note_loaded(preloads: &mut [Preload], target: &Target<'_>, folders: &[&str]) {
    let mapped: Vec<&Mapping> = target
        .maps
        .iter()
        .filter(|mapping| mapping.is_executable() && mapping.is_of_file())
        .collect();
    let inside = Inside::of(target.key).ok();
    // Of a process in another root these are told as they are from here.
    let root = target.entry.root().unwrap_or_default();
    let in_root = |path: &Path| Path::new("/").join(path.strip_prefix(&root).unwrap_or(path));
    let here = in_root(&target.entry.cwd().unwrap_or_default());
    let beside = mapped.iter().filter_map(|mapping| mapping.path.rsplit_once('/'));
    let folders: BTreeSet<&str> = folders
        .iter()
        .copied()
        .chain(beside.map(|(folder, _)| folder))
        .collect();
    for preload in preloads.iter_mut().filter(|preload| !preload.loaded) {
        let is_path = preload.library.contains('/');
        let given = Path::new(&*preload.library);
        let places: Vec<PathBuf> = if is_path {
            vec![here.join(given)]
        } else {
            folders
                .iter()
                .take(FOLDERS)
                .map(|folder| here.join(folder).join(given))
                .collect()
        };
        let known: Vec<_> = places
            .iter()
            .filter_map(|place| inside.as_ref()?.identity(place).ok())
            .collect();
        let is_it = |mapping: &&&Mapping| {
            places.contains(&in_root(Path::new(&*mapping.path)))
                || known.iter().any(|(path, device, inode)| {
                    path.as_os_str() == &*mapping.path || (*device, *inode) == (mapping.device, mapping.inode)
                })
        };
        // One that is gone, or whose file system cannot be asked, may still be known by its name.
        let by_name = |mapping: &&&Mapping| Path::new(&*mapping.path).file_name() == given.file_name();
        let found = mapped.iter().find(is_it).or_else(|| mapped.iter().find(by_name));
        if let Some(mapping) = found {
            preload.loaded = true;
            preload.library = in_root(Path::new(&*mapping.path)).to_string_lossy().into();
        }
    }
}

/// What stands in that file of each root, by the device and the inode of the root and by the mount namespace.
#[derive(Debug, Default)]
pub(super) struct Roots(BTreeMap<(u64, u64, u64), InRoot>);

#[derive(Debug)]
struct InRoot {
    /// The first process there: what a container was started for.
    first: ProcessKey,
    preloads: Vec<Preload>,
}

impl Roots {
    /// Looks into the root of a process, unless another's is the same.
    pub(super) fn note(&mut self, target: &Target<'_>) {
        let Some(root) = root(target.entry) else { return };
        let known = self.0.entry(root).or_insert_with(|| InRoot {
            first: target.key,
            preloads: in_file(target.key),
        });
        known.first = first(known.first, target.key);
        if known.preloads.iter().any(|preload| !preload.loaded) {
            note_loaded(&mut known.preloads, target, &[]);
        }
    }

    /// A finding for each library of each root.
    pub(super) fn findings(self) -> impl Iterator<Item = MemoryFinding> {
        self.0.into_values().flat_map(|InRoot { first, preloads }| {
            preloads.into_iter().map(move |preload| MemoryFinding {
                process: first,
                kind: FindingKind::Preload(preload),
                libraries: Arc::default(),
                read_implies_exec: false,
            })
        })
    }
}

/// The one of the two that was started first.
fn first(one: ProcessKey, other: ProcessKey) -> ProcessKey {
    std::cmp::min_by_key(one, other, |key| (key.start, key.pid))
}

fn in_file(process: ProcessKey) -> Vec<Preload> {
    let text = match Inside::of(process).and_then(|inside| inside.read(Path::new(FILE), LONGEST)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            debug!(pid = process.pid, %error, "ld.so.preload not read");
            return Vec::new();
        }
    };
    let preload = |library| Preload {
        by: "ld.so.preload",
        library,
        loaded: false,
    };
    named_in_file(&text).into_iter().map(preload).collect()
}

/// The libraries that the text of such a file names.
pub(super) fn named_in_file(text: &str) -> Vec<Box<str>> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let text: String = lines.collect::<Vec<_>>().join("\n");
    names(&text, |character| character == ':' || character.is_ascii_whitespace())
}

fn names(text: &str, is_separator: impl Fn(char) -> bool) -> Vec<Box<str>> {
    let names = text.split(is_separator).filter(|name| !name.is_empty());
    names.take(MOST).map(Box::from).collect()
}

/// What tells a process's root from others.
fn root(entry: &Process) -> Option<(u64, u64, u64)> {
    let root = entry
        .open_relative_flags("root", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)
        .ok()?;
    let namespace = entry
        .open_relative_flags("ns/mnt", OFlags::PATH | OFlags::CLOEXEC)
        .ok()?;
    let (root, namespace) = (fstat(root).ok()?, fstat(namespace).ok()?);
    Some((root.st_dev, root.st_ino, namespace.st_ino))
}

/// What a variable is set to, each time that it stands there.
pub(super) fn values(environment: &[u8], name: &str) -> Vec<String> {
    let variables = environment.split(|byte| *byte == 0);
    let values = variables.filter_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .take(MOST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_itself_is_found() {
        let environment = b"A=LD_PRELOAD=no\0LD_PRELOADED=no\0LD_PRELOAD=\0LD_PRELOAD=/a.so:/b.so\0";
        assert_eq!(values(environment, "LD_PRELOAD"), ["", "/a.so:/b.so"]);
        assert!(values(environment, "LD_AUDIT").is_empty());
        assert_eq!(
            names("/a.so:/b.so  c.so", |character| character == ':' || character == ' ').len(),
            3
        );
    }
}
