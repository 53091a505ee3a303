//! `Connection to a known suspicious IP address`: real connections with addresses that feeds of each format list.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    deadline::wait_for,
    dockerd::Dockerd,
    fixtures,
    network::{address, in_own_network, resolve, text},
    ocsf::{brief, container_id, fact, level, rule, title},
    replay::{Replay, replay},
    tocsin::{PATIENCE, Tocsin},
};

pub(crate) const TITLE: &str = "Connection to a known suspicious IP address";

/// An agent with feeds in a folder of its own.
pub(crate) struct Feeds {
    folder: TempDir,
    pub(crate) agent: Tocsin,
}

impl Feeds {
    /// Starts an agent with these files, and with what the configuration says of each beside its path.
    pub(crate) fn start(feeds: &[(&str, &str, &str)], arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config: String = feeds
            .iter()
            .map(|(name, settings, contents)| {
                let path = folder.path().join(name);
                fs::write(&path, contents).unwrap();
                section(name, &path, settings)
            })
            .collect();
        fs::write(folder.path().join("tocsin.toml"), config).unwrap();
        let agent = Tocsin::start_in(folder.path(), &folder.path().join("tocsin.toml"), arguments);
        Self { folder, agent }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a new file in the place of a feed's, as whoever fetches one does.
    fn replace(&self, name: &str, contents: &str) {
        fs::write(self.path("new"), contents).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn wait_for(&self, indicator: &str, grade: &str) -> Value {
        self.agent.wait_for_alert(TITLE, |alert| {
            fact(alert, "threat.indicator") == indicator && rule(alert) == format!("known-suspicious-address-{grade}")
        })
    }
}

fn section(name: &str, path: &Path, settings: &str) -> String {
    format!("[feed.{name}]\npath = '{}'\n{settings}\n", path.display())
}

/// Tries to connect; nobody listens.
pub(crate) fn knock(ip: impl Into<IpAddr>) {
    assert!(TcpStream::connect(SocketAddr::new(ip.into(), 4444)).is_err());
}

fn of_title(alerts: &[Value]) -> Vec<String> {
    alerts.iter().filter(|alert| title(alert) == TITLE).map(brief).collect()
}

/// A feed of each format, and what is listed in vain.
const FORMATS: [(&str, &str, &str); 9] = [
    (
        "plain",
        "confidence = 90",
        "# ours\n203.0.113.11\t7\n2001:db8:66::/48\n203.0.113.22\n203.0.113.23\n",
    ),
    (
        "feodo",
        "confidence = 60\ndirection = 'outbound'",
        "# \"first_seen_utc\",\"dst_ip\",\"dst_port\",\"malware\"\n\"2026-11-24\",\"203.0.113.12\",\"443\",\"Emotet\"\n",
    ),
    (
        "stix",
        "",
        r#"{"type": "bundle", "objects": [
            {"type": "indicator", "confidence": 85, "pattern": "[ipv4-addr:value = '203.0.113.13']"},
            {"type": "indicator", "valid_until": "2020-01-01T00:00:00Z", "pattern": "[ipv4-addr:value = '203.0.113.21']"}]}"#,
    ),
    (
        "misp",
        "confidence = 80",
        r#"{"Event": {"Attribute": [{"type": "ip-dst|port", "value": "203.0.113.14|443", "to_ids": true}]}}"#,
    ),
    (
        "kunai",
        "confidence = 75",
        "{\"source\": \"us\", \"value\": \"203.0.113.15\", \"severity\": 9}\n",
    ),
    ("doubtful", "confidence = 10", "203.0.113.16\n"),
    ("inbound", "confidence = 90\ndirection = 'inbound'", "203.0.113.24\n"),
    (
        "harmless",
        "format = 'warninglist'",
        r#"{"type": "string", "list": ["203.0.113.22"]}"#,
    ),
    (
        "cidr",
        "format = 'warninglist'",
        r#"{"type": "cidr", "list": ["203.0.113.23/32"]}"#,
    ),
];

