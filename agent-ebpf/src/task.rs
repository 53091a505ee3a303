//! What is read of a task by more than one sensor: who it is, and who owns a socket.

/// Who a process is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskId {
    /// The process id (tgid) in the initial pid namespace.
    pub pid: u32,
    /// Always 0.
    pub reserved: u32,
    /// When the process started, in nanoseconds since boot.
    pub start: u64,
}

/// Who owns a socket, as far as the hook can tell.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketOwner {
    /// The process; all 0 where it is not known.
    pub task: TaskId,
    /// Id of the cgroup in the unified hierarchy.
    pub cgroup_id: u64,
    /// Inode of the network namespace.
    pub network_namespace: u32,
    /// The real user id.
    pub uid: u32,
}

#[cfg(target_arch = "bpf")]
pub(crate) use bpf::{current_owner, in_container, task_id};

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_current_task, bpf_get_current_uid_gid};

    use super::{SocketOwner, TaskId};
    use crate::{
        fields,
        kernel::{Address, pointer, read, within},
    };

    /// Who the process of this task is.
    #[inline(always)]
    pub(crate) fn task_id(task: Address) -> TaskId {
        let leader = pointer(task, fields::task_group_leader());
        TaskId {
            pid: read(task, fields::task_tgid()),
            reserved: 0,
            start: read(leader, fields::task_start()),
        }
    }

    /// The running process as the owner of a socket.
    #[inline(always)]
    pub(crate) fn current_owner() -> SocketOwner {
        // SAFETY: both helpers only read the running task.
        let (task, cgroup_id) = unsafe { (bpf_get_current_task(), bpf_get_current_cgroup_id()) };
        let net = pointer(pointer(task, fields::task_nsproxy()), fields::nsproxy_net());
        SocketOwner {
            task: task_id(task),
            cgroup_id,
            network_namespace: read(net, within(fields::net_ns(), fields::ns_inum())),
            uid: bpf_get_current_uid_gid() as u32,
        }
    }

    /// `PROC_IPC_INIT_INO` (`include/linux/proc_ns.h`): the inode of the node's own ipc namespace.
    const NODE_IPC: u32 = 0xEFFF_FFFF;

    /// Whether a task is in a container, as far as namespaces tell: in a pid or ipc namespace that is not the node's. A
    /// service that only hides files from itself is not; nor is a container that was given both of the node's.
    #[inline(always)]
    pub(crate) fn in_container(task: Address) -> bool {
        let level: u32 = read(pointer(task, fields::task_thread_pid()), fields::pid_level());
        if level != 0 {
            return true;
        }
        let ipc = pointer(pointer(task, fields::task_nsproxy()), fields::nsproxy_ipc());
        let inode: u32 = read(ipc, within(fields::ipc_namespace_ns(), fields::ns_inum()));
        inode != 0 && inode != NODE_IPC
    }
}
