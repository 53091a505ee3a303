//! A process and what it runs, as the kernel tells it.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;

use super::{Credentials, Ends, Roles};

/// A process for as long as the node is up: a pid alone comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// The process id (the kernel's tgid) as the node sees it.
    pub pid: u32,
    /// When it started, in clock ticks (1/100 s) since boot: what `/proc/PID/stat` can tell as well.
    pub start: u64,
}

/// The role of what serves web pages: a request may have asked for whatever runs below it.
const WEB_WORKER: &str = "web-worker";

/// The role of what begins work for people or by the clock, as sshd and cron do: what runs below it owes nothing to what
/// is above it.
const SESSION: &str = "session";

/// A process was made by another.
#[derive(Clone, Debug)]
pub struct Fork {
    /// The new process.
    pub child: ProcessKey,
    /// Who made it.
    pub parent: ProcessKey,
}

/// A process ended: its last thread is gone.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Who.
    pub process: ProcessKey,
    /// As `wait` reports it: the exit status in bits 8 to 15, a killing signal in bits 0 to 6.
    pub code: u32,
}

/// A node of the process tree: one process running one program. A process that runs another program becomes another
/// node, while its children keep the parent that they were made by.
#[derive(Clone, Debug)]
pub struct Process {
    /// Who.
    pub key: ProcessKey,
    /// Who made it, up to PID 1; `None` where the agent could not know.
    pub parent: Option<Arc<Process>>,
    /// What it runs; shared with the parent until it runs a program of its own.
    pub execution: Arc<Execution>,
    /// The container it belongs to: by its cgroup when it ran, else as its parent.
    pub container: Option<Arc<str>>,
    /// It belongs to its container without being in the container's cgroup: it left it, or was sent in by `nsenter`.
    pub escaped_cgroup: bool,
    /// It has been inside its container, or was made by who has: no longer the runtime on its way there.
    pub entered: bool,
    /// The web worker that it was before it ran another program: an exploit may put a shell in a server's place.
    pub replaced: Option<Arc<Process>>,
    /// The executable of the program that it ran before this one, if that was its own and not yet its parent's.
    pub former_exe: Option<Box<str>>,
    /// How many ancestors it has.
    pub depth: u16,
}

impl Process {
    /// Its parent, that one's parent, and so on up to PID 1.
    pub fn ancestors(&self) -> impl Iterator<Item = &Process> {
        std::iter::successors(self.parent.as_deref(), |process| process.parent.as_deref())
    }

    /// The ancestors that rules see: of a process in a container those in the same one. What started the container is
    /// the runtime's line, which may reach to whoever once started the runtime, and says nothing of what runs inside.
    pub fn ancestors_inside(&self) -> impl Iterator<Item = &Process> {
        let inside = |ancestor: &&Process| self.container.is_none() || ancestor.container == self.container;
        self.ancestors().take_while(inside)
    }

    /// The programs whose roles count as those of its ancestors, the nearest first: it ends at one that begins sessions,
    /// and in a container with its first process.
    pub fn line(&self) -> impl Iterator<Item = &Process> {
        let mut ended = false;
        let below_session = move |process: &&Process| {
            let goes_on = !ended;
            ended |= process.execution.roles.has(SESSION);
            goes_on
        };
        let above = self
            .ancestors_inside()
            .flat_map(|ancestor| [Some(ancestor), ancestor.replaced.as_deref()]);
        std::iter::once(self.replaced.as_deref())
            .chain(above)
            .flatten()
            .take_while(below_session)
    }

    /// Whether it serves web pages.
    pub fn is_web_worker(&self) -> bool {
        self.execution.roles.has(WEB_WORKER)
    }

    /// The nearest ancestor that serves web pages.
    pub fn web_worker(&self) -> Option<WebWorker<'_>> {
        let mut below = self;
        for process in self.line() {
            if process.is_web_worker() {
                return Some(WebWorker { process, below });
            }
            below = process;
        }
        None
    }

    /// Whether it is root now although the web worker that it is below is not.
    pub fn gained_root(&self) -> bool {
        self.execution.credentials.euid == 0 && self.web_worker().is_some_and(|worker| worker.uid() != 0)
    }
}

/// A web worker above a process.
#[derive(Clone, Copy, Debug)]
pub struct WebWorker<'a> {
    /// The worker.
    pub process: &'a Process,
    /// What it made, of those above the process or the process itself.
    below: &'a Process,
}

impl WebWorker<'_> {
    /// The user that it serves as. A worker that was made by a master which runs as root becomes another user without
    /// running a program, which nobody reports; the programs that it runs have its real user id, also where they gain
    /// another's rights.
    pub fn uid(&self) -> u32 {
        match self.process.execution.credentials.euid {
            0 => self.below.execution.credentials.uid,
            uid => uid,
        }
    }
}

