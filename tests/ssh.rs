//! `SSH server is running inside a container`: whoever serves SSH under any name, how open the door is, and none who
//! merely bears the name, connects to servers, or runs on the node.

use std::process::{Child, Stdio};

use serde_json::json;

use crate::{
    dockerd::Dockerd,
    fixtures,
    ocsf::{activity, brief, container_id, fact, level, port, title},
    watch::{Subject, Watch},
    web_host::WebHost,
};

const TITLE: &str = "SSH server is running inside a container";
/// The image's configuration lets root in by a password.
const SSHD: &str = "exec /usr/sbin/sshd -D -e";
const KEYS_ALONE: &str = "exec /usr/sbin/sshd -D -o PasswordAuthentication=no -oPermitRootLogin=prohibit-password";
const ALONE: &[&str] = &["--network", "none"];
/// Writes a program in Python that greets as SSH servers do, on the port that it is given.
const GREETS: &str = "printf '%s\\n' 'import socket, sys' 'server = socket.create_server((\"\", int(sys.argv[1])))' \
                      'while True: server.accept()[0].sendall(b\"SSH-2.0-AsyncSSH_2.10.1\\r\\n\")'";

/// A container with a server of which both agents must tell.
struct Server<'a> {
    name: &'a str,
    options: &'a [&'a str],
    /// Run by a shell.
    script: &'a str,
    port: u16,
    level: &'a str,
}

const fn server<'a>(name: &'a str, script: &'a str, port: u16, level: &'a str) -> Server<'a> {
    Server {
        name,
        options: ALONE,
        script,
        port,
        level,
    }
}

impl Server<'_> {
    fn start(&self, dockerd: &Dockerd, image: &str) -> String {
        dockerd.run(self.name, self.options, &[image, "sh", "-c", self.script])
    }
}

#[test]
fn an_ssh_server_in_a_container_is_told_from_its_clients() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let keys_in_a_file = format!("{KEYS_ALONE} -p 2022");
    let copied = "cp /usr/sbin/sshd /usr/bin/worker && exec /usr/bin/worker -D -p 9000";
    let before = [
        server("before", SSHD, 22, "High"),
        server("before-keys", &keys_in_a_file, 2022, "Medium"),
        server("before-copied", copied, 9000, "High"),
    ];
    let standing = before.each_ref().map(|server| server.start(&dockerd, image));
    for (id, server) in standing.iter().zip(&before) {
        dockerd.wait_for_listener(id, server.port);
    }

    let watch = Watch::start(&dockerd);
    let included = "cd /etc/ssh && mkdir -p sshd_config.d && echo Include sshd_config.d/*.conf >sshd_config && \
                    echo PasswordAuthentication no >sshd_config.d/keys.conf && exec /usr/sbin/sshd -D -p 2022";
    // It leads where the agent must not follow: to the node's root, by which any file could be meant.
    let led_astray = "ln -sf /proc/1/root/etc/ssh/own /etc/ssh/sshd_config && echo >/etc/ssh/own && \
                      exec /usr/sbin/sshd -D -p 2022";
    let published = format!("{KEYS_ALONE} -p 2200");
    let interpreted = format!("{GREETS} >/usr/bin/sftp-server.py && exec python3 /usr/bin/sftp-server.py 9000");
    let tinysshd = "tinysshd-makekey /keys && socat TCP-LISTEN:2022 EXEC:'tinysshd /keys',nofork & \
                    until echo >/dev/tcp/127.0.0.1/2022; do :; done 2>/dev/null; sleep 1000";
    let tinysshd = format!("exec bash -c \"{tinysshd}\"");
    let after = [
        server("after", SSHD, 22, "High"),
        server("included", included, 2022, "Medium"),
        server("led-astray", led_astray, 2022, "Medium"),
        server("copied", copied, 9000, "High"),
        server("dropbear", "exec dropbear -F -E -R -p 2222", 2222, "High"),
        server(
            "dropbear-copied",
            "cp /usr/sbin/dropbear /usr/bin/logger && exec /usr/bin/logger -sFE -R -p 9000",
            9000,
            "Medium",
        ),
        server("interpreted", &interpreted, 9000, "Medium"),
        Server {
            options: &["-p", "2022:2200"],
            ..server("published", &published, 2200, "High")
        },
    ];
    let started = after.each_ref().map(|server| server.start(&dockerd, image));
    let inetd = server("inetd", &tinysshd, 0, "Medium").start(&dockerd, image);
    let (before, after) = (standing.iter().zip(&before), started.iter().zip(&after));
    for (id, server) in before.chain(after) {
        let subject = Subject {
            id,
            name: server.name,
            image,
        };
        watch.check(TITLE, &subject, |alert| {
            port(alert) == Some(server.port.into()) && level(alert) == server.level
        });
    }
    let subject = Subject {
        id: &inetd,
        name: "inetd",
        image,
    };
    watch.check(TITLE, &subject, |alert| {
        level(alert) == "Medium" && fact(alert, "process.stdin") == &json!("internet-socket")
    });

    let twins: [(&str, &str); 5] = [
        ("test-only", "/usr/sbin/sshd -t"),
        ("client", "ssh -o BatchMode=yes -p 2222 127.0.0.1"),
        (
            "tools",
            "ssh-keygen -q -N '' -f /root/key; /usr/lib/openssh/sftp-server -h",
        ),
        (
            "another-server",
            "exec bash -c 'exec -a sshd timeout 1 nc -l -p 22 127.0.0.1'",
        ),
        (
            "script",
            "printf '#!/bin/sh\\nexec timeout 1 nc -l -p 22 127.0.0.1' >/usr/bin/sshd; chmod +x /usr/bin/sshd; /usr/bin/sshd",
        ),
    ];
    let silent = twins.map(|(name, script)| dockerd.run_to_end(name, ALONE, &[image, "sh", "-c", script]));
    let nginx = "mkdir -p /var/log/nginx /var/lib/nginx && echo 'events {} http { server { listen 80; } }' >/etc/web && \
                 exec nginx -c /etc/web -g 'daemon off;'";
    let nginx = dockerd.run("nginx", &["-p", "22:80"], &[image, "sh", "-c", nginx]);
    dockerd.wait_for_listener(&nginx, 80);
    let application = "import socket, time; s = socket.create_server(('', 2222)); time.sleep(1000)";
    let application = dockerd.run("application", ALONE, &[image, "python3", "-c", application]);
    dockerd.wait_for_listener(&application, 2222);
    let raised: Vec<_> = standing.iter().chain(&started).chain([&inetd]).collect();
    check_raised(
        &watch,
        &raised,
        &silent.iter().chain([&nginx, &application]).collect::<Vec<_>>(),
    );
}

