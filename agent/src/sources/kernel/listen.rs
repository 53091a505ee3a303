//! A TCP socket listens.

use agent_ebpf::{listen::TAG, socket::SocketRecord};

use super::{
    Decoder, Hook, Sensor,
    decode::{local, owner},
};
use crate::event::{Event, Findings, Kind, ListenAddress, Listener};

/// The sensor's row.
pub(super) const SENSOR: Sensor = Sensor {
    name: "listen",
    tags: &[TAG],
    programs: &[("listen", Hook::Tracepoint("inet_sock_set_state"))],
    loses: "sockets that begin to listen: exposed Docker daemons and SSH servers are found at start-up only",
    decode,
};

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Option<Event> {
    let record: SocketRecord = decoder.read(bytes)?;
    let listener = Listener {
        owner: owner(record.owner),
        address: ListenAddress::Tcp(local(&record)),
        looked_up: false,
        findings: Findings::default(),
    };
    Some(decoder.event(&record.header, Kind::Listen(Box::new(listener))))
}