/// The facts of one execution, taken in the kernel when the new program was in place.
#[derive(Clone, Debug, Default)]
pub struct Execution {
    /// When it ran.
    pub time: Timestamp,
    /// The path of the executable as its mount namespace has it; for a file that lives in memory `memfd:NAME`.
    pub exe: Box<str>,
    /// The arguments, joined by spaces, at most 32 KiB.
    pub command_line: Box<str>,
    /// Arguments were left out: there were more than 32 KiB, or they could not be read.
    pub command_line_cut: bool,
    /// The working directory.
    pub directory: Box<str>,
    /// The path that was given to `execve`: the script, where an interpreter runs one.
    pub invoked: Box<str>,
    /// An interpreter runs `invoked`, which is a script.
    pub script: bool,
    /// The file behind `exe`.
    pub file: ExeFlags,
    /// Inode number of the executable.
    pub inode: u64,
    /// Device of the executable: major << 20 | minor, as the kernel keeps it.
    pub device: u32,
    /// When the executable was last written, in seconds since 1970.
    pub modified: i64,
    /// When its contents, names, rights or dates last changed, likewise: the date that nobody can choose.
    pub changed: i64,
    /// Whose rights it has.
    pub credentials: Credentials,
    /// The controlling terminal's name (`pts3`), empty without one.
    pub tty: Box<str>,
    /// The session's id.
    pub session: u32,
    /// The process id inside its own pid namespace.
    pub pid_in_namespace: u32,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Whether system calls are filtered.
    pub seccomp: Seccomp,
    /// What standard input, output and error are.
    pub stdio: [Descriptor; 3],
    /// The path of the file that standard input is, for a file that lives in memory `memfd:NAME`; empty where it is no
    /// regular file. ` (deleted)` follows where no directory holds it any more, and `…` stands for a beginning that is too
    /// long to be told. Of what ran before the agent it may be a named pipe's, too.
    pub stdin_path: Box<str>,
    /// The connection over IP that the first of them is which is one.
    pub stdio_ends: Option<Box<Ends>>,
    /// Id of the cgroup in the unified hierarchy; 0 if unknown.
    pub cgroup_id: u64,
    /// Path of the cgroup that tells most: the unified hierarchy's, else a version 1 controller's.
    pub cgroup: Box<str>,
    /// It stood when the agent started, and had not yet run a program of its own root file system: a runtime on its way
    /// into a container, whose rights are not yet the container's.
    pub entering: bool,
    /// Where the environment of a container's first process says that the Kubernetes API is
    /// (`KUBERNETES_SERVICE_HOST`).
    pub kubernetes_api: Option<(IpAddr, u16)>,
    /// What rules say that it is for.
    pub roles: Roles,
}

/// What kind of file an executable is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a file")]
pub struct ExeFlags {
    /// No directory holds it any more.
    pub deleted: bool,
    /// Another file stands at its path since it was deleted: an update. Only known of what stood before the agent.
    pub replaced: bool,
    /// It never had a path: made by `memfd_create`.
    pub memfd: bool,
    /// Its path was too long to be told: the beginning is missing.
    pub path_cut: bool,
    /// It lies on an overlay file system (as containers' images do) …
    pub overlay: bool,
    /// … in the upper layer: it was added or changed after the image was made.
    pub upper_layer: bool,
    /// … and copied there from the image, since its owner, mode or contents were changed.
    pub copied_up: bool,
}

/// Inode numbers of namespaces, as `/proc/PID/ns` shows them; 0 if unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Mounts.
    pub mount: u32,
    /// Process ids.
    pub pid: u32,
    /// Network.
    pub network: u32,
    /// Host name.
    pub uts: u32,
    /// System V IPC.
    pub ipc: u32,
    /// Cgroup.
    pub cgroup: u32,
    /// Users.
    pub user: u32,
}

impl Namespaces {
    /// The inode of the user namespace that the kernel boots with (`PROC_USER_INIT_INO`, `include/linux/proc_ns.h`).
    pub const INITIAL_USER: u32 = 0xEFFF_FFFD;

    /// Whether these are the users of the node itself; `None` if not known.
    pub fn in_initial_user(&self) -> Option<bool> {
        (self.user != 0).then_some(self.user == Self::INITIAL_USER)
    }
}

/// The seccomp mode of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// Not known.
    #[default]
    Unknown,
    /// Every system call is allowed.
    Disabled,
    /// Four system calls are allowed.
    Strict,
    /// A filter decides.
    Filter,
}

impl Seccomp {
    /// As rules see it under `process.seccomp`.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Disabled => Some("disabled"),
            Self::Strict => Some("strict"),
            Self::Filter => Some("filter"),
        }
    }
}

/// What a file descriptor refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Descriptor {
    /// Not known.
    #[default]
    Unknown,
    /// Nothing: closed.
    Closed,
    /// A file on a disk, or a directory.
    File,
    /// A pipe.
    Pipe,
    /// A terminal.
    Terminal,
    /// `/dev/null`.
    Null,
    /// Another device.
    Device,
    /// An IPv4 or IPv6 socket: what a reverse shell has.
    InternetSocket,
    /// Any other socket.
    Socket,
    /// Something without a file: epoll, eventfd and the like.
    Anonymous,
}

impl Descriptor {
    /// As rules see it under `process.stdin` and its like.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Closed => Some("closed"),
            Self::File => Some("file"),
            Self::Pipe => Some("pipe"),
            Self::Terminal => Some("terminal"),
            Self::Null => Some("null"),
            Self::Device => Some("device"),
            Self::InternetSocket => Some("internet-socket"),
            Self::Socket => Some("socket"),
            Self::Anonymous => Some("anonymous"),
        }
    }
}
