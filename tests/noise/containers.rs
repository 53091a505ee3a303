//! What a node's containers do: images are built, sets of containers come and go, somebody looks into one, an operator
//! asks the cluster's API.

use std::{path::PathBuf, process::Stdio};

use tempfile::TempDir;

use crate::dockerd::{BUSYBOX, DEBIAN, Dockerd, NODE};

/// The operator's image.
const OPERATOR: &str = "tocsin/operator:1";

/// The daemon with its images, and folders that images are built from.
pub(crate) struct Containers<'a> {
    dockerd: &'a Dockerd,
    folder: TempDir,
}

impl<'a> Containers<'a> {
    /// Imports the base images and starts what runs all day.
    pub(crate) fn prepare(dockerd: &'a Dockerd) -> Self {
        dockerd.import_busybox();
        dockerd.import_debian();
        dockerd.import_node();
        let containers = Self {
            dockerd,
            folder: tempfile::tempdir().unwrap(),
        };
        containers.build(OPERATOR, OPERATOR_IMAGE, &[("operator.py", OPERATOR_PROGRAM)]);
        // The cluster's API, as kube-proxy offers it on every node.
        let mut address = dockerd.command_in_network("ip");
        let status = address.args(["address", "add", "10.96.0.1/32", "dev", "lo"]).status();
        assert!(status.unwrap().success());
        let api = [BUSYBOX, "httpd", "-f", "-p", "10.96.0.1:443", "-h", "/etc"];
        let api = dockerd.run("api", &["--network", "host"], &api);
        dockerd.wait_for_listener(&api, 443);
        containers
    }

    /// Builds images, then starts so many containers of all kinds.
    pub(crate) fn work(&self, round: u32, starts: usize) {
        if round == 0 {
            let service = [
                "--env",
                "KUBERNETES_SERVICE_HOST=10.96.0.1",
                "--env",
                "KUBERNETES_SERVICE_PORT=443",
            ];
            self.dockerd.run("operator", &service, &[OPERATOR]);
        }
        self.build(
            "tocsin/app",
            APP_IMAGE,
            &[("app.sh", APP), ("configure", CONFIGURE), ("setup.py", SETUP)],
        );
        let mut started = 0;
        let kinds = [Self::job, Self::tool, Self::service, Self::set, Self::app];
        for (number, kind) in kinds.iter().cycle().enumerate() {
            if started >= starts {
                break;
            }
            started += kind(self, &format!("r{round}-{number}"));
        }
    }

    /// A job that is over at once.
    fn job(&self, name: &str) -> usize {
        let command = [
            "run",
            "--rm",
            "--name",
            name,
            BUSYBOX,
            "sh",
            "-c",
            "ls -l /etc; id; date",
        ];
        self.dockerd.docker_ok(&command);
        1
    }

    /// One that packs things up, as another user, without a network, with no root to write to.
    fn tool(&self, name: &str) -> usize {
        let options = "run --rm --init --user 33 --read-only --tmpfs /tmp --network none --cap-drop ALL --name";
        let options: Vec<_> = options.split_whitespace().collect();
        let command = [
            "bash",
            "-c",
            "tar -cf /tmp/backup.tar /etc/nginx; curl --version; php -v",
        ];
        self.dockerd
            .docker_ok(&[&options[..], &[name, DEBIAN], &command].concat());
        1
    }

    /// A server with a health check, which somebody looks into, copies a file to, and restarts.
    fn service(&self, name: &str) -> usize {
        let check = "wget -q -O - http://127.0.0.1:8080/passwd || exit 1";
        let options = ["--health-cmd", check, "--health-interval", "1s", "--memory", "64m"];
        self.dockerd
            .run(name, &options, &[BUSYBOX, "httpd", "-f", "-p", "8080", "-h", "/etc"]);
        self.dockerd.docker_ok(&[
            "exec",
            name,
            "sh",
            "-c",
            "ps; netstat -tln; cat /etc/passwd; wget -q -O - http://127.0.0.1:8080/group",
        ]);
        self.dockerd.docker_ok(&["exec", "--tty", name, "ls", "-l", "/"]);
        let page = self.folder.path().join("page");
        std::fs::write(&page, "hello").unwrap();
        self.dockerd
            .docker_ok(&["cp", &page.to_string_lossy(), &format!("{name}:/tmp/page")]);
        self.dockerd.docker_ok(&["restart", "--time", "0", name]);
        self.dockerd.docker_ok(&["logs", name]);
        self.dockerd.docker_ok(&["rm", "--force", name]);
        2
    }

