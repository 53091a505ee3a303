//! `Exposed Docker daemon detected`: every way to expose one, before the agent and after it, and what looks like one.
//!
//! One agent asks what it suspects, the other may not and goes by configuration.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    dockerd::{Dockerd, PRIVATE, Setup},
    fixtures,
    neighbour::{Neighbour, SOCKET},
    ocsf::{activity, brief, container_id, exe, fact, level, pid, port, title},
    podman::{Podman, Service},
    tls::Certificates,
    tocsin::{PATIENCE, Tocsin},
};

const TITLE: &str = "Exposed Docker daemon detected";

/// Without this word, Docker waits for fifteen seconds before it serves everybody.
const PLAIN: &str = "--tls=false";

/// Ports, each of one thing.
mod at {
    pub(super) const WILDCARD: u16 = 4243;
    pub(super) const LOOPBACK: u16 = 23750;
    pub(super) const PRIVATE: u16 = 4244;
    pub(super) const FILE: u16 = 4343;
    pub(super) const TLS: u16 = 2376;
    pub(super) const UNVERIFIED: u16 = 23760;
    pub(super) const INHERITED: u16 = 4444;
    pub(super) const PODMAN: u16 = 8888;
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
    mutual: Dockerd,
    unverified: Dockerd,
    inherited: Dockerd,
    _podman: Service,
}

impl Daemons {
    fn start(certificates: &Certificates, podman: &Podman) -> Option<Self> {
        let [plain, file, mutual, unverified, inherited] = daemons(certificates)?;
        plain.docker_ok(&["swarm", "init", "--advertise-addr", "127.0.0.1"]);
        Some(Self {
            plain,
            file,
            mutual,
            unverified,
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
            daemon("inherited", &self.inherited, at::INHERITED, Some("Critical")),
            case("podman", podman, at::PODMAN, [Some("Critical"), Some("Medium")]),
            daemon("mutual TLS", &self.mutual, at::TLS, None),
            daemon("TLS for everybody", &self.unverified, at::UNVERIFIED, Some("Critical")),
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
fn a_daemon_in_a_container_is_as_exposed_as_its_port() {
    let (Some(fixture), Some(dockerd)) = (fixtures::require("docker"), Dockerd::start()) else {
        return;
    };
    let image = dockerd.import_debian();
    let agent = Tocsin::start(&["--docker-socket", &dockerd.socket()]);
    let programs = format!("{}:/docker:ro", fixture.display());
    let inner = format!(
        "export PATH=/docker/programs:$PATH LD_LIBRARY_PATH=/docker/usr/lib/x86_64-linux-gnu
         exec dockerd {PLAIN} --host tcp://0.0.0.0:{} --storage-driver vfs --bridge none --iptables=false --ip6tables=false",
        at::WEB
    );
    let start = |name: &str, options: &[&str]| {
        let options = [&["--privileged", "--volume", &programs], options].concat();
        let id = dockerd.run(name, &options, &[image, "sh", "-c", &inner]);
        dockerd.wait_for_listener(&id, at::WEB);
        id
    };
    let published = format!("{0}:{0}", at::WEB);
    let cases = [
        (start("published", &["--publish", &published]), "Critical"),
        (start("beside-others", &[]), "High"),
    ];
    for (id, expected) in &cases {
        let alert = agent.wait_for_alert(TITLE, |alert| container_id(alert) == id);
        assert_eq!(
            (level(&alert), port(&alert)),
            (*expected, Some(at::WEB.into())),
            "{}",
            brief(&alert)
        );
    }
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
    let is_our_port = cases.iter().any(|case| port(alert) == Some(case.port.into()));
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
    let mutual = json!({
        "hosts": [format!("tcp://0.0.0.0:{}", at::TLS)],
        "tlsverify": true,
        "tlscacert": certificates.authority,
        "tlscert": certificates.server.0,
        "tlskey": certificates.server.1,
    });
    // Since 20.10 `--tls` alone means `--tlsverify`, too.
    let mut unverified = certificates.daemon_arguments();
    "--tlsverify=false".clone_into(&mut unverified[0]);
    let arguments = |arguments: Vec<String>| Setup {
        arguments,
        ..Setup::default()
    };
    let settings = |value: Value| Setup {
        settings: settings(value),
        ..Setup::default()
    };
    let setups = [
        arguments([plain.concat(), vec![PLAIN.to_owned()]].concat()),
        settings(json!({"hosts": [format!("tcp://0.0.0.0:{}", at::FILE)], "tls": false})),
        settings(mutual),
        arguments([host("0.0.0.0", at::UNVERIFIED).to_vec(), unverified].concat()),
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
