//! A TCP socket listens.

/// The sensor's name in the ring.
pub const TAG: [u8; 4] = *b"list";

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

    use super::TAG;
    use crate::{record::output, socket::SocketRecord, task::current_owner};

    const TCP_LISTEN: i32 = 10;

    /// `void inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, since 4.16.
    ///
    /// `listen` changes the state itself, so that the running process is the one that listens, also through `io_uring`.
    #[raw_tracepoint(tracepoint = "inet_sock_set_state")]
    fn listen(ctx: RawTracePointContext) -> i32 {
        let new_state: i32 = ctx.arg(2);
        if new_state == TCP_LISTEN {
            let mut record = SocketRecord::of_sock(TAG, ctx.arg(0));
            let owner = current_owner();
            record.owner.task = owner.task;
            record.owner.uid = owner.uid;
            // SAFETY: the record is whole.
            unsafe { output(&raw const record, size_of::<SocketRecord>()) };
        }
        0
    }
}
