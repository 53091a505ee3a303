//! One page over HTTP, to whoever may have it. Whoever is slow or sends nonsense is hung up on and holds up nobody.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Bytes, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{Asker, status::Status};
use crate::config::secret::Secret;

/// How long a whole connection may take.
const CONNECTION: Duration = Duration::from_secs(15);

/// How long whoever connects may take to say what he wants.
const REQUEST: Duration = Duration::from_secs(2);

/// Bytes of a request's head, and of what is not yet written.
const BUFFER: usize = 16 << 10;

/// The page that is served.
#[derive(Clone, Copy)]
pub(super) struct Page {
    /// Its path.
    pub path: &'static str,
    /// How it is made.
    pub make: super::Make,
}

/// Who may have it.
#[derive(Clone)]
pub(super) enum Allowed {
    /// Whoever could connect.
    Everybody,
    /// Who sends this token.
    Bearer(Arc<Secret>),
}

/// Serves one connection to its end, of one request.
pub(super) async fn serve<S>(stream: S, page: Page, allowed: Allowed, asker: Asker)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let (allowed, asker) = (allowed.clone(), asker.clone());
        async move { Ok::<_, Infallible>(answer(&request, page, &allowed, &asker).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .keep_alive(false)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    // What went wrong is the other side's doing.
    let _ = timeout(CONNECTION, connection).await;
}

async fn answer<B>(request: &Request<B>, page: Page, allowed: &Allowed, asker: &Asker) -> Response<Full<Bytes>> {
    let authorization = request.headers().get(header::AUTHORIZATION);
    if !is_allowed(allowed, authorization.map(header::HeaderValue::as_bytes)) {
        return plain(StatusCode::UNAUTHORIZED, "a token is needed\n".to_owned());
    }
    if request.uri().path() != page.path {
        return plain(StatusCode::NOT_FOUND, format!("there is only {}\n", page.path));
    }
    if request.method() != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is known\n".to_owned());
    }
    match asker.status().await.and_then(|status: Status| (page.make)(&status)) {
        Ok(text) => plain(StatusCode::OK, text),
        Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")),
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn is_allowed(allowed: &Allowed, authorization: Option<&[u8]>) -> bool {
    let Allowed::Bearer(token) = allowed else {
        return true;
    };
    let sent = authorization.and_then(|header| header.strip_prefix(b"Bearer "));
    let Some(sent) = sent else { return false };
    let token = token.expose().as_bytes();
    // As long for a wrong first byte as for a wrong last one.
    let differ = sent.iter().zip(token).fold(0, |differ, (a, b)| differ | (a ^ b));
    sent.len() == token.len() && differ == 0
}