#[test]
fn who_connects_with_what_a_feed_lists_is_told() {
    let feeds = Feeds::start(&FORMATS, &[]);
    let without = Tocsin::start(&[]);
    let inside = in_own_network(|| {
        let ipv6: Ipv6Addr = "2001:db8:66::1".parse().unwrap();
        let busybox = fixtures::require("busybox").unwrap().join("bin/busybox");
        let place = format!("{ipv6}/128");
        let added = Command::new(busybox)
            .args(["ip", "addr", "add", &place, "dev", "lo"])
            .status();
        assert!(added.unwrap().success());
        for last in [11, 12, 13, 14, 15, 21, 22, 23, 24, 25] {
            knock(address(last));
        }
        knock(ipv6);
        let datagram = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        datagram.send_to(b"x", (address(16), 4444)).unwrap();
        let listener = TcpListener::bind((address(1), 0)).unwrap();
        for last in [12, 13, 24] {
            let client = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            bind(&client, &SocketAddr::new(address(last).into(), 0)).unwrap();
            connect(&client, &listener.local_addr().unwrap()).unwrap();
            listener.accept().unwrap();
        }
        resolve("c2.example", address(13));
        resolve("www.example", address(25));
    });
    if inside.is_none() {
        return;
    }
    for (indicator, grade, feed) in [
        ("203.0.113.11", "high", "plain"),
        ("2001:db8:66::/48", "high", "plain"),
        ("203.0.113.12", "medium", "feodo"),
        ("203.0.113.13", "high", "stix"),
        ("203.0.113.14", "high", "misp"),
        ("203.0.113.15", "high", "kunai"),
        ("203.0.113.16", "outbound-low", "doubtful"),
        // The first that came in; the others at that port are counted with it.
        ("203.0.113.13", "low", "stix"),
        ("203.0.113.13", "dns-medium", "stix"),
    ] {
        let alert = feeds.wait_for(indicator, grade);
        assert_eq!(fact(&alert, "threat.feed"), feed, "{}", brief(&alert));
    }
    let emotet = feeds.wait_for("203.0.113.12", "medium");
    assert_eq!(fact(&emotet, "threat.tags")[0], "Emotet", "{}", brief(&emotet));
    let told = feeds.agent.alerts_after_quiet();
    for silent in [21, 22, 23, 24, 25].map(|last| text(address(last))) {
        let about = |alert: &&Value| fact(alert, "threat.indicator") == silent.as_str() && level(alert) != "Low";
        let about: Vec<_> = told.iter().filter(about).map(brief).collect();
        assert!(about.is_empty(), "{about:#?}");
    }
    let without = of_title(&without.alerts_after_quiet());
    assert!(without.is_empty(), "no feed, no alert: {without:#?}");

    let status = Tocsin::command()
        .arg("status")
        .arg("--socket")
        .arg(feeds.path("control.sock"))
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(status.contains("feed plain     4 indicators"), "{status}");
    assert!(status.contains("feed cidr      1 harmless addresses"), "{status}");
}

