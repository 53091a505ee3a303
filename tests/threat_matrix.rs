//! `Connection to a known suspicious IP address`, one case after the other: each way to talk with an address, over IPv4 and
//! IPv6, from the host and from a container, with what a feed of each format lists; and what must stay silent.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    process::Command,
};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::{Value, json};

use crate::{
    deadline::wait_for,
    dockerd::Dockerd,
    fixtures,
    network::in_own_network,
    ocsf::{brief, container_id, fact, pid, rule, title},
    threat::{Feeds, TITLE, knock},
    tocsin::{PATIENCE, Tocsin},
};

/// How somebody talks with an address. UDP has no accept: who only receives is not seen, who answers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Connect,
    Accept,
    ConnectUdp,
    Send,
    Answer,
    Receive,
}

impl Way {
    const ALL: [Self; 6] = [
        Self::Connect,
        Self::Accept,
        Self::ConnectUdp,
        Self::Send,
        Self::Answer,
        Self::Receive,
    ];

    /// The rule that tells of it, where a feed is sure.
    fn rule(self) -> Option<&'static str> {
        match self {
            Self::Accept => Some("known-suspicious-address-low"),
            Self::Connect | Self::ConnectUdp | Self::Send | Self::Answer => Some("known-suspicious-address-high"),
            Self::Receive => None,
        }
    }
}

/// Who lists an address: a feed of that name, which is nobody's where it must stay silent.
#[derive(Clone, Copy)]
struct Case {
    feed: &'static str,
    /// It lists the network around the address.
    network: bool,
    /// What the feed is of these indicators.
    contents: fn(&[String]) -> String,
    is_told: bool,
}

const CASES: [Case; 9] = [
    listed("plain", false, plain),
    listed("cidr", true, plain),
    listed("csv", false, |listed| {
        format!("dst_ip,malware\n{}", lines(listed, |ip| format!("{ip},Emotet")))
    }),
    listed("stix", false, |listed| stix(listed, "2099-01-01T00:00:00Z")),
    listed("misp", false, |listed| {
        let attribute = |ip: &String| json!({"type": "ip-dst", "value": ip, "to_ids": true});
        let attributes: Vec<_> = listed.iter().map(attribute).collect();
        json!({"Event": {"Attribute": attributes}}).to_string()
    }),
    listed("kunai", false, |listed| {
        lines(listed, |ip| {
            json!({"source": "us", "value": ip, "severity": 9}).to_string()
        })
    }),
    // Listed by nobody.
    Case {
        is_told: false,
        ..listed("other", false, |_| "192.0.2.1\n".to_owned())
    },
    Case {
        is_told: false,
        ..listed("expired", false, |listed| stix(listed, "2020-01-01T00:00:00Z"))
    },
    Case {
        is_told: false,
        ..listed("mistaken", false, plain)
    },
];

const fn listed(feed: &'static str, network: bool, contents: fn(&[String]) -> String) -> Case {
    Case {
        feed,
        network,
        contents,
        is_told: true,
    }
}

fn lines(listed: &[String], line: impl Fn(&String) -> String) -> String {
    listed.iter().map(|ip| line(ip) + "\n").collect()
}

fn plain(listed: &[String]) -> String {
    lines(listed, String::clone)
}

/// With one that is in force, since a feed that lists nothing is told as broken.
fn stix(listed: &[String], until: &str) -> String {
    let indicator = |ip: &String| {
        let kind = if ip.contains(':') { "ipv6-addr" } else { "ipv4-addr" };
        json!({"type": "indicator", "valid_until": until, "pattern": format!("[{kind}:value = '{ip}']")})
    };
    let in_force = json!({"type": "indicator", "pattern": "[ipv4-addr:value = '192.0.2.1']"});
    let objects: Vec<_> = listed.iter().map(indicator).chain([in_force]).collect();
    json!({"type": "bundle", "objects": objects}).to_string()
}

