//! Data that others made, for tests alone and no part of the project: SigmaHQ's rules, recorded events.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::fixtures;

/// A folder of the corpus, or nothing after saying why the test is skipped.
pub(crate) fn require(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let corpus = env::var_os("TOCSIN_CORPUS").map_or_else(beside, PathBuf::from);
    let folder = corpus.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    fixtures::skip(&format!("no {name} in {}: set TOCSIN_CORPUS", corpus.display()));
    None
}

/// The id of the Sigma rule in that file.
pub(crate) fn rule_id(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let id = text.lines().find_map(|line| line.strip_prefix("id: "));
    id.expect("every rule has an id").trim().to_owned()
}
