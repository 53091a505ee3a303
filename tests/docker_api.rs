//! `Exposed Docker daemon detected`: every way to expose one, before the agent and after it, and what looks like one.
//!
//! One agent asks what it suspects, the other may not and goes by configuration.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    dockerd::{DEBIAN, Dockerd, PRIVATE, Setup},
    neighbour::{Neighbour, SOCKET},
    ocsf::{activity, brief, container_id, exe, fact, level, pid, port, title},
    podman::{Podman, Service},
    tls::Certificates,
    tocsin::{PATIENCE, Tocsin},
};

const TITLE: &str = "Exposed Docker daemon detected";

/// Ports, each of one thing.
mod at {
    pub(super) const WILDCARD: u16 = 4243;
    pub(super) const LOOPBACK: u16 = 23750;
    pub(super) const PRIVATE: u16 = 4244;
    pub(super) const FILE: u16 = 4343;
    pub(super) const TLS: u16 = 2376;
    pub(super) const INHERITED: u16 = 4444;
    pub(super) const PODMAN: u16 = 8888;
    pub(super) const NESTED: u16 = 4545;
    pub(super) const SIDECAR: u16 = 2374;
    pub(super) const SIDECAR_PUBLISHED: [u16; 2] = [9374, 9375];
    pub(super) const RELAY: u16 = 9001;
    pub(super) const CONNECTED: u16 = 9002;
    pub(super) const PER_REQUEST: u16 = 9003;
    pub(super) const NO_DAEMON: u16 = 9004;
    pub(super) const OTHER_CLIENT: u16 = 9005;
    pub(super) const WEB: u16 = 2375;
    pub(super) const SWARM: [u16; 2] = [2377, 7946];
}

/// Who an alert must be about.
enum Who {
    Process(u32),
    Container(String),
    /// In a network of its own, where no other listens at that port.
    Program(&'static str),
}

/// A listener, and the level of the one alert about it.
struct Case {
    what: &'static str,
    who: Who,
    port: u16,
    /// By the agent that asks; by the one that does not.
    levels: [Option<&'static str>; 2],
    /// It was seen as what it is when the agents started.
    at_startup: bool,
}

impl Case {
    fn is_meant(&self, alert: &Value) -> bool {
        let is_by = match &self.who {
            Who::Process(process) => pid(alert) == Some((*process).into()),
            Who::Container(id) => container_id(alert) == id,
            Who::Program(name) => {
                exe(alert).ends_with(name) && (fact(alert, "event.startup") == &json!(true)) == self.at_startup
            }
        };
        is_by && port(alert) == Some(self.port.into())
    }

    fn expected(&self, agent: usize) -> Vec<(&'static str, bool)> {
        let level = self.levels[agent];
        level.map(|level| (level, self.at_startup)).into_iter().collect()
    }
}

/// Everything once. Fields end in this order: neighbours before their daemon.
struct Round {
    neighbours: Vec<Neighbour>,
    plain: Dockerd,
    file: Dockerd,
    encrypted: Dockerd,
    mutual: Dockerd,
    inherited: Dockerd,
    _podman: Service,
}

impl Round {
    fn start(certificates: &Certificates, podman: &Podman) -> Option<Self> {
        let [plain, file, encrypted, mutual, inherited] = daemons(certificates)?;
        plain.docker_ok(&["swarm", "init", "--advertise-addr", "127.0.0.1"]);
        Some(Self {
            neighbours: neighbours(&plain),
            plain,
            file,
            encrypted,
            mutual,
            inherited,
            _podman: podman.serve(at::PODMAN),
        })
    }

