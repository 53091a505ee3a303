//! A DNS message passes: the head of a UDP packet from or to port 53.

use crate::{record::Header, task::SocketOwner};

/// The sensor's name in the ring.
pub const TAG: [u8; 4] = *b"dns ";

/// The port of name servers.
pub const PORT: u16 = 53;

/// Bytes of a message that are kept: what fits a UDP message without extensions (RFC 1035, 2.3.4).
pub const MESSAGE_BYTES: u32 = 512;

/// A DNS message, of which `length` bytes are kept.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DnsRecord {
    /// When and where.
    pub header: Header,
    /// Who asked.
    pub owner: SocketOwner,
    /// The name server, an IPv4 address in the first four bytes.
    pub server: [u8; 16],
    /// The address family: `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Bytes of the message that are kept.
    pub length: u16,
    /// Always 0.
    pub reserved: u32,
    /// The message from its header on.
    pub message: [u8; MESSAGE_BYTES as usize],
}

const _: () = assert!(size_of::<DnsRecord>() == 592);

#[cfg(target_arch = "bpf")]
pub(crate) use bpf::remember;

#[cfg(target_arch = "bpf")]
mod bpf {
    use aya_ebpf::{
        EbpfContext,
        helpers::{
            bpf_get_socket_cookie,
            generated::{bpf_skb_cgroup_id, bpf_skb_load_bytes},
        },
        macros::{cgroup_skb, map},
        maps::LruHashMap,
        programs::SkBuffContext,
    };

    use super::{DnsRecord, MESSAGE_BYTES, PORT, TAG};
    use crate::{
        record::{Header, reserve, wake_up},
        socket::{AF_INET, AF_INET6, UDP},
        task::SocketOwner,
    };

    /// Let the packet pass.
    const PASS: i32 = 1;
    const UDP_HEADER: u32 = 8;
    const IPV6_HEADER: u32 = 40;

    /// Who owns the sockets that talk to name servers, by their cookie: a packet's arrival does not tell.
    #[map]
    static ASKERS: LruHashMap<u64, SocketOwner> = LruHashMap::with_max_entries(4096, 0);

    /// Notes who owns a socket that talks to a name server.
    #[inline(always)]
    pub(crate) fn remember(cookie: u64, owner: SocketOwner) {
        // A full table forgets its oldest; the message then has its cgroup alone.
        let _ = ASKERS.insert(cookie, owner, 0);
    }

    /// Packets that leave a socket, from their IP header on. Since 4.10.
    #[cgroup_skb]
    fn dns_query(ctx: SkBuffContext) -> i32 {
        report(&ctx, true)
    }

    /// Packets that reach a socket, from their IP header on. Since 4.10.
    #[cgroup_skb]
    fn dns_answer(ctx: SkBuffContext) -> i32 {
        report(&ctx, false)
    }

    /// Where things stand in a packet.
    struct Layout {
        family: u16,
        server: u32,
        transport: u32,
    }

    /// The layout of a UDP packet; `None` for all others.
    #[inline(always)]
    fn layout(ctx: &SkBuffContext, leaving: bool) -> Option<Layout> {
        let first: u8 = ctx.load(0).ok()?;
        if first >> 4 == 4 {
            let protocol: u8 = ctx.load(9).ok()?;
            let server = if leaving { 16 } else { 12 };
            let transport = u32::from(first & 0xF) * 4;
            (u16::from(protocol) == UDP).then_some(Layout {
                family: AF_INET,
                server,
                transport,
            })
        } else {
            let protocol: u8 = ctx.load(6).ok()?;
            let server = if leaving { 24 } else { 8 };
            (u16::from(protocol) == UDP).then_some(Layout {
                family: AF_INET6,
                server,
                transport: IPV6_HEADER,
            })
        }
    }

    #[inline(always)]
    fn report(ctx: &SkBuffContext, leaving: bool) -> i32 {
        if let Some(layout) = layout(ctx, leaving) {
            let port_at = if leaving {
                layout.transport + 2
            } else {
                layout.transport
            };
            let port: u16 = ctx.load(port_at as usize).unwrap_or(0);
            if u16::from_be(port) == PORT {
                send(ctx, &layout);
            }
        }
        PASS
    }

    #[inline(always)]
    fn send(ctx: &SkBuffContext, layout: &Layout) {
        let start = layout.transport + UDP_HEADER;
        let whole = ctx.len();
        if whole <= start {
            return;
        }
        let left = whole - start;
        let wanted = if left > MESSAGE_BYTES { MESSAGE_BYTES } else { left };
        // From 1 to 512 in a way that no compiler folds, since older verifiers need the mask to see the bound.
        let length = (core::hint::black_box(wanted - 1) & (MESSAGE_BYTES - 1)) + 1;
        let Some(mut room) = reserve::<DnsRecord>(TAG) else {
            return;
        };
        let record = room.as_mut_ptr();
        // SAFETY: the ring's memory is ours until it is submitted; the record has room for the length, and the helper
        // checks the packet's. What is not written are bytes of earlier records, which the reader does not look at.
        let result = unsafe {
            (*record).header = Header::now(TAG);
            (*record).owner = owner(ctx);
            (*record).server = server(ctx, layout);
            (*record).family = layout.family;
            (*record).length = length as u16;
            (*record).reserved = 0;
            bpf_skb_load_bytes(ctx.as_ptr(), start, (&raw mut (*record).message).cast(), length)
        };
        if result == 0 {
            room.submit(wake_up());
        } else {
            room.discard(0);
        }
    }

    /// The name server's address, as the record holds it.
    #[inline(always)]
    fn server(ctx: &SkBuffContext, layout: &Layout) -> [u8; 16] {
        if layout.family == AF_INET {
            crate::socket::first_four(ctx.load(layout.server as usize).unwrap_or_default())
        } else {
            ctx.load(layout.server as usize).unwrap_or_default()
        }
    }

    /// The owner that was noted, else the cgroup alone.
    #[inline(always)]
    fn owner(ctx: &SkBuffContext) -> SocketOwner {
        // SAFETY: both helpers read the packet's socket.
        let (cookie, cgroup_id) = unsafe {
            (
                bpf_get_socket_cookie(ctx.as_ptr()),
                bpf_skb_cgroup_id(ctx.as_ptr().cast()),
            )
        };
        match ASKERS.get_ptr(cookie) {
            // SAFETY: an entry may be replaced while it is read, by another owner of the same socket: both are integers.
            Some(owner) => unsafe { *owner },
            None => SocketOwner {
                cgroup_id,
                ..SocketOwner::default()
            },
        }
    }
}
