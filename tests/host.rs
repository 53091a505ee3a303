//! What happens on the node itself, outside any container, and what alerts say of it.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    deadline::wait_for,
    fixtures,
    ocsf::{activity, command_line, exe, fact, level, pid, rule, title, user},
    programs::{Dropped, Outside, run_deleted, run_from_memory},
    replay::{Replay, alerts_of, replay},
    to_file::ToFile,
    tocsin::{PATIENCE, Tocsin},
};

const TEMP: &str = "Process execution from temporary folder";
const FILELESS: &str = "Fileless execution detected";

#[test]
fn each_program_that_hides_raises_one_alert() {
    let outside = Outside::start();
    let agent = Tocsin::start(&[]);
    let (tmp, shared) = (Dropped::new("/tmp"), Dropped::new("/dev/shm"));
    outside.run(&tmp);
    outside.run(&shared);
    let name = format!("tocsin-{}", std::process::id());
    run_from_memory(&name);
    let deleted = run_deleted("/var/tmp");
    let expected = [
        (tmp.text(), TEMP, "Medium", "temp-folder-execution-medium"),
        (shared.text(), TEMP, "High", "temp-folder-execution-high"),
        (format!("memfd:{name}"), FILELESS, "High", "fileless-execution-high"),
        (deleted, TEMP, "High", "temp-folder-execution-high"),
    ];
    let alerts = agent.alerts_after_quiet();
    for (path, wanted, grade, name) in expected {
        let about: Vec<_> = alerts
            .iter()
            .filter(|alert| exe(alert).trim_start_matches('/') == path.trim_start_matches('/'))
            .collect();
        let found: Vec<_> = about
            .iter()
            .map(|alert| (title(alert), level(alert), rule(alert)))
            .collect();
        assert_eq!(found, [(wanted, grade, name)], "{path}: {about:#?}");
    }
}

