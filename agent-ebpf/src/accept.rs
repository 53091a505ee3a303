//! A listener's connection is established.

/// The sensor's name in the ring.
pub const TAG: [u8; 4] = *b"acpt";

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

    use super::TAG;
    use crate::{record::output, socket::SocketRecord};

    const TCP_ESTABLISHED: i32 = 1;
    const TCP_SYN_RECV: i32 = 3;

    /// `void inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, since 4.16.
    ///
    /// A packet's arrival does this, whichever process runs at the moment: the owner is that of the listening socket,
    /// which the agent knows by namespace, address and port.
    #[raw_tracepoint(tracepoint = "inet_sock_set_state")]
    fn accept(ctx: RawTracePointContext) -> i32 {
        let (old_state, new_state): (i32, i32) = (ctx.arg(1), ctx.arg(2));
        if old_state == TCP_SYN_RECV && new_state == TCP_ESTABLISHED {
            let record = SocketRecord::of_sock(TAG, ctx.arg(0));
            // SAFETY: the record is whole.
            unsafe { output(&raw const record, size_of::<SocketRecord>()) };
        }
        0
    }
}
