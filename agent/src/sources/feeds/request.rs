//! How a server of feeds is asked: with what authorises, along redirects.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::Empty;
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT},
};
use jiff::{Timestamp, fmt::rfc2822};
use tokio::time::timeout;
use url::Url;

use super::{
    body::{Most, SILENCE, silent},
    failure::Failure,
};
use crate::{
    config::secret::Secret,
    http::{self, AGENT},
    intel::settings::{FeedSettings, may_be_fetched},
    tls::TlsFiles,
};

/// So many redirects are followed.
const REDIRECTS: usize = 5;

/// What redirects. Other answers have a place in them, too, that is none to go to, such as that nothing has changed.
const REDIRECTIONS: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

/// Asks one server for one feed.
pub(super) struct Requests {
    client: http::Client<Empty<Bytes>>,
    /// Where it is; what authorises is told nobody else.
    origin: url::Origin,
    authorisation: HeaderMap,
    most: Most,
}

impl Requests {
    /// Reads the files that the settings name: one that was changed is in force at the next fetch.
    pub(super) fn new(name: &str, settings: &FeedSettings, url: &Url) -> Result<Self> {
        let section = format!("feed.{name}");
        let files = TlsFiles {
            section: &section,
            ca: settings.ca.as_deref(),
            certificate: None,
            key: None,
        };
        let tls = (url.scheme() == "https").then(|| files.client()).transpose()?;
        Ok(Self {
            client: http::client(tls)?,
            origin: url.origin(),
            authorisation: authorisation(&section, settings)?,
            most: Most::new(settings.max_mib),
        })
    }

    /// How much of an answer is taken.
    pub(super) fn most(&self) -> Most {
        self.most
    }

    /// Asks, and gives the answer that is none of the redirects.
    pub(super) async fn get(&self, url: &Url, headers: &HeaderMap) -> Result<Response<Incoming>, Failure> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            let answer = timeout(SILENCE, self.client.request(self.request(&url, headers)?));
            let answer = answer.await.map_err(|_| silent())?;
            let answer = answer.map_err(|error| Failure::Later(http::innermost(error).to_string()))?;
            let to = answer.headers().get(LOCATION);
            let Some(to) = to.filter(|_| REDIRECTIONS.contains(&answer.status())) else {
                return Ok(answer);
            };
            url = redirected(&url, to).ok_or_else(|| {
                let reason = format!("it redirects to what is not https:// ({})", answer.status());
                Failure::Refused(reason)
            })?;
        }
        Err(Failure::Refused(format!("it redirects more than {REDIRECTS} times")))
    }

    fn request(&self, url: &Url, headers: &HeaderMap) -> Result<Request<Empty<Bytes>>, Failure> {
        let mut url = url.clone();
        url.set_fragment(None);
        let uri: Uri = url
            .as_str()
            .parse()
            .map_err(|_| Failure::Refused("no address that HTTP knows".to_owned()))?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        let all = request.headers_mut();
        all.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        all.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        all.extend(headers.clone());
        if url.origin() == self.origin {
            all.extend(self.authorisation.clone());
        }
        Ok(request)
    }
}

/// Where a redirect leads, if that is no less safe.
fn redirected(from: &Url, to: &HeaderValue) -> Option<Url> {
    let to = from.join(to.to_str().ok()?).ok()?;
    let is_safe = may_be_fetched(&to) && (to.scheme() == "https" || from.scheme() == "http");
    is_safe.then_some(to)
}

/// The headers that authorise, from their files.
fn authorisation(section: &str, settings: &FeedSettings) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if let Some(file) = &settings.headers_file {
        let setting = || format!("{section}.headers-file");
        let secret = Secret::read(file).with_context(setting)?;
        for line in secret.expose().lines().filter(|line| !line.trim().is_empty()) {
            let (name, value) = header(line).with_context(setting)?;
            headers.append(name, value);
        }
    }
    if let Some(file) = &settings.token_file {
        headers.insert(
            AUTHORIZATION,
            http::bearer(file).with_context(|| format!("{section}.token-file"))?,
        );
    }
    if let Some(file) = &settings.password_file {
        let basic = basic(file).with_context(|| format!("{section}.password-file"))?;
        headers.insert(AUTHORIZATION, basic);
    }
    Ok(headers)
}

