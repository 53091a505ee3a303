//! A listener's connection is established.

use agent_ebpf::{accept::TAG, socket::SocketRecord};

use super::{
    Decoder, Hook, Sensor,
    decode::{local, owner, remote},
};
use crate::event::{Connection, Event, Kind, Protocol};

/// The sensor's row.
pub(super) const SENSOR: Sensor = Sensor {
    name: "accept",
    tags: &[TAG],
    programs: &[("accept", Hook::Tracepoint("inet_sock_set_state"))],
    loses: "connections that this node accepts",
    decode,
};

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Option<Event> {
    let record: SocketRecord = decoder.read(bytes)?;
    let connection = Connection {
        owner: owner(record.owner),
        protocol: Protocol::Tcp,
        initiated: false,
        source: Some(remote(&record)),
        destination: local(&record),
        socket: 0,
        said: None,
    };
    Some(decoder.event(&record.header, Kind::Connection(Box::new(connection))))
}
