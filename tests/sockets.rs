//! What the sensors see of sockets, in a network of the test's own.

use std::{
    io::Read as _,
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    process::{Command, Stdio, id as own_pid},
};

use io_uring::{IoUring, opcode, types::Fd};
use serde_json::{Value, json};

use crate::{
    fixtures,
    network::{address, in_own_network, resolve, text},
    tocsin::Tocsin,
};

#[test]
fn a_listener_is_seen_on_ipv4_and_ipv6() {
    let agent = Tocsin::record(&[]);
    in_own_network(|| {
        for ip in [
            text([127, 0, 0, 1]),
            text(address(1)),
            text(Ipv6Addr::LOCALHOST),
            text(Ipv6Addr::UNSPECIFIED),
        ] {
            let listener = TcpListener::bind((ip.as_str(), 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let event = agent.wait_for_event("listener", |event| {
                is(
                    event,
                    &json!({"category": "network_listen", "SourceIp": ip, "SourcePort": port, "ProcessId": own_pid()}),
                )
            });
            assert_eq!(event["ProcessId"], own_pid(), "{event:#}");
            assert_eq!(event["Protocol"], "tcp", "{event:#}");
        }
    });
}

#[test]
fn a_connection_is_seen_at_both_ends_and_each_end_has_its_owner() {
    let agent = Tocsin::record(&[]);
    in_own_network(|| {
        for ip in [text([127, 0, 0, 1]), text(address(2)), text(Ipv6Addr::LOCALHOST)] {
            let listener = TcpListener::bind((ip.as_str(), 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut client = netcat(&ip, port);
            let (mut accepted, from) = listener.accept().unwrap();
            accepted.shutdown(std::net::Shutdown::Write).unwrap();
            let connect = agent.wait_for_event("connect", |event| {
                let expected = json!({"category": "network_connection", "Initiated": true, "DestinationPort": port, "ProcessId": client.id()});
                is(event, &expected)
            });
            assert_eq!(
                (&connect["ProcessId"], &connect["DestinationIp"], &connect["Protocol"]),
                (&json!(client.id()), &json!(ip), &json!("tcp")),
                "{connect:#}"
            );
            let accept = agent.wait_for_event("accept", |event| {
                let expected = json!({"category": "network_connection", "Initiated": false, "DestinationPort": port, "ProcessId": own_pid()});
                is(event, &expected)
            });
            assert_eq!(
                (&accept["ProcessId"], &accept["SourceIp"], &accept["SourcePort"]),
                (&json!(own_pid()), &json!(text(from.ip())), &json!(from.port())),
                "{accept:#}"
            );
            client.kill().unwrap();
            client.wait().unwrap();
            accepted.read_to_end(&mut Vec::new()).unwrap();
        }
    });
}

#[test]
fn a_refused_connection_is_seen() {
    let agent = Tocsin::record(&[]);
    in_own_network(|| {
        let refused = SocketAddr::from((address(3), 4444));
        assert!(TcpStream::connect(refused).is_err());
        let event = agent.wait_for_event("connect", |event| {
            is(
                event,
                &json!({"category": "network_connection", "DestinationIp": text(refused.ip()), "ProcessId": own_pid()}),
            )
        });
        assert_eq!(
            (&event["ProcessId"], &event["DestinationPort"]),
            (&json!(own_pid()), &json!(4444))
        );
    });
}

#[test]
fn the_first_datagram_to_a_place_is_seen_once() {
    let agent = Tocsin::record(&[]);
    let ports = in_own_network(|| {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let receiver = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        for _ in 0..5 {
            socket.send_to(b"x", receiver.local_addr().unwrap()).unwrap();
        }
        let connected = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let other = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        connected.connect(other.local_addr().unwrap()).unwrap();
        for _ in 0..5 {
            connected.send(b"x").unwrap();
        }
        [receiver, other].map(|socket| socket.local_addr().unwrap().port())
    });
    let Some(ports) = ports else { return };
    let is_sent = |event: &Value, port: u16| {
        let expected = json!({"category": "network_connection", "Protocol": "udp", "DestinationPort": port});
        is(event, &expected) && event["ProcessId"] == own_pid()
    };
    for port in ports {
        agent.wait_for_event("datagram", |event| is_sent(event, port));
    }
    let (_, events) = agent.stop();
    for port in ports {
        assert_eq!(
            events.iter().filter(|event| is_sent(event, port)).count(),
            1,
            "port {port}"
        );
    }
}

#[test]
fn a_question_and_its_answer_are_seen_and_name_the_connection() {
    let name = format!("www-{}.tocsin.test", own_pid());
    let agent = Tocsin::record(&[]);
    in_own_network(|| {
        resolve(&name, address(9));
        assert!(TcpStream::connect((address(9), 80)).is_err());
    });
    let asked = json!({"category": "dns_query", "QueryName": name, "QueryType": "A"});
    let question = agent.wait_for_event("question", |event| is(event, &asked) && event["dns.answer"] == false);
    assert_eq!(question["ProcessId"], own_pid(), "{question:#}");
    let answer = agent.wait_for_event("answer", |event| is(event, &asked) && event["dns.answer"] == true);
    assert_eq!(answer["dns.addresses"], json!([text(address(9))]), "{answer:#}");
    agent.wait_for_event("named connection", |event| {
        is(
            event,
            &json!({"DestinationIp": text(address(9)), "DestinationHostname": name}),
        )
    });
}

#[test]
fn io_uring_hides_no_connection() {
    let mut ring = match IoUring::new(4) {
        Ok(ring) => ring,
        Err(error) => return fixtures::skip(&format!("io_uring: {error}")),
    };
    let agent = Tocsin::record(&[]);
    in_own_network(|| {
        let listener = TcpListener::bind((address(4), 0)).unwrap();
        let SocketAddr::V4(target) = listener.local_addr().unwrap() else {
            panic!("bound to IPv4")
        };
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        let storage = rustix::net::SocketAddrAny::from(target);
        let entry = opcode::Connect::new(Fd(socket.as_raw_fd()), storage.as_ptr().cast(), storage.addr_len());
        // SAFETY: the address outlives the wait for its completion below.
        unsafe { ring.submission().push(&entry.build()).unwrap() };
        ring.submit_and_wait(1).unwrap();
        assert_eq!(ring.completion().next().unwrap().result(), 0);
        let event = agent.wait_for_event("connect", |event| {
            is(
                event,
                &json!({"category": "network_connection", "Initiated": true, "DestinationPort": target.port(), "ProcessId": own_pid()}),
            )
        });
        assert_eq!(
            (&event["ProcessId"], &event["DestinationIp"]),
            (&json!(own_pid()), &json!(text(*target.ip())))
        );
    });
}

/// Whether the event has each of these fields.
fn is(event: &Value, expected: &Value) -> bool {
    expected
        .as_object()
        .unwrap()
        .iter()
        .all(|(name, value)| &event[name] == value)
}

fn netcat(ip: &str, port: u16) -> std::process::Child {
    let busybox = fixtures::require("busybox").unwrap().join("bin/busybox");
    let mut command = Command::new(busybox);
    command
        .args(["nc", ip, &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    command.spawn().unwrap()
}
