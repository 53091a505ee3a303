//! A DNS message passes.

use std::{
    mem::offset_of,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use agent_ebpf::{
    dns::{DnsRecord, PORT, TAG},
    record::Header,
    task::SocketOwner,
};
use simple_dns::{Packet, PacketFlag, rdata::RData};

use super::{
    Decoder, Hook, Sensor,
    decode::{address, owner},
};
use crate::event::{DnsMessage, Event, Kind, Owner};

/// The sensor's row.
pub(super) const SENSOR: Sensor = Sensor {
    name: "dns",
    tags: &[TAG],
    programs: &[("dns_query", Hook::Egress), ("dns_answer", Hook::Ingress)],
    loses: "names that processes ask for, and the names of the addresses that they connect to",
    decode,
};

/// Addresses of an answer that are kept.
const MAX_ADDRESSES: usize = 64;

fn decode(decoder: &mut Decoder, bytes: &[u8]) -> Option<Event> {
    let header: Header = decoder.read(bytes.get(offset_of!(DnsRecord, header)..)?)?;
    let asker: SocketOwner = decoder.read(bytes.get(offset_of!(DnsRecord, owner)..)?)?;
    let server: [u8; 16] = decoder.read(bytes.get(offset_of!(DnsRecord, server)..)?)?;
    let family: u16 = decoder.read(bytes.get(offset_of!(DnsRecord, family)..)?)?;
    let length: u16 = decoder.read(bytes.get(offset_of!(DnsRecord, length)..)?)?;
    let message = bytes.get(offset_of!(DnsRecord, message)..)?.get(..length.into())?;
    let Some(mut dns) = parse(message) else {
        decoder.broken += 1;
        return None;
    };
    dns.owner = owner(asker);
    dns.server = SocketAddr::new(address(family, server), PORT);
    Some(decoder.event(&header, Kind::Dns(Box::new(dns))))
}

/// The first question of a message, and the addresses that answer it. A message that was cut still has its question.
fn parse(message: &[u8]) -> Option<DnsMessage> {
    let cut = question_alone(message);
    let packet = Packet::parse(message).or_else(|_| Packet::parse(&cut)).ok()?;
    let question = packet.questions.first()?;
    let addresses = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(a) => Some(Ipv4Addr::from(a.address).into()),
        RData::AAAA(aaaa) => Some(Ipv6Addr::from(aaaa.address).into()),
        _ => None,
    });
    // Their times to live should be equal (RFC 2181, 5.2); of names on the way to them each counts.
    let ttl = packet.answers.iter().map(|record| record.ttl).min().unwrap_or_default();
    Some(DnsMessage {
        owner: Owner::default(),
        server: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT),
        name: question.qname.to_string().into(),
        record_type: format!("{:?}", question.qtype)
            .trim_start_matches("TYPE(")
            .trim_end_matches(')')
            .into(),
        addresses: addresses.take(MAX_ADDRESSES).collect(),
        ttl,
        answer: packet.has_flags(PacketFlag::RESPONSE),
    })
}

/// The message without its records: where they are cut or broken, the question still says what was asked.
fn question_alone(message: &[u8]) -> Vec<u8> {
    let mut alone = message.to_vec();
    if let Some(record_counts) = alone.get_mut(6..12) {
        record_counts.fill(0);
    }
    alone
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query for `example.org`, type A.
    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";

    fn answer() -> Vec<u8> {
        let mut message = QUERY.to_vec();
        message[2] |= 0x80;
        message[7] = 1;
        message.extend_from_slice(b"\xC0\x0C\0\x01\0\x01\0\0\0\x3C\0\x04\xC0\0\x02\x01");
        message
    }

    fn check(message: &[u8], expected: Option<(&str, &str, &[&str], bool)>) {
        let parsed = parse(message);
        let found = parsed.as_ref().map(|dns| {
            let addresses: Vec<_> = dns.addresses.iter().map(ToString::to_string).collect();
            (&*dns.name, &*dns.record_type, addresses, dns.answer)
        });
        let expected = expected.map(|(name, kind, addresses, answer)| {
            (
                name,
                kind,
                addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
                answer,
            )
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn questions_and_answers() {
        check(QUERY, Some(("example.org", "A", &[], false)));
        check(&answer(), Some(("example.org", "A", &["192.0.2.1"], true)));
    }

    #[test]
    fn a_cut_answer_keeps_its_question() {
        let whole = answer();
        check(&whole[..whole.len() - 3], Some(("example.org", "A", &[], true)));
    }

    #[test]
    fn garbage_is_no_message() {
        check(b"", None);
        check(&[0xFF; 40], None);
        check(b"GET / HTTP/1.0\r\n\r\n", None);
        // A name that points at itself.
        check(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\xC0\x0C\0\x01\0\x01", None);
    }
}
