//! What an outgoing connection says first. Only the facts that are parsed here go on; the bytes end here.

mod hello;
mod parts;
mod request;

use std::{net::SocketAddr, time::Instant};

use agent_ebpf::wire::{TAG, WireRecord};

pub(super) use self::parts::Parts;
use super::{
    Decoder, Hook, Sensor,
    decode::{address, owner},
};
use crate::event::{Connection, Event, Kind, Protocol, Said};

/// The sensor's row.
pub(super) const SENSOR: Sensor = Sensor {
    name: "wire",
    tags: &[TAG],
    programs: &[("first_bytes", Hook::Egress)],
    loses: "which server a TLS client asks for, and host, path and user agent of HTTP requests",
    decode,
};

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Option<Event> {
    let record: WireRecord = decoder.read(bytes)?;
    let Some(part) = bytes[size_of::<WireRecord>()..].get(..record.length.into()) else {
        decoder.broken += 1;
        return None;
    };
    let (record, said) = decoder.parts.join(record, part, Instant::now())?;
    Some(event(decoder, record, said))
}

/// What those connections have said that have gone silent before the end.
pub(super) fn overdue(decoder: &mut Decoder, now: Instant) -> Vec<Event> {
    let overdue = decoder.parts.overdue(now);
    overdue
        .into_iter()
        .map(|(record, said)| event(decoder, record, said))
        .collect()
}

fn event(decoder: &Decoder, record: WireRecord, said: Said) -> Event {
    let end = |bytes, port| SocketAddr::new(address(record.family, bytes), port);
    let connection = Connection {
        owner: owner(record.owner),
        protocol: Protocol::Tcp,
        initiated: true,
        source: Some(end(record.local, record.local_port)),
        destination: end(record.remote, record.remote_port),
        socket: record.cookie,
        said: Some(Box::new(said)),
    };
    decoder.event(&record.header, Kind::Connection(Box::new(connection)))
}

/// What these bytes say, and whether more of them could say more; `None` where it is nothing that a fact is made of.
fn parse(bytes: &[u8]) -> (Option<Said>, bool) {
    match hello::Hello::parse(bytes) {
        Some(hello) => {
            let could_say_more = !hello.is_whole;
            let said = hello.server_name().map(|name| Said {
                server_name: Some(name),
                ..Said::default()
            });
            (said, could_say_more)
        }
        None => (request::parse(bytes), !request::is_whole(bytes)),
    }
}

/// The beginning of a text, which may be anything.
fn bounded(bytes: &[u8], most: usize) -> Box<str> {
    let text = String::from_utf8_lossy(bytes);
    text[..text.floor_char_boundary(most)].into()
}
