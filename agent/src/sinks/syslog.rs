//! Syslog: RFC 5424 messages with structured data, to the node's own daemon over its socket or to a receiver over TCP or
//! TLS.

mod message;
mod connection;

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Result, bail, ensure};
use serde::Deserialize;

use self::{
    connection::{Address, Connection},
    message::{Facility, Messages},
};
use super::{
    Failure, Format, Host, NETWORK_RESTS, Opened, Outputs, Row, Sink,
    settings::{QUEUE, parsed, parsed_if_given, queued},
    tls::TlsFiles,
};
use crate::alert::{Alert, Level};

/// Its row in the table.
pub(super) const SINK: Row = Row {
    name: "syslog",
    meaning: "a syslog receiver, by RFC 5424",
    open,
};

/// `[output.syslog]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Where it listens: `unix:/dev/log`, `tcp://HOST:PORT` or `tls://HOST:PORT`.
    pub address: String,
    /// The facility, such as `daemon`, `authpriv` or `local0`.
    #[serde(default, deserialize_with = "parsed")]
    pub facility: Facility,
    /// Has the message be the whole alert: `ocsf` or `falco`. Without it the message is one line for people.
    #[serde(default, deserialize_with = "parsed_if_given")]
    pub form: Option<Format>,
    /// The lowest level that goes there; without it all that is reported.
    #[serde(default, deserialize_with = "parsed_if_given")]
    pub min_level: Option<Level>,
    /// So many alerts wait for a receiver that cannot be reached; beyond, the oldest are lost.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// For `tls://`: certificates (PEM) of the authorities that are trusted; without it the node's own.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// For `tls://`: the certificate (PEM) that is shown to the receiver.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// The key (PEM) of that certificate.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

fn default_queue() -> usize {
    QUEUE
}

/// How long a receiver has to hang up on whom it does not know.
const CONFIRMED: Duration = Duration::from_millis(500);

fn open(outputs: &Outputs, host: &Arc<Host>) -> Result<Vec<Opened>> {
    let sinks = outputs.syslog.iter().map(|settings| {
        let files = TlsFiles::new(
            settings.ca.as_ref(),
            settings.certificate.as_ref(),
            settings.key_file.as_ref(),
        );
        ensure!(
            settings.form != Some(Format::Pretty),
            "form: pretty has several lines; without form the message is one"
        );
        Ok(Opened {
            wanted: queued(settings.min_level, settings.queue)?,
            sink: Box::new(Syslog {
                address: address(&settings.address, &files)?,
                messages: Messages::new(settings.facility, settings.form, host),
                connection: None,
                pending: VecDeque::new(),
            }),
        })
    });
    sinks.collect()
}

fn address(text: &str, files: &TlsFiles<'_>) -> Result<Address> {
    let with_port = |address: &str| {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        ensure!(port.is_some(), "address: {address} has no port");
        Ok(address.to_owned())
    };
    if let Some(address) = text.strip_prefix("tls://") {
        return Address::tls(with_port(address)?, files.client()?);
    }
    files.must_be_absent("tls://")?;
    if let Some(address) = text.strip_prefix("tcp://") {
        return Ok(Address::Tcp(with_port(address)?));
    }
    match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok(Address::Unix(path.into())),
        _ => bail!("address: {text} is none of unix:/PATH, tcp://HOST:PORT and tls://HOST:PORT"),
    }
}

/// The sink.
struct Syslog {
    address: Address,
    messages: Messages,
    connection: Option<Connection>,
    /// Written and not sent. One that was sent in part is sent again as a whole, over a connection of its own.
    pending: VecDeque<Vec<u8>>,
}

impl Sink for Syslog {
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        let messages = alerts.iter().map(|alert| self.messages.write(alert));
        self.pending.extend(messages);
        self.send().or_else(|error| self.failure(error))
    }

    fn rests(&self) -> (Duration, Duration) {
        NETWORK_RESTS
    }

    fn confirm(&mut self) -> Result<(), Failure> {
        let hung_up = self
            .connection
            .as_mut()
            .is_some_and(|connection| connection.hangs_up_within(CONFIRMED));
        if hung_up {
            self.connection = None;
            return self.failure(anyhow::anyhow!("the receiver hung up at once"));
        }
        Ok(())
    }
}

impl Syslog {
    fn send(&mut self) -> Result<()> {
        // A receiver that was started anew has hung up: what is written to that connection would be lost.
        if self.connection.as_mut().is_some_and(Connection::has_hung_up) {
            self.connection = None;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.address)?),
        };
        while let Some(message) = self.pending.front() {
            connection.send(message)?;
            self.pending.pop_front();
        }
        Ok(())
    }

    fn failure(&mut self, error: anyhow::Error) -> Result<(), Failure> {
        self.connection = None;
        let too_long = connection::is_too_long(&error);
        let error = error.context(format!("sending to {}", self.address));
        if too_long {
            self.pending.pop_front();
            return Err(Failure::Refused(error));
        }
        Err(Failure::Later(error))
    }
}

#[cfg(test)]
mod tests;
