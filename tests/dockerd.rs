//! A dockerd of the test's own: own network and mounts, own data, own socket, gone when dropped.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use procfs::{
    net::{TcpNetEntry, TcpState},
    process::{Process, all_processes},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{deadline::wait_for, fixtures};

/// The image that `import_busybox` makes.
pub(crate) const BUSYBOX: &str = "tocsin/busybox:1";
/// The image that `import_debian` makes.
pub(crate) const DEBIAN: &str = "tocsin/debian:1";
/// The image that `import_web` makes.
pub(crate) const WEB: &str = "tocsin/web:1";
/// The image that `import_node` makes.
pub(crate) const NODE: &str = "tocsin/node:1";
/// Where an image's programs are.
const PATH: &str = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A running daemon.
pub(crate) struct Dockerd {
    child: Child,
    /// Socket, data and log.
    folder: TempDir,
    fixture: PathBuf,
    /// Beside the usual ones.
    arguments: Vec<String>,
}

impl Dockerd {
    /// Starts a daemon that listens on its unix socket alone; nothing if its packages are missing.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with further arguments, such as `-H tcp://127.0.0.1:2375`; such an address is in the daemon's own network.
    pub(crate) fn start_with(arguments: &[&str]) -> Option<Self> {
        let fixture = fixtures::require("docker")?;
        fixtures::require("busybox")?;
        let folder = tempfile::Builder::new()
            .prefix("dockerd-")
            .tempdir()
            .expect("a folder for the daemon");
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let child = spawn(&fixture, &folder, &arguments);
        let mut dockerd = Self {
            child,
            folder,
            fixture,
            arguments,
        };
        dockerd.wait_until_it_answers();
        Some(dockerd)
    }

    /// Stops the daemon and leaves its folder, for [`Self::start_again`].
    pub(crate) fn stop(&mut self) {
        assert!(terminate(&mut self.child), "dockerd did not stop: {}", self.log());
    }

