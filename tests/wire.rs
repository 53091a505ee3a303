//! What connections say first: real clients of TLS and HTTP, on this node and in a container.

use std::{
    fs,
    io::{IoSlice, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    process::{Command, Stdio, id as own_pid},
};

use io_uring::{IoUring, opcode, types::Fd};
use serde_json::{Value, json};

use crate::{
    dockerd::Dockerd,
    fixtures,
    network::in_own_network,
    ocsf::{brief, container_id, fact, has_signal, level, port as port_of},
    tocsin::Tocsin,
    watch::titles_about,
};

const TITLE: &str = "Suspicious request to Kubernetes API";

/// A request, and the facts in it.
const REQUEST: &[u8] = b"POST /api/v1/pods?token=pepper HTTP/1.1\r\nHost: api.tocsin.test:8001\r\nUser-Agent: test/1\r\nCookie: pepper\r\n\r\npepper";

/// A recording of what everybody says.
fn record_everywhere() -> Tocsin {
    let mut command = Tocsin::command();
    command.env("TOCSIN_WIRE_OF", "everywhere");
    command.args(["record", "-", "--config", "/dev/null"]);
    Tocsin::spawn(&mut command, "recording")
}

/// A listener there that takes connections and says nothing.
fn listen(ip: IpAddr) -> (TcpListener, u16) {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Waits for what a connection to that port says.
fn said(agent: &Tocsin, port: u16) -> Value {
    let is_it = |event: &Value| {
        let says = ["tls.sni", "http.path"].iter().any(|name| !event[name].is_null());
        says && event["DestinationPort"] == port
    };
    agent.wait_for_event(&format!("what is said to port {port}"), is_it)
}

/// OpenSSL's client, which asks for that server there.
fn openssl(to: SocketAddr, server: &str, protocols: &str) -> Command {
    let fixture = fixtures::require("docker").expect("the fixture with openssl");
    let mut command = Command::new(fixture.join("usr/bin/openssl"));
    command.env("LD_LIBRARY_PATH", fixture.join("usr/lib/x86_64-linux-gnu"));
    command.args(["s_client", "-connect", &to.to_string(), "-servername", server]);
    if !protocols.is_empty() {
        command.args(["-alpn", protocols]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs such a client; gives the beginning of what it says.
fn ask(listener: &TcpListener, server: &str, protocols: &str) -> Vec<u8> {
    let mut client = openssl(listener.local_addr().unwrap(), server, protocols)
        .spawn()
        .unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    let mut hello = vec![0; 4096];
    let length = accepted.read(&mut hello).unwrap();
    hello.truncate(length);
    // It has written all of it by now, since it waits for an answer.
    client.kill().unwrap();
    client.wait().unwrap();
    hello
}

#[test]
fn every_way_to_write_a_request_says_the_same_and_its_payload_stays() {
    let mut ring = match IoUring::new(4) {
        Ok(ring) => Some(ring),
        Err(error) => {
            fixtures::skip(&format!("io_uring: {error}"));
            None
        }
    };
    let agent = record_everywhere();
    in_own_network(|| {
        for ip in [Ipv4Addr::LOCALHOST.into(), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            for way in ["write", "writev", "io_uring"] {
                let (listener, port) = listen(ip);
                let mut client = TcpStream::connect((ip, port)).unwrap();
                match way {
                    "write" => client.write_all(REQUEST).unwrap(),
                    "writev" => {
                        let (begin, end) = REQUEST.split_at(10);
                        let written = client
                            .write_vectored(&[IoSlice::new(begin), IoSlice::new(end)])
                            .unwrap();
                        assert_eq!(written, REQUEST.len());
                    }
                    _ => {
                        let Some(ring) = &mut ring else { continue };
                        let length = i32::try_from(REQUEST.len()).unwrap();
                        let send = opcode::Send::new(Fd(client.as_raw_fd()), REQUEST.as_ptr(), length.cast_unsigned());
                        // SAFETY: the request is a constant.
                        unsafe { ring.submission().push(&send.build()).unwrap() };
                        ring.submit_and_wait(1).unwrap();
                        assert_eq!(ring.completion().next().unwrap().result(), length);
                    }
                }
                let event = said(&agent, port);
                let facts = [
                    "http.host",
                    "http.path",
                    "http.user_agent",
                    "DestinationIp",
                    "ProcessId",
                    "SourcePort",
                ];
                let source = client.local_addr().unwrap();
                let expected = json!([
                    "api.tocsin.test",
                    "/api/v1/pods",
                    "test/1",
                    ip.to_string(),
                    own_pid(),
                    source.port()
                ]);
                assert_eq!(json!(facts.map(|name| &event[name])), expected, "{way}: {event:#}");
                assert_eq!(event["SourceIp"], source.ip().to_string(), "{event:#}");
                drop(listener);
            }
        }
    });
    let log = agent.log();
    let (_, events) = agent.stop();
    let all = events.iter().map(ToString::to_string).collect::<String>();
    assert!(!all.contains("pepper") && !log.contains("pepper"));
}

#[test]
fn a_real_tls_client_names_its_server_however_long_its_hello_is() {
    let agent = record_everywhere();
    in_own_network(|| {
        // Segments as on the narrowest path that IPv6 lets be, so that a hello takes several.
        let busybox = fixtures::require("busybox").unwrap().join("bin/busybox");
        let narrow = Command::new(busybox)
            .args(["ip", "link", "set", "lo", "mtu", "1280"])
            .status();
        assert!(narrow.unwrap().success());
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            for number in [0, 1, 100, 400] {
                let protocols: Vec<_> = (0..number).map(|number| format!("protocol-{number}")).collect();
                let (listener, port) = listen(ip);
                let server = format!("server-{number}.tocsin.test");
                ask(&listener, &server, &protocols.join(","));
                let event = said(&agent, port);
                assert_eq!(event["tls.sni"], server, "{event:#}");
                assert_eq!(event["DestinationIp"], ip.to_string(), "{event:#}");
                let by = event["Image"].as_str().unwrap();
                assert!(by.ends_with("/openssl") && event["http.path"].is_null(), "{event:#}");
            }
        }
    });
}

#[test]
fn a_hello_in_several_writes_is_one_and_what_is_neither_says_nothing() {
    let agent = record_everywhere();
    in_own_network(|| {
        let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
        let (listener, port) = listen(ip);
        let hello = ask(&listener, "parts.tocsin.test", "");
        said(&agent, port);
        for sizes in [(5, 100), (1, 2), (9, 10)] {
            let (listener, port) = listen(ip);
            let mut client = TcpStream::connect((ip, port)).unwrap();
            client.set_nodelay(true).unwrap();
            let (begin, end) = sizes;
            for part in [&hello[..begin], &hello[begin..end], &hello[end..]] {
                client.write_all(part).unwrap();
            }
            assert_eq!(said(&agent, port)["tls.sni"], "parts.tocsin.test", "{sizes:?}");
            drop(listener);
        }
        // A request as somebody types it.
        for ends in [&[2][..], &[1, 4], &[3, 7, 50]] {
            let (listener, port) = listen(ip);
            let mut client = TcpStream::connect((ip, port)).unwrap();
            client.set_nodelay(true).unwrap();
            let mut begin = 0;
            for end in ends.iter().copied().chain([REQUEST.len()]) {
                client.write_all(&REQUEST[begin..end]).unwrap();
                begin = end;
            }
            let event = said(&agent, port);
            assert_eq!(
                json!([event["http.path"], event["http.host"]]),
                json!(["/api/v1/pods", "api.tocsin.test"]),
                "{ends:?}"
            );
            drop(listener);
        }
        // Half a hello names its server, once the rest is not to be expected.
        let (listener, port) = listen(ip);
        let mut client = TcpStream::connect((ip, port)).unwrap();
        client.write_all(&hello[..hello.len() - 1]).unwrap();
        assert_eq!(said(&agent, port)["tls.sni"], "parts.tocsin.test");
        drop(listener);
        let silent = [
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            b"PASS pepper\r\n",
            b"\x16\x03\x01\0\x05\x02\0\0\x01\0",
            b"GE\r",
        ];
        let ports = silent.map(|bytes| {
            let (listener, port) = listen(ip);
            let mut client = TcpStream::connect((ip, port)).unwrap();
            client.write_all(bytes).unwrap();
            // Only what comes first counts.
            client.write_all(REQUEST).unwrap();
            drop(listener);
            port
        });
        let (listener, port) = listen(ip);
        // What a server says is not an outgoing connection's.
        let _client = TcpStream::connect((ip, port)).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.write_all(REQUEST).unwrap();
        let (last, last_port) = listen(ip);
        let mut client = TcpStream::connect((ip, last_port)).unwrap();
        client.write_all(REQUEST).unwrap();
        said(&agent, last_port);
        drop(last);
        for event in agent.alerts() {
            let about = ports
                .iter()
                .chain([&port])
                .any(|port| event["DestinationPort"] == *port);
            assert!(
                !about || event["http.path"].is_null() && event["tls.sni"].is_null(),
                "{event:#}"
            );
        }
    });
}

#[test]
fn however_many_say_nothing_what_others_say_is_read() {
    const RULE: &str = "title: Something is said\nid: 00000000-0000-4000-8000-000000000002\n\
                        logsource: {product: linux, category: network_connection}\n\
                        detection: {said: {http.host: api.tocsin.test}, condition: said}\nlevel: high\n";
    let folder = tempfile::tempdir().unwrap();
    let (rules, config) = (folder.path().join("rules"), folder.path().join("tocsin.toml"));
    fs::create_dir(&rules).unwrap();
    fs::write(rules.join("said.yml"), RULE).unwrap();
    fs::write(&config, "[wire]\nof = 'everywhere'\n").unwrap();
    let rules = rules.to_str().unwrap();
    let agent = Tocsin::start_in(folder.path(), &config, &["--rules-dir", rules]);
    in_own_network(|| {
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        let (_listener, port) = listen(here);
        let mut client = TcpStream::connect((here, port)).unwrap();
        // Nobody listens there.
        (0..20_000).for_each(|_| assert!(TcpStream::connect((here, 1)).is_err()));
        client.write_all(REQUEST).unwrap();
        let alert = agent.wait_for_alert("Something is said", |_| true);
        assert_eq!(port_of(&alert), Some(port.into()));
    });
}

#[test]
fn a_containers_request_stands_in_the_alert_about_it() {
    let Some(dockerd) = Dockerd::start() else { return };
    let image = dockerd.import_debian();
    let agent = Tocsin::start(&["--docker-socket", &dockerd.socket()]);
    let options = "--network none --cap-add NET_ADMIN --env KUBERNETES_SERVICE_HOST=10.96.0.1 \
                   --env KUBERNETES_SERVICE_PORT=80";
    let options: Vec<_> = options.split_whitespace().collect();
    // Somebody listens at both addresses, of which only one was told of, and never answers.
    let ask = |name: &str, request: &str| {
        let script = format!(
            "ip address add 10.96.0.1/32 dev lo; ip address add 192.0.2.7/32 dev lo
             python3 -c 'import socket, time
servers = [socket.create_server((\"\", port)) for port in (80, 443)]
time.sleep(60)' &
             until [ $(ss -ltn | grep -cE ':(80|443) ') = 2 ]; do kill -0 $! || exit; done
             curl --silent --insecure --max-time 2 {request}"
        );
        dockerd.run_to_end(name, &options, &[image, "bash", "-c", &script])
    };
    let by_name = ask(
        "by-name",
        "--resolve kubernetes.default.svc:443:192.0.2.7 -H 'Authorization: Bearer eyJ' https://kubernetes.default.svc/",
    );
    let alert = agent.wait_for_alert(TITLE, |alert| container_id(alert) == by_name);
    assert_eq!(fact(&alert, "tls.sni"), "kubernetes.default.svc", "{}", brief(&alert));
    assert_eq!(fact(&alert, "destination.role"), "kubernetes-api", "{}", brief(&alert));
    // The arguments say nothing of it.
    let hidden = ask(
        "hidden",
        "--config <(echo 'url = http://10.96.0.1/api/v1/secrets?limit=5'; echo user-agent = kubectl/v1.30.0)",
    );
    let alert = agent.wait_for_alert(TITLE, |alert| container_id(alert) == hidden);
    assert_eq!(level(&alert), "High", "{}", brief(&alert));
    let facts = ["http.host", "http.path", "http.user_agent"].map(|name| fact(&alert, name));
    assert_eq!(json!(facts), json!(["10.96.0.1", "/api/v1/secrets", "kubectl/v1.30.0"]));
    for signal in ["tool", "secrets", "posing", "in-the-clear"] {
        assert!(has_signal(&alert, signal), "{signal}: {}", brief(&alert));
    }
    let elsewhere = ask(
        "elsewhere",
        "--resolve www.tocsin.test:443:192.0.2.7 -H 'Authorization: Bearer eyJ' https://www.tocsin.test/api/v1/secrets",
    );
    let alerts = agent.alerts_after_quiet();
    assert_eq!(titles_about(&alerts, &elsewhere), [""; 0]);
    for id in [&by_name, &hidden] {
        assert_eq!(titles_about(&alerts, id), [TITLE], "one connection is one alert");
    }
}
