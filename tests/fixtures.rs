//! What `cargo xtask` unpacked for the tests; a test whose fixture is missing is skipped, loudly.

use std::{
    env,
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

/// The folder of the fixture `name`, or nothing after saying why the test is skipped. Under CI a skip is a failure.
pub(crate) fn require(name: &str) -> Option<PathBuf> {
    let folder = folder().join(name);
    // Written last when a fixture is unpacked.
    if folder.join(".packages").exists() {
        return Some(folder);
    }
    skip(&format!(
        "fixture {name} is not in {}: run `cargo xtask setup --all`",
        folder.display()
    ));
    None
}

/// Says why the running test is skipped, where `cargo xtask test` finds it; panics under CI.
pub(crate) fn skip(reason: &str) {
    assert!(env::var("CI").as_deref() != Ok("true"), "skipped in CI: {reason}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("SKIPPED {test}: {reason}");
    if let Some(list) = env::var_os("TOCSIN_SKIPPED") {
        let mut list = OpenOptions::new()
            .append(true)
            .create(true)
            .open(list)
            .expect("the list of skipped tests opens");
        writeln!(list, "{test}: {reason}").expect("the list of skipped tests can be written");
    }
}

fn folder() -> PathBuf {
    let beside_the_build = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fixtures");
    env::var_os("TOCSIN_FIXTURES").map_or_else(beside_the_build, PathBuf::from)
}
