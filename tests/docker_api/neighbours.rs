//! What stands before a daemon's socket, and what only looks like it.

use super::{Case, Who, at};
use crate::{
    dockerd::Dockerd,
    neighbour::{Neighbour, SOCKET},
};

/// What listens beside a daemon. It ends before the daemon does.
pub(super) struct Neighbours {
    relay: Neighbour,
    connected: Neighbour,
    nginx: Neighbour,
    named_dockerd: Neighbour,
    other_client: Neighbour,
    pub(super) daemon: Dockerd,
}

impl Neighbours {
    pub(super) fn start() -> Option<Self> {
        let daemon = Dockerd::start()?;
        let relay = format!(
            "cp /usr/bin/socat /run/relay; \
             exec /run/relay TCP-LISTEN:{},bind=172.17.0.1,fork,reuseaddr UNIX-CONNECT:{SOCKET}",
            at::RELAY
        );
        let web = |port: u16| format!("server {{ listen 127.0.0.1:{port}; location / {{ return 200 hello; }} }}");
        let per_request = server(SOCKET, &format!("127.0.0.1:{}", at::PER_REQUEST));
        let named_dockerd = "cp /usr/sbin/nginx /run/dockerd; exec /run/dockerd -c /run/server -e stderr";
        let python = "exec python3 -IS /run/server";
        let start = |script: &str, file: &str, port: u16| Neighbour::start(&daemon, script, file, port);
        Some(Self {
            relay: start(&relay, "", at::RELAY),
            connected: start(python, &program(at::CONNECTED, true), at::CONNECTED),
            nginx: start(
                "exec nginx -c /run/server -e stderr",
                &nginx(&[web(at::WEB), per_request].concat()),
                at::PER_REQUEST,
            ),
            named_dockerd: start(named_dockerd, &nginx(&web(at::NO_DAEMON)), at::NO_DAEMON),
            other_client: start(python, &program(at::OTHER_CLIENT, false), at::OTHER_CLIENT),
            daemon,
        })
    }

    /// Has a container made through the proxy that connects for each request.
    pub(super) fn use_proxy(&self) {
        let options = ["--network", "none"];
        let name = self
            .daemon
            .create("asked-for", &options, &[self.daemon.import_busybox(), "true"]);
        let address = format!("tcp://127.0.0.1:{}", at::PER_REQUEST);
        let mut start = self.daemon.command_in_network("docker");
        let output = start.args(["--host", &address, "start", &name]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    pub(super) fn cases(&self, at_startup: bool) -> Vec<Case> {
        let case = |what, neighbour: &Neighbour, port, level| Case {
            what,
            who: Who::Process(neighbour.pid()),
            port,
            levels: [level, None],
            at_startup,
        };
        vec![
            case("a renamed socat on the bridge", &self.relay, at::RELAY, Some("High")),
            case("a connected proxy", &self.connected, at::CONNECTED, Some("Critical")),
            Case {
                at_startup: false,
                ..case("nginx, once it is used", &self.nginx, at::PER_REQUEST, Some("Medium"))
            },
            case("nginx at Docker's port", &self.nginx, at::WEB, None),
            case("nginx by the name of dockerd", &self.named_dockerd, at::NO_DAEMON, None),
            case(
                "another client that listens",
                &self.other_client,
                at::OTHER_CLIENT,
                None,
            ),
        ]
    }
}

/// A server of nginx before the socket.
fn server(socket: &str, listen: &str) -> String {
    format!("server {{ listen {listen}; location / {{ proxy_pass http://unix:{socket}:; }} }}")
}

/// nginx's configuration.
fn nginx(servers: &str) -> String {
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path /run/nginx-{kind};"))
        .concat();
    format!(
        "user root; daemon off; pid /run/nginx.pid; error_log stderr; events {{}} \
         http {{ access_log off; {paths} {servers} }}"
    )
}

/// A program that listens, then connects to the socket, and hands on what it takes in or answers by itself.
fn program(port: u16, forwards: bool) -> String {
    let serve = if forwards {
        "behind = connect(); behind.sendall(client.recv(4096)); client.sendall(behind.recv(4096))"
    } else {
        "client.recv(4096); client.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\nhello')"
    };
    format!(
        "import socket\n\
         def connect():\n    \
             client = socket.socket(socket.AF_UNIX)\n    \
             client.connect('{SOCKET}')\n    \
             return client\n\
         listener = socket.create_server(('0.0.0.0', {port}))\n\
         held = connect()\n\
         while True:\n    \
             client, _ = listener.accept()\n    \
             {serve}\n    \
             client.close()\n"
    )
}
