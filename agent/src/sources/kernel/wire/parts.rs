//! A hello or the head of a request that is longer than a packet, or written in parts, is put together.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use agent_ebpf::wire::{MOST_BYTES, WireRecord};

use super::parse;
use crate::event::Said;

/// How long the rest is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Connections whose hello or head may be in the making at a time. Beyond, the oldest is read as far as it goes.
const CONNECTIONS: usize = 64;

/// Hellos and heads that are not all there, the oldest first.
#[derive(Debug, Default)]
pub(in super::super) struct Parts(VecDeque<Begun>);

#[derive(Debug)]
struct Begun {
    /// The first record.
    record: WireRecord,
    bytes: Vec<u8>,
    since: Instant,
}

impl Parts {
    /// Takes in a part. Gives what a connection says, with its first record: this one's, where nothing more is to be
    /// expected; or the oldest one's that had to wait for too long.
    pub(super) fn join(&mut self, record: WireRecord, part: &[u8], now: Instant) -> Option<(WireRecord, Said)> {
        if record.offset == 0 {
            // The socket may have connected once more.
            if let Some(former) = self.find(record.cookie) {
                self.0.remove(former);
            }
            let (said, could_say_more) = parse(part);
            if !could_say_more || is_last(&record) {
                return Some((record, said?));
            }
            self.0.push_back(Begun {
                record,
                bytes: part.to_vec(),
                since: now,
            });
            let too_many = self.0.len() > CONNECTIONS;
            let oldest = too_many.then(|| self.0.pop_front())??;
            return Some((oldest.record, parse(&oldest.bytes).0?));
        }
        let at = self.find(record.cookie)?;
        let begun = &mut self.0[at];
        // After a loss the rest is worth nothing.
        let follows = begun.bytes.len() == record.offset as usize;
        if follows {
            begun.bytes.extend_from_slice(part);
        }
        let (said, could_say_more) = parse(&begun.bytes);
        if follows && could_say_more && !is_last(&record) {
            return None;
        }
        let begun = self.0.remove(at)?;
        Some((begun.record, said?))
    }

    /// What those say that have waited too long for the rest.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(WireRecord, Said)> {
        let count = self.0.partition_point(|begun| begun.since + PATIENCE <= now);
        let overdue = self.0.drain(..count);
        overdue
            .filter_map(|begun| Some((begun.record, parse(&begun.bytes).0?)))
            .collect()
    }

    fn find(&self, cookie: u64) -> Option<usize> {
        self.0.iter().position(|begun| begun.record.cookie == cookie)
    }
}

/// Whether the kernel sends nothing more of this connection.
fn is_last(record: &WireRecord) -> bool {
    record.offset.saturating_add(record.length.into()) >= record.wanted.min(MOST_BYTES)
}

#[cfg(test)]
mod tests {
    use agent_ebpf::{record::Header, task::SocketOwner, wire::TAG};

    use super::*;

    fn record(cookie: u64, offset: usize, length: usize, wanted: usize) -> WireRecord {
        WireRecord {
            header: Header {
                tag: TAG,
                cpu: 0,
                sequence: 0,
                time: 0,
            },
            owner: SocketOwner::default(),
            cookie,
            local: [0; 16],
            remote: [0; 16],
            local_port: 0,
            remote_port: 0,
            family: 0,
            length: u16::try_from(length).unwrap(),
            offset: u32::try_from(offset).unwrap(),
            wanted: u32::try_from(wanted).unwrap(),
        }
    }