    /// A few that belong together, as Compose starts them: network, volume, web server, application, job.
    fn set(&self, name: &str) -> usize {
        self.dockerd.docker_ok(&["network", "create", name]);
        let label = format!("com.docker.compose.project={name}");
        let volume = format!("{name}:/data");
        let options = ["--network", name, "--label", &label, "--volume", &volume];
        let part = |part: &str| format!("{name}-{part}");
        self.dockerd.run(
            &part("web"),
            &[&options[..], &["--network-alias", "web"]].concat(),
            &[
                DEBIAN,
                "bash",
                "-c",
                "mkdir -p /run /var/log/nginx /var/lib/nginx; exec nginx -g 'daemon off;'",
            ],
        );
        self.dockerd
            .run(&part("app"), &options, &[NODE, "python3", "-m", "http.server", "8000"]);
        self.dockerd.run_to_end(
            &part("job"),
            &options,
            &[
                DEBIAN,
                "bash",
                "-c",
                "for n in 1 2 3; do curl -s http://web/ >/data/page && break; sleep 0.2; done",
            ],
        );
        for part in ["web", "app", "job"].map(part) {
            self.dockerd.docker_ok(&["rm", "--force", "--volumes", &part]);
        }
        self.dockerd.docker_ok(&["network", "rm", name]);
        self.dockerd.docker_ok(&["volume", "rm", name]);
        3
    }

    /// What was built, whose entry point prepares things and gives up its rights.
    fn app(&self, name: &str) -> usize {
        self.dockerd
            .docker_ok(&["run", "--rm", "--name", name, "--network", "none", "tocsin/app"]);
        1
    }

    fn build(&self, image: &str, dockerfile: &str, files: &[(&str, &str)]) {
        let folder: PathBuf = self.folder.path().join(image.replace(['/', ':'], "-"));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in files.iter().chain([&("Dockerfile", dockerfile)]) {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let mut build = self.dockerd.command("docker");
        build.args(["build", "--no-cache", "--tag", image]).arg(&folder);
        let output = build.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

const OPERATOR_IMAGE: &str = r#"
FROM tocsin/node:1
COPY operator.py /usr/local/bin/operator
RUN chmod 755 /usr/local/bin/operator
ENTRYPOINT ["/usr/local/bin/operator"]
"#;

/// It asks what has changed, again and again.
const OPERATOR_PROGRAM: &str = r#"#!/usr/bin/python3
import http.client
import os
import time

while True:
    connection = http.client.HTTPConnection(os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"])
    connection.request("GET", "/passwd")
    connection.getresponse().read()
    connection.close()
    time.sleep(1)
"#;

/// What is usual in images: packages, a program compiled from source, some Python, a user, an entry point.
const APP_IMAGE: &str = r#"
FROM tocsin/node:1
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get -qq -y --reinstall install /var/cache/apt/archives/logrotate*.deb /var/cache/apt/archives/ucf*.deb \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /tmp/tiny-1.0
COPY configure .
RUN chmod +x configure && ./configure --prefix=/usr/local && make && make install && rm -rf /tmp/tiny-1.0
RUN cd /tmp && printf 'int main(void) { return 0; }\n' >try.c && cc -o try try.c && ./try && rm try try.c
WORKDIR /srv/app
COPY setup.py .
RUN python3 -m pip --no-cache-dir --quiet install --no-index --no-build-isolation --break-system-packages .
RUN groupadd --system app && useradd --system --gid app --home /srv/app app && chown -R app:app /srv/app
COPY app.sh /usr/local/bin/app
RUN chmod 755 /usr/local/bin/app && tiny
ENTRYPOINT ["/usr/local/bin/app"]
"#;

const CONFIGURE: &str = r"#!/bin/sh
printf 'int main(void) { return 0; }\n' >conftest.c
cc -o conftest conftest.c && ./conftest && rm conftest conftest.c
cp /dev/null tiny.c
printf 'int main(void) { return 0; }\n' >tiny.c
printf 'all: tiny check\ntiny: tiny.c\n\tcc -o $@ $^\ncheck: tiny\n\t./tiny\ninstall: all\n\tinstall -D -m 755 tiny /usr/local/bin/tiny\n' >Makefile
";

const SETUP: &str = r#"
from setuptools import setup

setup(name="tiny", version="1.0", py_modules=[])
"#;

const APP: &str = r"#!/bin/bash
set -e
mkdir -p /srv/app/cache
chown app /srv/app/cache
echo started >/srv/app/cache/log
exec setpriv --reuid app --regid app --clear-groups tiny
";
