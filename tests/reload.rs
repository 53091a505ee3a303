//! Rules that change while the agent runs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    deadline::wait_for,
    ocsf::{fact, title},
    tocsin::{PATIENCE, Tocsin},
};

#[test]
fn a_rule_takes_effect_when_it_is_saved_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let agent = start(folder.path());
    save(folder.path(), "first", "First rule");
    assert_raised(&agent, "first", "First rule");

    let broken = folder.path().join("broken.yml");
    fs::write(&broken, "title: Broken\nlogsource: {product: linux}\n").unwrap();
    let reason = format!("{}:1: missing required field 'detection'", broken.display());
    wait_for(&reason, PATIENCE, || agent.log().contains(&reason).then_some(()));
    let alert = agent.wait_for_alert("Rules were refused", |_| true);
    let detail = fact(&alert, "health.detail").as_str().unwrap().to_owned();
    assert!(detail.contains(&reason), "{alert:#}");
    assert_raised(&agent, "first", "First rule");

    // Mended, it comes into force with what was saved meanwhile.
    save(folder.path(), "second", "Second rule");
    save(folder.path(), "broken", "Mended rule");
    assert_raised(&agent, "second", "Second rule");
    assert_raised(&agent, "broken", "Mended rule");

    fs::remove_file(folder.path().join("first.yml")).unwrap();
    wait_until_silent(&agent, "first", "First rule");
}

#[test]
fn sighup_loads_what_no_watch_has_seen() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    save(elsewhere.path(), "linked", "Before");
    symlink(elsewhere.path().join("linked.yml"), folder.path().join("linked.yml")).unwrap();
    let agent = start(folder.path());
    assert_raised(&agent, "linked", "Before");
    save(elsewhere.path(), "linked", "After");
    kill_process(Pid::from_raw(agent.pid().try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
    assert_raised(&agent, "linked", "After");
}

fn start(rules: &Path) -> Tocsin {
    Tocsin::start(&["--dedup", "0", "--rules-dir", rules.to_str().unwrap()])
}

/// Saves a rule about that word on a command line.
fn save(folder: &Path, word: &str, title: &str) {
    let id = format!(
        "5f0c9a10-0000-4000-8000-{:012x}",
        word.bytes().map(u64::from).sum::<u64>()
    );
    let rule = format!(
        "title: {title}\nid: {id}\nlevel: high\nlogsource: {{product: linux, category: process_creation}}\n\
         detection: {{marked: {{CommandLine|endswith: ' {}'}}, condition: marked}}\n",
        marker(word)
    );
    fs::write(folder.join(word).with_extension("yml"), rule).unwrap();
}

/// The word as this process alone says it.
fn marker(word: &str) -> String {
    format!("{word}-{}", std::process::id())
}

fn say(word: &str) {
    let status = Command::new("true").arg(marker(word)).stdin(Stdio::null()).status();
    assert!(status.unwrap().success());
}

/// Says the word until another alert of that title comes.
fn assert_raised(agent: &Tocsin, word: &str, wanted: &str) {
    let count = || agent.alerts().iter().filter(|alert| title(alert) == wanted).count();
    let before = count();
    wait_for(wanted, PATIENCE, || {
        say(word);
        (count() > before).then_some(())
    });
}

/// Says the word until it raises no alert any more.
fn wait_until_silent(agent: &Tocsin, word: &str, unwanted: &str) {
    let count = || agent.alerts().iter().filter(|alert| title(alert) == unwanted).count();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let before = count();
        say(word);
        // The kernel's events stay in order: once this is answered, the word has been judged.
        agent.alerts_after_quiet();
        if count() == before {
            return;
        }
        assert!(Instant::now() < deadline, "`{unwanted}` is still in force");
        thread::sleep(Duration::from_millis(50));
    }
}
