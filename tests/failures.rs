//! What goes wrong for users: one clear line each, the right exit code, and never a panic.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{deadline::wait_for, tocsin::Tocsin};

/// The user and group `nobody`.
const NOBODY: u32 = 65534;

#[test]
fn without_root_each_command_says_what_it_lacks() {
    let folder = public_folder();
    let as_nobody = |arguments: &[&str]| {
        let mut command = binary(&copy_of_tocsin(&folder), arguments);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        command
    };
    check(as_nobody(&["run"]), 1, "root is needed");
    check(as_nobody(&["record", "-"]), 1, "root is needed");
    check(as_nobody(&["doctor"]), 1, "root is needed");
    // What can be seen is reported.
    check(as_nobody(&["scan"]), 0, "not root");
    let output = as_nobody(&["rules", "check", "/dev/null"]).output().unwrap();
    assert!(output.status.success());
}

#[test]
fn without_btf_nothing_starts_and_the_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    for arguments in [&["run"][..], &["record", "-"], &["doctor"]] {
        let mut command = Command::new("unshare");
        let hide = r#"mount --bind "$0" /sys/kernel/btf/vmlinux && exec "$@""#;
        command.args(["--mount", "--propagation", "private", "sh", "-c", hide]);
        command.arg(&empty).arg(env!("CARGO_BIN_EXE_tocsin")).args(arguments);
        check(quiet(command), 1, "/sys/kernel/btf/vmlinux is no BTF");
    }
}

#[test]
fn a_broken_rule_is_named_and_the_others_work() {
    let folder = tempfile::tempdir().unwrap();
    let rule = folder.path().join("broken.yml");
    fs::write(&rule, "title: Broken\nlogsource: {product: linux}\n").unwrap();
    let rules = folder.path().to_str().unwrap();
    let expected = format!("{}:1: missing required field 'detection'", rule.display());
    check(tocsin(&["rules", "list", "--rules-dir", rules]), 1, &expected);
    let event = folder.path().join("event.jsonl");
    fs::write(&event, DROPPED).unwrap();
    let replay = [
        "replay",
        "--source",
        "events",
        "--rules-dir",
        rules,
        event.to_str().unwrap(),
    ];
    let output = tocsin(&replay).output().unwrap();
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    assert!(stderr(&output).contains("1 events, 1 alerts"), "{}", stderr(&output));
}

#[test]
fn a_broken_configuration_is_named_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tocsin.toml");
    for (text, expected) in [
        (
            "\nmin-lvl = 'high'\n",
            "tocsin.toml:2: min-lvl: there is no such setting; did you mean min-level?",
        ),
        ("[docker\n", "tocsin.toml:1: unclosed table"),
        (
            "ring-size = '3MiB'\n",
            "tocsin.toml:1: ring-size: 3MiB is no power of two",
        ),
        (
            "secrets = ['(']\n",
            "tocsin.toml:1: secrets: number 1 is no regular expression",
        ),
        ("state = ''\n", "tocsin.toml:1: state: a folder is needed"),
    ] {
        fs::write(&file, text).unwrap();
        for command in ["run", "scan"] {
            check(tocsin(&[command, "--config", file.to_str().unwrap()]), 1, expected);
        }
    }
    check(
        tocsin(&["run", "--config", "/nonexistent.toml"]),
        1,
        "/nonexistent.toml",
    );
    check(tocsin(&["scan", "--rules-dir", "/nonexistent"]), 1, "/nonexistent");
}

#[test]
fn an_output_that_cannot_be_is_named_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tocsin.toml");
    fs::write(&file, "\n[output.webhook]\nurl = 'logs'\n").unwrap();
    for command in ["run", "selftest"] {
        check(
            tocsin(&[command, "--config", file.to_str().unwrap()]),
            1,
            "tocsin.toml:3: output.webhook.url: not http:// or https:// with a host",
        );
    }
}

