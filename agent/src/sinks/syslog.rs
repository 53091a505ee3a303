//! Syslog: RFC 5424 messages with structured data, to the node's own daemon over its socket or to a receiver over TCP or
//! TLS.

mod message;
mod connection;

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Result, bail, ensure};
use documented::{Documented, DocumentedFields};
use serde::{Deserialize, Serialize};

use self::{
    connection::{Address, Connection},
    message::{Facility, Messages},
};
use super::{
    Failure, Host, NETWORK_RESTS, Opened, Outputs, Row, Sink,
    settings::{FormatOrNone, QUEUE, fingerprint},
};
use crate::{
    alert::{Alert, Level, log::Wanted},
    config::values,
    tls::TlsFiles,
};

/// Its row in the table.
pub(super) const SINK: Row = Row {
    name: "syslog",
    meaning: "a syslog receiver, by RFC 5424",
    open,
};

/// A syslog receiver, by RFC 5424 with structured data (docs/outputs.md).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct SyslogSettings {
    /// Where it listens: `unix:/dev/log`, `tcp://HOST:PORT` or `tls://HOST:PORT`; empty: there is none.
    pub address: String,
    /// The facility, such as daemon, authpriv or local0.
    #[serde(with = "values::text")]
    pub facility: Facility,
    /// The form of the message: ocsf or falco, which is the whole alert; none: one line for people.
    #[serde(with = "values::text")]
    pub format: FormatOrNone,
    /// The lowest level that goes there, of what is reported at all.
    #[serde(with = "values::text")]
    pub min_level: Level,
    /// So many alerts wait for a receiver that cannot be reached; beyond, the oldest are lost to it.
    #[serde(deserialize_with = "values::within::<1, 16_384, _, _>")]
    pub queue: usize,
    /// For `tls://`: certificates (PEM) of the authorities that are trusted; empty: the node's own.
    #[serde(with = "values::optional_path")]
    pub ca: Option<PathBuf>,
    /// For `tls://`: the certificate (PEM) that is shown to the receiver; empty: none.
    #[serde(with = "values::optional_path")]
    pub certificate: Option<PathBuf>,
    /// The file of that certificate's key (PEM).
    #[serde(with = "values::optional_path")]
    pub key_file: Option<PathBuf>,
}

impl Default for SyslogSettings {
    fn default() -> Self {
        Self {
            address: String::new(),
            facility: Facility::default(),
            format: FormatOrNone(None),
            min_level: Level::Informational,
            queue: QUEUE,
            ca: None,
            certificate: None,
            key_file: None,
        }
    }
}

/// How long a receiver has to hang up on whom it does not know.
const CONFIRMED: Duration = Duration::from_millis(500);

fn open(outputs: &Outputs, host: &Arc<Host>) -> Result<Vec<Opened>> {
    let settings = &outputs.syslog;
    if settings.address.is_empty() {
        return Ok(Vec::new());
    }
    let files = TlsFiles {
        section: "output.syslog",
        ca: settings.ca.as_deref(),
        certificate: settings.certificate.as_deref(),
        key: settings.key_file.as_deref(),
    };
    let FormatOrNone(whole) = settings.format;
    Ok(vec![Opened {
        name: SINK.name,
        wanted: Wanted {
            min_level: settings.min_level,
            queue: settings.queue,
        },
        sink: Box::new(Syslog {
            address: address(&settings.address, &files)?,
            messages: Messages::new(settings.facility, whole, host),
            connection: None,
            pending: VecDeque::new(),
        }),
        made_from: fingerprint(settings, &[&settings.ca, &settings.certificate, &settings.key_file]),
    }])
}

fn address(text: &str, files: &TlsFiles<'_>) -> Result<Address> {
    let with_port = |address: &str| {
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        ensure!(port.is_some(), "output.syslog.address: {address} has no port");
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
        _ => bail!("output.syslog.address: {text} is none of unix:/PATH, tcp://HOST:PORT and tls://HOST:PORT"),
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

    fn undelivered(&self) -> usize {
        self.pending.len()
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
