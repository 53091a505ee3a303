//! A webhook: each alert is one HTTP request, which is tried until it is taken.
//!
//! Requests are signed by the specification of Standard Webhooks, for which receivers have libraries.

mod client;
mod signature;

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hyper::{
    Uri,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use jiff::Timestamp;
use serde::Deserialize;

use self::{
    client::{Answer, Client},
    signature::Key,
};
use super::{
    Failure, Format, Formatter, Host, NETWORK_RESTS, Opened, Outputs, Row, Sink,
    settings::{QUEUE, parsed, parsed_if_given, queued, secret, time},
    tls::TlsFiles,
};
use crate::alert::{Alert, Level};

/// Its row in the table.
pub(super) const SINK: Row = Row {
    name: "webhook",
    meaning: "an HTTP receiver, such as falcosidekick",
    open,
};

/// `[output.webhook]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Where alerts are posted to: `https://` or `http://`.
    pub url: String,
    /// The form of the alerts: `ocsf` or `falco`.
    #[serde(default = "default_form", deserialize_with = "parsed")]
    pub form: Format,
    /// The lowest level that goes there; without it all that is reported.
    #[serde(default, deserialize_with = "parsed_if_given")]
    pub min_level: Option<Level>,
    /// The file of the secret that requests are signed with; without it they are not.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// The file of a token that requests bear (`Authorization: Bearer …`).
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// How long one request may take as a whole.
    #[serde(default = "default_timeout", deserialize_with = "time")]
    pub timeout: Duration,
    /// So many alerts wait for a receiver that cannot be reached; beyond, the oldest are lost.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// Certificates (PEM) of the authorities that are trusted; without it the node's own.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The certificate (PEM) that is shown to the receiver.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// The key (PEM) of that certificate.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

fn default_form() -> Format {
    Format::Ocsf
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_queue() -> usize {
    QUEUE
}

fn open(outputs: &Outputs, host: &Arc<Host>) -> Result<Vec<Opened>> {
    let sinks = outputs.webhook.iter().map(|settings| {
        Ok(Opened {
            wanted: queued(settings.min_level, settings.queue)?,
            sink: Box::new(Webhook::new(settings, host)?),
        })
    });
    sinks.collect()
}

/// The sink.
struct Webhook {
    client: Client,
    /// Where to, without what may be secret in it.
    receiver: String,
    formatter: Formatter,
    key: Option<Key>,
    pending: Option<Message>,
}

/// An alert that is to be posted.
struct Message {
    /// The same at every try, so that a receiver knows what it had already.
    id: String,
    body: Vec<u8>,
}

impl Sink for Webhook {
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        for alert in alerts {
            self.post()?;
            self.pending = Some(self.message(alert));
        }
        self.post()
    }

    /// What waits, waits in the log, whose length is this sink's queue.
    fn batch(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    fn rests(&self) -> (Duration, Duration) {
        NETWORK_RESTS
    }
}

impl Webhook {
    fn new(settings: &Settings, host: &Arc<Host>) -> Result<Self> {
        ensure!(
            settings.form != Format::Pretty,
            "form: pretty is for people: ocsf or falco"
        );
        ensure!(!settings.timeout.is_zero(), "timeout: at least 1s");
        let uri = settings.url.parse::<Uri>().ok();
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        let uri = uri.context("url: not http:// or https:// with a host")?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        ensure!(
            !authority.contains('@'),
            "url: with a password in it: that belongs into token-file"
        );
        let receiver = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        let files = TlsFiles::new(
            settings.ca.as_ref(),
            settings.certificate.as_ref(),
            settings.key_file.as_ref(),
        );
        let tls = if uri.scheme_str() == Some("https") {
            Some(files.client()?)
        } else {
            files.must_be_absent("https://")?;
            None
        };
        let mut headers = HeaderMap::new();
        if let Some(file) = &settings.token_file {
            let bearer = [&b"Bearer "[..], &secret(file).context("token-file")?].concat();
            let mut bearer = HeaderValue::from_bytes(&bearer).context("token-file: no token, which is one line")?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let key = settings.secret_file.as_deref().map(|file| Key::new(&secret(file)?));
        Ok(Self {
            client: Client::new(uri, headers, tls, settings.timeout)?,
            receiver,
            formatter: Formatter::plain(settings.form, host),
            key: key.transpose().context("secret-file")?,
            pending: None,
        })
    }

    /// An update bears the id of the alert that it updates, and is another message.
    fn message(&self, alert: &Alert) -> Message {
        let mut body = Vec::new();
        self.formatter.write(alert, &mut body);
        body.truncate(body.trim_ascii_end().len());
        Message {
            id: format!("{}-{}", alert.id, alert.count),
            body,
        }
    }

    fn post(&mut self) -> Result<(), Failure> {
        let Some(Message { id, body }) = &self.pending else {
            return Ok(());
        };
        let headers = match &self.key {
            Some(key) => key.headers(id, Timestamp::now(), body),
            None => signature::unsigned(id),
        };
        let answer = self.client.post(headers, body);
        let context = format!("posting to {}", self.receiver);
        match answer.context(context.clone()).map_err(Failure::Later)? {
            Answer::Taken => {
                self.pending = None;
                Ok(())
            }
            Answer::Refused(reason) => {
                self.pending = None;
                Err(Failure::Refused(anyhow::anyhow!(reason).context(context)))
            }
            Answer::NotNow(reason) => Err(Failure::Later(anyhow::anyhow!(reason).context(context))),
        }
    }
}
