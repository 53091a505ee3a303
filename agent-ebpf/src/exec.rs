//! A process runs a program: what it was told to run, what it became, and in which container.

use crate::{record::Header, socket::EndsRecord, task::TaskId};

/// The sensor's name in the ring.
pub const TAG: [u8; 4] = *b"exec";

/// The tag of arguments beyond those that an exec record holds. They come *before* their exec record, so that whoever
/// reads it knows at once whether all is there.
pub const ARGUMENTS_TAG: [u8; 4] = *b"argv";

/// The tag of the environment of a container's first process, which likewise comes before the exec record.
pub const ENVIRONMENT_TAG: [u8; 4] = *b"envp";

/// Bytes of arguments in the exec record itself.
pub const INLINE_ARGUMENTS: u32 = 4095;

/// Bytes in a chunk of arguments or environment.
pub const CHUNK_BYTES: u32 = 4096;

/// Chunks of arguments at most: with those in the record, 32 KiB.
pub const ARGUMENT_CHUNKS: u32 = 7;

/// Chunks of environment at most.
pub const ENVIRONMENT_CHUNKS: u32 = 2;

/// The executable's path was cut: its beginning is missing.
pub const EXE_CUT: u32 = 1;
/// The executable is a file that no directory ever held, such as a memfd; its path is one name.
pub const EXE_NAMELESS: u32 = 2;
/// The executable lies on an overlay file system …
pub const EXE_OVERLAY: u32 = 4;
/// … in the upper layer.
pub const EXE_UPPER: u32 = 8;
/// An interpreter runs the file that was to be run.
pub const SCRIPT: u32 = 16;
/// The arguments could not be read.
pub const ARGUMENTS_UNREADABLE: u32 = 32;
/// As `EXE_CUT`, of the file that standard input is.
pub const STDIN_CUT: u32 = 64;
/// As `EXE_NAMELESS`, of that file.
pub const STDIN_NAMELESS: u32 = 128;
/// No directory holds that file any more.
pub const STDIN_DELETED: u32 = 256;
/// Of an executable in the upper layer: it was copied there from a lower one, whose owner, mode or contents changed.
pub const EXE_COPIED: u32 = 512;

/// A process runs a program. The texts follow, in the order of their lengths here.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExecRecord {
    /// When and where.
    pub header: Header,
    /// The process.
    pub process: TaskId,
    /// Its parent.
    pub parent: TaskId,
    /// Effective capabilities.
    pub effective: u64,
    /// The capability bounding set.
    pub bounding: u64,
    /// Id of the cgroup in the unified hierarchy.
    pub cgroup_id: u64,
    /// The executable's inode number.
    pub inode: u64,
    /// When the executable was last written, in seconds since 1970.
    pub modified: i64,
    /// When its contents, names, rights or dates last changed, likewise.
    pub changed: i64,
    /// The executable's device.
    pub device: u32,
    /// How many directory entries the executable has: 0 when it was deleted.
    pub links: u32,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Effective group id.
    pub egid: u32,
    /// User id at login; `u32::MAX` without one.
    pub login_uid: u32,
    /// Inodes of the namespaces: mount, pid, network, uts, ipc, cgroup, user.
    pub namespaces: [u32; 7],
    /// The session's id.
    pub session: u32,
    /// The process id in its own pid namespace.
    pub pid_in_namespace: u32,
    /// The seccomp mode: 0 disabled, 1 strict, 2 filter.
    pub seccomp: u32,
    /// `EXE_…`, `SCRIPT`, `ARGUMENTS_UNREADABLE` and `STDIN_…`.
    pub flags: u32,
    /// What the first three file descriptors are.
    pub stdio: [DescriptorRecord; 3],
    /// The connection over IP that the first of them is which is one.
    pub stdio_ends: EndsRecord,
    /// The controlling terminal's name.
    pub tty: [u8; 16],
    /// Bytes of the cgroup's path in the unified hierarchy: names, leaf first, each ended by NUL. What an attacker can
    /// make long comes after what attribution needs.
    pub cgroup_length: u32,
    /// Bytes of the cgroup's path in a version 1 hierarchy, where there is one.
    pub cgroup_v1_length: u32,
    /// Bytes of the path given to `execve`, ended by NUL.
    pub invoked_length: u32,
    /// Bytes of the executable's path, written as the cgroup's.
    pub exe_length: u32,
    /// Bytes of the path of what standard input is, if that is a regular file; written in the same way.
    pub stdin_length: u32,
    /// Bytes of the working directory, written in the same way.
    pub directory_length: u32,
    /// Bytes of the arguments in this record, each argument ended by NUL.
    pub arguments_length: u32,
    /// Bytes of all the arguments.
    pub arguments_total: u32,
}

/// What a file descriptor refers to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DescriptorRecord {
    /// The inode's mode (`S_IF…` and rights); 0 without a file.
    pub mode: u16,
    /// A socket's address family.
    pub family: u16,
    /// A device's number, as the kernel keeps it: major << 20 | minor.
    pub device: u32,
}

/// A part of the arguments or of the environment.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ChunkRecord {
    /// When and where.
    pub header: Header,
    /// The process.
    pub process: TaskId,
    /// Where in the whole this part starts.
    pub offset: u32,
    /// Bytes that follow.
    pub length: u32,
}

const _: () = assert!(size_of::<ExecRecord>() == 288 && size_of::<ChunkRecord>() == 48);

#[cfg(target_arch = "bpf")]
mod bpf;
