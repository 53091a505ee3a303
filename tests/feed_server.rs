//! A server of feeds of the test's own, in TLS, which answers as it is told and remembers what it was asked.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The path, with what follows a question mark.
    pub(crate) target: String,
    /// Names in small letters.
    headers: Vec<(String, String)>,
}

impl Asked {
    pub(crate) fn header(&self, wanted: &str) -> &str {
        let header = self.headers.iter().find(|(name, _)| name == wanted);
        header.map_or("", |(_, value)| value)
    }
}

/// What it answers.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// How often the body comes.
    times: usize,
    /// What is announced is longer than what comes.
    is_cut: bool,
    /// No length is announced.
    is_chunked: bool,
    /// It comes after so long.
    delay: Duration,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            times: 1,
            is_cut: false,
            is_chunked: false,
            delay: Duration::ZERO,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    pub(crate) fn cut(self) -> Self {
        Self { is_cut: true, ..self }
    }

    pub(crate) fn chunked(self) -> Self {
        Self {
            is_chunked: true,
            ..self
        }
    }

    pub(crate) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    fn write(&self, out: &mut impl Write, written: &AtomicU64) -> std::io::Result<()> {
        thread::sleep(self.delay);
        write!(out, "HTTP/1.1 {} As told\r\nconnection: close\r\n", self.status)?;
        for (name, value) in &self.headers {
            write!(out, "{name}: {value}\r\n")?;
        }
        let length = self.body.len();
        if self.is_chunked {
            write!(out, "transfer-encoding: chunked\r\n\r\n")?;
        } else {
            let announced = length * self.times + usize::from(self.is_cut);
            write!(out, "content-length: {announced}\r\n\r\n")?;
        }
        for _ in 0..self.times {
            if self.is_chunked {
                write!(out, "{length:x}\r\n")?;
            }
            out.write_all(&self.body)?;
            if self.is_chunked {
                write!(out, "\r\n")?;
            }
            written.fetch_add(length as u64, Ordering::Relaxed);
        }
        if self.is_chunked && !self.is_cut {
            write!(out, "0\r\n\r\n")?;
        }
        out.flush()
    }
}

type Answers = Arc<Mutex<Box<dyn Fn(&Asked) -> Reply + Send>>>;

/// The server. It listens as long as the test runs.
pub(crate) struct FeedServer {
    pub(crate) address: SocketAddr,
    certificate: CertificateDer<'static>,
    answers: Answers,
    asked: Arc<Mutex<Vec<Asked>>>,
    written: Arc<AtomicU64>,
}

impl FeedServer {
    /// Listens, with a certificate that only who is told of it trusts.
    pub(crate) fn start(answer: impl Fn(&Asked) -> Reply + Send + 'static) -> Self {
        let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let certificate = identity.cert.der().clone();
        let key = PrivateKeyDer::try_from(identity.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            certificate,
            answers: Arc::new(Mutex::new(Box::new(answer))),
            asked: Arc::default(),
            written: Arc::default(),
        };
        let (config, answers) = (Arc::new(config), Arc::clone(&server.answers));
        let (asked, written) = (Arc::clone(&server.asked), Arc::clone(&server.written));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, answers) = (Arc::clone(&config), Arc::clone(&answers));
                let (asked, written) = (Arc::clone(&asked), Arc::clone(&written));
                thread::spawn(move || serve(stream, config, &answers, &asked, &written));
            }
        });
        server
    }

    /// Answers so from now on.
    pub(crate) fn answers(&self, answer: impl Fn(&Asked) -> Reply + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answer);
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How much it could get rid of.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// Writes the certificate into that folder, by which the server is believed.
    pub(crate) fn certificate(&self, folder: &Path) -> PathBuf {
        let file = folder.join(format!("server-{}.pem", self.address.port()));
        let text = BASE64_STANDARD.encode(&self.certificate);
        fs::write(
            &file,
            format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"),
        )
        .unwrap();
        file
    }
}

/// Serves one request. A client that has heard enough hangs up.
fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    answers: &Answers,
    asked: &Mutex<Vec<Asked>>,
    written: &AtomicU64,
) -> Option<()> {
    let connection = ServerConnection::new(config).unwrap();
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let one = read(&mut stream)?;
    asked.lock().unwrap().push(one.clone());
    let reply = answers.lock().unwrap()(&one);
    reply.write(stream.get_mut(), written).ok()?;
    let stream = stream.get_mut();
    stream.conn.send_close_notify();
    stream.flush().ok()
}

fn read(stream: &mut impl BufRead) -> Option<Asked> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let target = lines.first()?.split(' ').nth(1)?.to_owned();
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Some(Asked {
        target,
        headers: headers.collect(),
    })
}
