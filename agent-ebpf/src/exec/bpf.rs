//! The kernel program of the exec sensor.

use aya_ebpf::{
    helpers::{bpf_get_current_cgroup_id, generated::bpf_probe_read_user},
    macros::{map, raw_tracepoint},
    programs::RawTracePointContext,
};

use super::{
    ARGUMENT_CHUNKS, ARGUMENTS_TAG, ARGUMENTS_UNREADABLE, CHUNK_BYTES, ChunkRecord, DescriptorRecord,
    ENVIRONMENT_CHUNKS, ENVIRONMENT_TAG, EXE_COPIED, EXE_CUT, EXE_NAMELESS, EXE_OVERLAY, EXE_UPPER, ExecRecord,
    INLINE_ARGUMENTS, SCRIPT, STDIN_CUT, STDIN_DELETED, STDIN_NAMELESS, TAG,
};
use crate::{
    fields,
    kernel::{Address, pointer, read, read_text, within},
    path::{End, Place, Texts},
    record::{Header, Scratch, output},
    socket::{AF_INET, AF_INET6, EndsRecord, remote_port},
    task::{TaskId, task_id},
};

/// `OVERLAYFS_SUPER_MAGIC` of `include/uapi/linux/magic.h`.
const OVERLAY_MAGIC: u64 = 0x794c_7630;
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
const S_IFREG: u16 = 0o100_000;

#[repr(C)]
struct Exec {
    record: ExecRecord,
    texts: Texts,
}

#[repr(C)]
struct Chunk {
    record: ChunkRecord,
    bytes: [u8; CHUNK_BYTES as usize],
}

#[map]
static EXEC_SCRATCH: Scratch<Exec> = Scratch::with_max_entries(1, 0);

#[map]
static CHUNK_SCRATCH: Scratch<Chunk> = Scratch::with_max_entries(1, 0);

/// `void sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, since 3.4.
///
/// It fires when the new program is in place: the arguments are read from the new memory, where `execve` itself has just
/// put them, so that they can be neither absent nor changed by another thread.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn exec(ctx: RawTracePointContext) -> i32 {
    let (task, bprm): (Address, Address) = (ctx.arg(0), ctx.arg(2));
    let Some(exec) = EXEC_SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this processor's own value of the map, which no other program uses, and this one does not nest.
    let Exec { record, texts } = unsafe { &mut *exec };
    let mm = pointer(task, fields::task_mm());
    let process = task_id(task);

    record.process = process;
    record.parent = task_id(pointer(task, fields::task_real_parent()));
    record.flags = 0;
    fill_credentials(record, task);
    let is_container_init = fill_namespaces(record, task);
    fill_session(record, task);
    fill_stdio(record, task);

    let (start, end): (Address, Address) = (read(mm, fields::mm_arg_start()), read(mm, fields::mm_arg_end()));
    record.arguments_total = (end - start) as u32;
    if is_container_init {
        let (start, end): (Address, Address) = (read(mm, fields::mm_env_start()), read(mm, fields::mm_env_end()));
        send_chunks(
            ENVIRONMENT_TAG,
            process,
            start,
            0,
            (end - start) as u32,
            ENVIRONMENT_CHUNKS,
        );
    }
    send_chunks(
        ARGUMENTS_TAG,
        process,
        start,
        INLINE_ARGUMENTS,
        record.arguments_total,
        ARGUMENT_CHUNKS,
    );

    texts.clear();
    fill_cgroups(record, texts, task);
    let invoked = pointer(bprm, fields::bprm_filename());
    if invoked != pointer(bprm, fields::bprm_interp()) {
        record.flags |= SCRIPT;
    }
    // SAFETY: the end has room for 4096 bytes.
    record.invoked_length = unsafe { read_text(texts.end(), 1024, invoked) } as u32;
    texts.advance(record.invoked_length);
    fill_paths(record, texts, task, mm);

    record.arguments_length = read_arguments(texts.end(), start, record.arguments_total);
    if record.arguments_length == 0 && record.arguments_total != 0 {
        record.flags |= ARGUMENTS_UNREADABLE;
    }
    texts.advance(record.arguments_length);
    record.header = Header::now(TAG);
    let length = core::hint::black_box(size_of::<ExecRecord>() + texts.position() as usize) & 0x7FFF;
    if length <= size_of::<Exec>() {
        // SAFETY: the length is within the scratch, whose bytes are all initialized: a map's are zeros at first.
        unsafe { output(exec, length) };
    }
    0
}

/// Copies what fits of the arguments at `start`. Returns how many bytes; 0 where they cannot be read.
#[inline(always)]
fn read_arguments(target: *mut u8, start: Address, total: u32) -> u32 {
    let wanted = if total > INLINE_ARGUMENTS {
        INLINE_ARGUMENTS
    } else {
        total
    };
    let length = core::hint::black_box(wanted) & INLINE_ARGUMENTS;
    // SAFETY: every position of a text leaves room for 4096 bytes; the helper bears any source address.
    let result = unsafe { bpf_probe_read_user(target.cast(), length, start as *const core::ffi::c_void) };
    if result == 0 { length } else { 0 }
}

