//! Threat feeds over the network: whatever their servers do, what they last said that was good stays in force, and an alert
//! says what is wrong.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    deadline::wait_for,
    feed_server::{Asked, FeedServer, Reply},
    network::{address, in_own_network},
    ocsf::{activity, fact, rule, title},
    status::request,
    threat::{TITLE, knock},
    tocsin::{PATIENCE, Tocsin},
};

const STALE: &str = "A threat feed is not up to date";

/// A server of a feed, and a folder for the agent that fetches it.
struct Stage {
    folder: TempDir,
    server: FeedServer,
}

impl Stage {
    fn new(answer: impl Fn(&Asked) -> Reply + Send + 'static) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            server: FeedServer::start(answer),
        }
    }

    /// Writes the configuration of the feed, beside whom to trust.
    fn configure(&self, settings: &str) {
        let ca = self.server.certificate(self.folder.path());
        let text = format!("[feed.c2]\nca = '{}'\nconfidence = 90\n{settings}\n", ca.display());
        fs::write(self.path("tocsin.toml"), text).unwrap();
    }

    fn start(&self) -> Tocsin {
        Tocsin::start_in(self.folder.path(), &self.path("tocsin.toml"), &["--dedup", "0"])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tocsin(&self, arguments: &[&str]) -> Output {
        let mut command = Tocsin::command();
        command.args(arguments).arg("--config").arg(self.path("tocsin.toml"));
        let command = command.env("TOCSIN_STATE", self.folder.path());
        command
            .env("TOCSIN_CONTROL_SOCKET", self.path("control.sock"))
            .output()
            .unwrap()
    }

    /// The line about the feed.
    fn line(&self, command: &str) -> String {
        let output = self.tocsin(&[command]);
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.contains("feed c2"));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    fn metrics(&self) -> String {
        request(
            UnixStream::connect(self.path("metrics.sock")).unwrap(),
            "GET /metrics",
            "",
        )
    }

    /// What is kept on disk.
    fn kept(&self) -> Vec<u8> {
        fs::read(self.path("fetched-feeds/c2")).unwrap_or_default()
    }

    fn asked_for(&self) -> usize {
        self.server.asked().len()
    }
}

