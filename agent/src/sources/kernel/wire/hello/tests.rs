//! Hellos of a real client, whole, cut and altered.

use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// What rustls sends first to a server of that name, who offers these protocols.
fn hello(name: &str, protocols: usize) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = (0..protocols)
        .map(|number| format!("protocol-{number}").into())
        .collect();
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn check(bytes: &[u8], name: Option<&str>, is_whole: bool) {
    let hello = Hello::parse(bytes).expect("a hello");
    assert_eq!(hello.is_whole, is_whole, "{hello:?}");
    assert_eq!(hello.server_name().as_deref(), name);
}

/// The same message in records of that many bytes.
fn in_records(hello: &[u8], bytes: usize) -> Vec<u8> {
    let records = hello[5..].chunks(bytes).map(|part| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&hello[..3], &length, part].concat()
    });
    records.collect::<Vec<_>>().concat()
}

/// The same hello with one more extension.
fn with_extension(mut hello: Vec<u8>, kind: u16, body: &[u8]) -> Vec<u8> {
    let extension = [
        &kind.to_be_bytes(),
        &u16::try_from(body.len()).unwrap().to_be_bytes(),
        body,
    ]
    .concat();
    // The number of bytes of the extensions stands where they begin: before that of the name, which is anywhere.
    let begin = (9..hello.len() - 1)
        .find(|at| usize::from(u16::from_be_bytes([hello[*at], hello[at + 1]])) == hello.len() - at - 2)
        .unwrap();
    let more = u16::try_from(extension.len()).unwrap();
    for at in [3, 7, begin] {
        let length = u16::from_be_bytes([hello[at], hello[at + 1]]) + more;
        hello[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    hello.extend_from_slice(&extension);
    hello
}

#[test]
fn a_client_names_its_server() {
    check(
        &hello("kubernetes.default.svc", 2),
        Some("kubernetes.default.svc"),
        true,
    );
    check(&hello("example.org", 500), Some("example.org"), true);
    check(&hello("192.0.2.1", 2), None, true);
}

#[test]
fn a_cut_hello_names_it_from_some_byte_on() {
    let whole = hello("example.org", 2);
    let mut named = false;
    for end in 1..whole.len() {
        let hello = Hello::parse(&whole[..end]).unwrap();
        assert!(!hello.is_whole, "at {end}");
        let name = hello.server_name();
        assert!(name.is_some() || !named, "at {end}");
        named |= name.as_deref() == Some("example.org");
    }
    // What follows it in the same packet is no part of it.
    check(
        &[&whole, &b"\x17\x03\x03\0\x05early"[..]].concat(),
        Some("example.org"),
        true,
    );
}

#[test]
fn a_hello_in_many_records_is_one() {
    let whole = hello("example.org", 20);
    for bytes in [1, 7, 100] {
        check(&in_records(&whole, bytes), Some("example.org"), true);
    }
    let records = in_records(&whole, 100);
    let hello = Hello::parse(&records[..105]).unwrap();
    assert!(!hello.is_whole);
}

#[test]
fn an_encrypted_name_is_unknown_whatever_stands_beside_it() {
    let whole = with_extension(hello("cover.example", 2), 0xFE0D, b"\0\0\x01\0\x01\x07\0\0\0\0");
    check(&whole, Some("unknown"), true);
    check(
        &with_extension(hello("example.org", 2), 0xFE0E, b""),
        Some("example.org"),
        true,
    );
}

#[test]
fn garbage_is_borne() {
    for bytes in [
        &b""[..],
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x01\0\x02\x02\x28",
        b"\x16\x03\x03\0\x04\x02\0\0\0",
    ] {
        assert_eq!(Hello::parse(bytes), None, "{bytes:?}");
    }
    let whole = hello("example.org", 2);
    for at in 0..whole.len() {
        for value in [0, 1, 0x7F, 0xFF] {
            let mut altered = whole.clone();
            altered[at] = value;
            let _ = Hello::parse(&altered);
        }
    }
}
