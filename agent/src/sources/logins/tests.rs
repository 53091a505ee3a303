//! What becomes of what is written, and what is told of it.

use std::{fs, io::Write as _};

use super::*;
use crate::event::Login;

struct Node {
    folder: tempfile::TempDir,
    reader: Reader,
}

impl Node {
    fn new(before: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("auth.log"), before).unwrap();
        let reader = reader(folder.path());
        Self { folder, reader }
    }

    fn write(&self, message: &str) {
        let file = fs::OpenOptions::new()
            .append(true)
            .open(self.folder.path().join("auth.log"));
        file.unwrap().write_all(line(message).as_bytes()).unwrap();
    }

    /// What is read until there is no more: whether it is from before, and from where.
    fn read(&mut self) -> Vec<(bool, String)> {
        let mut found = Vec::new();
        loop {
            let (events, more) = self.reader.look();
            self.reader.keep();
            found.extend(events.into_iter().map(|event| match &event.kind {
                Kind::Login(login) => (event.startup, from(login)),
                Kind::Health(health) => (event.startup, health.kind.to_owned()),
                other => panic!("{other:?}"),
            }));
            if !more {
                return found;
            }
        }
    }
}

fn from(login: &Login) -> String {
    login.source.map_or(String::new(), |source| source.to_string())
}

fn reader(folder: &Path) -> Reader {
    let settings = Logins {
        file: Some(folder.join("auth.log")),
        ..Logins::default()
    };
    Reader::new(settings, Some(folder.join("state")), Arc::default())
}

fn line(message: &str) -> String {
    format!("2026-11-29T00:00:00+00:00 web sshd[1]: {message}\n")
}

fn failed(ip: &str) -> String {
    format!("Failed password for root from {ip} port 4 ssh2")
}

#[test]
fn what_was_before_is_learned_and_what_comes_is_judged_also_after_a_restart() {
    let mut node = Node::new(&line(&failed("192.0.2.1")));
    assert_eq!(node.read(), [(true, "192.0.2.1".to_owned())]);
    node.write(&failed("192.0.2.2"));
    assert_eq!(node.read(), [(false, "192.0.2.2".to_owned())]);
    node.write(&failed("192.0.2.3"));
    node.reader = reader(node.folder.path());
    let expected = [(true, "192.0.2.1"), (true, "192.0.2.2"), (false, "192.0.2.3")];
    assert_eq!(node.read(), expected.map(|(before, ip)| (before, ip.to_owned())));
    fs::remove_file(node.folder.path().join("auth.log")).unwrap();
    fs::write(node.folder.path().join("auth.log"), line(&failed("192.0.2.4"))).unwrap();
    node.reader = reader(node.folder.path());
    // What is gone cannot be learned from either.
    let expected = [(false, "loss"), (false, "192.0.2.4")];
    assert_eq!(node.read(), expected.map(|(before, ip)| (before, ip.to_owned())));
}

#[test]
fn what_makes_no_sense_is_counted() {
    let mut node = Node::new("");
    node.read();
    node.write("Failed password for root");
    node.write(&failed("192.0.2.1"));
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(node.folder.path().join("auth.log"))
        .unwrap();
    file.write_all(b"\xff\xfe\n").unwrap();
    assert_eq!(node.read().len(), 2);
    let told = node.reader.told.now();
    assert_eq!((told.lines, told.not_understood), (3, 2));
}

#[test]
fn a_log_that_cannot_be_read_is_said_once() {
    let mut node = Node::new("");
    node.read();
    fs::remove_file(node.folder.path().join("auth.log")).unwrap();
    fs::create_dir(node.folder.path().join("auth.log")).unwrap();
    assert_eq!(node.read(), [(false, "source-down".to_owned())]);
    assert!(node.read().is_empty());
    assert!(node.reader.told.now().trouble.unwrap().contains("not a regular file"));
}
