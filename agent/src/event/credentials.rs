//! Whose rights a process has.

/// User ids and capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// The user id at login, which no later change of user alters.
    pub login_uid: Option<u32>,
    /// What it may do now.
    pub effective: Capabilities,
    /// What it could ever gain.
    pub bounding: Capabilities,
}

/// A set of capabilities: bit N is the capability of that number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

/// What an execution in a container has that the container's first process could never have had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beyond {
    /// Effective capabilities that are not in that process's bounding set.
    pub capabilities: bool,
    /// System calls are not filtered, as they are for that process.
    pub seccomp: bool,
    /// A user namespace that is not that process's, nor one made in it.
    pub user_namespace: bool,
}

impl Beyond {
    /// As rules see them under `process.beyond_container`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let Self {
            capabilities,
            seccomp,
            user_namespace,
        } = self;
        let all = [
            (capabilities, "capabilities"),
            (seccomp, "seccomp"),
            (user_namespace, "user-namespace"),
        ];
        all.into_iter().filter_map(|(beyond, name)| beyond.then_some(name))
    }
}

/// The capabilities in the order of their numbers (`include/uapi/linux/capability.h`).
#[rustfmt::skip] // a table by number
const CAPABILITIES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID",
    "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
];

impl Capabilities {
    /// What every container runtime that gives "all" gives: up to `AUDIT_READ`. The later ones are parts of
    /// `SYS_ADMIN` and `SYS_PTRACE` that older runtimes (Docker 20.10) do not know.
    pub const KNOWN_TO_ALL_RUNTIMES: Self = Self((1 << 38) - 1);

    /// Their names as Docker and Kubernetes write them, without `CAP_`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        CAPABILITIES
            .iter()
            .enumerate()
            .filter(move |(number, _)| self.0 >> number & 1 == 1)
            .map(|(_, name)| *name)
    }

    /// The set of those names; unknown names are passed over.
    pub fn from_names<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let number = |name: &str| {
            CAPABILITIES
                .iter()
                .position(|known| *known == name.trim_start_matches("CAP_"))
        };
        Self(names.filter_map(number).fold(0, |set, number| set | 1 << number))
    }

    /// Holds at least those of `other`.
    pub fn contain(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