/// Checks that each agent has raised one alert about each of the one kind, and none about the others and the node.
fn check_raised(watch: &Watch, raised: &[&String], silent: &[&String]) {
    for agent in [&watch.told, &watch.untold] {
        let mut alerts = agent.alerts_after_quiet();
        alerts.retain(|alert| title(alert) == TITLE && activity(alert) == "Create");
        let about = |id: &str| {
            alerts
                .iter()
                .filter(|alert| container_id(alert) == id)
                .map(brief)
                .collect::<Vec<_>>()
        };
        for id in raised {
            assert_eq!(about(id).len(), 1, "{id}: {:#?}", about(id));
        }
        for id in silent.iter().map(|id| id.as_str()).chain([""]) {
            assert_eq!(about(id), [""; 0], "{id}");
        }
    }
}

#[test]
fn a_go_server_is_known_by_its_content_and_the_nodes_own_sshd_is_no_containers() {
    let (Some(rclone), Some(node)) = (fixtures::require("rclone"), WebHost::start()) else {
        return;
    };
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let bound = format!("{}:/usr/bin/rclone:ro", rclone.join("usr/bin/rclone").display());
    let debugging = dockerd.run(
        "debugging",
        &["--pid", "host", "--network", "host"],
        &[image, "sleep", "1000"],
    );
    let before = NodeServer::start(&dockerd, &node, 2022);
    let watch = Watch::start(&dockerd);
    let after = NodeServer::start(&dockerd, &node, 2023);
    let serve = |name: &str, command: &str| {
        let options = ["--network", "none", "--volume", &bound];
        dockerd.run(name, &options, &[image, "sh", "-c", command])
    };
    let sftp = serve(
        "sftp",
        "exec rclone serve sftp /home --addr 0.0.0.0:8022 --user a --pass b",
    );
    let added = serve(
        "added",
        "cp /usr/bin/rclone /usr/lib/rclone; exec /usr/lib/rclone serve http /home --addr 0.0.0.0:80",
    );
    let http = serve("http", "exec rclone serve http /home --addr 0.0.0.0:2222");
    for (id, name) in [(&sftp, "sftp"), (&added, "added")] {
        let subject = Subject { id, name, image };
        watch.check(TITLE, &subject, |alert| {
            level(alert) == "Medium" && fact(alert, "process.content") == &json!(["crypto/ssh.NewServerConn"])
        });
    }
    dockerd.wait_for_listener(&http, 2222);
    check_raised(&watch, &[&sftp, &added], &[&debugging, &http]);
    drop((before, after));
}

/// The node's own sshd, in the network that a container on the node's network sees; ends when dropped.
struct NodeServer(Child);

impl NodeServer {
    fn start(dockerd: &Dockerd, node: &WebHost, port: u16) -> Self {
        node.run("mkdir -p /run/sshd && ssh-keygen -A && : >/etc/ssh/sshd_config");
        let mut command = dockerd.command_in_network("nsenter");
        command.args(["--target", &node.pid().to_string(), "--mount", "--root", "--wd=/"]);
        command.args(["/usr/sbin/sshd", "-D", "-p", &port.to_string()]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        Self(child)
    }
}

impl Drop for NodeServer {
    fn drop(&mut self) {
        // It runs in no one's care: whether it still does is no matter.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
