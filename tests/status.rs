//! What a running agent tells of itself, and to whom.

use std::{
    fs,
    io::{Read as _, Write},
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        net::UnixStream,
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::{
    deadline::wait_for,
    ocsf::exe,
    programs::run_deleted,
    tocsin::{PATIENCE, Tocsin},
};

/// The user and group `nobody`.
const NOBODY: u32 = 65534;

const TITLE: &str = "Process execution from temporary folder";

#[test]
fn status_tells_how_the_agent_fares() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, socket) = start(folder.path(), "");
    let deleted = run_deleted("/dev/shm");
    agent.wait_for_alert(TITLE, |alert| exe(alert) == deleted);
    let status = json(&socket);
    assert_eq!(status["pid"], agent.pid());
    let sensors = status["sensors"].as_array().unwrap();
    assert!(
        sensors
            .iter()
            .any(|sensor| sensor["name"] == "exec" && sensor["off"].is_null()),
        "{status:#}"
    );
    assert_eq!(status["stream"]["runtimes"]["docker"], false);
    assert_eq!(status["stream"]["rules"]["refused"], Value::Null);
    for counter in [
        "/stream/events",
        "/stream/alerts",
        "/stream/processes",
        "/stream/rules/in_force",
    ] {
        assert!(
            status.pointer(counter).unwrap().as_u64().unwrap() > 0,
            "{counter}: {status:#}"
        );
    }
    wait_for("a delivered alert", PATIENCE, || {
        (json(&socket)["sinks"][0]["delivered"].as_u64()? > 0).then_some(())
    });

    let text = String::from_utf8(ask(&socket, &[]).stdout).unwrap();
    for expected in ["ok    exec", "off   docker", "0 lost", "ok    rules", "ok    stdout"] {
        assert!(text.contains(expected), "no `{expected}` in\n{text}");
    }

    // What is refused is seen as long as it is refused.
    let file = folder.path().join("tocsin.toml");
    let former = fs::read_to_string(&file).unwrap();
    fs::write(&file, "min-lvl = 'low'\n").unwrap();
    let refused = || {
        json(&socket)["stream"]["configuration_refused"]
            .as_str()
            .map(str::to_owned)
    };
    let reason = wait_for("a refused configuration", PATIENCE, refused);
    assert!(reason.ends_with("did you mean min-level?"), "{reason}");
    fs::write(&file, former + "min-level = 'medium'\n").unwrap();
    wait_for("a mended configuration", PATIENCE, || refused().is_none().then_some(()));

    let (ended, _) = agent.stop();
    assert!(ended.success() && !socket.exists());
    let output = ask(&socket, &[]);
    let expected = format!(
        "tocsin: no agent answers at {}: No such file or directory (os error 2)\n",
        socket.display()
    );
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stderr).unwrap()),
        (Some(1), expected)
    );
}

#[test]
fn only_root_can_ask_and_nobody_can_hold_the_agent_up() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, socket) = start(folder.path(), "");
    let mode = fs::metadata(&socket).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600, "{mode:o}");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = |expected: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tocsin"));
        command
            .args(["status", "--config", "/dev/null", "--socket"])
            .arg(&socket);
        let output = command.uid(NOBODY).gid(NOBODY).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(expected) && error.lines().count() == 1, "{error}");
    };
    refused("Permission denied");
    // Were the socket his, his credentials would still say who he is.
    chown(&socket, Some(NOBODY), Some(NOBODY)).unwrap();
    refused("no agent answers");

    let mut slow: Vec<_> = (0..7).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for (index, stream) in slow.iter_mut().enumerate() {
        let said: &[u8] = if index % 2 == 0 {
            b"GET /sta"
        } else {
            b"\0\xff\r\n\r\nnonsense"
        };
        stream.write_all(said).unwrap();
    }
    assert_eq!(json(&socket)["pid"], agent.pid());
    let deleted = run_deleted("/dev/shm");
    agent.wait_for_alert(TITLE, |alert| exe(alert) == deleted);
    // Those who never finish are hung up on.
    for mut stream in slow {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _answer_or_reset = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(json(&socket)["pid"], agent.pid());
}