/// Sends `total` bytes of the process's memory at `start`, from `offset` on, in at most `chunks` parts.
#[inline(always)]
fn send_chunks(tag: [u8; 4], process: TaskId, start: Address, mut offset: u32, total: u32, chunks: u32) {
    for _ in 0..chunks {
        if offset >= total {
            return;
        }
        let Some(chunk) = CHUNK_SCRATCH.get_ptr_mut(0) else {
            return;
        };
        // SAFETY: this processor's own value of the map, which only the exec program uses.
        let Chunk { record, bytes } = unsafe { &mut *chunk };
        let left = total - offset;
        let wanted = if left > CHUNK_BYTES { CHUNK_BYTES } else { left };
        // From 1 to 4096 in a way that no compiler folds, since the verifier must see the bound.
        let length = (core::hint::black_box(wanted - 1) & (CHUNK_BYTES - 1)) + 1;
        let source = (start + u64::from(offset)) as *const core::ffi::c_void;
        // SAFETY: the chunk has room for `CHUNK_BYTES`; the helper bears any source address.
        if unsafe { bpf_probe_read_user(bytes.as_mut_ptr().cast(), length, source) } != 0 {
            return;
        }
        *record = ChunkRecord {
            header: Header::now(tag),
            process,
            offset,
            length,
        };
        // SAFETY: the length is at most that of the scratch.
        unsafe { output(chunk, size_of::<ChunkRecord>() + length as usize) };
        offset += length;
    }
}

#[inline(always)]
fn fill_credentials(record: &mut ExecRecord, task: Address) {
    let cred = pointer(task, fields::task_cred());
    record.uid = read(cred, fields::cred_uid());
    record.gid = read(cred, fields::cred_gid());
    record.euid = read(cred, fields::cred_euid());
    record.egid = read(cred, fields::cred_egid());
    record.effective = read(cred, fields::cred_effective());
    record.bounding = read(cred, fields::cred_bounding());
    record.login_uid = if fields::task_loginuid() == fields::ABSENT {
        u32::MAX
    } else {
        read(task, fields::task_loginuid())
    };
    record.seccomp = read(task, within(fields::task_seccomp(), fields::seccomp_mode()));
    let user = pointer(cred, fields::cred_user_ns());
    record.namespaces[6] = read(user, within(fields::user_namespace_ns(), fields::ns_inum()));
}

/// Returns whether the process is the first of a pid namespace below the node's.
#[inline(always)]
fn fill_namespaces(record: &mut ExecRecord, task: Address) -> bool {
    let proxy = pointer(task, fields::task_nsproxy());
    let inode = |member, namespace| read(pointer(proxy, member), within(namespace, fields::ns_inum()));
    record.namespaces[0] = inode(fields::nsproxy_mnt(), fields::mnt_namespace_ns());
    record.namespaces[2] = inode(fields::nsproxy_net(), fields::net_ns());
    record.namespaces[3] = inode(fields::nsproxy_uts(), fields::uts_namespace_ns());
    record.namespaces[4] = inode(fields::nsproxy_ipc(), fields::ipc_namespace_ns());
    record.namespaces[5] = inode(fields::nsproxy_cgroup(), fields::cgroup_namespace_ns());
    // The nsproxy names the pid namespace of the children; the process's own stands beside its number.
    let pid = pointer(task, fields::task_thread_pid());
    let level: u32 = read(pid, fields::pid_level());
    let number = pid + u64::from(fields::pid_numbers()) + u64::from(level) * u64::from(fields::upid_size());
    record.pid_in_namespace = read(number, fields::upid_nr());
    record.namespaces[1] = read(
        pointer(number, fields::upid_ns()),
        within(fields::pid_namespace_ns(), fields::ns_inum()),
    );
    level > 0 && record.pid_in_namespace == 1
}

#[inline(always)]
fn fill_session(record: &mut ExecRecord, task: Address) {
    let signal = pointer(task, fields::task_signal());
    let session = pointer(signal, within(fields::signal_pids(), fields::pidtype_sid() * 8));
    record.session = read(session, within(fields::pid_numbers(), fields::upid_nr()));
    let tty = pointer(signal, fields::signal_tty());
    record.tty = if tty == 0 {
        [0; 16]
    } else {
        read(tty, fields::tty_name())
    };
}

