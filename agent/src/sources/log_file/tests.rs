use std::io::Write as _;

use tempfile::TempDir;

use super::*;

/// A log, who writes it and who reads it.
struct Log {
    folder: TempDir,
    reader: LogFile,
}

impl Log {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.log");
        fs::write(&path, text).unwrap();
        Self {
            reader: LogFile::at_end(&path),
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let file = fs::OpenOptions::new().append(true).create(true).open(self.path(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self, to: &str) {
        fs::rename(self.path("auth.log"), self.path(to)).unwrap();
    }

    /// What is read until there is no more.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut take = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        while self.reader.read(&mut take).unwrap() {}
        lines
    }

    /// Another reader goes on where this one is.
    fn restart(&mut self, meanwhile: impl FnOnce(&Self)) {
        let position = serde_json::to_string(&self.reader.position().unwrap()).unwrap();
        meanwhile(self);
        let position = serde_json::from_str(&position).unwrap();
        self.reader = LogFile::resume(&self.path("auth.log"), &position);
    }
}

#[test]
fn whole_lines_are_read_once_from_the_end_on() {
    let mut log = Log::new("before\n");
    assert!(log.lines().is_empty());
    assert_eq!(log.reader.before(100), b"before\n");
    log.append("auth.log", "one\ntw");
    assert_eq!(log.lines(), ["one"]);
    assert_eq!(log.reader.before(5), b"one\n");
    log.append("auth.log", "o\n\n");
    assert_eq!(log.lines(), ["two", ""]);
    assert!(log.lines().is_empty() && !log.reader.has_lost());
}

#[test]
fn a_log_that_ends_within_a_line_is_read_from_the_next_on() {
    let mut log = Log::new("half");
    log.append("auth.log", " a line\nnext\n");
    assert_eq!(log.lines(), ["next"]);
}

#[test]
fn a_log_that_is_not_there_yet_is_read_from_its_beginning() {
    let mut log = Log::new("");
    fs::remove_file(log.path("auth.log")).unwrap();
    log.reader = LogFile::at_end(&log.path("auth.log"));
    assert!(log.lines().is_empty() && log.reader.position().is_none());
    log.append("auth.log", "one\n");
    assert_eq!(log.lines(), ["one"]);
}

#[test]
fn rotation_loses_nothing_and_repeats_nothing() {
    let mut log = Log::new("before\n");
    log.append("auth.log", "one\n");
    log.rotate("auth.log.1");
    log.append("auth.log.1", "two\n");
    log.append("auth.log", "four\n");
    assert_eq!(log.lines(), ["one", "two", "four"]);
    log.append("auth.log.1", "three, by who has not noticed\n");
    log.append("auth.log", "five\n");
    assert_eq!(log.lines(), ["three, by who has not noticed", "five"]);
    log.rotate("auth.log.2");
    assert!(log.lines().is_empty());
    log.append("auth.log.2", "six\n");
    assert_eq!(log.lines(), ["six"]);
    log.append("auth.log", "seven\n");
    assert_eq!(log.lines(), ["seven"]);
    assert!(!log.reader.has_lost());
}

#[test]
fn what_is_copied_and_emptied_is_read_to_its_end() {
    let mut log = Log::new("before\n");
    log.append("auth.log", "one\n");
    assert_eq!(log.lines(), ["one"]);
    log.append("auth.log", "two\n");
    fs::copy(log.path("auth.log"), log.path("auth.log.1")).unwrap();
    fs::write(log.path("auth.log"), "").unwrap();
    assert_eq!(log.lines(), ["two"]);
    log.append("auth.log", "three\n");
    assert_eq!(log.lines(), ["three"]);
    fs::copy(log.path("auth.log"), log.path("auth.log.1")).unwrap();
    fs::write(log.path("auth.log"), "a longer line than all before it\n").unwrap();
    assert_eq!(log.lines(), ["a longer line than all before it"]);
    assert!(!log.reader.has_lost());
    fs::write(log.path("auth.log"), "new\n").unwrap();
    assert_eq!(log.lines(), ["new"]);
    assert!(log.reader.has_lost() && !log.reader.has_lost());
}

#[test]
fn another_reader_goes_on_where_one_has_ended() {
    let mut log = Log::new("before\n");
    log.append("auth.log", "one\nhal");
    assert_eq!(log.lines(), ["one"]);
    log.restart(|log| log.append("auth.log", "f\ntwo\n"));
    assert_eq!(log.lines(), ["half", "two"]);
    log.restart(|log| {
        log.append("auth.log", "three\n");
        log.rotate("auth.log-20261129");
        log.append("auth.log", "four\n");
    });
    assert_eq!(log.lines(), ["three", "four"]);
    log.restart(|log| fs::remove_file(log.path("auth.log-20261129")).unwrap());
    assert!(log.lines().is_empty() && !log.reader.has_lost());
    log.restart(|log| {
        log.rotate("gone");
        log.append("auth.log", "five\n");
    });
    assert_eq!(log.lines(), ["five"]);
    assert!(log.reader.has_lost());
}

#[test]
fn half_a_line_in_a_rotated_log_has_nothing_repeated() {
    let mut log = Log::new("before\n");
    log.append("auth.log", "one\nhal");
    assert_eq!(log.lines(), ["one"]);
    log.rotate("auth.log.1");
    log.append("auth.log", "two\n");
    assert_eq!(log.lines(), ["two"]);
    log.restart(|log| log.append("auth.log", "three\n"));
    assert_eq!(log.lines(), ["three"]);
    log.restart(|log| log.append("auth.log.1", "f\n"));
    assert_eq!(log.lines(), ["half"]);
    assert!(!log.reader.has_lost());

    log.append("auth.log.1", "hal");
    assert!(log.lines().is_empty());
    log.restart(|log| {
        log.append("auth.log", "four\n");
        fs::rename(log.path("auth.log.1"), log.path("auth.log.2")).unwrap();
        log.rotate("auth.log.1");
        log.append("auth.log", "five\n");
    });
    assert_eq!(log.lines(), ["four", "five"]);
    assert!(!log.reader.has_lost());
}

#[test]
fn too_much_and_too_long_is_left_out() {
    let mut log = Log::new("");
    let text = "x".repeat(6 * CHUNK);
    log.append("auth.log", &text);
    let beginning = "x".repeat(LONGEST_LINE);
    assert_eq!(log.lines(), [beginning]);
    log.restart(|log| log.append("auth.log", "Accepted\nnext\n"));
    assert_eq!(log.lines(), ["next"]);
    log.restart(|log| {
        let line = format!("{}\n", "y".repeat(1023));
        log.append("auth.log", &line.repeat(18 << 10));
    });
    assert_eq!(log.lines().len(), (16 << 10) - 1);
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let mut log = Log::new("");
    fs::remove_file(log.path("auth.log")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        log.path("auth.log"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    log.reader = LogFile::at_end(&log.path("auth.log"));
    assert!(log.reader.read(&mut |_| {}).is_err());
}
