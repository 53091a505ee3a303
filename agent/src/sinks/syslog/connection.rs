//! The way to a receiver: a datagram socket, or a stream of counted messages (RFC 6587), plain or in TLS (RFC 5425).

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

/// How long a receiver may take for a connection, or for what is written to it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a receiver is.
pub(super) enum Address {
    /// A datagram socket of this node.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
    /// The same, its name as its certificate has it, and whom we trust.
    Tls(String, ServerName<'static>, Arc<ClientConfig>),
}

impl Address {
    pub(super) fn tls(address: String, config: ClientConfig) -> Result<Self> {
        let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).context("output.syslog.address: no name that a certificate can have")?;
        Ok(Self::Tls(address, name, Arc::new(config)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Tcp(address) => write!(out, "tcp://{address}"),
            Self::Tls(address, ..) => write!(out, "tls://{address}"),
        }
    }
}

/// A way that is open.
pub(super) enum Connection {
    Unix(UnixDatagram),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    pub(super) fn open(address: &Address) -> Result<Self> {
        match address {
            Address::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                Ok(Self::Unix(socket))
            }
            Address::Tcp(address) => connect(address).map(Self::Tcp),
            Address::Tls(address, name, config) => {
                let mut stream = connect(address)?;
                let mut connection = ClientConnection::new(Arc::clone(config), name.clone())?;
                let deadline = Instant::now() + TIMEOUT;
                while connection.is_handshaking() {
                    let left = deadline.saturating_duration_since(Instant::now());
                    anyhow::ensure!(!left.is_zero(), "no handshake within {TIMEOUT:?}");
                    stream.set_read_timeout(Some(left))?;
                    connection.complete_io(&mut stream)?;
                }
                Ok(Self::Tls(Box::new(StreamOwned::new(connection, stream))))
            }
        }
    }

    /// Sends one message. After an error it is not known how much of it has gone out.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<()> {
        match self {
            Self::Unix(socket) => socket.send(message).map(drop)?,
            Self::Tcp(stream) => stream.write_all(&framed(message))?,
            Self::Tls(stream) => {
                stream.write_all(&framed(message))?;
                stream.flush()?;
            }
        }
        Ok(())
    }

    /// Whether the other side has ended the connection. What it says is passed over: syslog has no answers.
    pub(super) fn has_hung_up(&mut self) -> bool {
        let (clone, reader): (_, &mut dyn Read) = match self {
            Self::Unix(_) => return false,
            Self::Tcp(stream) => (stream.try_clone(), stream),
            Self::Tls(tls) => (tls.sock.try_clone(), tls),
        };
        clone.map_or(true, |stream| has_ended(&stream, reader))
    }

    /// The same, given so much time.
    pub(super) fn hangs_up_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            if self.has_hung_up() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The message's length in bytes stands before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = format!("{} ", message.len()).into_bytes();
    frame.extend_from_slice(message);
    frame
}

fn connect(address: &str) -> Result<TcpStream> {
    let mut last = None;
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| ErrorKind::NotFound.into()).into())
}

fn has_ended(stream: &TcpStream, reader: &mut dyn Read) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return true;
    }
    let mut said = [0; 512];
    let mut ended = false;
    for _ in 0..16 {
        match reader.read(&mut said) {
            Ok(0) => ended = true,
            Ok(_) => continue,
            Err(error) => ended = error.kind() != ErrorKind::WouldBlock,
        }
        break;
    }
    ended || stream.set_nonblocking(false).is_err()
}

/// Whether a datagram was longer than the node takes.
pub(super) fn is_too_long(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.and_then(io::Error::raw_os_error) == Some(Errno::MSGSIZE.raw_os_error())
}
