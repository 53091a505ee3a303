//! README.md and docs/install.md: the commands for a container do as they stand there what the pages say.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    deadline::wait_for,
    dockerd::{DEBIAN, Dockerd},
    ocsf::{exe, title},
    tocsin::PATIENCE,
};

/// How long an agent in a container may take until it watches.
const START: Duration = Duration::from_secs(60);

#[test]
fn the_container_starts_and_rings_as_the_pages_say() {
    let Some(dockerd) = Dockerd::start() else { return };
    dockerd.import_debian();
    let (readme, install) = (read("README.md"), read("docs/install.md"));
    let [with_all, with_few] = blocks(&install, "## Container")[..] else {
        panic!("one way with every right, and one with few")
    };
    let of_readme = blocks(&readme, "## Install it")[1];
    assert_eq!(commands(of_readme), commands(with_all), "both pages say the same");
    let provoke = blocks(&readme, "## Try it")[1];
    assert!(install.contains(provoke), "both pages say the same");

    let folder = release();
    for block in [with_all, with_few] {
        let script: String = commands(block)
            .into_iter()
            .filter(|command| !command.contains("--follow"))
            .collect();
        let output = dockerd
            .command("sh")
            .args(["-euc", &script])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}{output:?}");
        wait_for("the agent in its container", START, || {
            logs(&dockerd).contains(" watching ").then_some(())
        });
        let status = Command::new("sh").args(["-c", provoke]).status().unwrap();
        assert!(status.success());
        wait_for("the alert in the container's log", PATIENCE, || {
            alerts(&dockerd).iter().any(is_provoked).then_some(())
        });
        dockerd.docker_ok(&["rm", "--force", "tocsin"]);
    }
}

fn is_provoked(alert: &Value) -> bool {
    title(alert) == "Process execution from temporary folder" && exe(alert) == "/dev/shm/hello"
}

/// What a clone has after `cargo xtask package`, as far as the commands concern it. The program of the tests needs a C
/// library, so the image has one below it.
fn release() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    fs::create_dir_all(at("packaging/container")).unwrap();
    fs::create_dir_all(at("target/package")).unwrap();
    let dockerfile = read("packaging/container/Dockerfile");
    assert!(dockerfile.contains("\nFROM scratch\n"), "{dockerfile}");
    let dockerfile = dockerfile.replace("\nFROM scratch\n", &format!("\nFROM {DEBIAN}\n"));
    fs::write(at("packaging/container/Dockerfile"), dockerfile).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_tocsin"), at("target/package/tocsin-x86_64")).unwrap();
    folder
}

fn logs(dockerd: &Dockerd) -> String {
    let output = dockerd.docker(&["logs", "tocsin"]);
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn alerts(dockerd: &Dockerd) -> Vec<Value> {
    let output = dockerd.docker(&["logs", "tocsin"]);
    let lines = String::from_utf8_lossy(&output.stdout);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The commands of a block, each a line or several, without what is said of them.
fn commands(block: &str) -> Vec<String> {
    let lines = block.lines().map(|line| line.split("  #").next().unwrap().trim_end());
    let mut commands = vec![String::new()];
    for line in lines {
        let last = commands.last_mut().unwrap();
        last.push_str(line);
        last.push('\n');
        if !line.ends_with('\\') {
            commands.push(String::new());
        }
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// The blocks of commands below that heading.
fn blocks<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let (_, section) = page.split_once(&format!("\n{heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

fn read(path: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
