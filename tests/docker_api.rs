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

/// A daemon that is told by each means whom to serve, and podman.
struct Daemons {
    plain: Dockerd,
    file: Dockerd,
    encrypted: Dockerd,
    mutual: Dockerd,
    inherited: Dockerd,
    _podman: Service,
}

impl Daemons {
    fn start(certificates: &Certificates, podman: &Podman) -> Option<Self> {
        let [plain, file, encrypted, mutual, inherited] = daemons(certificates)?;
        plain.docker_ok(&["swarm", "init", "--advertise-addr", "127.0.0.1"]);
        Some(Self {
            plain,
            file,
            encrypted,
            mutual,
            inherited,
            _podman: podman.serve(at::PODMAN),
        })
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
            case(
                what,
                Who::Process(daemon.pid()),
                port,
                [level, level.and(Some("Medium"))],
            )
        };
        let podman = Who::Program("/podman");
        vec![
            daemon("argv, every address", &self.plain, at::WILDCARD, Some("Critical")),
            daemon("argv, loopback", &self.plain, at::LOOPBACK, Some("Medium")),
            daemon("argv, a private address", &self.plain, at::PRIVATE, Some("High")),
            daemon("daemon.json", &self.file, at::FILE, Some("Critical")),
            daemon("--tls alone", &self.encrypted, at::TLS, Some("Critical")),
            daemon("inherited", &self.inherited, at::INHERITED, Some("Critical")),
            case("podman", podman, at::PODMAN, [Some("Critical"), Some("Medium")]),
            daemon("mutual TLS", &self.mutual, at::TLS, None),
            daemon("swarm's manager", &self.plain, at::SWARM[0], None),
            daemon("swarm's gossip", &self.plain, at::SWARM[1], None),
        ]
    }
}

/// What listens beside a daemon. It ends before the daemon does.
struct Neighbours {
    relay: Neighbour,
    connected: Neighbour,
    nginx: Neighbour,
    named_dockerd: Neighbour,
    other_client: Neighbour,
    daemon: Dockerd,
}

impl Neighbours {
    fn start() -> Option<Self> {
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
    fn use_proxy(&self) {
        let options = ["--network", "none"];
        let name = self
            .daemon
            .create("asked-for", &options, &[self.daemon.import_busybox(), "true"]);
        let address = format!("tcp://127.0.0.1:{}", at::PER_REQUEST);
        let mut start = self.daemon.command_in_network("docker");
        let output = start.args(["--host", &address, "start", &name]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn cases(&self, at_startup: bool) -> Vec<Case> {
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

    fn cases(&self, at_startup: bool) -> Vec<Case> {
        let [nested, sidecar] = [&self.nested, &self.sidecar].map(|id| Who::Container(id.clone()));
        let case = |what, who, port, levels| Case {
            what,
            who,
            port,
            levels,
            at_startup,
        };
        vec![
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
fn a_daemon_is_found_however_it_is_told_whom_to_serve() {
    let (Some(podman), Some(maker)) = (Podman::of_root(), Dockerd::start()) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(|| maker.command("openssl"), folder.path());
    let Some(before) = Daemons::start(&certificates, &podman) else {
        return;
    };
    let agents = Agents::start(&maker);
    let after = Daemons::start(&certificates, &podman).unwrap();
    agents.check(&[before.cases(true), after.cases(false)]);
}

#[test]
fn what_forwards_to_a_daemons_socket_is_found_under_any_name() {
    let Some(before) = Neighbours::start() else { return };
    let agents = Agents::start(&before.daemon);
    let after = Neighbours::start().unwrap();
    before.use_proxy();
    after.use_proxy();
    agents.check(&[before.cases(true), after.cases(false)]);
}

#[test]
fn a_container_that_serves_the_api_is_found() {
    let Some(dockerd) = Dockerd::start() else { return };
    dockerd.import_debian();
    let before = Containers::start(&dockerd, 0);
    let agents = Agents::start(&dockerd);
    let after = Containers::start(&dockerd, 1);
    agents.check(&[before.cases(true), after.cases(false)]);
}

/// One that asks what it suspects, and knows the daemon's containers; one that may not ask, and knows none.
struct Agents([Tocsin; 2]);

impl Agents {
    fn start(dockerd: &Dockerd) -> Self {
        Self([
            Tocsin::start(&["--docker-socket", &dockerd.socket()]),
            Tocsin::start(&["--docker-socket", "/nonexistent", "--no-probe"]),
        ])
    }

    /// Checks that each raises exactly the alerts that it should, each once.
    fn check(&self, cases: &[Vec<Case>]) {
        let cases: Vec<&Case> = cases.iter().flatten().collect();
        for (index, agent) in self.0.iter().enumerate() {
            let all_raised = || {
                let alerts = agent.alerts();
                let is_raised = |case: &&Case| case.levels[index].is_none() || !raised(&alerts, case).is_empty();
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
fn is_ours(alert: &Value, cases: &[&Case]) -> bool {
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
    let server = nginx(&server("/var/run/docker.sock", &format!("0.0.0.0:{}", at::SIDECAR)));
    let script = format!("printf %s '{server}' >/etc/server; exec nginx -c /etc/server -e stderr");
    let id = outer.run(name, &options, &[DEBIAN, "sh", "-c", &script]);
    outer.wait_for_listener(&id, at::SIDECAR);
    id
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
