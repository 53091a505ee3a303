//! Files that a process has open to read and that are deleted: a script that runs, and of which nothing is left.

use std::path::Path;

use procfs::process::{FDPermissions, FDTarget};
use rustix::fs::{FileType, OFlags, fstat};

use super::Target;
use crate::{event::HeldFile, sources::looks::inside::Inside};

/// Descriptors of a process that are looked at.
const DESCRIPTORS: usize = 4_096;

/// Files of a process that are told.
const MOST: usize = 64;

/// One finding a file. What is open for writing is a log or a scratch file, of which there are many.
pub(super) fn find(target: &Target<'_>) -> Vec<HeldFile> {
    let mut found: Vec<HeldFile> = Vec::new();
    let Ok(descriptors) = target.entry.fd() else {
        return found;
    };
    let inside = Inside::of(target.key).ok();
    for descriptor in descriptors.flatten().take(DESCRIPTORS) {
        if descriptor.mode() & (FDPermissions::READ | FDPermissions::WRITE) != FDPermissions::READ {
            continue;
        }
        let FDTarget::Path(path) = descriptor.target else {
            continue;
        };
        let path = path.to_string_lossy();
        let Some(path) = path.strip_suffix(" (deleted)") else {
            continue;
        };
        let is_known = found.iter().any(|known| *known.path == *path);
        if is_known || found.len() == MOST || !is_regular(target, descriptor.fd) {
            continue;
        }
        found.push(HeldFile {
            path: path.into(),
            replaced: inside.as_ref().is_some_and(|inside| inside.holds(Path::new(path))),
        });
    }
    found
}

fn is_regular(target: &Target<'_>, descriptor: i32) -> bool {
    let file = target
        .entry
        .open_relative_flags(format!("fd/{descriptor}"), OFlags::PATH | OFlags::CLOEXEC);
    let kind = file.ok().and_then(|file| fstat(file).ok());
    kind.is_some_and(|known| FileType::from_raw_mode(known.st_mode) == FileType::RegularFile)
}
