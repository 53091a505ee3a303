//! A process makes another.

use crate::{record::Header, task::TaskId};

/// The sensor's name in the ring.
pub const TAG: [u8; 4] = *b"fork";

/// A process was made.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ForkRecord {
    /// When and where.
    pub header: Header,
    /// The process that called `fork` or `clone`, which with `CLONE_PARENT` is not the one that gets the child's exit.
    pub parent: TaskId,
    /// The new process.
    pub child: TaskId,
}

const _: () = assert!(size_of::<ForkRecord>() == 56);

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

    use super::{ForkRecord, TAG};
    use crate::{
        fields,
        kernel::read,
        record::{Header, output_in_passing},
        task::task_id,
    };

    /// `void sched_process_fork(struct task_struct *parent, struct task_struct *child)`, since 2.6.
    #[raw_tracepoint(tracepoint = "sched_process_fork")]
    fn fork(ctx: RawTracePointContext) -> i32 {
        let (parent, child): (u64, u64) = (ctx.arg(0), ctx.arg(1));
        let pid: u32 = read(child, fields::task_pid());
        let task = task_id(child);
        // A new thread of the same process has its own pid, and the process's tgid.
        if pid == task.pid {
            let record = ForkRecord {
                header: Header::now(TAG),
                parent: task_id(parent),
                child: task,
            };
            // SAFETY: the record is whole.
            unsafe { output_in_passing(&raw const record, size_of::<ForkRecord>()) };
        }
        0
    }
}
