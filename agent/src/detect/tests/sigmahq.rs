//! `SigmaHQ`'s rules load as they are.

use std::{env, fs};

use super::*;

/// `SigmaHQ`'s rules, if they are at hand; in CI they must be.
fn sigmahq() -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus"));
    let corpus = env::var_os("TOCSIN_CORPUS").map_or_else(beside, PathBuf::from);
    let rules = corpus.join("sigmahq/rules");
    if rules.is_dir() {
        return Some(rules);
    }
    let message = format!(
        "no corpus in {}: set TOCSIN_CORPUS to test SigmaHQ's rules",
        corpus.display()
    );
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{message}");
    eprintln!("skipped: {message}");
    None
}

#[test]
fn sigmahqs_rules_load_unmodified() {
    let Some(folder) = sigmahq() else { return };
    let families = [
        ("linux/process_creation", 122),
        ("linux/network_connection", 5),
        ("web/webserver_generic", 13),
    ];
    for (family, expected) in families {
        let files = fs::read_dir(folder.join(family))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let files: Vec<_> = files
            .map(|path| file(path.to_str().unwrap(), &fs::read_to_string(&path).unwrap()))
            .collect();
        let (rules, problems) = load(&files, Timestamp::UNIX_EPOCH);
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!((rules.iter().count(), problems), (expected, Vec::new()), "{family}");
    }
}
