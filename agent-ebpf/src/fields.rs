//! The kernel's own structures: where the fields are that the sensors read.
//!
//! The agent finds each offset in the running kernel's BTF and writes it into [`OFFSETS`](kernel_offsets) before the
//! programs are loaded. The verifier then sees constants, and prunes what reads a field that this kernel does not have.

/// The offset of a field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// One row: where a field stands in BTF.
#[derive(Clone, Copy, Debug)]
pub struct KernelField {
    /// The name that the sensors use.
    pub name: &'static str,
    /// The structure, or the enumeration.
    pub structure: &'static str,
    /// The names that the member has had, newest first; none: the structure's size is wanted.
    pub members: &'static [&'static str],
}

macro_rules! kernel_fields {
    ($($name:ident: $structure:literal $(. $member:literal)*;)*) => {
        /// Every kernel field that a sensor reads, in the order of the offsets that the agent hands over.
        pub const KERNEL_FIELDS: &[KernelField] = &[
            $(KernelField { name: stringify!($name), structure: $structure, members: &[$($member),*] },)*
        ];

        #[repr(C)]
        #[cfg(target_arch = "bpf")]
        struct Offsets { $($name: u32,)* }

        #[cfg(target_arch = "bpf")]
        #[unsafe(no_mangle)]
        static OFFSETS: Offsets = Offsets { $($name: ABSENT,)* };

        $(
            #[cfg(target_arch = "bpf")]
            #[inline(always)]
            pub(crate) fn $name() -> u32 {
                // SAFETY: a field of a static. Volatile, since the agent changes the value before the program is loaded.
                unsafe { core::ptr::read_volatile(&raw const OFFSETS.$name) }
            }
        )*
    };
}

/// The global that the agent overrides with one `u32` a row of [`KERNEL_FIELDS`].
pub const OFFSETS_GLOBAL: &str = "OFFSETS";

// Each row: the sensors' name, the kernel's structure, and the names that the member has had, newest first.
kernel_fields! {
    task_pid: "task_struct"."pid";
    task_tgid: "task_struct"."tgid";
    task_real_parent: "task_struct"."real_parent";
    task_group_leader: "task_struct"."group_leader";
    task_start: "task_struct"."start_boottime"."real_start_time";
    task_exit_code: "task_struct"."exit_code";
    task_mm: "task_struct"."mm";
    task_fs: "task_struct"."fs";
    task_files: "task_struct"."files";
    task_nsproxy: "task_struct"."nsproxy";
    task_cred: "task_struct"."cred";
    task_signal: "task_struct"."signal";
    task_seccomp: "task_struct"."seccomp";
    task_loginuid: "task_struct"."loginuid";
    task_thread_pid: "task_struct"."thread_pid";
    task_cgroups: "task_struct"."cgroups";
    seccomp_mode: "seccomp"."mode";
    signal_live: "signal_struct"."live";
    signal_group_exit_code: "signal_struct"."group_exit_code";
    signal_tty: "signal_struct"."tty";
    signal_pids: "signal_struct"."pids";
    tty_name: "tty_struct"."name";
    pid_level: "pid"."level";
    pid_numbers: "pid"."numbers";
    upid_nr: "upid"."nr";
    upid_ns: "upid"."ns";
    upid_size: "upid";
    pid_namespace_ns: "pid_namespace"."ns";
    pidtype_sid: "pid_type"."PIDTYPE_SID";
    cred_uid: "cred"."uid";
    cred_gid: "cred"."gid";
    cred_euid: "cred"."euid";
    cred_egid: "cred"."egid";
    cred_effective: "cred"."cap_effective";
    cred_bounding: "cred"."cap_bset";
    cred_user_ns: "cred"."user_ns";
    user_namespace_ns: "user_namespace"."ns";
    ns_inum: "ns_common"."inum";
    nsproxy_mnt: "nsproxy"."mnt_ns";
    nsproxy_net: "nsproxy"."net_ns";
    nsproxy_uts: "nsproxy"."uts_ns";
    nsproxy_ipc: "nsproxy"."ipc_ns";
    nsproxy_cgroup: "nsproxy"."cgroup_ns";
    mnt_namespace_ns: "mnt_namespace"."ns";
    net_ns: "net"."ns";
    uts_namespace_ns: "uts_namespace"."ns";
    ipc_namespace_ns: "ipc_namespace"."ns";
    cgroup_namespace_ns: "cgroup_namespace"."ns";
    css_set_default: "css_set"."dfl_cgrp";
    css_set_subsys: "css_set"."subsys";
    subsys_v1: "cgroup_subsys_id"."memory_cgrp_id"."pids_cgrp_id";
    css_cgroup: "cgroup_subsys_state"."cgroup";
    cgroup_kn: "cgroup"."kn";
    cgroup_root: "cgroup"."root";
    kernfs_name: "kernfs_node"."name";
    kernfs_parent: "kernfs_node"."__parent"."parent";
    kernfs_id: "kernfs_node"."id";
    mm_arg_start: "mm_struct"."arg_start";
    mm_arg_end: "mm_struct"."arg_end";
    mm_env_start: "mm_struct"."env_start";
    mm_env_end: "mm_struct"."env_end";
    mm_exe_file: "mm_struct"."exe_file";
    bprm_filename: "linux_binprm"."filename";
    bprm_interp: "linux_binprm"."interp";
    fs_root: "fs_struct"."root";
    fs_pwd: "fs_struct"."pwd";
    path_mnt: "path"."mnt";
    path_dentry: "path"."dentry";
    dentry_parent: "dentry"."d_parent";
    dentry_name: "dentry"."d_name"."__d_name";
    qstr_name: "qstr"."name";
    vfsmount_root: "vfsmount"."mnt_root";
    mount_vfsmount: "mount"."mnt";
    mount_parent: "mount"."mnt_parent";
    mount_mountpoint: "mount"."mnt_mountpoint";
    file_path: "file"."f_path";
    file_inode: "file"."f_inode";
    file_private: "file"."private_data";
    inode_mode: "inode"."i_mode";
    inode_number: "inode"."i_ino";
    inode_device: "inode"."i_rdev";
    inode_links: "inode"."i_nlink";
    inode_super: "inode"."i_sb";
    inode_modified: "inode"."i_mtime_sec"."__i_mtime"."i_mtime";
    inode_changed: "inode"."i_ctime_sec"."__i_ctime"."i_ctime";
    inode_size: "inode";
    super_device: "super_block"."s_dev";
    super_magic: "super_block"."s_magic";
    files_fdt: "files_struct"."fdt";
    fdtable_fd: "fdtable"."fd";
    socket_sk: "socket"."sk";
    sock_family: "sock_common"."skc_family";
    sock_port: "sock_common"."skc_num";
    sock_address: "sock_common"."skc_rcv_saddr";
    sock_address_v6: "sock_common"."skc_v6_rcv_saddr";
    sock_peer: "sock_common"."skc_daddr";
    sock_peer_v6: "sock_common"."skc_v6_daddr";
    sock_peer_port: "sock_common"."skc_dport";
    sock_net: "sock_common"."skc_net";
    sock_cgroup: "sock"."sk_cgrp_data";
}