/// Has the agent fetch now.
fn hurry(agent: &Tocsin) {
    kill_process(Pid::from_raw(agent.pid().try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
}

/// Connects with an address until the feed raises an alert about it.
fn assert_listed(agent: &Tocsin, last: u8) {
    let indicator = address(last).to_string();
    let about =
        |alert: &serde_json::Value| title(alert) == TITLE && fact(alert, "threat.indicator") == indicator.as_str();
    let count = || agent.alerts().iter().filter(|alert| about(alert)).count();
    let before = count();
    in_own_network(|| {
        wait_for(&format!("alert about {indicator}"), PATIENCE, || {
            knock(address(last));
            (count() > before).then_some(())
        });
    });
    let alerts = agent.alerts();
    let alert = alerts.iter().rfind(|alert| about(alert)).unwrap();
    assert_eq!(fact(alert, "threat.feed"), "c2");
    assert_eq!(rule(alert), "known-suspicious-address-high");
}

/// Waits for the alert that says what is wrong, and that what was in force stays.
fn assert_told(agent: &Tocsin, stage: &Stage, reason: &str, stays: &str) {
    let alert = agent.wait_for_alert(STALE, |alert| {
        activity(alert) == "Create"
            && fact(alert, "health.detail")
                .as_str()
                .unwrap_or_default()
                .contains(reason)
    });
    let detail = fact(&alert, "health.detail").as_str().unwrap();
    let source = format!("feed c2 ({}): ", stage.server.url(""));
    assert!(detail.starts_with(&source) && detail.contains(stays), "{detail}");
}

fn list(last: &[u8]) -> String {
    last.iter().map(|last| format!("{}\n", address(*last))).collect()
}

#[test]
fn whatever_a_server_does_the_last_good_feed_stays_in_force() {
    let stage = Stage::new(|asked| match asked.header("if-none-match") {
        "\"1\"" => Reply::new(304, ""),
        _ => Reply::new(200, list(&[31, 32])).header("etag", "\"1\""),
    });
    let key = stage.path("key");
    fs::write(&key, "Auth-Key: hunter2\n").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let url = stage.server.url("/list?key=hunter2");
    let settings = format!("url = '{url}'\nheaders-file = '{}'\nlicence = 'CC0-1.0'", key.display());
    stage.configure(&settings);
    let agent = stage.start();
    wait_for("the feed", PATIENCE, || {
        stage.line("status").contains("2 indicators").then_some(())
    });
    if in_own_network(|| ()).is_none() {
        return;
    }
    assert_listed(&agent, 31);
    let mode = fs::metadata(stage.path("fetched-feeds/c2"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    // Nothing new.
    let good = stage.kept();
    let before = stage.asked_for();
    hurry(&agent);
    wait_for("another request", PATIENCE, || {
        (stage.asked_for() > before).then_some(())
    });
    let asked = stage.server.asked().pop().unwrap();
    let headers = ["if-none-match", "auth-key"].map(|name| asked.header(name).to_owned());
    assert_eq!(headers, ["\"1\"", "hunter2"]);
    assert_listed(&agent, 31);
    let line = stage.line("status");
    assert!(
        line.starts_with("ok") && line.contains("2 indicators, 1 KiB, fetched 0 min ago, CC0-1.0"),
        "{line}"
    );

    for (reply, reason) in [
        (Reply::new(500, ""), "the answer is 500 Internal Server Error"),
        (Reply::new(200, list(&[33])).cut(), "the answer breaks off: "),
        (Reply::new(200, "<html>moved</html>"), "it lists no address"),
        (
            Reply::new(200, vec![b'1'; 1 << 20]).times(200).chunked(),
            "it has more than 64 MiB",
        ),
        (Reply::new(404, ""), "the answer is 404 Not Found"),
    ] {
        stage.server.answers(move |_| reply.clone());
        hurry(&agent);
        assert_told(&agent, &stage, reason, "; the 2 indicators of ");
        assert_listed(&agent, 32);
        assert_eq!(stage.kept(), good);
        let line = stage.line("status");
        assert!(line.starts_with("warn") && line.contains(reason), "{line}");
    }
    let written = stage.server.written() >> 20;
    assert!(written < 100, "{written} MiB: the rest was not waited for");
    let resident = procfs_resident(agent.pid());
    assert!(resident < 400, "{resident} MiB");

    let metrics = stage.metrics();
    for sample in [
        "tocsin_feed_in_force{feed=\"c2\"} 1",
        "tocsin_feed_up_to_date{feed=\"c2\"} 0",
        "tocsin_feed_indicators{feed=\"c2\"} 2",
    ] {
        assert!(metrics.lines().any(|line| line == sample), "{metrics}");
    }
    let failures = metrics
        .lines()
        .find_map(|line| line.strip_prefix("tocsin_feed_fetch_failures_total{feed=\"c2\"} "));
    assert!(failures.unwrap().parse::<u32>().unwrap() >= 7, "{metrics}");

    // It has recovered.
    stage.server.answers(|_| Reply::new(200, list(&[33])));
    hurry(&agent);
    assert_listed(&agent, 33);
    let line = stage.line("status");
    assert!(
        line.starts_with("ok") && line.contains("1 indicators") && line.contains("fetches failed"),
        "{line}"
    );
    // It says nothing at all, and nobody waits for it.
    let before = stage.asked_for();
    stage
        .server
        .answers(|_| Reply::new(200, "").after(Duration::from_mins(1)));
    hurry(&agent);
    wait_for("another request", PATIENCE, || {
        (stage.asked_for() > before).then_some(())
    });
    assert_listed(&agent, 33);
    for place in [
        stage.kept(),
        agent.log().into_bytes(),
        stage.tocsin(&["config", "show"]).stdout,
    ] {
        assert!(!String::from_utf8_lossy(&place).contains("hunter2"));
    }
    assert!(agent.stop().0.success());
}

#[test]
fn what_was_fetched_outlives_a_restart_without_its_server() {
    let stage = Stage::new(|_| Reply::new(200, list(&[34])));
    stage.configure(&format!("url = '{}'", stage.server.url("/")));
    let agent = stage.start();
    wait_for("the feed", PATIENCE, || {
        stage.line("status").contains("1 indicators").then_some(())
    });
    assert!(agent.stop().0.success());
    let good = stage.kept();

    // Somebody else answers in its place: whom the certificate does not fit.
    let other = FeedServer::start(|_| Reply::new(200, list(&[35])));
    let text = fs::read_to_string(stage.path("tocsin.toml")).unwrap();
    let ca = other.certificate(stage.folder.path());
    let (own, others) = (stage.server.certificate(stage.folder.path()), ca);
    let text = text.replace(&own.display().to_string(), &others.display().to_string());
    fs::write(stage.path("tocsin.toml"), text).unwrap();
    let agent = stage.start();
    let line = stage.line("status");
    assert!(line.contains("1 indicators"), "{line}");
    if in_own_network(|| ()).is_none() {
        return;
    }
    assert_listed(&agent, 34);
    hurry(&agent);
    assert_told(&agent, &stage, "invalid peer certificate", "; the 1 indicators of ");
    assert_listed(&agent, 34);
    assert_eq!(stage.kept(), good);
    let line = stage.line("doctor");
    assert!(
        line.starts_with("none") && line.contains("1 indicators") && line.contains("; its server: invalid peer"),
        "{line}"
    );

    // A feed that nobody wants any more is kept by nobody.
    fs::write(stage.path("tocsin.toml"), "").unwrap();
    wait_for("the end of what was kept", PATIENCE, || {
        (!stage.path("fetched-feeds/c2").exists()).then_some(())
    });
}

#[test]
fn a_collection_of_a_taxii_server_is_a_feed() {
    let indicator = |last: u8| {
        let ip = address(last);
        format!("{{\"type\": \"indicator\", \"confidence\": 85, \"pattern\": \"[ipv4-addr:value = '{ip}']\"}}")
    };
    let stage = Stage::new(move |asked| {
        let page = |object: String, more: &str| {
            Reply::new(200, format!("{{\"objects\": [{object}]{more}}}"))
                .header("x-taxii-date-added-last", "2026-11-01T00:00:00Z")
        };
        match asked.target.as_str() {
            "/api/collections/7/objects/" => page(indicator(36), ", \"more\": true, \"next\": \"2\""),
            "/api/collections/7/objects/?next=2" => page(indicator(37), ""),
            "/api/collections/7/objects/?added_after=2026-11-01T00%3A00%3A00Z&limit=1" => Reply::new(200, "{}"),
            "/api/collections/7/objects/?limit=1" => Reply::new(200, "{}"),
            _ => Reply::new(404, ""),
        }
    });
    let password = stage.path("password");
    fs::write(&password, "me:hunter2\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let url = stage.server.url("/api/collections/7/");
    stage.configure(&format!("taxii = '{url}'\npassword-file = '{}'", password.display()));
    let agent = stage.start();
    wait_for("the feed", PATIENCE, || {
        stage.line("status").contains("2 indicators").then_some(())
    });
    let asked = stage.server.asked();
    for asked in &asked {
        let headers = ["accept", "authorization"].map(|name| asked.header(name).to_owned());
        assert_eq!(
            headers,
            ["application/taxii+json;version=2.1", "Basic bWU6aHVudGVyMg=="]
        );
    }
    hurry(&agent);
    wait_for("another request", PATIENCE, || {
        (stage.asked_for() > asked.len()).then_some(())
    });
    let line = stage.line("doctor");
    assert!(
        line.starts_with("ok") && line.contains("2 indicators") && line.ends_with("; its server answers"),
        "{line}"
    );
    if in_own_network(|| ()).is_some() {
        assert_listed(&agent, 36);
        assert_listed(&agent, 37);
        assert_eq!(
            stage.asked_for(),
            asked.len() + 2,
            "nothing was added, and the doctor asked"
        );
    }
    assert!(agent.alerts().iter().all(|alert| title(alert) != STALE));
}

#[test]
fn a_feed_that_cannot_be_is_named_with_its_place() {
    let stage = Stage::new(|_| Reply::new(200, ""));
    let check = |text: &str| {
        let file = stage.path("tocsin.toml");
        fs::write(&file, text).unwrap();
        let output = Tocsin::command().args(["config", "check"]).arg(&file).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines()
            .next()
            .unwrap()
            .replace(&file.display().to_string(), "FILE")
    };
    let readable = stage.path("readable");
    fs::write(&readable, "Auth-Key: x").unwrap();
    fs::set_permissions(&readable, fs::Permissions::from_mode(0o644)).unwrap();
    let readable = readable.display();
    for (text, expected) in [
        (
            "[feed.c2]\npath = '/c2'\nurl = 'https://feeds.example/'\n",
            "FILE:3: feed.c2.url: path is set, too: a feed has one source",
        ),
        (
            "[feed.c2]\nurl = 'http://feeds.example/'\n",
            "FILE:2: feed.c2.url: not https://, which only an address of this machine itself (http://127.0.0.1) need not be",
        ),
        (
            "[feed.c2]\nurl = 'https://feeds.example/'\nca = '/nonexistent'\n",
            "FILE:3: feed.c2.ca: cannot read /nonexistent: I/O error: No such file or directory (os error 2)",
        ),
        (
            &format!("[feed.c2]\nurl = 'http://127.0.0.1/'\nheaders-file = '{readable}'\n"),
            &format!("FILE:3: feed.c2.headers-file: secret {readable}: others may read it: chmod o= it"),
        ),
    ] {
        assert_eq!(check(text), expected);
    }
}

/// How much memory a process has, in MiB.
fn procfs_resident(pid: u32) -> u64 {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024
}
