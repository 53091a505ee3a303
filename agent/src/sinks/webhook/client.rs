//! The HTTP client: one request at a time, over a connection that is kept.

use std::time::Duration;

use anyhow::{Result, anyhow};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT},
};
use rustls::ClientConfig;
use tokio::{runtime::Runtime, time::timeout};

use super::signature::Headers;
use crate::{
    http::{self, AGENT},
    sinks::visible::visible,
};

/// What became of a request.
pub(super) enum Answer {
    /// It was taken.
    Taken,
    /// This one will never be.
    Refused(String),
    /// It, or one like it, may be later.
    NotNow(String),
}

/// Posts to one address.
pub(super) struct Client {
    runtime: Runtime,
    http: http::Client<Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    time: Duration,
}

/// Of an answer so much is read, and …
const ANSWER: usize = 64 << 10;

/// … so much told.
const TOLD: usize = 120;

impl Client {
    /// Bears those headers with every request, which may take so long. Without `tls` nothing is encrypted.
    pub(super) fn new(uri: Uri, mut headers: HeaderMap, tls: Option<ClientConfig>, time: Duration) -> Result<Self> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let http = http::client(tls)?;
        Ok(Self {
            runtime,
            http,
            uri,
            headers,
            time,
        })
    }

    /// Posts that body.
    pub(super) fn post(&self, headers: Headers, body: &[u8]) -> Result<Answer> {
        let mut request = Request::post(self.uri.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(all) = request.headers_mut() {
            all.extend(self.headers.clone());
        }
        let request = request.body(Full::from(body.to_vec()))?;
        self.runtime.block_on(async {
            let exchange = timeout(self.time, self.exchange(request));
            exchange
                .await
                .map_err(|_| anyhow!("no answer within {:?}", self.time))?
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let answer = self.http.request(request).await.map_err(http::innermost)?;
        let status = answer.status();
        let text = text(answer.into_body()).await;
        Ok(meaning(status, &text))
    }
}

/// Of an answer that goes on and on, nothing: its connection is not used again.
async fn text(body: Incoming) -> String {
    match Limited::new(body, ANSWER).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => String::new(),
    }
}

/// Only what is said of this one alert is final: who has no access today may have it tomorrow.
fn meaning(status: StatusCode, text: &str) -> Answer {
    if status.is_success() {
        return Answer::Taken;
    }
    let text = visible(text.trim());
    let text = &text[..text.floor_char_boundary(TOLD)];
    let separator = if text.is_empty() { "" } else { ": " };
    let reason = format!("the answer is {status}{separator}{text}");
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Answer::Refused(reason)
        }
        _ => Answer::NotNow(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_an_alert_is_final() {
        for (status, expected) in [
            (200, "taken"),
            (204, "taken"),
            (400, "refused: the answer is 400 Bad Request: no\\n such rule"),
            (413, "refused: the answer is 413 Payload Too Large: no\\n such rule"),
            (301, "later: the answer is 301 Moved Permanently: no\\n such rule"),
            (401, "later: the answer is 401 Unauthorized: no\\n such rule"),
            (429, "later: the answer is 429 Too Many Requests: no\\n such rule"),
            (500, "later: the answer is 500 Internal Server Error: no\\n such rule"),
        ] {
            let answer = match meaning(StatusCode::from_u16(status).unwrap(), " no\n such rule\n") {
                Answer::Taken => "taken".to_owned(),
                Answer::Refused(reason) => format!("refused: {reason}"),
                Answer::NotNow(reason) => format!("later: {reason}"),
            };
            assert_eq!(answer, expected);
        }
    }
}
