//! How a daemon of the tests is told what to do, and started.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use procfs::process::Process;
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::fixtures;

/// What a daemon is told beside what every test's is.
#[derive(Default)]
pub(crate) struct Setup {
    /// Further arguments, such as `-H tcp://127.0.0.1:2375`; such an address is in the daemon's own network.
    pub(crate) arguments: Vec<String>,
    /// Further settings in its daemon.json. With `hosts` among them, the command line names none.
    pub(crate) settings: Map<String, Value>,
    /// A port, on every address, that another program opens before it becomes the daemon, as `systemd-socket-activate`
    /// does.
    pub(crate) inherits: Option<u16>,
}

/// A private address that every daemon's network has, beside loopback's.
pub(crate) const PRIVATE: &str = "10.9.8.7";

/// The API's socket in the daemon's folder, which bears the usual name.
pub(super) const SOCKET: &str = "docker.sock";

/// Starts a daemon.
pub(super) fn spawn(fixture: &Path, folder: &TempDir, setup: &Setup) -> Child {
    let busybox = fixtures::require("busybox").expect("asked before").join("bin/busybox");
    let mut command = program(fixture, folder, "unshare");
    // An own network: a second daemon in the host's would take away the first one's bridge.
    command
        .args(["--net", "--mount", "--propagation", "private"])
        .arg(&busybox);
    // And a `/run` of its own, where it would leave folders.
    let address = format!(r#""$0" ip address add {PRIVATE}/32 dev lo"#);
    let prepare = format!(r#""$0" ip link set lo up && {address} && "$0" mount -t tmpfs tmpfs /run && exec "$@""#);
    command.args(["sh", "-c", &prepare]).arg(busybox);
    if let Some(port) = setup.inherits {
        let root = fixtures::require("web").expect("the launcher's fixture");
        command.args(python(&root)).args(["-c", LAUNCHER, &port.to_string()]);
    }
    command.arg(fixture.join("programs/dockerd"));
    command.args(daemon_arguments(fixture, folder, setup));
    let log = fs::File::create(folder.path().join("log")).expect("a log for the daemon");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("unshare starts")
}

/// Opens a port, and becomes the program that is to serve it (`sd_listen_fds(3)`). The socket may have that number from
/// the start, and is then no copy, which alone would be inherited.
const LAUNCHER: &str = "
import os, socket, sys
listener = socket.create_server(('0.0.0.0', int(sys.argv[1])))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
";

/// The Python of an unpacked root, run by that root's own loader.
fn python(root: &Path) -> Vec<String> {
    let at = |path: &str| root.join(path).display().to_string();
    vec![
        at("lib64/ld-linux-x86-64.so.2"),
        "--library-path".to_owned(),
        at("usr/lib/x86_64-linux-gnu"),
        at("usr/bin/python3"),
        "-IS".to_owned(),
    ]
}

/// One of a daemon's companions, told where it is.
pub(super) fn program(fixture: &Path, folder: &TempDir, name: &str) -> Command {
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
        .env("DOCKER_HOST", format!("unix://{}/{SOCKET}", folder.path().display()));
    command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_TLS_VERIFY");
    command
}

fn daemon_arguments(fixture: &Path, folder: &TempDir, setup: &Setup) -> Vec<String> {
    let at = |name: &str| folder.path().join(name).display().to_string();
    let mut settings = setup.settings.clone();
    if leaves_key(fixture, folder) {
        settings.insert("deprecated-key-path".into(), at("key.json").into());
    }
    let host = format!("unix://{}", at(SOCKET));
    let mut hosts = vec![format!("--host={host}")];
    // Docker refuses the same setting in both places.
    if let Some(Value::Array(written)) = settings.get_mut("hosts") {
        written.push(host.into());
        hosts.clear();
    }
    let configuration = serde_json::to_vec(&settings).expect("settings are JSON");
    fs::write(folder.path().join("daemon.json"), configuration).expect("the daemon's configuration");
    let mut arguments = vec![
        format!("--config-file={}", at("daemon.json")),
        format!("--data-root={}", at("data")),
        format!("--exec-root={}", at("exec")),
        format!("--pidfile={}", at("pid")),
    ];
    arguments.extend(hosts);
    arguments.extend(setup.inherits.map(|_| "--host=fd://".to_owned()));
    arguments.extend(setup.arguments.iter().cloned());
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
