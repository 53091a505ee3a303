//! Records that nobody here made get the verdict that they deserve.

mod convert;

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use self::convert::{Below, auditd, commands, laurel, tetragon};
use crate::{
    corpus_folder,
    ocsf::{pid, title},
    replay::alerts_of,
};

const PHP: &str = "Suspicious PHP execution detected";
const PRIVILEGE: &str = "Attempt to run high privilege command detected";
const REVERSE_SHELL: &str = "Reverse shell detected";
const SHELL: &str = "Web shell detected";
const TEMP: &str = "Process execution from temporary folder";

/// Makes an event of a line of another tool's, if it is of a kind that Tocsin has.
type Convert = fn(&str) -> Option<Value>;

/// The verdict that the corpus itself has for each of its files about Linux. Of `A09?` either is right; who connects to an
/// address on a feed is known where there are feeds.
const EXPECTED: [(&str, &str); 7] = [
    ("atomic_elevated_half_a.tsv", "A10 when run under a web server"),
    ("crowdsec_auditd-base64-exec.log", "A09?"),
    ("crowdsec_auditd-postexploit-exec-from-net.log", "A09?"),
    ("crowdsec_laurel-base64-exec.log", "A09?"),
    ("crowdsec_laurel-logs.log", "A09?"),
    ("gtfobins_php_r.txt", "A08 when run under a web server"),
    ("tetragon_docs_ch00.jsonl", "P02 if feed has 64.225.45.153"),
];

#[test]
fn every_file_of_the_corpus_has_its_verdict_here() {
    let Some(corpus) = corpus_folder::require("linux") else {
        return;
    };
    let table = read(&corpus, "../expected.tsv");
    let verdict = |line: &str| {
        let mut columns = line.strip_prefix("linux/")?.split('\t');
        Some((columns.next()?.to_owned(), columns.nth(1)?.to_owned()))
    };
    let rows: Vec<_> = table.lines().filter_map(verdict).collect();
    assert_eq!(
        rows,
        EXPECTED.map(|(file, verdict)| (file.to_owned(), verdict.to_owned()))
    );
    let files = fs::read_dir(&corpus).unwrap();
    let files: BTreeSet<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, EXPECTED.map(|(file, _)| file.to_owned()).into());
}

#[test]
fn records_of_other_tools_raise_no_more_than_they_should() {
    let Some(corpus) = corpus_folder::require("linux") else {
        return;
    };
    let cases: [(&str, Convert, usize, &[&str]); 5] = [
        ("crowdsec_auditd-base64-exec.log", auditd, 3, &[]),
        // A download is made executable and run in /tmp.
        ("crowdsec_auditd-postexploit-exec-from-net.log", auditd, 3, &[TEMP]),
        ("crowdsec_laurel-base64-exec.log", laurel, 2, &[]),
        ("crowdsec_laurel-logs.log", laurel, 5, &[]),
        ("tetragon_docs_ch00.jsonl", tetragon, 7, &[]),
    ];
    for (file, convert, expected_events, expected) in cases {
        let text = read(&corpus, file);
        let events: Vec<_> = text.lines().filter_map(convert).collect();
        assert_eq!(events.len(), expected_events, "{file}");
        let alerts = alerts_of(&events, &["--dedup", "0"]);
        let raised: Vec<_> = alerts.iter().map(title).collect();
        assert_eq!(raised, expected, "{file}: {alerts:#?}");
    }
}

#[test]
fn php_code_is_suspicious_below_a_web_server_alone() {
    check_commands("gtfobins_php_r.txt", str::to_owned, PHP);
}

#[test]
fn an_administrators_commands_are_news_below_a_web_server_alone() {
    let command = |line: &str| line.split('\t').nth(2).unwrap().to_owned();
    check_commands("atomic_elevated_half_a.tsv", command, PRIVILEGE);
}

/// Every command of the list raises that alert below a web server, and there besides at most the one about web shells; at
/// a login shell nothing. A shell that is handed to another machine is told wherever it is.
fn check_commands(file: &str, command: fn(&str) -> String, wanted: &str) {
    let Some(corpus) = corpus_folder::require("linux") else {
        return;
    };
    let text = read(&corpus, file);
    let commands: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("test\tguid"))
        .map(command)
        .collect();
    let lines: Vec<_> = commands.iter().map(String::as_str).collect();
    assert!(lines.len() > 10, "{file}");
    let every: BTreeSet<_> = (1..=lines.len()).map(|number| (number, wanted.to_owned())).collect();
    let mut raised = verdicts(&lines, Below::WebServer);
    raised.retain(|(_, title)| title != SHELL);
    let missing: Vec<_> = every.difference(&raised).map(|(number, _)| lines[number - 1]).collect();
    assert!(missing.is_empty(), "{file}: {missing:#?}");
    assert_eq!(raised, every, "{file}");
    assert_eq!(verdicts(&lines, Below::LoginShell), BTreeSet::new(), "{file}");
}

/// Which titles each line raises, by the line's number.
fn verdicts(lines: &[&str], below: Below) -> BTreeSet<(usize, String)> {
    let alerts = alerts_of(&commands(lines, below), &["--dedup", "0"]);
    let alerts = alerts.iter().filter(|alert| title(alert) != REVERSE_SHELL);
    let verdict = |alert: &Value| (pid(alert).unwrap() as usize / 1000, title(alert).to_owned());
    alerts.map(verdict).collect()
}

fn read(corpus: &Path, file: &str) -> String {
    fs::read_to_string(corpus.join(file)).unwrap()
}
