//! A process ends: its last thread is gone.

use crate::{record::Header, task::TaskId};

/// The sensor's name in the ring.
pub const TAG: [u8; 4] = *b"exit";

/// A process ended.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ExitRecord {
    /// When and where.
    pub header: Header,
    /// The process.
    pub process: TaskId,
    /// As `wait` reports it.
    pub code: u32,
    /// Always 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<ExitRecord>() == 48);

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

    use super::{ExitRecord, TAG};
    use crate::{
        fields,
        kernel::{pointer, read},
        record::{Header, output_in_passing},
        task::task_id,
    };

    /// `void sched_process_exit(struct task_struct *task)`, since 2.6 (6.16 adds `bool group_dead`).
    #[raw_tracepoint(tracepoint = "sched_process_exit")]
    fn exit(ctx: RawTracePointContext) -> i32 {
        let task: u64 = ctx.arg(0);
        let signal = pointer(task, fields::task_signal());
        // `do_exit` has already counted this thread out, so that 0 means the last one.
        let threads_alive: u32 = read(signal, fields::signal_live());
        if threads_alive == 0 {
            let group_code: u32 = read(signal, fields::signal_group_exit_code());
            let code = if group_code != 0 {
                group_code
            } else {
                read(task, fields::task_exit_code())
            };
            let record = ExitRecord {
                header: Header::now(TAG),
                process: task_id(task),
                code,
                reserved: 0,
            };
            // SAFETY: the record is whole.
            unsafe { output_in_passing(&raw const record, size_of::<ExitRecord>()) };
        }
        0
    }
}
