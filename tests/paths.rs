//! Paths as long as an attacker can make them hide nothing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde_json::Value;

use crate::{programs::Dropped, tocsin::Tocsin};

/// Makes folders of that name, one in the other, below `top`, and does `what` in the innermost one. On a thread whose
/// working directory is its own: the whole path is too long to be named.
fn deep_below(top: &Path, name: &str, depth: usize, what: impl FnOnce() + Send) {
    let go = || {
        // SAFETY: the thread shares no file descriptors anew; only its working directory becomes its own.
        unsafe { unshare_unsafe(UnshareFlags::FS) }.unwrap();
        env::set_current_dir(top).unwrap();
        for _ in 0..depth {
            fs::create_dir_all(name).unwrap();
            env::set_current_dir(name).unwrap();
        }
        what();
    };
    thread::scope(|scope| scope.spawn(go).join().unwrap());
}

fn run(program: &Path, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success());
}

fn of_marker(marker: &str) -> impl Fn(&Value) -> bool + '_ {
    move |event| event["CommandLine"].as_str().is_some_and(|line| line.contains(marker))
}

#[test]
fn a_long_working_directory_displaces_nothing() {
    let agent = Tocsin::record(&[]);
    let (dropped, folder) = (Dropped::new("/tmp"), tempfile::tempdir().unwrap());
    let marker = format!("deep-{}", std::process::id());
    let filler = "x".repeat(6000);
    // The same program by a path of a thousand bytes.
    let roundabout = PathBuf::from(format!("{}{}", "/.".repeat(450), dropped.text()));
    deep_below(folder.path(), &"d".repeat(255), 63, || {
        run(&roundabout, &[&marker, &filler]);
    });
    let event = agent.wait_for_event(&marker, of_marker(&marker));
    assert_eq!(event["Image"], dropped.text());
    let line = event["CommandLine"].as_str().unwrap();
    assert!(line.starts_with(roundabout.to_str().unwrap()) && line.ends_with(&filler));
    assert!(
        event["process.cgroup"]
            .as_str()
            .is_some_and(|path| path.starts_with('/'))
    );
}

#[test]
fn a_program_too_deep_to_be_told_is_called_hidden() {
    let agent = Tocsin::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let marker = format!("buried-{}", std::process::id());
    deep_below(folder.path(), "d", 80, || {
        fs::copy("/bin/true", "buried").unwrap();
        run(Path::new("./buried"), &[&marker]);
    });
    let is_ours = |alert: &Value| alert.to_string().contains(&marker);
    let alert = agent.wait_for_alert("Process execution from temporary folder", is_ours);
    assert_eq!(alert["severity"], "High", "{alert}");
}