/// An address of each family for a case and a way, in networks that are nobody else's.
fn addresses(case: usize, way: Way) -> [IpAddr; 2] {
    let number = u8::try_from(case * Way::ALL.len() + way as usize).unwrap();
    let ipv4 = Ipv4Addr::new(203, 0, 113, number * 4 + 1);
    let ipv6 = Ipv6Addr::new(0x2001, 0xDB8, 0x66, number.into(), 0, 0, 0, 1);
    [ipv4.into(), ipv6.into()]
}

/// What the feed of a case lists for an address.
fn indicator(case: &Case, ip: IpAddr) -> String {
    match ip {
        ip if !case.network => ip.to_string(),
        IpAddr::V4(ip) => format!("{}/30", Ipv4Addr::from_bits(ip.to_bits() & !3)),
        IpAddr::V6(ip) => format!("{}/64", Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Each case with each way and family.
fn combinations() -> impl Iterator<Item = (&'static Case, Way, IpAddr)> {
    CASES.iter().enumerate().flat_map(|(number, case)| {
        let of_way = move |way| addresses(number, way).map(|ip| (case, way, ip));
        Way::ALL.into_iter().flat_map(of_way)
    })
}

fn feeds() -> Vec<(&'static str, &'static str, String)> {
    let listed_by = |case: &Case| -> Vec<String> {
        let own = combinations().filter(|(other, ..)| other.feed == case.feed);
        own.map(|(_, _, ip)| indicator(case, ip)).collect()
    };
    let of_cases = CASES
        .iter()
        .map(|case| (case.feed, "confidence = 90", (case.contents)(&listed_by(case))));
    let mistaken = CASES.iter().find(|case| case.feed == "mistaken").unwrap();
    let harmless = json!({"type": "string", "list": listed_by(mistaken)}).to_string();
    let warninglist = ("harmless", "format = 'warninglist'", harmless);
    of_cases.chain([warninglist]).collect()
}

/// What an agent is to tell of somebody, as feed, indicator and rule.
fn expected() -> BTreeSet<[String; 3]> {
    let told = combinations().filter(|(case, ..)| case.is_told);
    told.filter_map(|(case, way, ip)| Some([case.feed.to_owned(), indicator(case, ip), way.rule()?.to_owned()]))
        .collect()
}

/// What an agent has told of what concerns somebody.
fn told(agent: &Tocsin, concerns: impl Fn(&Value) -> bool) -> BTreeSet<[String; 3]> {
    let alerts = agent.alerts();
    let own = alerts.iter().filter(|alert| title(alert) == TITLE && concerns(alert));
    own.map(|alert| {
        let text = |name: &str| fact(alert, name).as_str().unwrap_or_default().to_owned();
        [text("threat.feed"), text("threat.indicator"), rule(alert).to_owned()]
    })
    .collect()
}

/// Waits for all that is to be told of somebody, and that nothing else is.
fn check(feeds: &Feeds, without: &Tocsin, concerns: impl Fn(&Value) -> bool) {
    let (expected, now) = (expected(), || told(&feeds.agent, &concerns));
    wait_for("an alert of each combination", PATIENCE, || {
        expected.is_subset(&now()).then_some(())
    });
    let alerts = feeds.agent.alerts_after_quiet();
    let all = now();
    let others: Vec<_> = all.difference(&expected).collect();
    assert!(
        others.is_empty(),
        "{others:#?}\n{:#?}",
        alerts.iter().map(brief).collect::<Vec<_>>()
    );
    assert!(told(without, &concerns).is_empty(), "no feed, no alert");
}

fn start() -> (Feeds, Tocsin) {
    let feeds = feeds();
    let feeds: Vec<_> = feeds
        .iter()
        .map(|(name, settings, text)| (*name, *settings, &**text))
        .collect();
    (
        Feeds::start(&feeds, &["--dedup", "0"]),
        Tocsin::start(&["--dedup", "0"]),
    )
}

#[test]
fn each_way_of_the_host_to_an_address_of_each_format_is_told() {
    let (feeds, without) = start();
    let inside = in_own_network(|| {
        let busybox = fixtures::require("busybox").unwrap().join("bin/busybox");
        for (_, way, ip) in combinations() {
            if ip.is_ipv6() {
                let place = format!("{ip}/128");
                let mut add = Command::new(&busybox);
                assert!(
                    add.args(["ip", "addr", "add", &place, "dev", "lo"])
                        .status()
                        .unwrap()
                        .success()
                );
            }
            // One of IPv6 is there a moment after it was added.
            wait_for("the address", PATIENCE, || UdpSocket::bind((ip, 0)).ok());
            talk(way, ip);
        }
    });
    if inside.is_some() {
        check(&feeds, &without, |alert| pid(alert) == Some(std::process::id().into()));
    }
}

/// Talks with an address of this machine in that way.
fn talk(way: Way, ip: IpAddr) {
    let here: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let there = SocketAddr::new(ip, 4444);
    match way {
        Way::Connect => knock(ip),
        Way::Accept => {
            let listener = TcpListener::bind((here, 0)).unwrap();
            let family = if ip.is_ipv4() {
                AddressFamily::INET
            } else {
                AddressFamily::INET6
            };
            let client = socket(family, SocketType::STREAM, None).unwrap();
            bind(&client, &SocketAddr::new(ip, 0)).unwrap();
            connect(&client, &listener.local_addr().unwrap()).unwrap();
            listener.accept().unwrap();
        }
        Way::ConnectUdp => UdpSocket::bind((here, 0)).unwrap().connect(there).unwrap(),
        Way::Send => _ = UdpSocket::bind((here, 0)).unwrap().send_to(b"x", there).unwrap(),
        Way::Answer | Way::Receive => {
            let (server, client) = (UdpSocket::bind((here, 0)).unwrap(), UdpSocket::bind((ip, 0)).unwrap());
            client.send_to(b"x", server.local_addr().unwrap()).unwrap();
            let (_, asker) = server.recv_from(&mut [0; 8]).unwrap();
            if way == Way::Answer {
                server.send_to(b"x", asker).unwrap();
            }
        }
    }
}

/// The same as [`talk`], with all of them one after the other.
const SCRIPT: &str = r#"
import os, socket, sys, time
def wait(family, address):
    for _ in range(1000):
        try:
            return socket.socket(family, socket.SOCK_DGRAM).bind((address, 0))
        except OSError:
            time.sleep(0.01)
for way, address in (place.split() for place in sys.argv[1:]):
    ipv6 = ':' in address
    family, here, length = (socket.AF_INET6, '::1', 128) if ipv6 else (socket.AF_INET, '127.0.0.1', 32)
    assert os.system(f'ip addr add {address}/{length} dev lo') == 0
    wait(family, address)
    stream, datagram = socket.socket(family), socket.socket(family, socket.SOCK_DGRAM)
    if way == 'Connect':
        assert stream.connect_ex((address, 4444))
    elif way == 'Accept':
        listener = socket.create_server((here, 0), family=family)
        stream.bind((address, 0))
        stream.connect(listener.getsockname())
        listener.accept()
    elif way == 'ConnectUdp':
        datagram.connect((address, 4444))
    elif way == 'Send':
        datagram.sendto(b'x', (address, 4444))
    else:
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind((here, 0))
        datagram.bind((address, 0))
        datagram.sendto(b'x', server.getsockname())
        _, asker = server.recvfrom(8)
        if way == 'Answer':
            server.sendto(b'x', asker)
print('done')
"#;

#[test]
fn each_way_of_a_container_to_an_address_of_each_format_is_told() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let (feeds, without) = start();
    let ways: Vec<_> = combinations().map(|(_, way, ip)| format!("{way:?} {ip}")).collect();
    let options = [
        "--network",
        "none",
        "--cap-add",
        "NET_ADMIN",
        "--sysctl",
        "net.ipv6.conf.lo.disable_ipv6=0",
    ];
    let script = [image, "python3", "-c", SCRIPT].into_iter();
    let command: Vec<_> = script.chain(ways.iter().map(String::as_str)).collect();
    let id = dockerd.run_to_end("victim", &options, &command);
    let log = dockerd.docker(&["logs", &id]);
    assert!(log.stdout == b"done\n", "{log:?}");
    check(&feeds, &without, |alert| container_id(alert) == id);
}
