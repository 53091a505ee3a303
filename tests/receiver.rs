//! An HTTP receiver of the test's own, plain or in TLS, which answers as it is told and keeps what it was asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde_json::Value;

use crate::tls::Certificates;

/// A request that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    /// Names in small letters.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Posted {
    pub(crate) fn header(&self, wanted: &str) -> &str {
        let header = self.headers.iter().find(|(name, _)| name == wanted);
        header.map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }
}

/// What a request is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    Status(u16),
    /// None, while the connection stays open.
    Silence,
}

/// The answer to a request, which came so often before.
type Answers = dyn Fn(&Posted, usize) -> Answer + Send + Sync;

/// A receiver; its thread ends with the test.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Receiver {
    /// An address where nobody listens yet.
    pub(crate) fn reserve() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Listens there, without TLS.
    pub(crate) fn start(
        address: SocketAddr,
        answer: impl Fn(&Posted, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(address, None, Arc::new(answer))
    }

    /// Listens in TLS, takes everything, and wants a certificate of the authority if `mutual`.
    pub(crate) fn start_tls(certificates: &Certificates, mutual: bool) -> Self {
        let config = tls_config(certificates, mutual);
        Self::listen(
            "127.0.0.1:0".parse().unwrap(),
            Some(Arc::new(config)),
            Arc::new(|_, _| Answer::Status(204)),
        )
    }

    /// What has arrived so far.
    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }

    fn listen(address: SocketAddr, tls: Option<Arc<ServerConfig>>, answer: Arc<Answers>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let posted = Arc::<Mutex<Vec<Posted>>>::default();
        let all = Arc::clone(&posted);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (all, answer, tls) = (Arc::clone(&all), Arc::clone(&answer), tls.clone());
                thread::spawn(move || match tls {
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        serve(StreamOwned::new(connection, stream), &all, &*answer)
                    }
                    None => serve(stream, &all, &*answer),
                });
            }
        });
        Self { address, posted }
    }
}

/// Serves one connection to its end.
fn serve(stream: impl Read + Write, all: &Mutex<Vec<Posted>>, answer: &Answers) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let posted = read(&mut stream)?;
        let id = posted.header("webhook-id").to_owned();
        let mut all = all.lock().unwrap();
        let before = all.iter().filter(|before| before.header("webhook-id") == id).count();
        let answer = answer(&posted, before);
        all.push(posted);
        drop(all);
        match answer {
            Answer::Status(204) => stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?,
            Answer::Status(status) => {
                let answer = format!("HTTP/1.1 {status} As told\r\ncontent-length: 6\r\n\r\nreason");
                stream.get_mut().write_all(answer.as_bytes()).ok()?;
            }
            Answer::Silence => thread::sleep(Duration::from_mins(1)),
        }
        stream.get_mut().flush().ok()?;
    }
}

fn read(stream: &mut impl BufRead) -> Option<Posted> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut posted = Posted {
        headers,
        body: Vec::new(),
    };
    posted.body.resize(posted.header("content-length").parse().ok()?, 0);
    stream.read_exact(&mut posted.body).ok()?;
    Some(posted)
}

fn tls_config(certificates: &Certificates, mutual: bool) -> ServerConfig {
    let certificate = |path: &Path| CertificateDer::from_pem_file(path).unwrap();
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if mutual {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&certificates.authority)).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(&certificates.server.1).unwrap();
    builder
        .with_single_cert(vec![certificate(&certificates.server.0)], key)
        .unwrap()
}