#[test]
fn a_feed_is_swapped_under_the_running_agent_and_nothing_is_missed() {
    let stays = "203.0.113.50\n";
    let more: String = (0..50_000u32)
        .map(|number| format!("{}\n", Ipv4Addr::from_bits(number << 12)))
        .collect();
    let feeds = Feeds::start(&[("c2", "confidence = 90", stays)], &["--dedup", "0"]);
    let number = |indicator: &str| {
        let about = |alert: &&Value| title(alert) == TITLE && fact(alert, "threat.indicator") == indicator;
        feeds.agent.alerts().iter().filter(about).count()
    };
    let is_told = |last: u8| {
        let indicator = text(address(last));
        wait_for(&indicator, PATIENCE, || {
            knock(address(last));
            (number(&indicator) > 0).then_some(())
        });
    };
    let inside = in_own_network(|| {
        let mut knocked = 0;
        for new in 51..=56 {
            feeds.replace("c2", &format!("{stays}203.0.113.{new}\n{more}"));
            let indicator = text(address(new));
            // As many as fit into the time that it takes to read and swap.
            wait_for(&indicator, PATIENCE, || {
                (0..50).for_each(|_| knock(address(50)));
                knocked += 50;
                knock(address(new));
                (number(&indicator) > 0).then_some(())
            });
        }
        wait_for("each connection", PATIENCE, || {
            (number("203.0.113.50") == knocked).then_some(())
        });
        let before = number("203.0.113.51");
        knock(address(51));
        is_told(50);
        assert_eq!(number("203.0.113.51"), before, "it is listed no more");

        feeds.replace("c2", "<html>the feed has moved</html>\n");
        let stale = feeds.agent.wait_for_alert("A threat feed is not up to date", |_| true);
        let detail = fact(&stale, "health.detail").to_string();
        assert!(
            detail.contains("it lists no address") && detail.contains("2 indicators"),
            "{detail}"
        );
        let before = number("203.0.113.50");
        wait_for("what was in force", PATIENCE, || {
            knock(address(50));
            (number("203.0.113.50") > before).then_some(())
        });

        fs::write(feeds.path("second"), "203.0.113.60\n").unwrap();
        let second = section("second", &feeds.path("second"), "confidence = 90");
        fs::write(feeds.path("tocsin.toml"), second).unwrap();
        is_told(60);
    });
    let log = feeds.agent.log();
    assert!(inside.is_none() || log.contains("it lists no address"), "{log}");
}

#[test]
fn a_container_is_named() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_busybox();
    let feeds = Feeds::start(
        &[("c2", "confidence = 90", "203.0.113.41\n")],
        &["--docker-socket", &dockerd.socket()],
    );
    let options = ["--network", "none", "--cap-add", "NET_ADMIN"];
    let run = |name, place: &str| {
        let script = format!("ip addr add {place}/32 dev lo; nc -w 1 {place} 4444; true");
        dockerd.run_to_end(name, &options, &[image, "sh", "-c", &script])
    };
    let (victim, twin) = (run("victim", "203.0.113.41"), run("twin", "203.0.113.42"));
    let alert = feeds.wait_for("203.0.113.41", "high");
    assert_eq!(
        (container_id(&alert), level(&alert)),
        (&*victim, "High"),
        "{}",
        brief(&alert)
    );
    let alerts = feeds.agent.alerts_after_quiet();
    let of_twin = alerts
        .iter()
        .any(|alert| container_id(alert) == twin && title(alert) == TITLE);
    assert!(!of_twin);
}

#[test]
fn recorded_events_are_replayed_against_a_feed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let connection = "{\"time\": 1, \"category\": \"network_connection\", \"Image\": \"/usr/bin/curl\", \"Initiated\": true, \
                      \"DestinationIp\": \"64.225.45.153\", \"DestinationPort\": 80}\n";
    let answer = "{\"time\": 2, \"category\": \"dns_query\", \"Image\": \"/usr/bin/curl\", \"QueryName\": \"c2.example\", \
                  \"dns.answer\": true, \"dns.addresses\": [\"64.225.45.153\"]}\n";
    fs::write(path("events"), [connection, answer].concat()).unwrap();
    fs::write(path("feed"), "64.225.45.0/24\n").unwrap();
    let replay = |arguments: &[&str]| {
        let Replay { status, alerts, .. } = replay(&path("events"), arguments);
        (status.code(), alerts.iter().any(|alert| title(alert) == TITLE))
    };
    let feed = path("feed");
    assert_eq!(
        replay(&["--feed", feed.to_str().unwrap(), "--fail-on", "medium"]),
        (Some(3), true)
    );
    assert_eq!(replay(&[]), (Some(0), false));
    assert_eq!(replay(&["--feed", "/nonexistent"]), (Some(1), false));
}
