//! Executable memory that is no file's: injected code, code from a file in memory, and also what just-in-time compilers
//! make.

use std::{collections::BTreeMap, path::Path};

use super::{Mapping, Target};
use crate::{
    event::{Backing, Code},
    sources::looks::inside::Inside,
};

/// How a program or a library begins.
pub(super) const ELF: [u8; 4] = *b"\x7FELF";

/// Names in a folder among which another version of a library is looked for.
const NEIGHBOURS: usize = 16_384;

/// Mappings of a process in which a head is looked for: a compiler may have made tens of thousands.
const HEADS: usize = 4_096;

/// One finding for all that are alike.
pub(super) fn find(target: &mut Target<'_>) -> Vec<Code> {
    let maps = target.maps;
    let mut found: BTreeMap<(&'static str, &str, [u8; 4], bool), Code> = BTreeMap::new();
    let mut heads = HEADS;
    for (index, mapping) in maps.iter().enumerate() {
        let Some(backing) = mapping.backing.filter(|backing| *backing != Backing::File) else {
            continue;
        };
        if !mapping.is_executable() {
            continue;
        }
        let elf_head = backing != Backing::Deleted && has_head(target, index, mapping, &mut heads);
        let alike = (backing.name(), &*mapping.path, mapping.protection, elf_head);
        let code = found.entry(alike).or_insert_with(|| Code {
            backing,
            path: mapping.path.clone(),
            protection: mapping.protection(),
            address: mapping.address(),
            elf_head,
            ..Code::default()
        });
        code.count += 1;
        code.size = code.size.saturating_add(mapping.size());
    }
    let mut found: Vec<Code> = found.into_values().collect();
    for code in found.iter_mut().filter(|code| code.backing == Backing::Deleted) {
        code.replaced = is_replaced(target, &code.path);
    }
    found
}

/// Whether this mapping begins as a library does, or those do that a loader has put right before it: what is not to be
/// executed of a library, its head first, may be apart. A loader makes that read-only.
fn has_head(target: &mut Target<'_>, index: usize, mapping: &Mapping, left: &mut usize) -> bool {
    let maps = target.maps;
    let together = |other: &&Mapping| {
        let of_file = other
            .backing
            .is_none_or(|backing| matches!(backing, Backing::File | Backing::Deleted));
        !of_file && !other.is_writable() && other.path == mapping.path
    };
    let before = maps.before(index).take_while(together);
    for candidate in std::iter::once(mapping).chain(before) {
        if *left == 0 {
            return false;
        }
        *left -= 1;
        if candidate.is_readable() && target.pages.begins_with(candidate.start, ELF) {
            return true;
        }
    }
    false
}

/// Whether a library, which whoever owns the root has put there, stands at a deleted one's path again. The next version may
/// have another name, and stand beside it: `libssl.so.3.0.17` after `libssl.so.3.0.15`.
fn is_replaced(target: &Target<'_>, path: &str) -> bool {
    let path = Path::new(path);
    let Ok(inside) = Inside::of(target.key) else {
        return false;
    };
    let is_library = |path: &Path| inside.is_of_root_and_begins_with(path, ELF);
    if is_library(path) {
        return true;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return false;
    };
    let Some(stem) = stem(name) else { return false };
    let names = inside.names(folder, NEIGHBOURS).unwrap_or_default();
    names
        .iter()
        .filter(|other| other.to_str().is_some_and(|other| is_version_of(other, stem)))
        .any(|other| is_library(&folder.join(other)))
}

fn is_version_of(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What a library's versions have in common: `libssl.so.3` of `libssl.so.3.0.15`.
fn stem(name: &str) -> Option<&str> {
    let versions = name.find(".so.")? + ".so.".len();
    let major = name[versions..]
        .find('.')
        .map_or(name.len(), |length| versions + length);
    (major > versions && name.starts_with("lib")).then(|| &name[..major])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_library_have_their_beginning_in_common() {
        assert_eq!(stem("libssl.so.3.0.15"), Some("libssl.so.3"));
        assert_eq!(stem("libssl.so.3"), Some("libssl.so.3"));
        assert_eq!(stem("libevil.so"), None);
        assert_eq!(stem(".so.1"), None);
        assert_eq!(stem("lib.so."), None);
    }
}