#[inline(always)]
fn fill_stdio(record: &mut ExecRecord, task: Address) {
    let files = open_files(task);
    let mut connected = 0;
    for (number, descriptor) in record.stdio.iter_mut().enumerate() {
        let file = pointer(files, number as u32 * 8);
        let inode = pointer(file, fields::file_inode());
        let mode: u16 = read(inode, fields::inode_mode());
        let is_socket = mode & S_IFMT == S_IFSOCK;
        let mut family = 0;
        if is_socket {
            let sock = pointer(pointer(file, fields::file_private()), fields::socket_sk());
            family = read(sock, fields::sock_family());
            if connected == 0 && (family == AF_INET || family == AF_INET6) && remote_port(sock) != 0 {
                connected = sock;
            }
        }
        *descriptor = DescriptorRecord {
            mode,
            family,
            device: read(inode, fields::inode_device()),
        };
    }
    record.stdio_ends = if connected == 0 {
        EndsRecord::default()
    } else {
        EndsRecord::of_sock(connected)
    };
}

/// Writes the paths of the executable, of standard input where that is a file, and of the working directory.
#[inline(always)]
fn fill_paths(record: &mut ExecRecord, texts: &mut Texts, task: Address, mm: Address) {
    let file = pointer(mm, fields::mm_exe_file());
    let inode = pointer(file, fields::file_inode());
    let super_block = pointer(inode, fields::inode_super());
    record.inode = read(inode, fields::inode_number());
    record.links = read(inode, fields::inode_links());
    record.modified = read(inode, fields::inode_modified());
    record.changed = read(inode, fields::inode_changed());
    record.device = read(super_block, fields::super_device());
    let magic: u64 = read(super_block, fields::super_magic());
    if magic == OVERLAY_MAGIC {
        // `struct ovl_inode` holds the inode, and behind it the entry in the upper layer, if there is one.
        let upper = pointer(inode, fields::inode_size());
        // Then what lies below: the inode; since 5.19 the layer, whose first member is an address; since 6.5 the number
        // of layers. Each begins with 0 only if nothing lies there.
        let below = pointer(inode, within(fields::inode_size(), 8));
        let first: u32 = read(below, 0);
        record.flags |= match (upper, first) {
            (0, _) => EXE_OVERLAY,
            (_, 0) => EXE_OVERLAY | EXE_UPPER,
            _ => EXE_OVERLAY | EXE_UPPER | EXE_COPIED,
        };
    }
    let fs = pointer(task, fields::task_fs());
    let root = Place::at(fs + u64::from(fields::fs_root()));
    let start = texts.position();
    record.flags |= flag_of(texts.push_path(place_of(file), root), EXE_NAMELESS, EXE_CUT);
    record.exe_length = texts.position() - start;
    record.stdin_length = 0;
    // Few programs have a file as their input, so that few pay for this walk. It comes before that of the working
    // directory, by whose length nobody shall crowd it out.
    if record.stdio[0].mode & S_IFMT == S_IFREG {
        fill_stdin_path(record, texts, task, root);
    }
    let start = texts.position();
    texts.push_path(Place::at(fs + u64::from(fields::fs_pwd())), root);
    record.directory_length = texts.position() - start;
}

/// Writes the path of the regular file that standard input is.
#[inline(always)]
fn fill_stdin_path(record: &mut ExecRecord, texts: &mut Texts, task: Address, root: Place) {
    let file = pointer(open_files(task), 0);
    let links: u32 = read(pointer(file, fields::file_inode()), fields::inode_links());
    if links == 0 {
        record.flags |= STDIN_DELETED;
    }
    let start = texts.position();
    record.flags |= flag_of(texts.push_path(place_of(file), root), STDIN_NAMELESS, STDIN_CUT);
    record.stdin_length = texts.position() - start;
}

/// The array of the process's open files, by their descriptors.
#[inline(always)]
fn open_files(task: Address) -> Address {
    pointer(
        pointer(pointer(task, fields::task_files()), fields::files_fdt()),
        fields::fdtable_fd(),
    )
}

#[inline(always)]
fn flag_of(end: End, nameless: u32, cut: u32) -> u32 {
    match end {
        End::Root => 0,
        End::Nameless => nameless,
        End::Cut => cut,
    }
}

#[inline(always)]
fn place_of(file: Address) -> Place {
    Place::at(file + u64::from(fields::file_path()))
}

/// Writes the cgroup's path in the unified hierarchy, and in a version 1 hierarchy where there is one.
#[inline(always)]
fn fill_cgroups(record: &mut ExecRecord, texts: &mut Texts, task: Address) {
    // SAFETY: the helper only reads the running task.
    record.cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    let set = pointer(task, fields::task_cgroups());
    let unified = pointer(set, fields::css_set_default());
    let start = texts.position();
    texts.push_cgroup(unified);
    let end = texts.position();
    record.cgroup_length = end - start;
    record.cgroup_v1_length = 0;
    if fields::subsys_v1() == fields::ABSENT {
        return;
    }
    let state = pointer(set, within(fields::css_set_subsys(), fields::subsys_v1() * 8));
    let legacy = pointer(state, fields::css_cgroup());
    if pointer(legacy, fields::cgroup_root()) != pointer(unified, fields::cgroup_root()) {
        texts.push_cgroup(legacy);
        record.cgroup_v1_length = texts.position() - end;
    }
}
