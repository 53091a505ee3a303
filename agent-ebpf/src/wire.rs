//! What an outgoing connection says first, if that is a TLS client's hello or an HTTP request.
//!
//! Taken from the packets that leave the socket, so that it is the same for `write`, `writev`, `sendfile`, `io_uring` and
//! TLS in the kernel. What is neither hello nor request does not leave the kernel.

use crate::{record::Header, task::SocketOwner};

/// The sensor's name in the ring.
pub const TAG: [u8; 4] = *b"wire";

/// Bytes that a record has room for: most requests and hellos …
pub const FEW_BYTES: u32 = 1024;
/// … and those that are larger, such as a hello with a post-quantum key.
pub const MANY_BYTES: u32 = 4096;

/// Bytes of a hello that are taken at most, and twice those of a request. What is longer is cut.
pub const MOST_BYTES: u32 = 2 * MANY_BYTES;

/// The global that the agent overrides with whose connections are watched: one of the next three.
pub const SCOPE_GLOBAL: &str = "WIRE_SCOPE";
/// Nobody's.
pub const NOWHERE: u32 = 0;
/// Those of containers, and of the node to the watched ports.
pub const CONTAINERS: u32 = 1;
/// Everybody's.
pub const EVERYWHERE: u32 = 2;

/// The global that the agent overrides with the ports to which the node's own connections are watched too; 0 for none.
pub const PORTS_GLOBAL: &str = "WIRE_PORTS";
/// So many such ports there may be.
pub const PORTS: usize = 8;

/// A part of what a connection says first. The bytes follow, [`FEW_BYTES`] or [`MANY_BYTES`] of them, of which `length`
/// are meant.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct WireRecord {
    /// When and where.
    pub header: Header,
    /// Who opened the connection.
    pub owner: SocketOwner,
    /// The socket's number.
    pub cookie: u64,
    /// This side's address, an IPv4 one in the first four bytes.
    pub local: [u8; 16],
    /// The other side's address, as the process gave it.
    pub remote: [u8; 16],
    /// This side's port.
    pub local_port: u16,
    /// The other side's port.
    pub remote_port: u16,
    /// The address family: `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Bytes of this part.
    pub length: u16,
    /// Where in the whole this part starts.
    pub offset: u32,
    /// Bytes that are taken of this connection, unless it ends before.
    pub wanted: u32,
}

const _: () = assert!(size_of::<WireRecord>() == 112);

#[cfg(target_arch = "bpf")]
pub(crate) use bpf::watch;

#[cfg(target_arch = "bpf")]
mod bpf {
    use core::ptr;

    use aya_ebpf::{
        EbpfContext,
        bindings::bpf_sock,
        btf_maps::SkStorage,
        helpers::{
            bpf_get_current_task, bpf_get_socket_cookie, bpf_tcp_sock,
            generated::{bpf_sk_storage_get, bpf_skb_load_bytes},
        },
        macros::{btf_map, cgroup_skb},
        programs::{SkBuffContext, SockAddrContext},
    };

    use super::{CONTAINERS, EVERYWHERE, FEW_BYTES, MANY_BYTES, MOST_BYTES, PORTS, TAG, WireRecord};
    use crate::{
        record::{Header, reserve, wake_up},
        socket::{AF_INET6, TCP, first_four},
        task::{SocketOwner, in_container},
    };

    /// Let the packet pass.
    const PASS: i32 = 1;
    const IPV6_HEADER: u32 = 40;

    /// Segments with data after which a connection is past its beginning: a hello in the smallest that a path may demand
    /// (RFC 879), and some that are sent again.
    const BEGINNING: u32 = 24;

    #[unsafe(no_mangle)]
    static WIRE_SCOPE: u32 = 0;

    #[unsafe(no_mangle)]
    static WIRE_PORTS: [u16; PORTS] = [0; PORTS];

