//! Containers of a real podman, root's or a plain user's: own processes, own mounts, own storage, gone with each run.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use procfs::{net::TcpState, process::Process};
use tempfile::TempDir;

use crate::{deadline::wait_for, fixtures};

/// Where the packages are mounted while podman runs.
const PACKAGES: &str = "/run/packages";
const LIBRARIES: &str = "/run/packages/usr/lib/x86_64-linux-gnu";

/// Podman as one user has it.
pub(crate) struct Podman {
    user: u32,
    fixture: PathBuf,
    /// Storage, configuration, home.
    folder: TempDir,
    cgroup: Delegated,
}

impl Podman {
    /// Root's; nothing if its packages are missing.
    pub(crate) fn of_root() -> Option<Self> {
        Self::of_user(0)
    }

    /// That of the user of that id, who needs no account: without subordinate users, the container's root is the user
    /// and there is nobody else in it.
    pub(crate) fn of_user(user: u32) -> Option<Self> {
        let fixture = fixtures::require("podman")?;
        let image = fixtures::require("busybox")?.join("image.tar");
        let folder = tempfile::Builder::new()
            .prefix("podman-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        for name in ["rootfs", "home", "run", "storage"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            chown(&path, Some(user), Some(user)).unwrap();
        }
        let mut unpack = Command::new("tar");
        unpack.arg("-x").arg("-C").arg(folder.path().join("rootfs"));
        unpack.uid(user).gid(user).stdin(File::open(image).unwrap());
        assert!(unpack.status().unwrap().success());
        fs::write(folder.path().join("containers.conf"), configuration(folder.path())).unwrap();
        Some(Self {
            user,
            cgroup: Delegated::to(user, folder.path()),
            fixture,
            folder,
        })
    }

    /// Runs a container of busybox to its end and gives its id.
    pub(crate) fn run_to_end(&self, options: &[&str], command: &[&str]) -> String {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let mut run = self.podman();
        run.args([
            "run",
            "--cidfile",
            &at("run/id"),
            "--cgroup-parent",
            &self.cgroup.path(),
        ]);
        // Podman asks for more than one's own limits, which not every root may give, and for one that not every cgroup has.
        run.args(["--network", "none", "--ulimit", "host", "--pids-limit", "0"])
            .args(options);
        run.args(["--rootfs", &at("rootfs")]).args(command);
        let output = run.stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman of user {}: {errors}", self.user);
        fs::read_to_string(at("run/id")).unwrap()
    }

    /// Serves the API at that port of every address, in a network of its own.
    pub(crate) fn serve(&self, port: u16) -> Service {
        let busybox = fixtures::require("busybox").expect("asked before").join("bin/busybox");
        let mut podman = self.podman();
        podman.args(["system", "service", "--time=0", &format!("tcp:0.0.0.0:{port}")]);
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-euc", r#""$0" ip link set lo up; exec "$@""#]);
        command.arg(busybox).arg(podman.get_program()).args(podman.get_args());
        command.current_dir(self.folder.path()).env_clear();
        command.envs(podman.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut service = Service(command.stdin(Stdio::null()).spawn().unwrap());
        let pid = service.0.id().try_into().unwrap();
        wait_for("listener of podman", Duration::from_secs(15), || {
            let ended = service.0.try_wait().unwrap();
            assert!(ended.is_none(), "podman ended: {ended:?}");
            let process = Process::new(pid).ok()?;
            let sockets = [process.tcp(), process.tcp6()].into_iter().flatten().flatten();
            let mut sockets = sockets.filter(|socket| socket.state == TcpState::Listen);
            sockets.any(|socket| socket.local_address.port() == port).then_some(())
        });
        service
    }

    /// With processes of its own, none of which outlives it, and mounts of its own: over the folders where it would
    /// leave files, and of its packages, since its user may not reach this checkout, nor is a temporary folder the
    /// place for programs.
    fn podman(&self) -> Command {
        let folder = self.folder.path();
        let prepare = r#"
            mount -t tmpfs tmpfs /run
            mount -t tmpfs tmpfs /dev/shm
            mkdir "$1"
            mount --bind "$2" "$1"
            for own in $3; do echo $$ >"$own/cgroup.procs"; done
            shift 3
            "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-euc", prepare, "sh"]);
        command.arg(PACKAGES).arg(&self.fixture);
        command.arg(self.cgroup.managers());
        let user = self.user.to_string();
        command.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
        command.arg(format!("{PACKAGES}/usr/bin/podman"));
        command.arg("--root").arg(folder.join("storage"));
        command.arg("--runroot").arg(folder.join("run/storage"));
        command.args(["--storage-driver", "vfs"]);
        command.current_dir(folder).env_clear();
        command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LD_LIBRARY_PATH", LIBRARIES)
            .env("CONTAINERS_CONF", folder.join("containers.conf"))
            .env("HOME", folder.join("home"))
            .env("XDG_RUNTIME_DIR", folder.join("run"));
        command
    }
}

/// A running `podman system service`; gone when dropped.
pub(crate) struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        // Its processes end with the first of them.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cgroup in every hierarchy that the user may divide, as a service manager gives its users: without one, a rootless
/// podman leaves its containers in the cgroup that it was started in, where nothing tells them from other processes.
struct Delegated {
    name: String,
    folders: Vec<PathBuf>,
    /// Where podman itself is: in the unified hierarchy, a user moves processes only within what is the user's.
    managers: Vec<PathBuf>,
}

impl Delegated {
    fn to(user: u32, unique: &Path) -> Self {
        let name = unique.file_name().unwrap().to_str().unwrap().to_owned();
        let (mut folders, mut managers) = (Vec::new(), Vec::new());
        for mount in Process::myself().unwrap().mountinfo().unwrap() {
            if !mount.fs_type.starts_with("cgroup") {
                continue;
            }
            let folder = mount.mount_point.join(&name);
            if mount.fs_type == "cgroup2" {
                managers.push(folder.join("manager"));
            }
            folders.push(folder);
        }
        for folder in folders.iter().chain(&managers) {
            fs::create_dir(folder).unwrap();
            chown(folder, Some(user), Some(user)).unwrap();
            for file in fs::read_dir(folder).unwrap() {
                chown(file.unwrap().path(), Some(user), Some(user)).unwrap();
            }
        }
        Self {
            name,
            folders,
            managers,
        }
    }

    fn path(&self) -> String {
        format!("/{}", self.name)
    }

    fn managers(&self) -> String {
        let paths: Vec<_> = self.managers.iter().map(|path| path.to_string_lossy()).collect();
        paths.join(" ")
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for folder in &self.folders {
            for below in fs::read_dir(folder).into_iter().flatten().flatten() {
                // Its files are no folders and go with it.
                let _ = fs::remove_dir(below.path());
            }
            let removed = fs::remove_dir(folder);
            assert!(removed.is_ok() || std::thread::panicking(), "{}", folder.display());
        }
    }
}

/// What options do not say. Conmon runs podman again at the container's end, and passes on no environment by itself.
fn configuration(folder: &Path) -> String {
    let networks = folder.join("home/networks");
    format!(
        r#"[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
conmon_path = ["{PACKAGES}/usr/bin/conmon"]
conmon_env_vars = ["LD_LIBRARY_PATH={LIBRARIES}"]
[engine.runtimes]
runc = ["{PACKAGES}/usr/sbin/runc"]
[network]
network_config_dir = "{}"
"#,
        networks.display()
    )
}
