//! Libraries that are loaded before all others: whoever names one there has its functions come before everybody's.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use procfs::process::Process;
use rustix::fs::{OFlags, fstat};
use tracing::debug;

use super::{LIBRARIES, Target};
use crate::{
    event::{FindingKind, MemoryFinding, Preload, ProcessKey},
    sources::looks::inside::Inside,
};

/// Variables that name such libraries (`ld.so(8)`).
const VARIABLES: [&str; 2] = ["LD_PRELOAD", "LD_AUDIT"];

/// The file that names them for every program of its root.
const FILE: &str = "/etc/ld.so.preload";

/// Bytes of the environment, and of that file, that are read.
const LONGEST: u64 = 256 << 10;

/// Libraries that are told of one place.
const MOST: usize = 64;

/// What the environment names with which the process was started.
pub(super) fn in_environment(target: &Target<'_>) -> impl Iterator<Item = Preload> {
    let environment = read(target.entry, "environ").unwrap_or_default();
    VARIABLES.into_iter().flat_map(move |by| {
        let value = value(&environment, by).unwrap_or_default();
        let libraries = names(&value, |character| character == ':' || character == ' ');
        libraries.into_iter().map(move |library| Preload {
            by,
            loaded: is_loaded(target, &library),
            library,
        })
    })
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
        for preload in &mut known.preloads {
            preload.loaded |= is_loaded(target, &preload.library);
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
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let text: String = lines.collect::<Vec<_>>().join("\n");
    let libraries = names(&text, |character| character == ':' || character.is_ascii_whitespace());
    let preload = |library| Preload {
        by: "ld.so.preload",
        library,
        loaded: false,
    };
    libraries.into_iter().map(preload).collect()
}

fn names(text: &str, is_separator: impl Fn(char) -> bool) -> Vec<Box<str>> {
    let names = text.split(is_separator).filter(|name| !name.is_empty());
    names.take(MOST).map(Box::from).collect()
}

/// Whether that library is among the files that the process has mapped to be executed, by the name of the file: the path
/// may lead over links.
fn is_loaded(target: &Target<'_>, library: &str) -> bool {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let wanted = name(library);
    target
        .maps
        .libraries(LIBRARIES)
        .iter()
        .any(|mapped| name(mapped) == wanted)
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

fn read(entry: &Process, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    entry
        .open_relative(name)
        .ok()?
        .take(LONGEST)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

/// What a variable is set to.
fn value(environment: &[u8], name: &str) -> Option<String> {
    let mut variables = environment.split(|byte| *byte == 0);
    let value = variables.find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_itself_is_found() {
        let environment = b"A=LD_PRELOAD=no\0LD_PRELOADED=no\0LD_PRELOAD=/a.so:/b.so\0";
        assert_eq!(value(environment, "LD_PRELOAD").as_deref(), Some("/a.so:/b.so"));
        assert_eq!(value(environment, "LD_AUDIT"), None);
        assert_eq!(
            names("/a.so:/b.so  c.so", |character| character == ':' || character == ' ').len(),
            3
        );
    }
}
