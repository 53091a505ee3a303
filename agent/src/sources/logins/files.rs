//! The files of the journal, and by what a change of them is known.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// A file's id, the number of its entries and that of the last.
pub(super) type Head = ([u8; 16], [u8; 16]);

/// The heads of the files that are written now: archived ones have an `@` in their names.
pub(super) fn heads(folders: &[PathBuf]) -> BTreeMap<PathBuf, Head> {
    let files = folders.iter().flat_map(|folder| files(folder));
    let written = files.filter(|file| !file.as_os_str().as_encoded_bytes().contains(&b'@'));
    written
        .filter_map(|file| Some((head(&file)?, file)))
        .map(|(head, file)| (file, head))
        .collect()
}

fn head(file: &Path) -> Option<Head> {
    /// Where they stand in a file's header.
    const ID: u64 = 24;
    const COUNTS: u64 = 152;
    let file = File::open(file).ok()?;
    let mut head = Head::default();
    file.read_exact_at(&mut head.0, ID).ok()?;
    file.read_exact_at(&mut head.1, COUNTS).ok()?;
    Some(head)
}

/// The journal's files in a folder, and in those of machines within.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
    };
    let is_journal = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "journal");
    let mut files: Vec<_> = entries(folder).collect();
    let folders: Vec<_> = files.iter().filter(|path| path.is_dir()).cloned().collect();
    files.extend(folders.iter().flat_map(|folder| entries(folder)));
    files.retain(is_journal);
    files
}
