//! A server of the fixture `web` that runs beside a daemon: in its network, with its socket at `/run/docker`.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use procfs::{net::TcpState, process::Process};
use rustix::process::{Pid, Signal, kill_process};

use crate::{deadline::wait_for, dockerd::Dockerd, fixtures};

/// Where neighbours find the daemon's socket.
pub(crate) const SOCKET: &str = "/run/docker/docker.sock";

/// A running server; it and its children end when it is dropped.
pub(crate) struct Neighbour {
    child: Child,
}

impl Neighbour {
    /// Writes `file` as `/run/server`, runs the command, in which `/run/NAME` may be a copy of a program, and waits until
    /// it listens on that port. A shell prepares: `script` ends with `exec`.
    pub(crate) fn start(dockerd: &Dockerd, script: &str, file: &str, port: u16) -> Self {
        let root = fixtures::require("web").expect("asked before");
        let socket = dockerd.socket();
        let folder = Path::new(&socket)
            .parent()
            .expect("the socket lies in the daemon's folder");
        // In mounts of its own: the root stays as it was unpacked, and empty folders of it are mounted over.
        let prepare = r#"
            mount -t tmpfs tmpfs "$1/run"
            mkdir "$1/run/docker"
            mount --bind "$2" "$1/run/docker"
            mount --bind /dev "$1/dev"
            printf %s "$3" >"$1/run/server"
            exec chroot "$1" sh -euc "$4""#;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", dockerd.pid()));
        command.args(["unshare", "--mount", "--propagation", "private"]);
        command.args(["sh", "-euc", prepare, "sh"]).arg(root).arg(folder);
        command.args([file, script]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut neighbour = Self {
            child: command.spawn().expect("nsenter starts"),
        };
        neighbour.wait_for_listener(script, port);
        neighbour
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_for_listener(&mut self, script: &str, port: u16) {
        let pid = self.child.id().try_into().expect("a process id");
        wait_for(&format!("listener on {port}"), Duration::from_secs(15), || {
            let ended = self.child.try_wait().expect("the server's state");
            assert!(ended.is_none(), "`{script}` ended: {ended:?}");
            let sockets = Process::new(pid).and_then(|process| process.tcp()).ok()?;
            let listens = sockets
                .iter()
                .any(|socket| socket.state == TcpState::Listen && socket.local_address.port() == port);
            listens.then_some(())
        });
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // A server asked to end takes its workers along.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