#[test]
fn metrics_are_told_to_root_and_over_tcp_to_whoever_has_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let metrics = folder.path().join("metrics.sock");
    let text = format!("[metrics]\nlisten = '{address}'\ntoken-file = '{}'\n", token.display());
    let (_agent, _) = start(folder.path(), &text);
    let told = request(UnixStream::connect(&metrics).unwrap(), "GET /metrics", "");
    assert!(told.starts_with("HTTP/1.0 200 OK\r\n"), "{told}");
    for expected in [
        "\ntocsin_sensor_up{sensor=\"exec\"} 1\n",
        "\n# TYPE tocsin_events_total counter\n",
    ] {
        assert!(told.contains(expected), "{told}");
    }
    let over_tcp = |ask: &str, header: &str| request(TcpStream::connect(address).unwrap(), ask, header);
    for (ask, header, expected) in [
        ("GET /metrics", "Authorization: Bearer s3cret\r\n", "200 OK"),
        ("GET /metrics", "Authorization: Bearer s3creT\r\n", "401 Unauthorized"),
        ("GET /metrics", "Authorization: Bearer \r\n", "401 Unauthorized"),
        ("GET /metrics", "", "401 Unauthorized"),
        ("GET /status", "Authorization: Bearer s3cret\r\n", "404 Not Found"),
        (
            "POST /metrics",
            "Authorization: Bearer s3cret\r\n",
            "405 Method Not Allowed",
        ),
    ] {
        let told = over_tcp(ask, header);
        assert!(
            told.starts_with(&format!("HTTP/1.0 {expected}\r\n")),
            "{ask} {header}: {told}"
        );
    }
}

#[test]
fn metrics_over_tcp_need_a_token_that_others_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("tocsin.toml"), folder.path().join("token"));
    let check = || {
        let output = Tocsin::command().args(["config", "check"]).arg(&file).output().unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    fs::write(&file, "[metrics]\nlisten = '127.0.0.1:9645'\n").unwrap();
    let expected = format!(
        "{}:2: metrics.listen: over TCP a token is needed: set metrics.token-file",
        file.display()
    );
    assert_eq!(check(), expected);
    fs::write(&token, "s3cret").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, format!("[metrics]\ntoken-file = '{}'\n", token.display())).unwrap();
    let expected = format!(
        "{}:2: metrics.token-file: secret {}: others may read it: chmod o= it",
        file.display(),
        token.display()
    );
    assert_eq!(check(), expected);
}

/// The outputs that `tocsin status` names.
pub(crate) fn sinks(socket: &Path) -> Vec<String> {
    let status = json(socket);
    let sinks = status["sinks"].as_array().unwrap();
    sinks
        .iter()
        .map(|sink| sink["name"].as_str().unwrap().to_owned())
        .collect()
}

/// What `tocsin status` says is wrong with an output.
pub(crate) fn trouble(socket: &Path, output: &str) -> String {
    let status = json(socket);
    let mut sinks = status["sinks"].as_array().unwrap().iter();
    let sink = sinks.find(|sink| sink["name"] == output).unwrap();
    sink["trouble"].as_str().unwrap_or_default().to_owned()
}

/// An agent with that configuration, and its control socket.
fn start(folder: &Path, configuration: &str) -> (Tocsin, std::path::PathBuf) {
    let file = folder.join("tocsin.toml");
    fs::write(&file, configuration).unwrap();
    let agent = Tocsin::start_in(folder, &file, &["--docker-socket", "/nonexistent"]);
    (agent, folder.join("control.sock"))
}

fn ask(socket: &Path, arguments: &[&str]) -> Output {
    let mut command = Tocsin::command();
    command
        .args(["status", "--config", "/dev/null", "--socket"])
        .arg(socket);
    command.args(arguments).output().unwrap()
}

fn json(socket: &Path) -> Value {
    let output = ask(socket, &["--format", "json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asks over HTTP, and gives all that comes back.
pub(crate) fn request(mut stream: impl Write + std::io::Read, ask: &str, header: &str) -> String {
    stream
        .write_all(format!("{ask} HTTP/1.0\r\n{header}\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