#[test]
fn a_level_of_the_log_that_is_none_is_said_and_silences_nothing() {
    let mut command = tocsin(&["scan", "--docker-socket", "/nonexistent/docker.sock"]);
    let output = command.env("TOCSIN_LOG", "inof").output().unwrap();
    let errors = stderr(&output);
    assert!(
        errors.contains("TOCSIN_LOG is inof, which is none of error,"),
        "{errors}"
    );
    assert!(errors.contains("container runtime cannot be asked"), "{errors}");
}

#[test]
fn output_that_cannot_be_written_fails() {
    let folder = tempfile::tempdir().unwrap();
    let event = folder.path().join("event.jsonl");
    fs::write(&event, DROPPED).unwrap();
    let event = event.to_str().unwrap();
    for arguments in [
        &["doctor"][..],
        &["record", "-"],
        &["rules", "list"],
        &["explain", "temp-folder-execution-high", event],
    ] {
        let mut command = tocsin(arguments);
        command.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap());
        check(command, 1, "No space left on device");
    }
    // Alerts are tried again for some seconds: a full disk may be emptied.
    let mut replay = tocsin(&["replay", "--source", "events", event]);
    replay.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let output = replay.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).ends_with("tocsin: alerts could not be delivered: stdout 1\n"),
        "{}",
        stderr(&output)
    );
    check(
        tocsin(&["record", "/nonexistent/file"]),
        1,
        "cannot write /nonexistent/file",
    );
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_command_in_peace() {
    for arguments in [&["doctor"][..], &["rules", "list"], &["rules", "fields"]] {
        let mut command = tocsin(arguments);
        command.stdout(closed_pipe());
        let output = command
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!(
            (output.status.code(), stderr(&output).as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn an_agent_whose_reader_has_gone_ends() {
    let state = tempfile::tempdir().unwrap();
    let mut command = tocsin(&["run", "--state-dir", &state.path().to_string_lossy()]);
    let mut agent = command.stdout(closed_pipe()).stderr(Stdio::piped()).spawn().unwrap();
    // Whenever the agent is ready, the next of these is an alert that it cannot write.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let program = folder.path().join("true");
    fs::copy("/bin/true", &program).unwrap();
    let status = wait_for("end of the agent", Duration::from_secs(20), || {
        Command::new(&program).status().unwrap();
        agent.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(1));
    let errors = stderr(&agent.wait_with_output().unwrap());
    assert!(
        errors.ends_with("tocsin: nobody takes the alerts any more\n"),
        "{errors}"
    );
}

#[test]
fn without_docker_the_socket_is_named_and_the_rest_works() {
    let mut scan = tocsin(&["scan", "--docker-socket", "/nonexistent/docker.sock"]);
    let output = scan.env_remove("TOCSIN_LOG").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let errors = stderr(&output);
    let about: Vec<_> = errors.lines().filter(|line| line.contains("/nonexistent")).collect();
    assert_eq!(about.len(), 1, "{errors}");
    assert!(about[0].contains("container runtime cannot be asked"), "{errors}");
}

#[test]
fn wrong_usage_is_told_from_failure() {
    for (arguments, expected) in [
        (&["run", "--loud"][..], "unexpected argument '--loud'"),
        (
            &["run", "--ring-size", "5000"],
            "5000 is no power of two from 4KiB to 256MiB",
        ),
        (&["run", "--min-level", "loud"], "loud is no level"),
        (&["run", "--format", "xml"], "xml is no format"),
        (&["replay", "--source", "events"], "<FILE>"),
        (&["replay", "--source", "smoke-signals", "-"], "smoke-signals"),
        (&["dance"], "unrecognized subcommand 'dance'"),
    ] {
        let output = tocsin(arguments).output().unwrap();
        let errors = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        let head: String = errors.lines().take(2).collect();
        assert!(head.contains(expected), "{arguments:?}: {errors}");
    }
}

#[test]
fn garbage_is_counted_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let check = |what: &str, garbage: &[u8], refused: usize| {
        let file = folder.path().join(what);
        let mut text = garbage.to_vec();
        text.push(b'\n');
        text.extend_from_slice(DROPPED.as_bytes());
        fs::write(&file, text).unwrap();
        let output = tocsin(&["replay", "--source", "events", file.to_str().unwrap()])
            .output()
            .unwrap();
        let errors = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{what}: {errors}");
        let summary = format!(" events, 1 alerts, {refused} lines refused\n");
        assert!(errors.ends_with(&summary), "{what}: {errors}");
        assert!(errors.len() < 10_000, "{what}: {} bytes of complaints", errors.len());
    };
    let noise = noise(100_000);
    let lines = noise.split(|byte| *byte == b'\n');
    let full = lines.filter(|line| !line.trim_ascii().is_empty()).count();
    check("noise", &noise, full);
    check("long-line", &vec![b'x'; 10 << 20], 1);
    check("truncated", br#"{"time":1,"category":"process_cre"#, 1);
    check("nul", &[0; 4096], 1);
    check("deep", &vec![b'['; 500_000], 1);
    check(
        "wrong",
        b"[]\n7\nnull\n{}\n{\"time\":1e400,\"category\":\"health\"}\n{\"time\":1,\"category\":\"nap\"}",
        6,
    );
    check(
        "wrong-types",
        br#"{"time":1,"category":"process_creation","Image":{"a":[1]},"ProcessId":-7}"#,
        0,
    );
}

#[test]
fn a_killed_agent_leaves_no_kernel_programs() {
    let agent = Tocsin::start(&[]);
    let pid = agent.pid();
    let ours = programs_of(pid);
    assert!(!ours.is_empty(), "the agent holds programs");
    drop(agent);
    wait_for("end of the kernel programs", Duration::from_secs(10), || {
        let left = loaded_programs()?;
        ours.iter().all(|id| !left.contains(id)).then_some(())
    });
}

/// An event that deserves an alert.
const DROPPED: &str = r#"{"time":1,"category":"process_creation","Image":"/dev/shm/x","CommandLine":"/dev/shm/x"}
"#;

/// Runs it to its end: exactly one line on standard error, which holds `expected`, and this exit code.
fn check(mut command: Command, code: i32, expected: &str) {
    let output = command
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let errors = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {errors}");
    assert_eq!(errors.lines().count(), 1, "{command:?}: {errors}");
    assert!(errors.contains(expected), "{command:?}: {errors}");
}

fn tocsin(arguments: &[&str]) -> Command {
    binary(Path::new(env!("CARGO_BIN_EXE_tocsin")), arguments)
}

fn binary(path: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments);
    quiet(command)
}

/// Without the log of what is normal, and without input.
fn quiet(mut command: Command) -> Command {
    command.env("TOCSIN_LOG", "warn").env_remove("RUST_BACKTRACE");
    command
        .env("TOCSIN_CONTROL_SOCKET", "")
        .env("TOCSIN_METRICS_SOCKET", "");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The write end of a pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A folder that everybody can read.
fn public_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// The binary where others may run it: the build's folder may be in somebody's home.
fn copy_of_tocsin(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("tocsin");
    if !path.exists() {
        fs::copy(env!("CARGO_BIN_EXE_tocsin"), &path).unwrap();
    }
    path
}

/// Bytes without a pattern, the same at every run (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.write_all(&state.to_le_bytes()).unwrap();
    }
    bytes
}

/// Ids of the kernel programs that a process holds.
fn programs_of(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let texts = entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let id = |text: String| {
        text.lines()
            .find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    };
    texts.filter_map(id).collect()
}

/// Ids of every kernel program that is loaded; `None` while they cannot be listed.
fn loaded_programs() -> Option<Vec<u32>> {
    aya::programs::loaded_programs()
        .map(|program| Some(program.ok()?.id()))
        .collect()
}
