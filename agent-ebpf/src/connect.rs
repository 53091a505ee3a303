//! A process opens a connection, or sends a first datagram to an address.

/// The sensor's name in the ring.
pub const TAG: [u8; 4] = *b"conn";

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{
        EbpfContext,
        bindings::bpf_sock_addr,
        helpers::bpf_get_socket_cookie,
        macros::{cgroup_sock_addr, map},
        maps::LruHashMap,
        programs::SockAddrContext,
    };

    use super::TAG;
    use crate::{
        dns,
        record::{Header, output},
        socket::{AF_INET, AF_INET6, SocketRecord, TCP, UDP, first_four},
        task::current_owner,
        wire,
    };

    /// Let the system call go on.
    const ALLOW: i32 = 1;

    /// A socket and an address that it has sent to. Not the port: a server answers each of a client's sockets at another.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Peer {
        cookie: u64,
        address: [u8; 16],
    }

    /// To whom unconnected sockets have sent, so that only the first datagram is reported.
    #[map]
    static PEERS: LruHashMap<Peer, u8> = LruHashMap::with_max_entries(8192, 0);

    /// `connect(2)` on IPv4, before the kernel acts: also of attempts that fail, and through `io_uring`. Since 4.17.
    #[cgroup_sock_addr(connect4)]
    fn connect4(ctx: SockAddrContext) -> i32 {
        // SAFETY: the context that the kernel hands to the program; each field is one that a connect4 program may read.
        let addr = unsafe { &*ctx.sock_addr };
        report(&ctx, first_four(addr.user_ip4.to_ne_bytes()), AF_INET)
    }

    /// `connect(2)` on IPv6. Since 4.17.
    #[cgroup_sock_addr(connect6)]
    fn connect6(ctx: SockAddrContext) -> i32 {
        // SAFETY: as in `connect4`.
        let addr = unsafe { &*ctx.sock_addr };
        report(&ctx, address_v6(addr), AF_INET6)
    }

    /// `sendto(2)` and its like on an unconnected IPv4 UDP socket. Since 4.18.
    #[cgroup_sock_addr(sendmsg4)]
    fn sendmsg4(ctx: SockAddrContext) -> i32 {
        // SAFETY: as in `connect4`.
        let addr = unsafe { &*ctx.sock_addr };
        report_first(&ctx, first_four(addr.user_ip4.to_ne_bytes()), AF_INET)
    }

    /// The same on IPv6. Since 4.18.
    #[cgroup_sock_addr(sendmsg6)]
    fn sendmsg6(ctx: SockAddrContext) -> i32 {
        // SAFETY: as in `connect4`.
        let addr = unsafe { &*ctx.sock_addr };
        report_first(&ctx, address_v6(addr), AF_INET6)
    }

    #[inline(always)]
    fn report_first(ctx: &SockAddrContext, remote: [u8; 16], family: u16) -> i32 {
        // SAFETY: the helper reads the context's socket.
        let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
        let peer = Peer {
            cookie,
            address: remote,
        };
        if PEERS.get_ptr(peer).is_some() {
            return ALLOW;
        }
        // A full table forgets its oldest; what cannot be remembered is reported once more.
        let _ = PEERS.insert(peer, 1, 0);
        report(ctx, remote, family)
    }

    #[inline(always)]
    fn report(ctx: &SockAddrContext, remote: [u8; 16], family: u16) -> i32 {
        // SAFETY: as in `connect4`.
        let addr = unsafe { &*ctx.sock_addr };
        let protocol = addr.protocol as u16;
        let remote_port = u16::from_be(addr.user_port as u16);
        // A resolver connects UDP sockets to port 0 only to learn which source address it would get.
        if protocol != TCP && (protocol != UDP || remote_port == 0) {
            return ALLOW;
        }
        let owner = current_owner();
        // SAFETY: the helper reads the context's socket.
        let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
        let is_watched = protocol == TCP && wire::watch(ctx, owner, remote, remote_port, family);
        if protocol == UDP && remote_port == dns::PORT {
            dns::remember(cookie, owner);
        }
        let record = SocketRecord {
            header: Header::now(TAG),
            owner,
            local: [0; 16],
            remote,
            local_port: 0,
            remote_port,
            family,
            protocol,
            cookie: if is_watched { cookie } else { 0 },
        };
        // SAFETY: the record is whole.
        unsafe { output(&raw const record, size_of::<SocketRecord>()) };
        ALLOW
    }

    /// The verifier allows only reads of whole words, and these only in programs for IPv6.
    #[inline(always)]
    fn address_v6(addr: &bpf_sock_addr) -> [u8; 16] {
        let mut address = [0; 16];
        for (word, bytes) in addr.user_ip6.iter().zip(address.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        address
    }
}
