//! What the targets begin with: inputs that say something, so that libFuzzer need not invent a hello or a message. Texts
//! stand in `seeds/`, what is made of bytes is made here, and events are the samples of the rules.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use agent_ebpf::{
    dns::DnsRecord,
    exec::{ChunkRecord, ExecRecord},
    exit::ExitRecord,
    fork::ForkRecord,
    record::Header,
    socket::SocketRecord,
    wire::WireRecord,
};
use serde_json::Value;
use tocsin::sources::kernel::SENSORS;

/// A target, and what it begins with.
pub type Seeds = (&'static str, Vec<Vec<u8>>);

/// The inputs of each target that has some.
pub fn all() -> io::Result<Vec<Seeds>> {
    let text = |name: &str| fs::read(own("seeds").join(name));
    let login = text("auth.log")?;
    let lines = login.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    Ok(vec![
        ("dns", dns().into()),
        ("event", samples()?),
        ("login", lines.chain([login.clone()]).collect()),
        ("memory", vec![text("maps")?, text("ld.so.preload")?, text("environ")?]),
        ("record", records()),
        ("taxii", vec![text("taxii")?]),
        ("wire", wire()),
    ])
}

fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A question; an answer by a name in between, whose records point back into it; one of IPv6; one that was cut.
fn dns() -> [Vec<u8>; 4] {
    const A: u16 = 1;
    const CNAME: u16 = 5;
    const AAAA: u16 = 28;
    let head = |flags: u16, answers: u16| {
        [
            [0, 1],
            flags.to_be_bytes(),
            [0, 1],
            answers.to_be_bytes(),
            [0; 2],
            [0; 2],
        ]
    };
    let question = |kind: u16| [&b"\x02c2\x07example\0"[..], &kind.to_be_bytes(), b"\0\x01"].concat();
    let record = |name: u8, kind: u16, data: &[u8]| {
        let length = [0, u8::try_from(data.len()).unwrap_or_default()];
        let kind = kind.to_be_bytes();
        [&[0xC0, name][..], &kind, b"\0\x01\0\0\x01\x2C", &length, data].concat()
    };
    let message = |flags, kind, records: &[Vec<u8>]| {
        let answers = u16::try_from(records.len()).unwrap_or_default();
        [&head(flags, answers).concat()[..], &question(kind), &records.concat()].concat()
    };
    let alias = record(12, CNAME, b"\x03www\xC0\x0F");
    let answer = message(0x8180, A, &[alias, record(42, A, &[203, 0, 113, 13])]);
    let ipv6 = [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    [
        message(0x0100, A, &[]),
        answer[..answer.len() - 2].to_vec(),
        message(0x8180, AAAA, &[record(12, AAAA, &ipv6)]),
        answer,
    ]
}

/// The first events of each file of samples, one a line and a second after the other.
fn samples() -> io::Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for file in files(&own("../agent/rules"))?
        .iter()
        .filter(|file| file.extension().is_some_and(|it| it == "jsonl"))
    {
        let text = fs::read_to_string(file)?;
        let sample: Value = serde_json::from_str(text.lines().next().unwrap_or_default())?;
        let (history, events) = (sample["history"].as_array(), sample["events"].as_array());
        let events = history.into_iter().chain(events).flatten();
        let mut lines = Vec::new();
        for (second, event) in events.enumerate() {
            let mut event = event.clone();
            if event["time"].is_null() {
                event["time"] = second.into();
            }
            writeln!(lines, "{event}")?;
        }
        found.push(lines);
    }
    Ok(found)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// An empty record of each kind, and a program with its arguments and its environment.
fn records() -> Vec<Vec<u8>> {
    let sizes = [
        size_of::<ForkRecord>(),
        size_of::<ExecRecord>(),
        size_of::<ChunkRecord>(),
        size_of::<ExitRecord>(),
        size_of::<SocketRecord>(),
        size_of::<DnsRecord>(),
        size_of::<WireRecord>(),
    ];
    let largest = sizes.into_iter().max().unwrap_or_default();
    let tags: Vec<[u8; 4]> = SENSORS.iter().flat_map(|sensor| sensor.tags).copied().collect();
    let numbered = |number: usize, rest: &[u8]| {
        let length = u16::try_from(rest.len()).unwrap_or_default().to_le_bytes();
        [&[u8::try_from(number).unwrap_or_default()][..], &length, rest].concat()
    };
    let mut found: Vec<_> = (0..tags.len())
        .map(|number| numbered(number, &vec![0; largest + 64]))
        .collect();
    let number = |tag: &[u8; 4]| tags.iter().position(|known| known == tag).unwrap_or_default();
    let text = b"curl\0-s\0http://203.0.113.13/\0";
    let mut chunk = vec![0; size_of::<ChunkRecord>()];
    chunk[size_of::<ChunkRecord>() - 4..].copy_from_slice(&(text.len() as u32).to_ne_bytes());
    chunk.extend(text);
    let parts = [&agent_ebpf::exec::ARGUMENTS_TAG, &agent_ebpf::exec::ENVIRONMENT_TAG]
        .map(|tag| numbered(number(tag), &chunk[size_of_val(tag)..]));
    let exec = numbered(number(&agent_ebpf::exec::TAG), &vec![0; largest + 64]);
    found.push([&parts.concat()[..], &exec].concat());
    debug_assert!(size_of::<Header>() < largest);
    found
}

/// What connections say first, whole and in parts: hellos and requests, of which one comes in parts of two connections in
/// turn.
fn wire() -> Vec<Vec<u8>> {
    /// Of such a connection as many bytes are wanted as there are.
    const ALL: u8 = 2 << 2;
    /// A part of that connection that begins so many bytes behind the one before.
    fn part(connection: u8, gap: i8, bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap_or_default().to_le_bytes();
        [&[connection, gap.cast_unsigned()][..], &length, bytes].concat()
    }
    let (plain, encrypted) = (hello(&[]), hello(b"\xFE\x0D\0\x04\0\0\0\0"));
    let get = b"GET /api/v1/namespaces/default/%73ecrets?limit=500 HTTP/1.1\r\nHost: kubernetes.default.svc\r\n\
                User-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
    let post =
        b"POST http://203.0.113.13:8080/a//b/../gate.php HTTP/1.0\r\nuser-agent:\tx\r\nHOST : c2.example\r\n\r\n";
    let in_turn = [
        part(0, 0, &plain[..5]),
        part(1, 0, &get[..3]),
        part(0, 0, &plain[5..40]),
        part(1, 0, &get[3..30]),
        part(0, -4, &plain[36..]),
        part(1, 0, &get[30..]),
    ];
    let after_a_gap = [part(0, 0, &get[..20]), part(0, 5, &get[25..]), part(0, i8::MIN, get)];
    vec![
        part(ALL, 0, &plain),
        part(ALL, 0, &encrypted),
        part(ALL, 0, get),
        part(ALL, 0, post),
        in_turn.concat(),
        after_a_gap.concat(),
    ]
}

/// A client's hello that names `c2.example`, with these extensions before the name.
fn hello(more: &[u8]) -> Vec<u8> {
    let with_length = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap_or_default().to_be_bytes();
        [&length[..], bytes].concat()
    };
    let name = [b"\0", &with_length(b"c2.example")[..]].concat();
    let name = [b"\0\0", &with_length(&with_length(&name))[..]].concat();
    let versions = b"\0\x2B\0\x05\x04\x03\x04\x03\x03";
    let body = [
        &[3, 3][..],
        &[7; 32],
        b"\0",
        &with_length(&[0x13, 1, 0x13, 2]),
        &[1, 0],
        &with_length(&[more, versions, &name].concat()),
    ];
    let message = [b"\x01\0", &with_length(&body.concat())[..]].concat();
    [b"\x16\x03\x01", &with_length(&message)[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_says_something() {
        for (target, inputs) in all().unwrap() {
            let read: fn(&[u8]) -> usize = match target {
                "dns" => crate::dns,
                "event" => crate::event,
                "login" => crate::login,
                "memory" => crate::memory,
                "record" => crate::record,
                "taxii" => crate::taxii,
                "wire" => crate::wire,
                other => panic!("{other}"),
            };
            let said: Vec<_> = inputs.iter().map(|input| read(input)).collect();
            let in_vain: Vec<_> = (0..said.len()).filter(|number| said[*number] == 0).collect();
            assert!(
                in_vain.is_empty() || target == "record",
                "{target}: {in_vain:?} of {said:?}"
            );
            assert!(said.iter().sum::<usize>() > 0, "{target}");
        }
    }
}
