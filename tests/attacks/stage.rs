//! Where the actions are done: a dockerd, a machine that serves pages, a container that does, and the agents that watch.

use std::{collections::BTreeMap, path::Path, thread};

use serde_json::Value;
use tempfile::TempDir;

use super::{Action, By, DOCKER, actions};
use crate::{
    dockerd::{BUSYBOX, Dockerd, Setup, WEB},
    fixtures,
    ocsf::{container_id, title},
    tls::Certificates,
    tocsin::Tocsin,
    web_host::WebHost,
};

/// WEB with kubectl in it.
const KUBECTL: &str = "tocsin/kubectl:1";
/// Where images have digests: a registry in the network of the stage's daemon.
const REGISTRY: &str = "127.0.0.1:5000";
/// The container whose page is a web shell.
const VICTIM: &str = "victim";
/// A host key of the kind that is made in no time, and the folder without which sshd refuses to start.
const PREPARE_SSHD: &str = "ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key; mkdir -p /run/sshd";
const PAGE: &str = "<?php echo shell_exec($_GET['cmd']);";

/// All of it.
pub(super) struct Stage {
    dockerd: Dockerd,
    host: WebHost,
    certificates: Certificates,
    _folder: TempDir,
    /// Every container's id, by its name.
    containers: BTreeMap<String, String>,
    /// Daemons by the action that started them.
    daemons: Vec<(&'static str, Dockerd)>,
    /// Raises each alert anew.
    pub(super) every: Tocsin,
    /// Raises the first of a subject, as it is installed.
    pub(super) counted: Tocsin,
}

impl Stage {
    /// Sets it, with what stands before the agents; nothing if a fixture is missing.
    pub(super) fn set() -> Option<Self> {
        let (kubectl, registry) = (fixtures::require("kubectl")?, fixtures::require("registry")?);
        let (host, dockerd) = (WebHost::start()?, Dockerd::start()?);
        host.run("mkdir -p /mnt && mkdir -m 777 /opt/tools && echo root:x:1:::::: >/etc/shadow");
        host.write("/srv/www/ws.php", PAGE);
        host.start_php_fpm("/usr/sbin/php-fpm8.2", "/run/php.sock");
        host.start_nginx("/run/php.sock");
        dockerd.import_busybox();
        dockerd.import_web();
        add_kubectl(&dockerd, &kubectl);
        start_victim(&dockerd);
        start_registry(&dockerd, &registry);
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(|| dockerd.command("openssl"), folder.path());
        for action in actions() {
            if let By::DockerBefore(script) = action.by {
                with_docker(&dockerd, action, script);
            }
        }
        let socket = dockerd.socket();
        Some(Self {
            every: Tocsin::start(&["--docker-socket", &socket, "--dedup", "0"]),
            counted: Tocsin::start(&["--docker-socket", &socket]),
            dockerd,
            host,
            certificates,
            _folder: folder,
            containers: BTreeMap::new(),
            daemons: Vec::new(),
        })
    }

    /// Does all of it, what Docker's client does beside the rest.
    pub(super) fn perform(&mut self) {
        let mut daemons = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                for action in actions() {
                    if let By::Docker(script) = action.by {
                        with_docker(&self.dockerd, action, script);
                    }
                }
            });
            for action in actions() {
                daemons.extend(self.act(action).map(|daemon| (action.name, daemon)));
            }
        });
        self.daemons = daemons;
        let containers = ["ps", "--all", "--no-trunc", "--format", "{{.Names}} {{.ID}}"];
        let containers = self.dockerd.docker_ok(&containers);
        let containers = containers.lines().filter_map(|line| line.split_once(' '));
        self.containers = containers.map(|(name, id)| (name.to_owned(), id.to_owned())).collect();
    }

    /// Does it; gives the daemon that it starts.
    fn act(&self, action: &Action) -> Option<Dockerd> {
        let mark = mark(action);
        match action.by {
            By::Docker(_) | By::DockerBefore(_) => {}
            By::Host(script) => drop(self.host.run(&format!("{mark}\n{script}"))),
            By::Page(command) => {
                let parameters = [("cmd", &*format!("{mark} {command}"))];
                self.host.get("http://127.0.0.1/ws.php", &parameters);
            }
            By::Victim(command) => self.ask_victim(&mark, command),
            By::VictimEncoded(script) => {
                let encode = ["exec", VICTIM, "sh", "-c", r#"printf %s "$0" | base64 -w0"#, script];
                let encoded = self.dockerd.docker_ok(&encode);
                self.ask_victim(&mark, &format!("echo {encoded}| base64 -d| bash"));
            }
            By::Daemon(arguments) => return start_daemon(told(arguments.iter().copied())),
            By::ConfiguredDaemon(settings) => {
                let settings = serde_json::from_str(settings).expect("settings are JSON");
                return start_daemon(Setup {
                    settings,
                    ..Setup::default()
                });
            }
            By::VerifyingDaemon(arguments) => {
                let verifying = self.certificates.daemon_arguments();
                let verifying = verifying.iter().map(String::as_str);
                return start_daemon(told(verifying.chain(arguments.iter().copied())));
            }
        }
        None
    }

    /// Whether the alert is about that action: its container, or what its shell has done.
    pub(super) fn concerns(&self, action: &Action, alert: &Value) -> bool {
        let mark = mark(action);
        let daemon = self.daemons.iter().find(|(name, _)| *name == action.name);
        let by_daemon = |process: &Value| {
            title(alert) == DOCKER && daemon.is_some_and(|(_, daemon)| process["pid"] == daemon.pid())
        };
        let container = self.containers.get(action.name);
        container.is_some_and(|id| container_id(alert) == id)
            || lineage(alert).any(|process| {
                by_daemon(process) || process["cmd_line"].as_str().is_some_and(|line| line.contains(&mark))
            })
    }

    /// Alerts about the stage's containers and their daemon that no action has to do with.
    pub(super) fn unexplained<'a>(&self, alerts: &'a [Value]) -> impl Iterator<Item = &'a Value> {
        let daemon = self.dockerd.pid();
        alerts.iter().filter(move |alert| {
            let ours = self.containers.values().any(|id| container_id(alert) == id);
            let by_daemon = title(alert) == DOCKER && lineage(alert).any(|process| process["pid"] == daemon);
            (ours || by_daemon) && !actions().any(|action| self.concerns(action, alert))
        })
    }

    fn ask_victim(&self, mark: &str, command: &str) {
        let parameter = format!("cmd={mark} {command}");
        let curl = [
            "curl",
            "-sSfG",
            "--data-urlencode",
            &parameter,
            "http://127.0.0.1/ws.php",
        ];
        self.dockerd.docker_ok(&[&["exec", VICTIM], &curl[..]].concat());
    }
}