#[test]
fn php_code_run_by_the_web_user_is_seen() {
    let Some(debian) = fixtures::require("debian") else {
        return;
    };
    if !fs::read_to_string("/etc/passwd")
        .unwrap()
        .lines()
        .any(|line| line.starts_with("www-data:x:33:"))
    {
        return fixtures::skip("this machine has no user www-data");
    }
    let root = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar")
        .arg("-xf")
        .arg(debian.join("image.tar"))
        .arg("-C")
        .arg(root.path())
        .status();
    assert!(unpacked.unwrap().success());
    let agent = Tocsin::start(&[]);
    let marker = format!("echo {};", std::process::id());
    let php = |arguments: &[&str]| {
        // As a web server has it: without a terminal.
        let mut command = Command::new("setsid");
        command
            .args(["--wait", "chroot", "--userspec=33:33"])
            .arg(root.path())
            .args(["php", "-n"])
            .args(arguments);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    php(&["-r", &marker]);
    let alert = agent.wait_for_alert("Suspicious PHP execution detected", |alert| {
        command_line(alert).contains(&marker)
    });
    assert_eq!((user(&alert), level(&alert)), ("www-data", "Medium"), "{alert:#}");
    assert!(exe(&alert).contains("/php"), "{alert:#}");
    // A script is what a site is made of.
    fs::write(root.path().join("page.php"), "<?php echo 1;").unwrap();
    php(&["/page.php"]);
    let about_script = |alert: &&Value| command_line(alert).contains("page.php");
    assert_eq!(agent.alerts_after_quiet().iter().filter(about_script).count(), 0);
}

#[test]
fn repeats_are_counted_and_told_when_their_window_ends() {
    let agent = Tocsin::start(&["--dedup", "2"]);
    let dropped = Dropped::new("/dev/shm");
    for _ in 0..10 {
        dropped.run(&[]);
    }
    let path = dropped.text();
    let update = agent.wait_for_alert(TEMP, |alert| exe(alert) == path && activity(alert) == "Update");
    assert_eq!(update["count"], 10, "{update:#}");
    let alerts = agent.alerts();
    let about: Vec<_> = alerts.iter().filter(|alert| exe(alert) == path).collect();
    assert_eq!(about.len(), 2, "{about:#?}");
    assert_eq!((activity(about[0]), &about[0]["count"]), ("Create", &json!(1)));
    assert_eq!(
        about[0].pointer("/finding_info/uid"),
        update.pointer("/finding_info/uid")
    );
    // The window has ended: the next one is news again.
    dropped.run(&[]);
    wait_for("second Create", PATIENCE, || {
        let created = |alert: &&Value| exe(alert) == path && activity(alert) == "Create";
        (agent.alerts().iter().filter(created).count() == 2).then_some(())
    });
}

#[test]
fn without_deduplication_each_is_told() {
    let agent = Tocsin::start(&["--dedup", "0"]);
    let dropped = Dropped::new("/dev/shm");
    for _ in 0..5 {
        dropped.run(&[]);
    }
    let alerts = agent.alerts_after_quiet();
    let about = alerts.iter().filter(|alert| exe(alert) == dropped.text());
    assert_eq!(about.map(activity).collect::<Vec<_>>(), ["Create"; 5]);
}

#[test]
fn what_is_below_the_lowest_level_stays_silent() {
    let outside = Outside::start();
    let agent = Tocsin::start(&["--min-level", "high"]);
    let (medium, high) = (Dropped::new("/tmp"), Dropped::new("/dev/shm"));
    outside.run(&medium);
    outside.run(&high);
    let alerts = agent.alerts_after_quiet();
    let about = |path: String| alerts.iter().filter(|alert| exe(alert) == path).count();
    assert_eq!((about(medium.text()), about(high.text())), (0, 1));
}

#[test]
fn alerts_come_in_falcos_form() {
    let state = tempfile::tempdir().unwrap();
    let run = ["run", "--config", "/dev/null", "--format", "falco", "--state-dir"];
    let outside = Outside::start();
    let agent = Tocsin::spawn(Tocsin::command().args(run).arg(state.path()), "watching");
    let dropped = Dropped::new("/dev/shm");
    outside.run(&dropped);
    let alert = agent.wait_for_event("alert", |alert| {
        let line = alert.pointer("/output_fields/proc.cmdline");
        line.and_then(Value::as_str)
            .is_some_and(|line| line.contains(&dropped.text()))
    });
    assert_eq!(
        (&alert["rule"], &alert["priority"]),
        (&json!(TEMP), &json!("Error")),
        "{alert:#}"
    );
    for name in ["output", "time", "source", "hostname"] {
        assert!(alert[name].is_string(), "{name}: {alert:#}");
    }
    assert!(alert["tags"].is_array(), "{alert:#}");
    let fields = &alert["output_fields"];
    assert_eq!(
        (&fields["proc.exepath"], &fields["user.uid"]),
        (&json!(dropped.text()), &json!(0)),
        "{alert:#}"
    );
}

#[test]
fn alerts_for_people_cannot_play_with_the_terminal() {
    let agent = ToFile::start(&["--format", "pretty"]);
    let dropped = Dropped::new("/dev/shm");
    dropped.run(&["\u{1b}[2J\u{1b}]0;owned\u{7}", "\u{202e}txt.exe", "two\nlines"]);
    let output = agent.output_with(&dropped.text());
    assert!(output.contains(TEMP), "{output}");
    for hidden in ['\u{1b}', '\u{7}', '\u{202e}'] {
        assert!(!output.contains(hidden), "{hidden:?} in {output:?}");
    }
    assert!(output.contains("owned") && output.contains("txt.exe"), "{output}");
    assert!(output.contains(r"two\nlines"), "{output}");
}

#[test]
fn long_arguments_are_kept_up_to_32_kib() {
    let agent = Tocsin::record(&[]);
    for (length, cut) in [(3 << 10, false), (20 << 10, false), (100 << 10, true)] {
        // Many words, which the kernel programs must join.
        let word = format!("{:0100}", std::process::id());
        let mut words = vec![format!("long-{length}")];
        words.extend(std::iter::repeat_n(word, length / 101));
        let mut command = Command::new("/bin/true");
        let status = command.args(&words).status();
        assert!(status.unwrap().success());
        let expected = format!("/bin/true {}", words.join(" "));
        let start = format!("/bin/true long-{length} ");
        let event = agent.wait_for_event(&start, |event| {
            event["CommandLine"]
                .as_str()
                .is_some_and(|line| line.starts_with(&start))
        });
        let line = event["CommandLine"].as_str().unwrap();
        assert_eq!(event["process.arguments_cut"], cut, "{length}");
        // The last of them is the kernel's own: it ends each argument with a zero.
        let kept = if cut { (32 << 10) - 1 } else { expected.len() };
        assert_eq!(line.len(), kept, "{length}");
        assert!(expected.starts_with(line), "{length}");
    }
}

#[test]
fn secrets_on_a_command_line_leave_no_trace() {
    let dropped = Dropped::new("/dev/shm");
    let arguments = [
        "--password=Tr0ub4dor",
        "--token",
        "Tr0ub4dor",
        "https://ada:Tr0ub4dor@host.invalid/?api_key=Tr0ub4dor",
        "Authorization: Bearer Tr0ub4dor",
        "AWS_SECRET_ACCESS_KEY=Tr0ub4dor",
        "harmless",
    ];
    for format in ["ocsf", "falco", "pretty"] {
        let agent = ToFile::start(&["--format", format]);
        dropped.run(&arguments);
        let output = agent.output_with(&dropped.text());
        assert!(output.contains("harmless"), "{output}");
        assert!(!output.contains("Tr0ub4dor"), "{output}");
    }
}

#[test]
fn a_recording_replays_to_the_same_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.jsonl");
    let live = Tocsin::start(&[]);
    let record = ["record", file.to_str().unwrap(), "--config", "/dev/null"];
    let recorder = Tocsin::spawn(Tocsin::command().args(record), "recording");
    let (tmp, shared) = (Dropped::new("/tmp"), Dropped::new("/dev/shm"));
    tmp.run(&["one"]);
    shared.run(&["two"]);
    let name = format!("tocsin-replay-{}", std::process::id());
    run_from_memory(&name);
    let ours = |alerts: &[Value]| {
        let is_ours = |alert: &&Value| {
            [&tmp.text(), &shared.text(), &name]
                .iter()
                .any(|part| exe(alert).contains(*part))
        };
        let of = |alert: &Value| {
            let parts = [
                title(alert),
                level(alert),
                rule(alert),
                exe(alert),
                command_line(alert),
                user(alert),
            ];
            (
                parts.map(str::to_owned),
                pid(alert),
                fact(alert, "process.exe_kind").clone(),
            )
        };
        alerts.iter().filter(is_ours).map(of).collect::<Vec<_>>()
    };
    let expected = ours(&live.alerts_after_quiet());
    assert_eq!(expected.len(), 3);
    assert!(recorder.stop().0.success());
    let Replay { status, alerts, said } = replay(&file, &["--fail-on", "high"]);
    assert_eq!(status.code(), Some(3), "{said}");
    assert_eq!(ours(&alerts), expected);
}