    /// A hello that names `a.example`, with padding before the name.
    fn hello() -> Vec<u8> {
        let extensions = [&b"\0\x15\0\x40"[..], &[0; 64], b"\0\0\0\x0E\0\x0C\0\0\x09a.example"].concat();
        let body = [
            &[3, 3][..],
            &[0; 32],
            b"\0\0\x02\x13\x01\x01\0\0",
            &[u8::try_from(extensions.len()).unwrap()],
            &extensions,
        ]
        .concat();
        let length = u8::try_from(body.len()).unwrap();
        [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], &body[..]].concat()
    }

    /// What comes of these parts of one connection, each given by where it starts and ends; one name for each that
    /// is told.
    fn check(parts: &[(usize, usize)], expected: &[&str]) {
        let (hello, mut joined) = (hello(), Parts::default());
        let told = parts.iter().filter_map(|(start, end)| {
            let part = &hello[*start..(*end).min(hello.len())];
            joined.join(record(7, *start, part.len(), hello.len()), part, Instant::now())
        });
        let names: Vec<_> = told.map(|(_, said)| said.server_name.unwrap()).collect();
        assert_eq!(
            names.iter().map(|name| &**name).collect::<Vec<_>>(),
            expected,
            "{parts:?}"
        );
        assert!(joined.0.is_empty() || expected.is_empty());
    }

    #[test]
    fn parts_are_put_together() {
        let all = hello().len();
        check(&[(0, all)], &["a.example"]);
        check(&[(0, 5), (5, all)], &["a.example"]);
        check(&[(0, 5), (5, 60), (60, all - 1), (all - 1, all)], &["a.example"]);
        check(&[(0, 5), (60, all)], &[]);
        check(&[(5, all)], &[]);
        check(&[(0, 5), (0, all)], &["a.example"]);
    }

    #[test]
    fn a_request_that_is_typed_is_put_together() {
        let request = b"GET /api/v1/secrets HTTP/1.1\r\nHost: a.example\r\n\r\n";
        for pieces in [&[2][..], &[4, 20], &[30], &[request.len()]] {
            let (mut parts, now, mut begin) = (Parts::default(), Instant::now(), 0);
            let mut said = None;
            for end in pieces.iter().copied().chain([request.len()]) {
                assert!(said.is_none() || end == begin, "{pieces:?}");
                let part = &request[begin..end];
                said = said.or_else(|| parts.join(record(7, begin, part.len(), 4096), part, now));
                begin = end;
            }
            let (_, said) = said.unwrap();
            let facts = (said.host.as_deref(), said.path.as_deref());
            assert_eq!(facts, (Some("a.example"), Some("/api/v1/secrets")), "{pieces:?}");
            assert!(parts.0.is_empty());
        }
    }

    #[test]
    fn what_is_not_finished_is_told_after_a_moment() {
        let (hello, mut parts, start) = (hello(), Parts::default(), Instant::now());
        let part = b"GET /latest/meta-data HTTP/1.1\r\nHost: ";
        let begun = hello.len() - 1;
        assert!(
            parts
                .join(record(1, 0, begun, hello.len()), &hello[..begun], start)
                .is_none()
        );
        let later = start + PATIENCE / 2;
        assert!(parts.join(record(2, 0, part.len(), 4096), part, later).is_none());
        assert!(parts.overdue(later).is_empty());
        assert!(
            parts.overdue(start + PATIENCE).is_empty(),
            "the name is what is missing"
        );
        let told = parts.overdue(later + PATIENCE);
        assert_eq!(told[0].1.path.as_deref(), Some("/latest/meta-data"));
        assert!(parts.0.is_empty());
    }

    #[test]
    fn what_waits_too_long_says_what_it_can() {
        let (hello, mut parts, now) = (hello(), Parts::default(), Instant::now());
        let begun = hello.len() - 1;
        for cookie in 0..CONNECTIONS as u64 {
            assert!(
                parts
                    .join(record(cookie, 0, 5, hello.len()), &hello[..5], now)
                    .is_none()
            );
        }
        assert!(
            parts
                .join(record(99, 0, begun, hello.len()), &hello[..begun], now)
                .is_none(),
            "the oldest has said nothing"
        );
        assert_eq!(parts.0.len(), CONNECTIONS);
        for cookie in 100..200 {
            parts.join(record(cookie, 0, 5, hello.len()), &hello[..5], now);
        }
        assert_eq!(parts.0.len(), CONNECTIONS);
    }
}