    /// A connection that has not said all that is wanted of it.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Watched {
        owner: SocketOwner,
        remote: [u8; 16],
        remote_port: u16,
        family: u16,
        /// The sequence number of its first byte.
        start: u32,
        /// Bytes that were taken.
        taken: u32,
        /// Bytes that are wanted; 0 until the first has come.
        wanted: u32,
    }

    /// The connections that have yet to speak, each with its socket: none can push out another's, and one that ends takes
    /// its own along. Since 5.2, for programs of `connect` since 5.3.
    #[btf_map]
    static WATCHED: SkStorage<Watched> = SkStorage::new();

    /// Watches what a TCP socket says first that connects to that address, if it is one that the agent wants to know of;
    /// whether it is.
    #[inline(always)]
    pub(crate) fn watch(
        ctx: &SockAddrContext,
        owner: SocketOwner,
        remote: [u8; 16],
        remote_port: u16,
        family: u16,
    ) -> bool {
        if !is_wanted(remote_port) {
            return false;
        }
        let mut watched = Watched {
            owner,
            remote,
            remote_port,
            family,
            start: 0,
            taken: 0,
            wanted: 0,
        };
        // SAFETY: the context's socket. One whose options use up all its memory (`net.core.optmem_max`) has none left.
        let place = unsafe { WATCHED.get_or_insert_ptr_mut(ctx, Some(&mut watched)) };
        if place.is_null() {
            return false;
        }
        // It may have connected before, in vain.
        // SAFETY: the map's value lives as long as the program; a socket connects once at a time.
        unsafe { *place = watched };
        true
    }

    #[inline(always)]
    fn is_wanted(port: u16) -> bool {
        // SAFETY: statics. Volatile, since the agent changes the values before the programs are loaded.
        let (scope, ports) = unsafe {
            (
                ptr::read_volatile(&raw const WIRE_SCOPE),
                ptr::read_volatile(&raw const WIRE_PORTS),
            )
        };
        // SAFETY: the helper only reads which task runs.
        scope == EVERYWHERE
            || scope == CONTAINERS && (ports.contains(&port) || in_container(unsafe { bpf_get_current_task() }))
    }

    /// Packets that leave a socket, from their IP header on. Since 4.10; a packet's socket is there since 5.1.
    #[cgroup_skb]
    fn first_bytes(ctx: SkBuffContext) -> i32 {
        // SAFETY: the context that the kernel hands to the program; each field is one that the program may read.
        let (socket, segments) = unsafe { ((*ctx.skb.skb).__bindgen_anon_2.sk, (*ctx.skb.skb).gso_segs) };
        if socket.is_null() {
            return PASS;
        }
        // SAFETY: the packet's socket.
        let tcp = unsafe { bpf_tcp_sock(socket) };
        if tcp.is_null() {
            return PASS;
        }
        // SAFETY: a TCP socket, by the check above. This packet's segments are already counted.
        let sent = unsafe { (*tcp).data_segs_out };
        if sent != 0 && sent.saturating_sub(segments) <= BEGINNING {
            take(&ctx, socket, sent > BEGINNING);
        }
        PASS
    }

    /// Takes what is wanted of a packet, which may be the last of the beginning.
    #[inline(always)]
    fn take(ctx: &SkBuffContext, socket: *mut bpf_sock, is_last: bool) {
        let map = ptr::from_ref(&WATCHED).cast_mut().cast();
        // SAFETY: the map, and the packet's socket, which is a whole one.
        let watched = unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), 0) }.cast::<Watched>();
        if watched.is_null() {
            return;
        }
        // SAFETY: the map's value lives as long as the program. A socket sends one packet at a time.
        let watched = unsafe { &mut *watched };
        // SAFETY: the helper reads the packet's socket.
        let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
        let goes_on = take_some(ctx, socket, cookie, watched).is_some();
        if is_last || !goes_on || (watched.wanted != 0 && watched.taken >= watched.wanted) {
            // SAFETY: the packet's socket. Its value may be gone already.
            let _ = unsafe { WATCHED.delete(socket) };
        }
    }

    /// Takes what this packet has of the bytes that are wanted; `None` where none are.
    #[inline(always)]
    fn take_some(ctx: &SkBuffContext, socket: *mut bpf_sock, cookie: u64, watched: &mut Watched) -> Option<()> {
        let header = tcp_header(ctx)?;
        let sequence = u32::from_be(ctx.load(header as usize + 4).ok()?);
        let words: u8 = ctx.load(header as usize + 12).ok()?;
        let start = header + u32::from(words >> 4) * 4;
        let whole = ctx.len();
        if whole <= start {
            return Some(());
        }
        let length = whole - start;
        if watched.wanted == 0 {
            watched.start = sequence;
            watched.wanted = wanted(ctx, start, length)?;
        }
        for _ in 0..MOST_BYTES / MANY_BYTES {
            // Of what is sent again, perhaps with more, the beginning is known. After a gap this is larger than any packet.
            let known = watched.taken.wrapping_sub(sequence.wrapping_sub(watched.start));
            if known >= length || watched.taken >= watched.wanted {
                break;
            }
            let new = (length - known).min(watched.wanted - watched.taken);
            let taken = if new <= FEW_BYTES {
                send::<{ FEW_BYTES as usize }>(ctx, socket, cookie, watched, start + known, new)
            } else {
                send::<{ MANY_BYTES as usize }>(ctx, socket, cookie, watched, start + known, new)
            };
            watched.taken += taken?;
        }
        Some(())
    }

    /// Where the TCP header starts.
    #[inline(always)]
    fn tcp_header(ctx: &SkBuffContext) -> Option<u32> {
        let first: u8 = ctx.load(0).ok()?;
        let (protocol_at, header) = if first >> 4 == 4 {
            (9, u32::from(first & 0xF) * 4)
        } else {
            (6, IPV6_HEADER)
        };
        let protocol: u8 = ctx.load(protocol_at).ok()?;
        (u16::from(protocol) == TCP).then_some(header)
    }

    /// How much of what begins so is wanted; `None` of what is neither a TLS client's hello nor an HTTP request.
    #[inline(always)]
    fn wanted(ctx: &SkBuffContext, start: u32, length: u32) -> Option<u32> {
        const HANDSHAKE: u8 = 22;
        const CLIENT_HELLO: u8 = 1;
        let Ok(begin) = ctx.load::<[u8; 9]>(start as usize) else {
            // A hello's record may be written before the hello itself, and a request a few letters at a time.
            let first: u8 = ctx.load(start as usize).ok()?;
            if first == HANDSHAKE {
                return Some(MOST_BYTES);
            }
            let second = ctx.load(start as usize + 1).ok();
            let begins = match ctx.load::<[u8; 4]>(start as usize) {
                Ok(begin) => is_method(begin),
                Err(_) => may_be_method(first, second),
            };
            return begins.then_some(MANY_BYTES);
        };
        let [kind, version, _, record_1, record_0, message, hello_2, hello_1, hello_0] = begin;
        if kind == HANDSHAKE && version == 3 && message == CLIENT_HELLO {
            let record = u32::from(record_1) << 8 | u32::from(record_0);
            let hello = u32::from(hello_2) << 16 | u32::from(hello_1) << 8 | u32::from(hello_0);
            // Where a hello is cut into several records, only who reads them knows where it ends.
            let wanted = if record >= hello + 4 { hello + 9 } else { MOST_BYTES };
            return Some(wanted.min(MOST_BYTES));
        }
        if !is_method([kind, version, begin[2], record_1]) {
            return None;
        }
        // Most requests are one packet that ends with the head; others go on, and only who reads them knows how far.
        let end = ctx.load::<[u8; 4]>((start + length - 4) as usize).ok()?;
        Some(if end == *b"\r\n\r\n" {
            length.min(MANY_BYTES)
        } else {
            MANY_BYTES
        })
    }

    /// Whether a request may begin so (RFC 9110, 9.3, and RFC 5789).
    #[inline(always)]
    fn is_method(begin: [u8; 4]) -> bool {
        const METHODS: [[u8; 4]; 9] = [
            *b"GET ", *b"POST", *b"PUT ", *b"HEAD", *b"DELE", *b"OPTI", *b"PATC", *b"CONN", *b"TRAC",
        ];
        METHODS.contains(&begin)
    }

    /// Whether the name of such a method may begin with one or two letters like these.
    #[inline(always)]
    fn may_be_method(first: u8, second: Option<u8>) -> bool {
        const BEGINNINGS: [[u8; 2]; 9] = [*b"GE", *b"PO", *b"PU", *b"HE", *b"DE", *b"OP", *b"PA", *b"CO", *b"TR"];
        BEGINNINGS
            .iter()
            .any(|begin| begin[0] == first && second.is_none_or(|second| begin[1] == second))
    }

    /// A record with room for that many bytes.
    #[repr(C)]
    struct Room<const BYTES: usize> {
        record: WireRecord,
        bytes: [u8; BYTES],
    }

    /// Sends `length` bytes from `start` on, or as many as a record takes. Gives how many; `None` where the packet has
    /// none. What the ring has no room for counts as sent: it is lost, and counted there.
    #[inline(always)]
    fn send<const BYTES: usize>(
        ctx: &SkBuffContext,
        socket: *mut bpf_sock,
        cookie: u64,
        watched: &Watched,
        start: u32,
        length: u32,
    ) -> Option<u32> {
        let most = BYTES as u32;
        let length = length.min(most);
        // From 1 to the most in a way that no compiler folds, since older verifiers need the mask to see the bound.
        let length = (core::hint::black_box(length - 1) & (most - 1)) + 1;
        let Some(mut room) = reserve::<Room<BYTES>>(TAG) else {
            return Some(length);
        };
        let target = room.as_mut_ptr();
        // SAFETY: the ring's memory is ours until it is submitted; the record has room for the length, and the helper
        // checks the packet's. What is not written are bytes of earlier records, which the reader does not look at.
        let result = unsafe {
            let record = &raw mut (*target).record;
            (*record).header = Header::now(TAG);
            (*record).owner = watched.owner;
            (*record).cookie = cookie;
            (*record).local = local(socket, watched.family);
            (*record).remote = watched.remote;
            (*record).local_port = ptr::read_volatile(&raw const (*socket).src_port) as u16;
            (*record).remote_port = watched.remote_port;
            (*record).family = watched.family;
            (*record).length = length as u16;
            (*record).offset = watched.taken;
            (*record).wanted = watched.wanted;
            bpf_skb_load_bytes(ctx.as_ptr(), start, (&raw mut (*target).bytes).cast(), length)
        };
        if result != 0 {
            room.discard(0);
            return None;
        }
        room.submit(wake_up());
        Some(length)
    }

    /// This side's address. The verifier allows only reads of whole words.
    #[inline(always)]
    fn local(socket: *mut bpf_sock, family: u16) -> [u8; 16] {
        // SAFETY: the packet's socket, of which these fields may be read.
        unsafe {
            if family != AF_INET6 {
                return first_four(ptr::read_volatile(&raw const (*socket).src_ip4).to_ne_bytes());
            }
            let mut address = [0; 16];
            for (index, bytes) in address.chunks_exact_mut(4).enumerate() {
                let word = ptr::read_volatile((&raw const (*socket).src_ip6).cast::<u32>().add(index));
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
            address
        }
    }
}
