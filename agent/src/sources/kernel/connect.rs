//! A process opens a connection, or sends a first datagram to an address.

use agent_ebpf::{
    connect::TAG,
    socket::{SocketRecord, UDP},
};

use super::{
    Decoder, Hook, Sensor,
    decode::{owner, remote},
};
use crate::event::{Connection, Event, Kind, Protocol};

/// The sensor's row.
pub(super) const SENSOR: Sensor = Sensor {
    name: "connect",
    tags: &[TAG],
    programs: &[
        ("connect4", Hook::SocketAddress),
        ("connect6", Hook::SocketAddress),
        ("sendmsg4", Hook::SocketAddress),
        ("sendmsg6", Hook::SocketAddress),
    ],
    loses: "connections that processes open, and datagrams that they send",
    decode,
};

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Option<Event> {
    let record: SocketRecord = decoder.read(bytes)?;
    let connection = Connection {
        owner: owner(record.owner),
        protocol: if record.protocol == UDP {
            Protocol::Udp
        } else {
            Protocol::Tcp
        },
        initiated: true,
        source: None,
        destination: remote(&record),
        socket: record.cookie,
        said: None,
    };
    Some(decoder.event(&record.header, Kind::Connection(Box::new(connection))))
}
