//! What the clients of HTTP have in common: receivers of alerts and servers of feeds are asked in the same way.

mod proxy;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use hyper::{body::Body, header::HeaderValue};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use self::proxy::Route;
use crate::config::secret::Secret;

/// A client that keeps its connections.
pub type Client<B> = legacy::Client<HttpsConnector<Route>, B>;

/// Who asks.
pub const AGENT: &str = concat!("tocsin/", env!("CARGO_PKG_VERSION"));

/// A connection is kept so long for the next request.
const KEPT: Duration = Duration::from_secs(30);

/// A client, which goes through the proxy that the environment names. Without `tls` nothing is encrypted. Must be used
/// within one runtime.
pub fn client<B: Body<Data: Send> + Send>(tls: Option<ClientConfig>) -> Result<Client<B>> {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.map_or_else(trusts_nobody, Ok)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(Route::of_the_environment());
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT)
        .build(connector);
    Ok(client)
}

/// For a client that never encrypts.
fn trusts_nobody() -> Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("no TLS")?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// The token in that file, as a request bears it.
pub fn bearer(file: &Path) -> Result<HeaderValue> {
    let token = Secret::read(file)?;
    sensitive(&format!("Bearer {}", token.expose())).context("no token, which is one line")
}

/// A header's value that is never shown.
pub fn sensitive(value: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(value)?;
    value.set_sensitive(true);
    Ok(value)
}

/// hyper tells what it was doing; the reason stands at the end of the chain.
pub fn innermost(error: impl Into<anyhow::Error>) -> anyhow::Error {
    let error = error.into();
    let reason = error.root_cause().to_string();
    anyhow!(reason)
}
