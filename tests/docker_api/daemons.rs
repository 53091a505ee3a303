//! Daemons that are told whom to serve, each by another means.

use std::thread;

use serde_json::{Value, json};

use super::{Case, PLAIN, Who, at};
use crate::{
    dockerd::{Dockerd, PRIVATE, Setup},
    podman::{Podman, Service},
    tls::Certificates,
};

/// A daemon that is told by each means whom to serve, and podman.
pub(super) struct Daemons {
    plain: Dockerd,
    file: Dockerd,
    mutual: Dockerd,
    unverified: Dockerd,
    inherited: Dockerd,
    _podman: Service,
}

impl Daemons {
    pub(super) fn start(certificates: &Certificates, podman: &Podman) -> Option<Self> {
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

    pub(super) fn cases(&self, at_startup: bool) -> Vec<Case> {
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