/// Nobody looks at the listeners of a recording; the question must end there.
#[test]
fn a_recorded_docker_listener_is_judged_without_a_look() {
    let event = json!({
        "time": 1, "category": "network_listen", "SourceIp": "0.0.0.0", "SourcePort": 2375, "ProcessId": 7,
        "Image": "/usr/bin/dockerd", "CommandLine": "dockerd -H tcp://0.0.0.0:2375",
    });
    let alerts = alerts_of(&[event], &[]);
    let raised: Vec<_> = alerts.iter().map(|alert| (title(alert), rule(alert))).collect();
    assert_eq!(raised, [("Exposed Docker daemon detected", "docker-api-unverified")]);
}

#[test]
fn a_scan_finds_what_stands() {
    let dropped = tempfile::tempdir_in("/dev/shm").unwrap();
    let program = dropped.path().join("sleep");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut standing = Command::new(&program).arg0("sleep").arg("60").spawn().unwrap();
    fs::remove_file(&program).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let rules = tempfile::tempdir().unwrap();
    let rule = format!(
        "title: A port of ours\nid: 8f0d6c52-4f7e-4c83-9a37-6c1f9e2b7d10\nlevel: high\n\
         logsource: {{product: linux, category: network_listen}}\n\
         detection: {{ours: {{SourcePort: {port}}}, condition: ours}}\n"
    );
    fs::write(rules.path().join("port.yml"), rule).unwrap();
    let scan = ["scan", "--config", "/dev/null", "--fail-on", "high", "--rules-dir"];
    let output = Tocsin::command().args(scan).arg(rules.path()).output().unwrap();
    standing.kill().unwrap();
    standing.wait().unwrap();
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    let alerts: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (wanted, process) in [(TEMP, standing.id()), ("A port of ours", std::process::id())] {
        let found: Vec<_> = alerts
            .iter()
            .filter(|alert| title(alert) == wanted && pid(alert) == Some(process.into()))
            .collect();
        assert_eq!(found.len(), 1, "{wanted}: {found:#?}");
        assert_eq!(fact(found[0], "event.startup"), true, "{:#}", found[0]);
    }
}
