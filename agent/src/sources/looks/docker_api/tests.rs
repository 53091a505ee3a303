//! What is found out about listeners of every sort, each a real one on loopback.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Instant,
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::PrivateKeyDer,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

use super::*;

const PING: &str = "HTTP/1.0 200 OK\r\nApi-Version: 1.41\r\nOstype: linux\r\nServer: Docker/20.10.24 (linux)\r\n\r\nOK";
const NGINX: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\napi-version: 1";
const GO_TLS: &str = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Looks at a server that treats each connection as `serve` says.
fn check(what: &str, serve: impl Fn(TcpStream) + Send + 'static, expected: Finding) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap())));
    assert_eq!(look(address).unwrap(), expected, "{what}");
}

/// Reads the head of a request, then answers.
fn answer_with(answer: &'static [u8]) -> impl Fn(TcpStream) + Send {
    move |mut stream| reply(&mut stream, answer)
}

fn reply(stream: &mut (impl Read + Write), answer: &[u8]) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        request.push(byte[0]);
    }
    // A client that has hung up is the client's matter.
    let _ = stream.write_all(answer);
}

#[test]
fn plain_answers_tell() {
    check("docker", answer_with(PING.as_bytes()), Finding::Open);
    let podman = "HTTP/1.1 200 OK\r\nLibpod-Api-Version: 4.3.1\r\nServer: Libpod/4.3.1 (linux)\r\n\r\nOK";
    check("podman", answer_with(podman.as_bytes()), Finding::Open);
    check("nginx", answer_with(NGINX.as_bytes()), Finding::NotDocker);
    check("ssh", answer_with(b"SSH-2.0-OpenSSH_9.2\r\n"), Finding::NotDocker);
    check("binary", answer_with(&[0xff; 10_000]), Finding::NotDocker);
    let refused = "HTTP/1.1 403 Forbidden\r\nServer: Docker/26.1\r\n\r\n";
    check("refused", answer_with(refused.as_bytes()), Finding::Unknown);
}

#[test]
fn silence_and_dripping_end_in_time() {
    let begun = Instant::now();
    let silent = |stream: TcpStream| {
        thread::park_timeout(Duration::from_secs(10));
        drop(stream);
    };
    check("silent", silent, Finding::Unknown);
    let drip = |mut stream: TcpStream| {
        while stream.write_all(b"\xff").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    };
    check("dripping", drip, Finding::NotDocker);
    check("hanging up", drop, Finding::Unknown);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// A server that takes TLS and answers plain HTTP as Go's does.
fn tls(config: Arc<ServerConfig>, answer: &'static [u8]) -> impl Fn(TcpStream) + Send {
    move |mut stream| {
        let mut first = [0];
        if stream.peek(&mut first).is_ok() && first[0] != 0x16 {
            return reply(&mut stream, GO_TLS.as_bytes());
        }
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        // As Go's server: what is refused is refused with an alert, which must be sent.
        if connection.complete_io(&mut stream).is_err() {
            let _ = connection.write_tls(&mut stream);
            return;
        }
        reply(&mut rustls::Stream::new(&mut connection, &mut stream), answer);
        connection.send_close_notify();
        let _ = connection.write_tls(&mut stream);
    }
}

/// A server's settings: its version of TLS, and whether it demands a client's certificate.
fn server(version: &'static rustls::SupportedProtocolVersion, mutual: bool) -> Arc<ServerConfig> {
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(identity.cert.der().clone()).unwrap();
    let verifier: Arc<dyn ClientCertVerifier> = if mutual {
        let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.build().unwrap()
    } else {
        WebPkiClientVerifier::no_client_auth()
    };
    let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
    let config = builder.with_client_cert_verifier(verifier);
    Arc::new(config.with_single_cert(vec![identity.cert.der().clone()], key).unwrap())
}

#[test]
fn encryption_without_authentication_is_told_from_both() {
    for version in [&TLS12, &TLS13] {
        let name = format!("{:?}", version.version);
        check(
            &name,
            tls(server(version, false), PING.as_bytes()),
            Finding::TlsNoClientAuth,
        );
        check(&name, tls(server(version, true), PING.as_bytes()), Finding::MutualTls);
        check(&name, tls(server(version, false), NGINX.as_bytes()), Finding::NotDocker);
    }
}

#[test]
fn only_the_nodes_own_addresses_are_asked() {
    fn check(address: &str, expected: bool) {
        assert_eq!(is_own(address.parse().unwrap()), expected, "{address}");
    }
    check("127.0.0.1", true);
    check("127.8.9.1", true);
    check("192.0.2.1", false);
    check("2001:db8::1", false);
    let refused = look("192.0.2.1:2375".parse().unwrap()).unwrap_err();
    assert_eq!(refused.to_string(), "192.0.2.1 is no address of this network namespace");
}
