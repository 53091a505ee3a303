//! One process as `/proc/PID` shows it.

use std::{
    fs,
    os::{linux::fs::MetadataExt, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use procfs::{
    ProcResult,
    process::{FDTarget, Process, Stat, Status},
};
use rustix::{
    fs::{Statx, makedev},
    time::{ClockId, clock_gettime},
};

use super::socket::Sockets;
use crate::{
    enrich::container::telling,
    event::{Capabilities, Credentials, Descriptor, Ends, ExeFlags, Execution, Namespaces, ProcessKey, Roles, Seccomp},
    sources::{kernel::kubernetes_api, looks::inside::known_of_executable, lossy},
};

/// The flag of a kernel thread (`PF_KTHREAD`, `include/linux/sched.h`).
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Bytes of arguments that are kept, as of those from the kernel.
const MAX_ARGUMENTS: usize = 32 << 10;

/// A process at one moment.
pub(super) struct Snapshot {
    pub(super) key: ProcessKey,
    pub(super) parent: u32,
    pub(super) seen: Timestamp,
    pub(super) execution: Execution,
    /// Inodes of the sockets that it holds.
    pub(super) sockets: Vec<u64>,
}

impl Snapshot {
    /// Looks at a process; `None` for a kernel thread.
    pub(super) fn take(process: &Process, sockets: &mut Sockets) -> ProcResult<Option<Self>> {
        let stat = process.stat()?;
        if stat.flags & KERNEL_THREAD != 0 {
            return Ok(None);
        }
        let status = process.status()?;
        let namespaces = namespaces(process);
        sockets.look_into(process, namespaces.network);
        let targets = descriptors(process);
        let held = targets.iter().filter_map(|(_, target)| match target {
            FDTarget::Socket(inode) => Some(*inode),
            _ => None,
        });
        let held = held.collect();
        let snapshot = Self {
            key: ProcessKey {
                pid: stat.pid.unsigned_abs(),
                start: stat.starttime,
            },
            parent: stat.ppid.unsigned_abs(),
            execution: execution(process, &stat, &status, namespaces, &targets, sockets),
            // After all has been read: what the process runs from now on, the kernel reports.
            seen: Timestamp::now(),
            sockets: held,
        };
        Ok(Some(snapshot))
    }
}

fn execution(
    process: &Process,
    stat: &Stat,
    status: &Status,
    namespaces: Namespaces,
    targets: &[(i32, FDTarget)],
    sockets: &Sockets,
) -> Execution {
    let link = process.exe().unwrap_or_default();
    let known = known_of_executable(process).ok();
    let (exe, file) = exe(process, &link, known.as_ref());
    let (command_line, command_line_cut) = command_line(process);
    let (cgroup, cgroup_id) = cgroup(process);
    let pid_in_namespace = status
        .nspid
        .as_ref()
        .and_then(|ids| ids.last())
        .map_or(stat.pid, |id| *id)
        .unsigned_abs();
    let stdio = [0, 1, 2].map(|number| descriptor(targets, number, sockets));
    let nested = status.nspid.as_ref().is_some_and(|ids| ids.len() > 1);
    Execution {
        time: Timestamp::now(),
        exe: if exe.is_empty() {
            status.name.as_str().into()
        } else {
            exe
        },
        command_line,
        command_line_cut,
        directory: process
            .cwd()
            .map(|path| lossy(path.as_os_str().as_bytes()))
            .unwrap_or_default(),
        invoked: Box::default(),
        script: false,
        file,
        inode: known.map_or(0, |known| known.stx_ino),
        device: known.map_or(0, |known| kernel_device(device(&known))),
        modified: known.map_or(0, |known| known.stx_mtime.tv_sec),
        changed: known.map_or(0, |known| known.stx_ctime.tv_sec),
        credentials: credentials(process, status),
        tty: tty(stat.tty_nr()),
        session: stat.session.unsigned_abs(),
        pid_in_namespace,
        namespaces,
        seccomp: match status.seccomp {
            Some(0) => Seccomp::Disabled,
            Some(1) => Seccomp::Strict,
            Some(2) => Seccomp::Filter,
            _ => Seccomp::Unknown,
        },
        stdin_path: stdin_path(targets, stdio[0]),
        stdio,
        stdio_ends: [0, 1, 2].iter().find_map(|number| ends(targets, *number, sockets)),
        cgroup_id,
        cgroup,
        entering: is_young(stat) && !is_in_own_root(process, &link, known.as_ref()),
        roles: Roles::default(),
        kubernetes_api: (nested && pid_in_namespace == 1)
            .then(|| fs::read(proc_path(process, "environ")).ok())
            .flatten()
            .and_then(|environment| kubernetes_api(&environment)),
    }
}

fn proc_path(process: &Process, file: &str) -> PathBuf {
    Path::new("/proc").join(process.pid.to_string()).join(file)
}

/// Where a file lies that the process sees at that path.
fn in_root(process: &Process, path: &Path) -> PathBuf {
    proc_path(process, "root").join(path.strip_prefix("/").unwrap_or(path))
}

/// The executable's path, and what kind of file it is.
fn exe(process: &Process, link: &Path, known: Option<&Statx>) -> (Box<str>, ExeFlags) {
    let text = lossy(link.as_os_str().as_bytes());
    let deleted = known.is_some_and(|known| known.stx_nlink == 0);
    let path = if deleted {
        text.strip_suffix(" (deleted)").unwrap_or(&text)
    } else {
        &text
    };
    let memfd = deleted && path.starts_with("/memfd:");
    let upper = upper_folder(process);
    let file = ExeFlags {
        deleted: deleted && !memfd,
        replaced: deleted && !memfd && fs::symlink_metadata(in_root(process, Path::new(path))).is_ok(),
        memfd,
        path_cut: false,
        overlay: upper.is_some(),
        upper_layer: upper.is_some_and(|upper| upper.join(path.trim_start_matches('/')).exists()),
        copied_up: false,
    };
    (if memfd { path[1..].into() } else { path.into() }, file)
}

/// Ticks for which a process is young: a runtime takes far less to let its container go.
const YOUNG: u64 = 1_000;

fn is_young(stat: &Stat) -> bool {
    let ticks = clock_gettime(ClockId::Boottime).tv_sec.unsigned_abs() * procfs::ticks_per_second();
    ticks.saturating_sub(stat.starttime) < YOUNG
}

/// Whether the executable is a file that the process can see at that path.
fn is_in_own_root(process: &Process, link: &Path, known: Option<&Statx>) -> bool {
    let inside = fs::metadata(in_root(process, link));
    inside.is_ok_and(|inside| {
        known.is_some_and(|known| (device(known), known.stx_ino) == (inside.st_dev(), inside.st_ino()))
    })
}

fn device(known: &Statx) -> u64 {
    makedev(known.stx_dev_major, known.stx_dev_minor)
}

/// The folder on the node that holds what was changed in the process's root file system, if that is an overlay.
fn upper_folder(process: &Process) -> Option<PathBuf> {
    let mounts = process.mountinfo().ok()?;
    let root = mounts
        .0
        .into_iter()
        .rfind(|mount| mount.mount_point == Path::new("/"))?;
    let upper = root.super_options.get("upperdir")?.as_ref()?;
    (root.fs_type == "overlay").then(|| PathBuf::from(upper))
}

/// The arguments, joined by spaces, and whether some were left out.
fn command_line(process: &Process) -> (Box<str>, bool) {
    let mut bytes = fs::read(proc_path(process, "cmdline")).unwrap_or_default();
    let cut = bytes.len() > MAX_ARGUMENTS;
    bytes.truncate(MAX_ARGUMENTS);
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(end);
    bytes
        .iter_mut()
        .filter(|byte| **byte == 0)
        .for_each(|byte| *byte = b' ');
    (String::from_utf8_lossy(&bytes).into(), cut)
}

fn credentials(process: &Process, status: &Status) -> Credentials {
    Credentials {
        uid: status.ruid,
        gid: status.rgid,
        euid: status.euid,
        egid: status.egid,
        login_uid: process.loginuid().ok().filter(|uid| *uid != u32::MAX),
        effective: Capabilities(status.capeff),
        bounding: Capabilities(status.capbnd.unwrap_or_default()),
    }
}

fn namespaces(process: &Process) -> Namespaces {
    let inode = |name| {
        let text = fs::read_link(proc_path(process, "ns").join(name)).ok()?;
        text.to_str()?.split_once('[')?.1.strip_suffix(']')?.parse().ok()
    };
    let inode = |name| inode(name).unwrap_or_default();
    Namespaces {
        mount: inode("mnt"),
        pid: inode("pid"),
        network: inode("net"),
        uts: inode("uts"),
        ipc: inode("ipc"),
        cgroup: inode("cgroup"),
        user: inode("user"),
    }
}

/// The name of a terminal by its device number (`Documentation/admin-guide/devices.txt`).
fn tty((major, minor): (i32, i32)) -> Box<str> {
    match (major, minor) {
        (136..=143, minor) => format!("pts{}", (major - 136) * 256 + minor).into(),
        (4, minor @ ..64) => format!("tty{minor}").into(),
        (4, minor) => format!("ttyS{}", minor - 64).into(),
        (5, 1) => "console".into(),
        _ => Box::default(),
    }
}

fn descriptors(process: &Process) -> Vec<(i32, FDTarget)> {
    let Ok(descriptors) = process.fd() else {
        return Vec::new();
    };
    descriptors.flatten().map(|info| (info.fd, info.target)).collect()
}

fn descriptor(targets: &[(i32, FDTarget)], number: i32, sockets: &Sockets) -> Descriptor {
    let Some((_, target)) = targets.iter().find(|(fd, _)| *fd == number) else {
        return Descriptor::Closed;
    };
    match target {
        FDTarget::Path(path) if path == Path::new("/dev/null") => Descriptor::Null,
        FDTarget::Path(path) if path.starts_with("/dev/pts") || path.starts_with("/dev/tty") => Descriptor::Terminal,
        FDTarget::Path(path) if path.starts_with("/dev") && !path.starts_with("/dev/shm") => Descriptor::Device,
        FDTarget::Path(_) | FDTarget::MemFD(_) => Descriptor::File,
        FDTarget::Pipe(_) => Descriptor::Pipe,
        FDTarget::Socket(inode) if sockets.is_internet(*inode) => Descriptor::InternetSocket,
        FDTarget::Socket(_) => Descriptor::Socket,
        FDTarget::Net(_) | FDTarget::AnonInode(_) | FDTarget::Other(..) | FDTarget::Unknown(..) => {
            Descriptor::Anonymous
        }
    }
}

/// The path of the file that standard input is; empty where it is none. Only the link's text is looked at: a process may
/// have its input from a file server that answers no more, whose file's attributes would be waited for without end.
fn stdin_path(targets: &[(i32, FDTarget)], kind: Descriptor) -> Box<str> {
    match targets.iter().find(|(fd, _)| *fd == 0) {
        Some((_, FDTarget::Path(path))) if kind == Descriptor::File => lossy(path.as_os_str().as_bytes()),
        Some((_, FDTarget::MemFD(name))) => {
            let name = name.strip_suffix(" (deleted)").unwrap_or(name);
            format!("memfd:{name}").into()
        }
        _ => Box::default(),
    }
}

fn ends(targets: &[(i32, FDTarget)], number: i32, sockets: &Sockets) -> Option<Box<Ends>> {
    let (_, target) = targets.iter().find(|(fd, _)| *fd == number)?;
    match target {
        FDTarget::Socket(inode) => sockets.ends(*inode).map(Box::new),
        _ => None,
    }
}

/// The path of the cgroup that tells most, and its id in the unified hierarchy where that can be found: the inode of its
/// folder.
fn cgroup(process: &Process) -> (Box<str>, u64) {
    let Ok(text) = fs::read_to_string(proc_path(process, "cgroup")) else {
        return Default::default();
    };
    let lines = || text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let unified = lines()
        .find(|(controllers, _)| controllers.is_empty())
        .map_or("/", |(_, path)| path);
    let is_v1 = |controllers: &str| controllers.split(',').any(|name| name == "memory" || name == "pids");
    let legacy = lines()
        .find(|(controllers, _)| is_v1(controllers))
        .map_or("/", |(_, path)| path);
    let folder = |mount: &str| fs::metadata(format!("{mount}{unified}")).ok();
    let id = folder("/sys/fs/cgroup/unified")
        .or_else(|| folder("/sys/fs/cgroup"))
        .map_or(0, |folder| folder.st_ino());
    (telling(unified.into(), legacy.into()), id)
}

/// A device number as the kernel keeps it; `stat` gives it in the C library's form.
fn kernel_device(device: u64) -> u32 {
    rustix::fs::major(device) << 20 | rustix::fs::minor(device)
}