    /// Has a container made through the proxy that connects for each request.
    fn use_proxy(&self) {
        let busybox = self.plain.import_busybox();
        let name = self
            .plain
            .create("asked-for", &["--network", "none"], &[busybox, "true"]);
        let address = format!("tcp://127.0.0.1:{}", at::PER_REQUEST);
        let mut start = self.plain.command_in_network("docker");
        let output = start.args(["--host", &address, "start", &name]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn cases(&self, at_startup: bool) -> Vec<Case> {
        let case = |what, who, port, levels| Case {
            what,
            who,
            port,
            levels,
            at_startup,
        };
        let daemon = |what, daemon: &Dockerd, port, level| {
            case(what, Who::Process(daemon.pid()), port, [Some(level), Some("Medium")])
        };
        let silent = |what, pid, port| case(what, Who::Process(pid), port, [None, None]);
        let [relay, connected, nginx, no_daemon, other_client] =
            [0, 1, 2, 3, 4].map(|index: usize| self.neighbours[index].pid());
        let forwarder = |what, pid, port, level| case(what, Who::Process(pid), port, [Some(level), None]);
        let mut cases = vec![
            daemon("argv, every address", &self.plain, at::WILDCARD, "Critical"),
            daemon("argv, loopback", &self.plain, at::LOOPBACK, "Medium"),
            daemon("argv, a private address", &self.plain, at::PRIVATE, "High"),
            daemon("daemon.json", &self.file, at::FILE, "Critical"),
            daemon("--tls alone", &self.encrypted, at::TLS, "Critical"),
            daemon("inherited", &self.inherited, at::INHERITED, "Critical"),
            silent("mutual TLS", self.mutual.pid(), at::TLS),
            case(
                "podman",
                Who::Program("/podman"),
                at::PODMAN,
                [Some("Critical"), Some("Medium")],
            ),
            forwarder("a renamed socat on the bridge", relay, at::RELAY, "High"),
            forwarder("a connected proxy", connected, at::CONNECTED, "Critical"),
            Case {
                at_startup: false,
                ..forwarder("nginx, once it is used", nginx, at::PER_REQUEST, "Medium")
            },
            silent("nginx at Docker's port", nginx, at::WEB),
            silent("nginx by the name of dockerd", no_daemon, at::NO_DAEMON),
            silent(
                "another client of Docker's that listens",
                other_client,
                at::OTHER_CLIENT,
            ),
        ];
        cases.extend(at::SWARM.map(|port| silent("swarm", self.plain.pid(), port)));
        cases
    }
}

/// Containers that serve it, of the daemon that the asking agent can ask about them.
struct Containers {
    nested: String,
    sidecar: String,
}

impl Containers {
    /// With other names, and another port of the node, for each `number`.
    fn start(outer: &Dockerd, number: u16) -> Self {
        Self {
            nested: nested(outer, &format!("nested-{number}")),
            sidecar: sidecar(
                outer,
                &format!("sidecar-{number}"),
                at::SIDECAR_PUBLISHED[usize::from(number)],
            ),
        }
    }

    fn cases(&self, at_startup: bool) -> [Case; 2] {
        let [nested, sidecar] = [&self.nested, &self.sidecar].map(|id| Who::Container(id.clone()));
        let case = |what, who, port, levels| Case {
            what,
            who,
            port,
            levels,
            at_startup,
        };
        [
            case("Docker-in-Docker", nested, at::NESTED, [Some("High"), Some("Medium")]),
            case(
                "a published proxy with the socket",
                sidecar,
                at::SIDECAR,
                [Some("Critical"), None],
            ),
        ]
    }
}

#[test]
fn an_exposed_daemon_is_found_however_it_is_exposed() {
    let (Some(podman), Some(maker)) = (Podman::of_root(), Dockerd::start()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(|| maker.command("openssl"), folder.path());
    drop(maker);
    let Some(before) = Round::start(&certificates, &podman) else {
        return;
    };
    before.plain.import_debian();
    let containers_before = Containers::start(&before.plain, 0);
    let asking = Tocsin::start(&["--docker-socket", &before.plain.socket()]);
    let not_asking = Tocsin::start(&["--docker-socket", "/nonexistent", "--no-probe"]);
    let after = Round::start(&certificates, &podman).unwrap();
    let containers_after = Containers::start(&before.plain, 1);
    before.use_proxy();
    after.use_proxy();

    let mut cases: Vec<Case> = [before.cases(true), after.cases(false)].into_iter().flatten().collect();
    cases.extend(containers_before.cases(true));
    cases.extend(containers_after.cases(false));
    for (index, agent) in [&asking, &not_asking].into_iter().enumerate() {
        let all_raised = || {
            let alerts = agent.alerts();
            let is_raised = |case: &Case| case.levels[index].is_none() || !raised(&alerts, case).is_empty();
            cases.iter().all(is_raised)
        };
        let deadline = Instant::now() + PATIENCE;
        while !all_raised() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
        }
        let alerts = agent.alerts_after_quiet();
        let found: Vec<_> = cases.iter().map(|case| (case.what, raised(&alerts, case))).collect();
        let expected = cases.iter().map(|case| (case.what, case.expected(index)));
        assert_eq!(found, expected.collect::<Vec<_>>(), "agent {index}");
        let ours = alerts.iter().filter(|alert| is_ours(alert, &cases));
        let others = ours.filter(|alert| !cases.iter().any(|case| case.is_meant(alert)));
        let others: Vec<_> = others.map(brief).collect();
        assert!(others.is_empty(), "agent {index}: {others:#?}");
    }
}

/// Of the alerts about that, the level, and whether it was there when the agent started.
fn raised<'a>(alerts: &'a [Value], case: &Case) -> Vec<(&'a str, bool)> {
    let about = alerts
        .iter()
        .filter(|alert| title(alert) == TITLE && activity(alert) == "Create" && case.is_meant(alert));
    about
        .map(|alert| (level(alert), fact(alert, "event.startup") == &json!(true)))
        .collect()
}

/// Whether an alert is about a port of this test, and not about something else of this machine.
fn is_ours(alert: &Value, cases: &[Case]) -> bool {
    let ports = cases.iter().map(|case| case.port).chain(at::SIDECAR_PUBLISHED);
    let is_our_port = ports.map(u64::from).any(|ours| port(alert) == Some(ours));
    title(alert) == TITLE && is_our_port
}

/// All of them, started at the same time.
fn daemons(certificates: &Certificates) -> Option<[Dockerd; 5]> {
    let host = |address: &str, port: u16| ["-H".to_owned(), format!("tcp://{address}:{port}")];
    let settings = |settings: Value| settings.as_object().cloned().unwrap_or_default();
    let plain = [
        host("0.0.0.0", at::WILDCARD),
        host("127.0.0.1", at::LOOPBACK),
        host(PRIVATE, at::PRIVATE),
    ];
    let mut encrypted = certificates.daemon_arguments();
    encrypted.retain(|argument| argument != "--tlsverify");
    encrypted.push("--tls".to_owned());
    encrypted.extend(host("0.0.0.0", at::TLS));
    let mutual = json!({
        "hosts": [format!("tcp://0.0.0.0:{}", at::TLS)],
        "tlsverify": true,
        "tlscacert": certificates.authority,
        "tlscert": certificates.server.0,
        "tlskey": certificates.server.1,
    });
    let arguments = |arguments: Vec<String>| Setup {
        arguments,
        ..Setup::default()
    };
    let settings = |value: Value| Setup {
        settings: settings(value),
        ..Setup::default()
    };
    let setups = [
        arguments(plain.concat()),
        settings(json!({"hosts": [format!("tcp://0.0.0.0:{}", at::FILE)]})),
        arguments(encrypted),
        settings(mutual),
        Setup {
            inherits: Some(at::INHERITED),
            ..Setup::default()
        },
    ];
    let started = thread::scope(|scope| {
        let starting = setups.map(|setup| scope.spawn(|| Dockerd::start_as(setup)));
        starting.map(|daemon| daemon.join().expect("a daemon starts"))
    });
    let started: Vec<Dockerd> = started.into_iter().flatten().collect();
    started.try_into().ok()
}

/// A daemon in a container of the daemon's, as Docker-in-Docker is without TLS.
fn nested(outer: &Dockerd, name: &str) -> String {
    let packages = crate::fixtures::require("docker").expect("asked before");
    let mount = format!("{}:/packages:ro", packages.display());
    let options = [
        "--privileged",
        "--volume",
        &mount,
        "--env",
        "PATH=/packages/programs:/usr/sbin:/usr/bin:/sbin:/bin",
        "--env",
        "LD_LIBRARY_PATH=/packages/usr/lib/x86_64-linux-gnu",
    ];
    let host = format!("tcp://0.0.0.0:{}", at::NESTED);
    let command = [
        DEBIAN,
        "/packages/programs/dockerd",
        "--host",
        &host,
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--storage-driver=vfs",
    ];
    let id = outer.run(name, &options, &command);
    outer.wait_for_listener(&id, at::NESTED);
    id
}

/// A container that was given the socket, and whose port the node forwards to a server that says nothing of it.
fn sidecar(outer: &Dockerd, name: &str, published: u16) -> String {
    let mount = format!("{}:/var/run/docker.sock", outer.socket());
    let port = format!("{published}:{}", at::SIDECAR);
    let options = ["--volume", &mount, "--publish", &port];
    let server = proxy("/var/run/docker.sock", &format!("0.0.0.0:{}", at::SIDECAR));
    let script = format!("printf %s '{server}' >/etc/server; exec nginx -c /etc/server -e stderr");
    let id = outer.run(name, &options, &[DEBIAN, "sh", "-c", &script]);
    outer.wait_for_listener(&id, at::SIDECAR);
    id
}

/// nginx before the socket, as its configuration has it.
fn proxy(socket: &str, listen: &str) -> String {
    nginx(&format!(
        "server {{ listen {listen}; location / {{ proxy_pass http://unix:{socket}:; }} }}"
    ))
}

fn nginx(servers: &str) -> String {
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path /run/nginx-{kind};"))
        .concat();
    format!(
        "user root; daemon off; pid /run/nginx.pid; error_log stderr; events {{}} \
         http {{ access_log off; {paths} {servers} }}"
    )
}

/// In the order of `Round::cases`.
fn neighbours(dockerd: &Dockerd) -> Vec<Neighbour> {
    let relay = format!(
        "cp /usr/bin/socat /run/relay; \
         exec /run/relay TCP-LISTEN:{},bind=172.17.0.1,fork,reuseaddr UNIX-CONNECT:{SOCKET}",
        at::RELAY
    );
    let web = |port: u16| format!("server {{ listen 127.0.0.1:{port}; location / {{ return 200 hello; }} }}");
    let per_request = format!("127.0.0.1:{}", at::PER_REQUEST);
    let nginx_and_web = proxy(SOCKET, &per_request).replace("http {", &format!("http {{ {}", web(at::WEB)));
    let named_dockerd = "cp /usr/sbin/nginx /run/dockerd; exec /run/dockerd -c /run/server -e stderr";
    let python = "exec python3 -IS /run/server";
    let start = |script: &str, file: &str, port: u16| Neighbour::start(dockerd, script, file, port);
    vec![
        start(&relay, "", at::RELAY),
        start(python, &program("0.0.0.0", at::CONNECTED, true), at::CONNECTED),
        start("exec nginx -c /run/server -e stderr", &nginx_and_web, at::PER_REQUEST),
        start(named_dockerd, &nginx(&web(at::NO_DAEMON)), at::NO_DAEMON),
        start(python, &program("0.0.0.0", at::OTHER_CLIENT, false), at::OTHER_CLIENT),
    ]
}

/// A program that listens, then connects to the socket, and hands on what it takes in or answers by itself.
fn program(address: &str, port: u16, forwards: bool) -> String {
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
         listener = socket.create_server(('{address}', {port}))\n\
         held = connect()\n\
         while True:\n    \
             client, _ = listener.accept()\n    \
             {serve}\n    \
             client.close()\n"
    )
}
