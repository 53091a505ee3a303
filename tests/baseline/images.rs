//! Images of operators, and what is brought into one of them.

use std::{fs, process::Command};

use tempfile::TempDir;

use super::OPERATORS;
use crate::{dockerd::Dockerd, fixtures};

/// The operators' images: the files of one container under many names, so that each has a digest of its own.
pub(super) struct Images<'a> {
    dockerd: &'a Dockerd,
    container: String,
}

impl<'a> Images<'a> {
    pub(super) fn build(dockerd: &'a Dockerd) -> Self {
        let debian = dockerd.import_debian();
        let copy =
            |(_, program, of, _): &(&str, &str, &str, &str)| format!("[ {of} -ef {program} ] || cp {of} {program}");
        let copies: Vec<_> = OPERATORS.iter().map(copy).collect();
        let script = format!(
            "set -e; mkdir -p /opt /usr/local/bin; {}; echo 'Authorization: Bearer eyJhbGciOi' >/header",
            copies.join("; ")
        );
        let container = dockerd.create("build", &["--network", "none"], &[debian, "bash", "-c", &script]);
        let busybox = fixtures::require("busybox").unwrap().join("bin/busybox");
        let own = own_client();
        for (file, target) in [
            (busybox, "build:/busybox"),
            (own.path().join("client"), "build:/client"),
        ] {
            dockerd.docker_ok(&["cp", "--follow-link", &file.to_string_lossy(), target]);
        }
        dockerd.docker_ok(&["start", "--attach", &container]);
        let images = Self { dockerd, container };
        for (name, ..) in OPERATORS {
            images.commit(name, "1");
        }
        images
    }

    /// The same name for something else.
    pub(super) fn rebuild(&self, name: &str) -> String {
        self.commit(name, "2");
        image(name)
    }

    fn commit(&self, name: &str, build: &str) {
        let label = format!("LABEL operator={name} build={build}");
        self.dockerd
            .docker_ok(&["commit", "--change", &label, &self.container, &image(name)]);
    }
}

pub(super) fn image(name: &str) -> String {
    format!("tocsin/{name}:1")
}

/// A static program that connects to the API, and nothing else.
fn own_client() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = "#include <arpa/inet.h>\nint main(void) {\n\
        struct sockaddr_in api = {.sin_family = AF_INET, .sin_port = htons(443)};\n\
        inet_pton(AF_INET, \"10.96.0.1\", &api.sin_addr);\n\
        return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&api, sizeof api);\n}\n";
    fs::write(folder.path().join("client.c"), source).unwrap();
    let mut compiler = Command::new("cc");
    compiler
        .args(["-static", "-o", "client", "client.c"])
        .current_dir(&folder);
    assert!(compiler.status().unwrap().success());
    folder
}
