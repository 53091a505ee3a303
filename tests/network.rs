//! A network of the test's own: loopback alone, with an address of its own beside 127.0.0.1, and a tiny resolver.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use rustix::thread::{UnshareFlags, unshare_unsafe};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE, rdata::RData};

use crate::fixtures;

/// Documentation's own addresses, which are nobody's; here they are this machine's.
pub(crate) const PREFIX: &str = "203.0.113.0/24";

/// An address that is not loopback's, and leads nowhere but here.
pub(crate) fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, last)
}

/// Does the work on a thread with a network of its own, which its children share; nothing if a fixture is missing.
pub(crate) fn in_own_network<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    let busybox = fixtures::require("busybox")?.join("bin/busybox");
    let enter_and_work = move || {
        // SAFETY: a network namespace is no address space and no table of descriptors: only this thread's sockets to
        // come are concerned.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        for arguments in [&["link", "set", "lo", "up"][..], &["addr", "add", PREFIX, "dev", "lo"]] {
            let status = Command::new(&busybox).arg("ip").args(arguments).status();
            assert!(status.unwrap().success(), "{arguments:?}");
        }
        work()
    };
    thread::scope(|scope| Some(scope.spawn(enter_and_work).join().unwrap()))
}

/// Asks for the name's address at 127.0.0.1:53 and answers from there, as a node's resolver would.
pub(crate) fn resolve(name: &str, to: Ipv4Addr) {
    let resolver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 53)).unwrap();
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for socket in [&resolver, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    client.connect(resolver.local_addr().unwrap()).unwrap();
    let question = Question::new(
        Name::new_unchecked(name),
        QTYPE::TYPE(TYPE::A),
        QCLASS::CLASS(CLASS::IN),
        false,
    );
    let mut query = Packet::new_query(1);
    query.set_flags(PacketFlag::RECURSION_DESIRED);
    query.questions.push(question.clone());
    client.send(&query.build_bytes_vec().unwrap()).unwrap();
    let mut buffer = [0; 512];
    let (_, asker): (_, SocketAddr) = resolver.recv_from(&mut buffer).unwrap();
    let mut answer = Packet::new_reply(1);
    answer.questions.push(question);
    let data = RData::A(to.into());
    answer
        .answers
        .push(ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 60, data));
    resolver.send_to(&answer.build_bytes_vec().unwrap(), asker).unwrap();
    client.recv(&mut buffer).unwrap();
}

/// The address as events write it.
pub(crate) fn text(ip: impl Into<IpAddr>) -> String {
    ip.into().to_string()
}
