//! What is said to a suspected Docker API, and what its answers mean.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};

/// What a look at a listener found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Whoever can connect rules the node.
    Open,
    /// The same, but encrypted: no client certificate is asked for, or none is needed.
    TlsNoClientAuth,
    /// Nobody is let in without a certificate.
    MutualTls,
    /// Something else answered.
    NotDocker,
    /// It did not answer, or not so that it could be told.
    Unknown,
}

impl Finding {
    /// As rules see it under `listener.finding`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Open => "docker-api-open",
            Self::TlsNoClientAuth => "docker-api-tls-no-client-auth",
            Self::MutualTls => "docker-api-mutual-tls",
            Self::NotDocker => "not-docker",
            Self::Unknown => super::UNKNOWN,
        }
    }
}

const REQUEST: &[u8] = b"GET /_ping HTTP/1.0\r\nHost: localhost\r\nUser-Agent: tocsin\r\n\r\n";
/// How long each of connecting, the plain exchange and the encrypted one may take as a whole.
const TIME: Duration = Duration::from_secs(1);
/// How much of an answer is read.
const ANSWER: usize = 4 << 10;
/// How much an encrypted exchange may bring in, certificates included.
const HANDSHAKE: usize = 64 << 10;
/// How servers answer plain HTTP on a port for TLS: Go's, and so Docker's; nginx's.
const SPEAKS_TLS: [&str; 2] = [
    "client sent an http request to an https server",
    "plain http request was sent to https port",
];

/// Asks the listener at `address`; an error is that it could not be asked.
pub(super) fn examine(address: SocketAddr) -> io::Result<Finding> {
    let mut stream = Bounded::connect(address, ANSWER)?;
    stream.write_all(REQUEST)?;
    let (answer, end) = read_answer(&mut stream);
    match meaning(&answer) {
        Meaning::Docker => Ok(Finding::Open),
        Meaning::Tls => examine_encrypted(address),
        // OpenSSL's servers just hang up.
        Meaning::Nothing if end.is_none_or(|error| error.kind() == io::ErrorKind::ConnectionReset) => {
            examine_encrypted(address)
        }
        Meaning::Nothing | Meaning::Refusal => Ok(Finding::Unknown),
        Meaning::Other => Ok(Finding::NotDocker),
    }
}

fn examine_encrypted(address: SocketAddr) -> io::Result<Finding> {
    let asked = Arc::new(NoCertificate::default());
    let mut connection = client(&asked, address).map_err(io::Error::other)?;
    let mut stream = Bounded::connect(address, HANDSHAKE)?;
    let mut stream = rustls::Stream::new(&mut connection, &mut stream);
    // With TLS 1.3 a server refuses after the handshake: the answer to the request tells.
    let (answer, end) = match stream.write_all(REQUEST) {
        Ok(()) => read_answer(&mut stream),
        Err(error) => (Vec::new(), Some(error)),
    };
    // A server that is slow has not refused.
    let late = end.is_some_and(|error| matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock));
    let refused = asked.0.load(Ordering::Relaxed) && !late;
    Ok(match meaning(&answer) {
        Meaning::Docker => Finding::TlsNoClientAuth,
        Meaning::Other => Finding::NotDocker,
        Meaning::Nothing if refused => Finding::MutualTls,
        Meaning::Nothing | Meaning::Refusal | Meaning::Tls => Finding::Unknown,
    })
}

/// What an answer to the request means.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// Docker, or Podman in its place, and the request was granted.
    Docker,
    /// The same, but an authorization plugin or a proxy refused.
    Refusal,
    /// It wants TLS.
    Tls,
    /// There was none.
    Nothing,
    /// Anything else.
    Other,
}

fn meaning(answer: &[u8]) -> Meaning {
    match answer {
        [] => return Meaning::Nothing,
        // A TLS alert record, of whichever version.
        [0x15, 0x03, ..] => return Meaning::Tls,
        _ => {}
    }
    let answer = String::from_utf8_lossy(answer).to_ascii_lowercase();
    if SPEAKS_TLS.iter().any(|text| answer.contains(text)) {
        return Meaning::Tls;
    }
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let is_docker = lines
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| match name {
            "api-version" | "ostype" | "docker-experimental" | "libpod-api-version" => true,
            "server" => ["docker/", "libpod/"]
                .iter()
                .any(|server| value.trim_start().starts_with(server)),
            _ => false,
        });
    match (status.starts_with("http/1."), is_docker, status.split(' ').nth(1)) {
        (true, true, Some("200")) => Meaning::Docker,
        (true, true, _) => Meaning::Refusal,
        _ => Meaning::Other,
    }
}

/// What the other side says, at most [`ANSWER`] bytes, and the error that ended it.
fn read_answer(stream: &mut impl Read) -> (Vec<u8>, Option<io::Error>) {
    let mut answer = Vec::new();
    let end = stream.take(ANSWER as u64).read_to_end(&mut answer);
    (answer, end.err())
}

/// A connection that ends in time and brings in no more than it may, whatever the other side does.
struct Bounded {
    stream: TcpStream,
    deadline: Instant,
    budget: usize,
}

impl Bounded {
    fn connect(address: SocketAddr, budget: usize) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TIME)?;
        Ok(Self {
            stream,
            deadline: Instant::now() + TIME,
            budget,
        })
    }

    fn time_left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(left)
        }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.time_left()?))?;
        let most = buffer.len().min(self.budget);
        let number = self.stream.read(&mut buffer[..most])?;
        self.budget -= number;
        Ok(number)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.time_left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn client(asked: &Arc<NoCertificate>, address: SocketAddr) -> Result<ClientConnection, Error> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_client_cert_resolver(Arc::clone(asked) as Arc<dyn ResolvesClientCert>);
    ClientConnection::new(Arc::new(config), ServerName::IpAddress(address.ip().into()))
}

/// Shows no certificate, and remembers whether one was asked for.
#[derive(Debug, Default)]
struct NoCertificate(AtomicBool);

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes any server's certificate: nothing secret is said to it, and what counts is whether it lets strangers in.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
