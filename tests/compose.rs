//! The real docker-compose, against a daemon of the tests.

use std::{path::Path, process::Command};

use crate::dockerd::Dockerd;

/// Starts the services of a file and gives their containers' ids, in the order of `names`. `fixture` is compose's own.
pub(crate) fn up<const N: usize>(fixture: &Path, dockerd: &Dockerd, file: &str, names: [&str; N]) -> [String; N] {
    let folder = tempfile::tempdir().expect("a folder for the project");
    let file_path = folder.path().join("docker-compose.yml");
    std::fs::write(&file_path, file).expect("the project's file is written");
    let mut compose = python(fixture, dockerd);
    compose.args(["-c", "from compose.cli.main import main; main()"]);
    compose
        .arg("--file")
        .arg(&file_path)
        .args(["--project-name", "shop", "up", "--detach"]);
    let output = compose.output().expect("compose starts");
    assert!(output.status.success(), "{output:?}");
    names.map(|name| {
        let service = format!("label=com.docker.compose.service={name}");
        dockerd.docker_ok(&["ps", "--quiet", "--no-trunc", "--filter", &service])
    })
}

/// The Python that compose was packed for, with its modules.
fn python(fixture: &Path, dockerd: &Dockerd) -> Command {
    let usr = fixture.join("usr");
    let mut python = dockerd.command(&usr.join("bin/python3").to_string_lossy());
    python
        .env("LD_LIBRARY_PATH", usr.join("lib/x86_64-linux-gnu"))
        .env("PYTHONPATH", usr.join("lib/python3/dist-packages"))
        .env("PYTHONHOME", usr);
    python
}