/// A line such as `Auth-Key: …`. What is wrong with it is said without it.
fn header(line: &str) -> Result<(HeaderName, HeaderValue)> {
    let (name, value) = line
        .split_once(':')
        .context("a line is no header, such as Auth-Key: …")?;
    let name = HeaderName::try_from(name.trim()).context("a name is none of a header")?;
    Ok((name, http::sensitive(value.trim())?))
}

fn basic(file: &Path) -> Result<HeaderValue> {
    let secret = Secret::read(file)?;
    let secret = secret.expose();
    anyhow::ensure!(secret.contains(':'), "{} is no USER:PASSWORD", file.display());
    http::sensitive(&format!("Basic {}", BASE64_STANDARD.encode(secret)))
}

/// An answer that has something to say.
pub(super) fn good(answer: Response<Incoming>) -> Result<Response<Incoming>, Failure> {
    let status = answer.status();
    let reason = format!("the answer is {status}");
    match status {
        StatusCode::OK => Ok(answer),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let after = header_text(answer.headers(), RETRY_AFTER);
            Err(Failure::Busy(
                reason,
                after.and_then(|text| retry_after(text, Timestamp::now())),
            ))
        }
        StatusCode::REQUEST_TIMEOUT => Err(Failure::Later(reason)),
        status if status.is_server_error() => Err(Failure::Later(reason)),
        _ => Err(Failure::Refused(reason)),
    }
}

/// How long a server asks to be left alone: for so many seconds, or until a moment.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse().map(Duration::from_secs).ok();
    seconds.or_else(|| {
        let until = rfc2822::parse(text).ok()?.timestamp().duration_since(now);
        Duration::try_from(until).ok()
    })
}

/// The header as text.
pub(super) fn header_text(headers: &HeaderMap, name: impl hyper::header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_nowhere_less_safe() {
        for (from, to, expected) in [
            ("https://a.example/x/list", "/y", Some("https://a.example/y")),
            ("https://a.example/x/list", "y", Some("https://a.example/x/y")),
            ("https://a.example/", "https://b.example/", Some("https://b.example/")),
            ("https://a.example/", "http://b.example/", None),
            ("https://a.example/", "http://127.0.0.1/", None),
            (
                "http://127.0.0.1/",
                "http://127.0.0.1:81/",
                Some("http://127.0.0.1:81/"),
            ),
            ("http://127.0.0.1/", "https://b.example/", Some("https://b.example/")),
            ("http://127.0.0.1/", "http://169.254.169.254/", None),
            ("https://a.example/", "file:///etc/passwd", None),
        ] {
            let found = redirected(&from.parse().unwrap(), &HeaderValue::from_static(to));
            assert_eq!(found.as_ref().map(Url::as_str), expected, "{from} {to}");
        }
    }

    #[test]
    fn a_server_says_in_two_ways_how_long_it_wants_to_be_left_alone() {
        let now = "2026-11-29T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("120", Some(120)),
            (" 0", Some(0)),
            ("Sun, 29 Nov 2026 12:01:00 GMT", Some(60)),
            ("Sun, 29 Nov 2026 11:00:00 GMT", None),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn a_line_of_the_headers_is_said_by_nobody() {
        let (name, value) = header(" Auth-Key:  hunter2 ").unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("auth-key", "hunter2"));
        assert!(!format!("{value:?}").contains("hunter2"));
        for line in ["hunter2", "auth hunter2: x", "Auth-Key: hunter2\u{7}"] {
            let error = format!("{:#}", header(line).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
