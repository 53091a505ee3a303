//! A webhook: each alert is one HTTP request, which is tried until it is taken.
//!
//! Requests are signed by the specification of Standard Webhooks, for which receivers have libraries.

mod client;
mod signature;

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use documented::{Documented, DocumentedFields};
use hyper::{
    Uri,
    header::{AUTHORIZATION, HeaderMap},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use self::{
    client::{Answer, Client},
    signature::Key,
};
use super::{
    Failure, Format, Formatter, Host, NETWORK_RESTS, Opened, Outputs, Row, Sink,
    settings::{QUEUE, fingerprint},
};
use crate::{
    alert::{Alert, Level, log::Wanted},
    config::{secret::Secret, values},
    http,
    tls::TlsFiles,
};

/// Its row in the table.
pub(super) const SINK: Row = Row {
    name: "webhook",
    meaning: "an HTTP receiver, such as falcosidekick",
    open,
};

/// An HTTP receiver, such as a SIEM or falcosidekick: each alert is one request (docs/outputs.md).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct WebhookSettings {
    /// Where alerts are posted to, `https://` or `http://`; empty: there is none.
    #[serde(with = "values::concealed")]
    pub url: String,
    /// The form: ocsf or falco.
    #[serde(with = "values::text")]
    pub format: Format,
    /// The lowest level that goes there, of what is reported at all.
    #[serde(with = "values::text")]
    pub min_level: Level,
    /// The file of the secret that requests are signed with; empty: they are not signed.
    #[serde(with = "values::optional_path")]
    pub secret_file: Option<PathBuf>,
    /// The file of a token that requests bear (`Authorization: Bearer …`); empty: none.
    #[serde(with = "values::optional_path")]
    pub token_file: Option<PathBuf>,
    /// How long one request may take as a whole.
    #[serde(with = "values::duration")]
    pub timeout: SignedDuration,
    /// So many alerts wait for a receiver that cannot be reached; beyond, the oldest are lost to it.
    #[serde(deserialize_with = "values::within::<1, 16_384, _, _>")]
    pub queue: usize,
    /// Certificates (PEM) of the authorities that are trusted; empty: the node's own.
    #[serde(with = "values::optional_path")]
    pub ca: Option<PathBuf>,
    /// The certificate (PEM) that is shown to the receiver; empty: none.
    #[serde(with = "values::optional_path")]
    pub certificate: Option<PathBuf>,
    /// The file of that certificate's key (PEM).
    #[serde(with = "values::optional_path")]
    pub key_file: Option<PathBuf>,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            format: Format::Ocsf,
            min_level: Level::Informational,
            secret_file: None,
            token_file: None,
            timeout: SignedDuration::from_secs(10),
            queue: QUEUE,
            ca: None,
            certificate: None,
            key_file: None,
        }
    }
}

impl WebhookSettings {
    /// The files of which it holds what they say.
    fn files(&self) -> [&Option<PathBuf>; 5] {
        [
            &self.secret_file,
            &self.token_file,
            &self.ca,
            &self.certificate,
            &self.key_file,
        ]
    }
}

fn open(outputs: &Outputs, host: &Arc<Host>) -> Result<Vec<Opened>> {
    let all = [
        ("webhook", "output.webhook", &outputs.webhook),
        ("webhook-2", "output.webhook-2", &outputs.webhook_2),
    ];
    let configured = all.into_iter().filter(|(.., settings)| !settings.url.is_empty());
    let sinks = configured.map(|(name, section, settings)| {
        // Before the files are read: where they change in between, the next look finds another.
        let made_from = fingerprint(settings, &settings.files());
        Ok(Opened {
            name,
            wanted: Wanted {
                min_level: settings.min_level,
                queue: settings.queue,
            },
            sink: Box::new(Webhook::new(section, settings, host)?),
            made_from,
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

    fn undelivered(&self) -> usize {
        usize::from(self.pending.is_some())
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
    fn new(section: &'static str, settings: &WebhookSettings, host: &Arc<Host>) -> Result<Self> {
        ensure!(
            settings.format != Format::Pretty,
            "{section}.format: pretty is for people: ocsf or falco"
        );
        ensure!(!settings.timeout.is_zero(), "{section}.timeout: at least 1s");
        let uri = settings.url.parse::<Uri>().ok();
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
        let uri = uri.with_context(|| format!("{section}.url: not http:// or https:// with a host"))?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        ensure!(
            !authority.contains('@'),
            "{section}.url: with a password in it: that belongs into token-file"
        );
        let receiver = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        let files = TlsFiles {
            section,
            ca: settings.ca.as_deref(),
            certificate: settings.certificate.as_deref(),
            key: settings.key_file.as_deref(),
        };
        let tls = if uri.scheme_str() == Some("https") {
            Some(files.client()?)
        } else {
            files.must_be_absent("https://")?;
            None
        };
        let mut headers = HeaderMap::new();
        if let Some(file) = &settings.token_file {
            let bearer = http::bearer(file).with_context(|| format!("{section}.token-file"))?;
            headers.insert(AUTHORIZATION, bearer);
        }
        let key = |file: &PathBuf| Key::new(Secret::read(file)?.expose().as_bytes());
        let key = settings.secret_file.as_ref().map(key).transpose();
        Ok(Self {
            client: Client::new(uri, headers, tls, settings.timeout.unsigned_abs())?,
            receiver,
            formatter: Formatter::plain(settings.format, host),
            key: key.with_context(|| format!("{section}.secret-file"))?,
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
