//! What the records of sockets share.

use crate::{record::Header, task::SocketOwner};

/// TCP, as in the IP header.
pub const TCP: u16 = 6;
/// UDP, as in the IP header.
pub const UDP: u16 = 17;

/// A connection was opened, accepted, or listened for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SocketRecord {
    /// When and where.
    pub header: Header,
    /// Who owns the socket.
    pub owner: SocketOwner,
    /// This side's address, an IPv4 one in the first four bytes; zeros where it is not known.
    pub local: [u8; 16],
    /// The other side's address; zeros for a listener.
    pub remote: [u8; 16],
    /// This side's port.
    pub local_port: u16,
    /// The other side's port.
    pub remote_port: u16,
    /// The address family: `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// `TCP` or `UDP`.
    pub protocol: u16,
    /// The number of a socket that connects and is watched for what it says; 0 of others.
    pub cookie: u64,
}

/// Both ends of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct EndsRecord {
    /// This side's address, an IPv4 one in the first four bytes.
    pub local: [u8; 16],
    /// The other side's address.
    pub remote: [u8; 16],
    /// This side's port.
    pub local_port: u16,
    /// The other side's port; 0 of a socket that is not connected.
    pub remote_port: u16,
    /// The address family: `AF_INET` or `AF_INET6`; 0 without a socket.
    pub family: u16,
    /// Always 0.
    pub reserved: u16,
}

const _: () = assert!(size_of::<SocketRecord>() == 104 && size_of::<EndsRecord>() == 40);

/// IPv4.
pub const AF_INET: u16 = 2;
/// IPv6.
pub const AF_INET6: u16 = 10;

#[cfg(target_arch = "bpf")]
mod bpf {
    use super::{AF_INET6, EndsRecord, SocketRecord, TCP};
    use crate::{
        fields,
        kernel::{Address, pointer, read, within},
        record::Header,
        task::SocketOwner,
    };

    impl SocketRecord {
        /// The TCP socket at this address (`struct sock`), with no owner but its cgroup and its network namespace.
        #[inline(always)]
        pub(crate) fn of_sock(tag: [u8; 4], sock: Address) -> Self {
            let ends = EndsRecord::of_sock(sock);
            let net = pointer(sock, fields::sock_net());
            let owner = SocketOwner {
                network_namespace: read(net, within(fields::net_ns(), fields::ns_inum())),
                cgroup_id: cgroup_id(sock),
                ..SocketOwner::default()
            };
            Self {
                header: Header::now(tag),
                owner,
                local: ends.local,
                remote: ends.remote,
                local_port: ends.local_port,
                remote_port: ends.remote_port,
                family: ends.family,
                protocol: TCP,
                cookie: 0,
            }
        }
    }

    impl EndsRecord {
        /// The ends of the IPv4 or IPv6 socket at this address (`struct sock`).
        #[inline(always)]
        pub(crate) fn of_sock(sock: Address) -> Self {
            let family: u16 = read(sock, fields::sock_family());
            let address = |v4, v6| {
                if family == AF_INET6 {
                    read(sock, v6)
                } else {
                    first_four(read(sock, v4))
                }
            };
            Self {
                local: address(fields::sock_address(), fields::sock_address_v6()),
                remote: address(fields::sock_peer(), fields::sock_peer_v6()),
                local_port: read(sock, fields::sock_port()),
                remote_port: remote_port(sock),
                family,
                reserved: 0,
            }
        }
    }

    /// The other side's port; 0 of a socket that is not connected.
    #[inline(always)]
    pub(crate) fn remote_port(sock: Address) -> u16 {
        u16::from_be(read(sock, fields::sock_peer_port()))
    }

    /// The cgroup that the socket was made in. Up to 5.14 the word is no pointer while its lowest bit is set.
    #[inline(always)]
    fn cgroup_id(sock: Address) -> u64 {
        let cgroup = pointer(sock, fields::sock_cgroup());
        if cgroup & 1 == 1 {
            0
        } else {
            read(pointer(cgroup, fields::cgroup_kn()), fields::kernfs_id())
        }
    }

    /// An IPv4 address in the form of the record.
    #[inline(always)]
    pub(crate) fn first_four(address: [u8; 4]) -> [u8; 16] {
        let mut wide = [0; 16];
        wide[..4].copy_from_slice(&address);
        wide
    }
}

#[cfg(target_arch = "bpf")]
pub(crate) use bpf::{first_four, remote_port};
