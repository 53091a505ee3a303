//! The configuration by the real binary: what wins, what is wrong, and what changes while the agent runs.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    deadline::wait_for,
    ocsf::{command_line, fact, title},
    tocsin::{PATIENCE, Tocsin},
};

#[test]
fn a_flag_wins_over_the_environment_over_drop_ins_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tocsin.toml");
    let drop_ins = folder.path().join("tocsin.toml.d");
    fs::create_dir(&drop_ins).unwrap();
    let text = "min-level = 'high'\ndedup = '1m'\nstate = '/file'\nredact = false\nsecrets = ['hunter2']\n";
    fs::write(&file, text).unwrap();
    fs::write(drop_ins.join("10.toml"), "dedup = '2m'\nstate = '/ten'\n").unwrap();
    fs::write(drop_ins.join("20.toml"), "state = '/twenty'\nmin-level = 'medium'\n").unwrap();
    let show = |arguments: &[&str]| {
        let mut command = Tocsin::command();
        command
            .args(["config", "show", "--changed", "--config"])
            .arg(&file)
            .args(arguments);
        let output = command.env("TOCSIN_STATE", "/environment").output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let lines = |shown: &str| {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        shown.lines().map(words).collect::<Vec<_>>()
    };
    let (file, drop_ins) = (file.display(), drop_ins.display());
    let mut expected = vec![
        format!("min-level = \"medium\" # {drop_ins}/20.toml:2"),
        format!("dedup = \"2m\" # {drop_ins}/10.toml:1"),
        format!("redact = false # {file}:4"),
        format!("secrets = [\"(not shown)\"] # {file}:5"),
        "state = \"/environment\" # environment TOCSIN_STATE".to_owned(),
    ];
    assert_eq!(lines(&show(&[])), expected);
    expected[4] = "state = \"/flag\" # --state-dir".to_owned();
    assert_eq!(lines(&show(&["--state-dir", "/flag"])), expected);
}

#[test]
fn the_file_of_defaults_is_in_order_and_all_that_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tocsin.toml");
    let check = || {
        let output = Tocsin::command().args(["config", "check"]).arg(&file).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text.replace(&file.display().to_string(), "FILE"))
    };
    let defaults = Tocsin::command().args(["config", "default"]).output().unwrap();
    fs::write(&file, defaults.stdout).unwrap();
    assert_eq!(check(), (Some(0), "FILE: 0 errors, 0 warnings\n".to_owned()));
    fs::write(&file, "rule = []\n\n[docker]\nprobe = 'no'\n").unwrap();
    let expected = "FILE:1: rule: there is no such setting; did you mean rules?\n\
                    FILE:4: docker.probe: expected true or false, such as true, but it is of the type string\n\
                    FILE: 2 errors, 0 warnings\n";
    assert_eq!(check(), (Some(1), expected.to_owned()));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let expected = "FILE: cannot be read: Is a directory (os error 21)\nFILE: 1 errors, 0 warnings\n";
    assert_eq!(check(), (Some(1), expected.to_owned()));
}

#[test]
fn a_changed_configuration_loses_and_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, rules) = (folder.path().join("tocsin.toml"), folder.path().join("rules"));
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("marked.yml"), rule()).unwrap();
    let write = |turn: usize| {
        let (redact, secret) = (turn.is_multiple_of(2), turn);
        let text = format!(
            "dedup = 0\nredact = {redact}\nsecrets = ['secret{secret}']\nrules = ['{}']\n",
            rules.display()
        );
        fs::write(&file, text).unwrap();
    };
    write(0);
    let agent = Tocsin::start_in(folder.path(), &file, &[]);
    let stop = AtomicBool::new(false);
    let said = thread::scope(|scope| {
        let storm = scope.spawn(|| {
            let mut said = 0;
            while !stop.load(Ordering::Relaxed) {
                say(&format!("{said}"));
                said += 1;
            }
            said
        });
        for turn in 1..=4 {
            write(turn);
            wait_for("another configuration", PATIENCE, || {
                (agent.log().matches("configuration loaded anew").count() == turn).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        storm.join().unwrap()
    });
    assert!(said > 100, "{said} executions are no storm");
    let alerts = agent.alerts_after_quiet();
    let mut marked: Vec<u64> = alerts
        .iter()
        .filter(|alert| title(alert) == "Marked")
        .map(|alert| command_line(alert).rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    marked.sort_unstable();
    assert_eq!(marked, (0..said).collect::<Vec<_>>());
}

#[test]
fn what_can_change_does_and_a_broken_configuration_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, rules) = (folder.path().join("tocsin.toml"), folder.path().join("rules"));
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("marked.yml"), rule()).unwrap();
    let write = |text: &str| fs::write(&file, format!("dedup = 0\n{text}")).unwrap();
    write("");
    let agent = Tocsin::start_in(folder.path(), &file, &[]);
    let logged = |text: &str| wait_for(text, PATIENCE, || agent.log().contains(text).then_some(()));
    say("7");
    write(&format!("rules = ['{}']\n", rules.display()));
    wait_for("an alert of the new folder's rule", PATIENCE, || {
        say("8");
        agent
            .alerts()
            .iter()
            .any(|alert| title(alert) == "Marked")
            .then_some(())
    });

    write("min-lvl = 'high'\n");
    let alert = agent.wait_for_alert("The configuration was refused", |_| true);
    let expected = format!(
        "{}:2: min-lvl: there is no such setting; did you mean min-level?",
        file.display()
    );
    assert_eq!(fact(&alert, "health.detail"), &expected);
    say("9");
    agent.wait_for_alert("Marked", |alert| command_line(alert).ends_with(" 9"));

    // The rule is of the level high, and what cannot change is named.
    let text = format!(
        "ring-size = '4MiB'\nmin-level = 'critical'\nrules = ['{}']\n",
        rules.display()
    );
    write(&text);
    logged("configuration loaded anew settings=\"min-level\"");
    logged("changed settings that take effect at the next start settings=\"ring-size\"");
    say("10");
    write(&text.replace("critical", "low"));
    wait_for("the third configuration", PATIENCE, || {
        (agent.log().matches("configuration loaded anew").count() == 3).then_some(())
    });
    say("11");
    agent.wait_for_alert("Marked", |alert| command_line(alert).ends_with(" 11"));
    let alerts = agent.alerts();
    let spoken = |word: &str| {
        alerts
            .iter()
            .any(|alert| title(alert) == "Marked" && command_line(alert).ends_with(word))
    };
    assert!(!spoken(" 10") && !spoken(" 7"));

    // A file that is gone is an error, too, since it was named; what comes back is taken up.
    fs::remove_file(&file).unwrap();
    logged("No such file or directory");
    write(&text);
    kill_process(Pid::from_raw(agent.pid().try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
    wait_for("the fourth configuration", PATIENCE, || {
        (agent.log().matches("configuration loaded anew").count() == 4).then_some(())
    });
}

/// A rule about what [`say`] runs.
fn rule() -> String {
    format!(
        "title: Marked\nid: 5f0c9a10-0000-4000-8000-00000000c0f1\nname: marked\nlevel: high\n\
         logsource: {{product: linux, category: process_creation}}\n\
         detection: {{marked: {{CommandLine|contains: ' {} '}}, condition: marked}}\n",
        marker()
    )
}

/// A word that this process alone says.
fn marker() -> String {
    format!("configuration-{}", std::process::id())
}

fn say(word: &str) {
    let mut command = Command::new(Path::new("/bin/true"));
    let status = command.arg(marker()).arg(word).stdin(Stdio::null()).status();
    assert!(status.unwrap().success());
}
