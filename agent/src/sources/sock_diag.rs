//! Sockets as the kernel tells of them over netlink (`sock_diag(7)`): those of the calling thread's network namespace.
//!
//! Not from `/proc/net`: there a socket's path could forge other sockets' lines, and every connection would have to be
//! read to find the few sockets that listen, which the kernel here picks out itself.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    sync::Arc,
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage,
    inet::{self, ExtensionFlags, InetRequest, SocketId},
    unix::{self, ShowFlags, UnixRequest, UnixResponse, nlas::UnixDiagName},
};
use rustix::{
    net::sockopt::{Timeout, set_socket_timeout},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with},
};

use crate::event::ListenAddress;

/// A socket that listens.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    /// Its inode number, as links in `/proc/PID/fd` have it.
    pub(super) inode: u64,
    /// Where.
    pub(super) address: ListenAddress,
}

/// What the kernel may take to answer: it does so while it is asked.
const TIME: std::time::Duration = std::time::Duration::from_secs(1);
/// The kernel's messages are of at most 32 KiB.
const MESSAGE: usize = 64 << 10;
/// More sockets are not taken in.
const MOST: usize = 1 << 20;

/// Every TCP and unix socket that listens.
pub(super) fn listening() -> io::Result<Vec<Listening>> {
    let mut found = unix_listening()?;
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: inet::StateFlags::LISTEN,
            socket_id,
        });
        dump(request, |answer| {
            if let SockDiagMessage::InetResponse(socket) = answer {
                let id = &socket.header.socket_id;
                let address = SocketAddr::new(id.source_address.to_canonical(), id.source_port);
                found.push(Listening {
                    inode: socket.header.inode.into(),
                    address: ListenAddress::Tcp(address),
                });
            }
        })?;
    }
    Ok(found)
}

/// Every unix socket that listens.
pub(super) fn unix_listening() -> io::Result<Vec<Listening>> {
    let mut found = Vec::new();
    dump(unix_sockets(unix::StateFlags::LISTEN, ShowFlags::NAME), |answer| {
        if let SockDiagMessage::UnixResponse(socket) = answer
            && let Some(name) = name(&socket)
        {
            found.push(Listening {
                inode: socket.header.inode.into(),
                address: ListenAddress::Unix(name),
            });
        }
    })?;
    Ok(found)
}

/// The unix sockets that are connected to a named one: by their inode numbers, the name that the other end is bound to.
pub(super) fn unix_connections() -> io::Result<HashMap<u64, Arc<str>>> {
    let mut found = HashMap::new();
    let shown = ShowFlags::NAME | ShowFlags::PEER;
    dump(unix_sockets(unix::StateFlags::ESTABLISHED, shown), |answer| {
        // The end that was accepted bears its listener's name.
        if let SockDiagMessage::UnixResponse(socket) = answer
            && let (Some(peer), Some(name)) = (socket.peer(), name(&socket))
        {
            found.insert(peer.into(), name);
        }
    })?;
    Ok(found)
}

fn unix_sockets(state_flags: unix::StateFlags, show_flags: ShowFlags) -> SockDiagMessage {
    SockDiagMessage::UnixRequest(UnixRequest {
        state_flags,
        inode: 0,
        show_flags,
        cookie: [0xff; 8],
    })
}

/// The name that a unix socket is bound to, as `ss` writes it.
fn name(socket: &UnixResponse) -> Option<Arc<str>> {
    Some(match socket.name()? {
        UnixDiagName::Pathname(path) => String::from_utf8_lossy(path.as_bytes()).into(),
        UnixDiagName::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)).into(),
    })
}

/// Asks for all sockets of a kind, and hands each to `take`.
fn dump(request: SockDiagMessage, mut take: impl FnMut(SockDiagMessage)) -> io::Result<()> {
    let socket = ask(request)?;
    let mut buffer = vec![0; MESSAGE];
    let mut taken = 0;
    while taken < MOST {
        let (_, length) = recv(&socket, &mut *buffer, RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => take(answer),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => return Ok(()),
            }
            taken += 1;
            // Messages begin at multiples of four bytes.
            let next = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[next.max(1)..];
        }
    }
    Ok(())
}

fn ask(request: SockDiagMessage) -> io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::DGRAM);
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(TIME))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    send(&socket, &bytes, SendFlags::empty())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::fd::AsRawFd as _,
        os::{
            linux::net::SocketAddrExt as _,
            unix::{
                fs::MetadataExt as _,
                net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
            },
        },
    };

    use super::*;

    /// Whether anybody listens there.
    fn listens(address: &ListenAddress) -> bool {
        listening().unwrap().iter().any(|found| found.address == *address)
    }

    #[test]
    fn who_is_connected_to_a_named_socket_is_told_from_the_other_end() {
        let inode = |stream: &UnixStream| {
            let descriptor = format!("/proc/self/fd/{}", stream.as_raw_fd());
            std::fs::metadata(descriptor).unwrap().ino()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let (one, _other) = UnixStream::pair().unwrap();
        let found = unix_connections().unwrap();
        assert_eq!(found.get(&inode(&client)).map(|name| &**name), path.to_str());
        assert!(!found.contains_key(&inode(&accepted)) && !found.contains_key(&inode(&one)));
    }

    #[test]
    fn listeners_of_every_kind_are_found_and_datagram_sockets_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let unix = |path: &std::path::Path| ListenAddress::Unix(path.to_str().unwrap().into());
        let forging = path("a\n0000: 00000002 00000000 00010000 0001 01 1 forged");
        let _held = [path("plain"), forging.clone()].map(|path| UnixListener::bind(path).unwrap());
        assert!(listens(&unix(&path("plain"))));
        assert!(listens(&unix(&forging)) && !listens(&ListenAddress::Unix("forged".into())));

        let name = format!("tocsin-{}", std::process::id());
        let nameless_file = SocketAddr::from_abstract_name(&name).unwrap();
        let _abstract = UnixListener::bind_addr(&nameless_file).unwrap();
        assert!(listens(&ListenAddress::Unix(format!("@{name}").into())));

        let _datagrams = UnixDatagram::bind(path("datagrams")).unwrap();
        assert!(!listens(&unix(&path("datagrams"))));

        for ip in ["127.0.0.1", "::1"] {
            let tcp = TcpListener::bind((ip, 0)).unwrap();
            assert!(listens(&ListenAddress::Tcp(tcp.local_addr().unwrap())));
        }
    }
}