    /// Starts the daemon again on what it left.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.fixture, &self.folder, &self.arguments);
        self.wait_until_it_answers();
    }

    /// Imports an image with a shell and busybox's applets, called `BUSYBOX`.
    pub(crate) fn import_busybox(&self) -> &'static str {
        self.import("busybox", BUSYBOX)
    }

    /// Imports an image with bash, sshd, dropbear, php, nginx, curl and the like, called `DEBIAN`.
    pub(crate) fn import_debian(&self) -> &'static str {
        self.import("debian", DEBIAN)
    }

    /// Imports an image with web servers in several languages and what they are managed with, called `WEB`: the root
    /// that `WebHost` has, without Java, which is half of its size.
    pub(crate) fn import_web(&self) -> &'static str {
        self.import_root("web", &["./usr/lib/jvm"], WEB)
    }

    /// Imports an image to build others from, called `NODE`: with packages at hand, a compiler and pip.
    pub(crate) fn import_node(&self) -> &'static str {
        let unused = ["./usr/share/wordpress", "./usr/sbin/mariadbd", "./usr/lib/mysql"];
        self.import_root("node", &unused, NODE)
    }

    /// Imports a fixture's files but for some as `image`.
    fn import_root(&self, fixture: &str, without: &[&str], image: &'static str) -> &'static str {
        let root = fixtures::require(fixture).expect("the image's fixture");
        let mut tar = Command::new("tar");
        tar.arg("--create");
        for path in without {
            tar.arg(format!("--exclude={path}"));
        }
        tar.arg("--directory").arg(root).arg(".");
        let mut tar = tar.stdout(Stdio::piped()).spawn().expect("tar starts");
        let archive = tar.stdout.take().expect("a pipe");
        let mut import = self.command("docker");
        import.args(["import", "--change", PATH, "-", image]).stdin(archive);
        let output = import.output().expect("docker starts");
        assert!(output.status.success(), "{output:?}\n{}", self.log());
        assert!(tar.wait().expect("tar ends").success());
        image
    }

    /// Makes of an image another one of that name, which does the same and has an id of its own.
    pub(crate) fn derive(&self, image: &str, name: &str) {
        let container = self.docker_ok(&["create", image, "true"]);
        self.docker_ok(&[
            "commit",
            "--change",
            &format!("LABEL made-for={name}"),
            &container,
            name,
        ]);
        self.docker_ok(&["rm", &container]);
    }

    /// Runs `docker` with `arguments` against this daemon.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Output {
        self.command("docker")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("docker starts")
    }

    /// The same where failure ends the test; gives what it printed, trimmed.
    pub(crate) fn docker_ok(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "docker {arguments:?}: {errors}\n{}",
            self.log()
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Creates a container of that name and gives its id. Creation and start are two steps, so that a test knows the id
    /// of a container that is gone in a moment.
    pub(crate) fn create(&self, name: &str, options: &[&str], command: &[&str]) -> String {
        self.docker_ok(&[&["create", "--name", name], options, command].concat())
    }

    /// Runs a container in the background and gives its id; `command` begins with the image.
    pub(crate) fn run(&self, name: &str, options: &[&str], command: &[&str]) -> String {
        let id = self.create(name, options, command);
        self.docker_ok(&["start", &id]);
        id
    }

    /// Runs a container until it ends, whatever its exit code, and gives its id.
    pub(crate) fn run_to_end(&self, name: &str, options: &[&str], command: &[&str]) -> String {
        let id = self.create(name, options, command);
        self.docker(&["start", "--attach", &id]);
        let started = self.docker_ok(&["inspect", "--format", "{{.State.StartedAt}}", &id]);
        assert!(!started.starts_with("0001"), "{name} did not start: {}", self.log());
        id
    }

    /// Waits until somebody in the container listens on that TCP port.
    pub(crate) fn wait_for_listener(&self, id: &str, port: u16) {
        let pid: i32 = self
            .docker_ok(&["inspect", "--format", "{{.State.Pid}}", id])
            .parse()
            .expect("a process id");
        wait_for(&format!("listener on {port}"), Duration::from_secs(15), || {
            let sockets = Process::new(pid).and_then(|process| process.tcp()).ok()?;
            let listens =
                |socket: &TcpNetEntry| socket.state == TcpState::Listen && socket.local_address.port() == port;
            sockets.iter().any(listens).then_some(())
        });
    }

    /// Where the daemon's API is.
    pub(crate) fn socket(&self) -> String {
        self.folder.path().join("docker.sock").display().to_string()
    }

    /// One of the daemon's companions (`docker`, `ctr`, `runc`, `openssl`), to be run on the host's network.
    pub(crate) fn command(&self, name: &str) -> Command {
        program(&self.fixture, &self.folder, name)
    }

    /// A program that runs in the daemon's own network, where its TCP addresses are.
    pub(crate) fn command_in_network(&self, name: &str) -> Command {
        let mut command = self.command("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).arg(name);
        command
    }

    /// Asks the daemon's API itself, as programs do that have no client: gives the answer's body.
    pub(crate) fn post(&self, path: &str, body: &serde_json::Value) -> serde_json::Value {
        let mut socket = UnixStream::connect(self.socket()).expect("the daemon listens");
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all((head + &body).as_bytes()).expect("the daemon reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("the daemon answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.0 20"), "{path}: {answer}");
        serde_json::from_str(body).unwrap_or_default()
    }

    /// Writes an image into an archive, which is gone with the daemon.
    pub(crate) fn save(&self, image: &str) -> PathBuf {
        let archive = self.folder.path().join("image.tar");
        self.docker_ok(&["save", "--output", &archive.to_string_lossy(), image]);
        archive
    }

    /// Runs `ctr` against the daemon's containerd, where it lives; failure ends the test.
    pub(crate) fn ctr(&self, arguments: &[&str]) {
        let pid = self.pid().to_string();
        let address = self.folder.path().join("exec/containerd/containerd.sock");
        let mut ctr = self.command("nsenter");
        ctr.args(["--target", &pid, "--mount", "--net"])
            .arg(self.fixture.join("programs/ctr"));
        ctr.arg("--address").arg(address).args(["--namespace", "k8s.io"]);
        let output = ctr.args(arguments).stdin(Stdio::null()).output().expect("ctr starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ctr {arguments:?}: {errors}\n{}", self.log());
    }

    /// The runtime that containers run by, where it is not the usual one.
    pub(crate) fn runtime(&self) -> PathBuf {
        let wrapper = self.folder.path().join("runtime");
        if wrapper.exists() {
            wrapper
        } else {
            self.fixture.join("programs/runc")
        }
    }

    /// The daemon's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn import(&self, fixture: &str, image: &'static str) -> &'static str {
        // Whoever started a daemon has the fixtures: they are unpacked together.
        let archive = fixtures::require(fixture)
            .expect("the image's fixture")
            .join("image.tar");
        self.docker_ok(&["import", "--change", PATH, &archive.to_string_lossy(), image]);
        image
    }

    fn wait_until_it_answers(&mut self) {
        let started = wait_for("answer of dockerd", Duration::from_mins(1), || {
            let ended = self.child.try_wait().expect("the daemon's state");
            let answers = || self.docker(&["version"]).status.success().then_some(true);
            if ended.is_some() { Some(false) } else { answers() }
        });
        assert!(started, "dockerd ended: {}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What the daemon left: containerd, its shims and their containers, told by the daemon's own folder.
    fn leftovers(&self) -> Vec<i32> {
        let folder = self.folder.path().to_string_lossy();
        let ours = |process: &Process| {
            process
                .cmdline()
                .is_ok_and(|line| line.iter().any(|word| word.contains(&*folder)))
        };
        all_processes()
            .into_iter()
            .flatten()
            .flatten()
            .filter(ours)
            .map(|process| process.pid)
            .collect()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // Those that have ended leave nothing but files in the daemon's own folder.
        let containers = String::from_utf8_lossy(&self.docker(&["ps", "--quiet"]).stdout).into_owned();
        let containers: Vec<_> = containers.split_whitespace().collect();
        if !containers.is_empty() {
            self.docker(&[&["rm", "--force"], &containers[..]].concat());
        }
        let stopped = terminate(&mut self.child);
        for pid in self.leftovers() {
            // One that ended by itself meanwhile is what was wanted.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        // Its mounts were in a namespace of its own and went with it.
        assert!(
            stopped || std::thread::panicking(),
            "dockerd did not stop: {}",
            self.log()
        );
    }
}

fn spawn(fixture: &Path, folder: &TempDir, arguments: &[String]) -> Child {
    let busybox = fixtures::require("busybox").expect("asked before").join("bin/busybox");
    let mut command = program(fixture, folder, "unshare");
    // An own network: a second daemon in the host's would take away the first one's bridge.
    command
        .args(["--net", "--mount", "--propagation", "private"])
        .arg(&busybox);
    // And a `/run` of its own, where it would leave folders.
    let prepare = r#""$0" ip link set lo up && "$0" mount -t tmpfs tmpfs /run && exec "$@""#;
    command
        .args(["sh", "-c", prepare])
        .arg(busybox)
        .arg(fixture.join("programs/dockerd"));
    command.args(daemon_arguments(fixture, folder)).args(arguments);
    let log = fs::File::create(folder.path().join("log")).expect("a log for the daemon");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("unshare starts")
}

/// Asks the process to end, then makes it; says whether asking was enough.
fn terminate(child: &mut Child) -> bool {
    let pid = Pid::from_child(child);
    if kill_process(pid, Signal::TERM).is_err() {
        return false;
    }
    for _ in 0..300 {
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

fn program(fixture: &Path, folder: &TempDir, name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env(
        "PATH",
        format!("{}:{path}:/usr/sbin:/sbin", fixture.join("programs").display()),
    );
    let libraries = fixture.join("usr/lib/x86_64-linux-gnu");
    command
        .env("XTABLES_LIBDIR", libraries.join("xtables"))
        .env("LD_LIBRARY_PATH", libraries);
    // The user's own contexts and credentials are not for tests.
    command
        .env("DOCKER_CONFIG", folder.path())
        .env("DOCKER_HOST", format!("unix://{}/docker.sock", folder.path().display()));
    command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_TLS_VERIFY");
    command
}

fn daemon_arguments(fixture: &Path, folder: &TempDir) -> Vec<String> {
    let at = |name: &str| folder.path().join(name).display().to_string();
    let configuration = if leaves_key(fixture, folder) {
        format!(r#"{{"deprecated-key-path": "{}"}}"#, at("key.json"))
    } else {
        "{}".into()
    };
    fs::write(folder.path().join("daemon.json"), configuration).expect("the daemon's configuration");
    let mut arguments = vec![
        format!("--config-file={}", at("daemon.json")),
        format!("--data-root={}", at("data")),
        format!("--exec-root={}", at("exec")),
        format!("--pidfile={}", at("pid")),
        format!("--host=unix://{}", at("docker.sock")),
    ];
    if lacks_sys_resource() {
        arguments.push(format!(
            "--add-runtime=without-sys-resource={}",
            runtime_wrapper(fixture, folder).display()
        ));
        arguments.push("--default-runtime=without-sys-resource".into());
    }
    arguments
}

/// Whether this daemon would leave a key in /etc/docker: later ones have none, and refuse the setting of its path.
fn leaves_key(fixture: &Path, folder: &TempDir) -> bool {
    let output = program(fixture, folder, "dockerd")
        .arg("--version")
        .output()
        .expect("dockerd starts");
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    let major = version
        .strip_prefix("Docker version ")
        .and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| major < 25)
}

/// Whether the machine refuses its root a capability that `docker run --privileged` asks for.
fn lacks_sys_resource() -> bool {
    const CAP_SYS_RESOURCE: u64 = 24;
    let status = Process::myself()
        .and_then(|process| process.status())
        .expect("the status of this process");
    status
        .capbnd
        .is_some_and(|capabilities| capabilities & (1 << CAP_SYS_RESOURCE) == 0)
}

/// A runtime that asks for every capability but that one.
fn runtime_wrapper(fixture: &Path, folder: &TempDir) -> PathBuf {
    let path = folder.path().join("runtime");
    let script = format!(
        r#"#!/bin/sh
previous=
for argument; do
    case $previous in
    --bundle) specification=$argument/config.json ;;
    --process) specification=$argument ;;
    *) specification= ;;
    esac
    if [ "$specification" ]; then
        sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$specification"
    fi
    previous=$argument
done
exec {} "$@"
"#,
        fixture.join("programs/runc").display()
    );
    fs::write(&path, script).expect("the runtime's wrapper");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the wrapper is executable");
    path
}