/// What stands in the command line of the shell that does it, and does nothing.
fn mark(action: &Action) -> String {
    format!(": @{}@;", action.name)
}

/// What a daemon is told by its arguments.
fn told<'a>(arguments: impl Iterator<Item = &'a str>) -> Setup {
    Setup {
        arguments: arguments.map(str::to_owned).collect(),
        ..Setup::default()
    }
}

fn start_daemon(setup: Setup) -> Option<Dockerd> {
    let daemon = Dockerd::start_as(setup);
    assert!(daemon.is_some(), "the first one had its packages");
    daemon
}

/// The alert's process and those above it.
fn lineage(alert: &Value) -> impl Iterator<Item = &Value> {
    let process = alert.pointer("/evidences/0/process");
    std::iter::successors(process, |process| process.get("parent_process"))
}

/// Runs the script, which a container that does not start ends; what runs in one may fail.
fn with_docker(dockerd: &Dockerd, action: &Action, script: &str) {
    let functions = r#"run() {
        code=0
        docker run --name "$NAME" --network none "$@" || code=$?
        [ $code -lt 125 ] || [ $code -gt 127 ] || exit $code
    }
    derive() {
        printf 'FROM %s\nLABEL name=%s\n' "$BUSYBOX" "$1" | docker build --quiet --tag "$1" -
    }"#;
    let mut shell = dockerd.command("sh");
    shell.args(["-euc", &format!("{functions}\n{script}")]);
    shell.env("NAME", action.name).env("MARK", mark(action));
    shell.env("PREPARE_SSHD", PREPARE_SSHD);
    shell.env("BUSYBOX", BUSYBOX).env("WEB", WEB).env("KUBECTL", KUBECTL);
    shell.env("REGISTRY", REGISTRY);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", action.name);
}

fn add_kubectl(dockerd: &Dockerd, fixture: &Path) {
    let id = dockerd.create("with-kubectl", &[], &[WEB, "true"]);
    let kubectl = fixture.join("usr/bin/kubectl");
    dockerd.docker_ok(&["cp", &kubectl.to_string_lossy(), &format!("{id}:/usr/bin/kubectl")]);
    dockerd.docker_ok(&["commit", &id, KUBECTL]);
}

fn start_registry(dockerd: &Dockerd, fixture: &Path) {
    let mount = format!("{}:/registry:ro", fixture.join("docker-registry").display());
    let settings = format!("{{version: 0.1, storage: {{inmemory: {{}}}}, http: {{addr: '{REGISTRY}'}}}}");
    let serve = format!("echo \"{settings}\" >/settings; exec /registry serve /settings");
    let id = dockerd.run(
        "registry",
        &["--network", "host", "--volume", &mount],
        &[WEB, "sh", "-c", &serve],
    );
    dockerd.wait_for_listener(&id, 5000);
}

/// A pod's container: nginx, php-fpm and the page, with the API's address in its own network, where nobody listens.
fn start_victim(dockerd: &Dockerd) {
    let script = format!(
        r"ip address add 10.96.0.0/24 dev lo
        mkdir -p /srv/www /run/php /var/log/nginx /var/lib/nginx /var/run/secrets/kubernetes.io/serviceaccount
        echo eyJhbGciOi >/var/run/secrets/kubernetes.io/serviceaccount/token
        cp /bin/true /srv/www/miner
        cat >/srv/www/ws.php <<'END'
{PAGE}
END
        chown -R www-data /srv/www
        cat >/etc/fpm.conf <<'END'
[global]
error_log = /var/log/php-fpm.log
[www]
user = www-data
listen = /run/php.sock
listen.owner = www-data
pm = static
pm.max_children = 2
END
        cat >/etc/nginx/nginx.conf <<'END'
user www-data;
daemon off;
events {{}}
http {{
server {{
listen 80;
root /srv/www;
location ~ \.php$ {{ include /etc/nginx/fastcgi.conf; fastcgi_pass unix:/run/php.sock; }}
}}
}}
END
        php-fpm8.2 --fpm-config /etc/fpm.conf
        exec nginx"
    );
    let options = "--network none --cap-add NET_ADMIN --add-host kubernetes.default:10.96.0.1 \
                   --env KUBERNETES_SERVICE_HOST=10.96.0.1 --env KUBERNETES_SERVICE_PORT=443";
    let options: Vec<_> = options.split_whitespace().collect();
    let id = dockerd.run(VICTIM, &options, &[WEB, "bash", "-ec", &script]);
    dockerd.wait_for_listener(&id, 80);
}
