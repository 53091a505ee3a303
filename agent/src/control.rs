//! What a running agent tells of itself: its status on the control socket, and metrics.
//!
//! Nothing here touches the way of an event. Counters that others keep are read as they are; what the stream knows is
//! asked of it by a message, which it answers between two events.

pub mod status;
pub mod metrics;
mod server;
#[cfg(test)]
mod tests;

use std::{
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use documented::{Documented, DocumentedFields};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tracing::warn;

use self::{server::Allowed, status::Status};
use crate::config::{secret::Secret, values};

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Control {
    /// The socket that `tocsin status` asks; only root can. Empty: there is none.
    #[serde(with = "values::optional_path")]
    pub socket: Option<PathBuf>,
}

/// Metrics in the form that Prometheus reads (docs/metrics.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Metrics {
    /// The unix socket of `GET /metrics`; only root can ask. Empty: there is none.
    #[serde(with = "values::optional_path")]
    pub socket: Option<PathBuf>,
    /// An address such as 127.0.0.1:9645 where they can be asked for, too, by whoever has the token. Empty: there is none.
    #[serde(with = "values::optional_address")]
    pub listen: Option<std::net::SocketAddr>,
    /// The file of that token, which is sent as `Authorization: Bearer TOKEN`.
    #[serde(with = "values::optional_path")]
    pub token_file: Option<PathBuf>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: Some("/run/tocsin/control.sock".into()),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            socket: Some("/run/tocsin/metrics.sock".into()),
            listen: None,
            token_file: None,
        }
    }
}

/// Requests for the status, each with the way back.
pub type Requests = mpsc::Receiver<oneshot::Sender<Status>>;

/// How a page of the agent is made.
type Make = fn(&Status) -> Result<String>;

/// Connections that are served at the same time; more wait their turn.
const CONNECTIONS: usize = 8;

/// How long a status may take: the stream may be busy.
const ANSWER: Duration = Duration::from_secs(5);

/// Who asks for the status.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<oneshot::Sender<Status>>);

impl Asker {
    /// The status now.
    async fn status(&self) -> Result<Status> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.0.send(answer).await.context("the agent ends")?;
            answered.await.context("the agent ends")
        };
        timeout(ANSWER, asked)
            .await
            .context("the agent is too busy to answer")?
    }
}

/// The sockets of a running agent; they are gone with it.
#[derive(Debug, Default)]
pub struct Sockets(Vec<PathBuf>);

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in &self.0 {
            // Somebody may have removed it, which is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Starts to answer where it is configured. What cannot be opened is said in one line, and the agent goes on without. Gives
/// the requests that must be answered. Must be called within a runtime.
pub fn start(control: &Control, configured: &Metrics) -> (Sockets, Requests) {
    let (sender, requests) = mpsc::channel(1);
    let (asker, mut sockets) = (Asker(sender), Sockets::default());
    let pages: [(&Option<PathBuf>, &'static str, Make); 2] = [
        (&control.socket, "/status", |status| Ok(serde_json::to_string(status)?)),
        (&configured.socket, "/metrics", |status| Ok(metrics::text(status))),
    ];
    for (socket, path, page) in pages {
        let Some(socket) = socket else { continue };
        match bind(socket) {
            Ok(listener) => {
                sockets.0.push(socket.clone());
                let page = server::Page { path, make: page };
                tokio::spawn(serve_unix(listener, page, asker.clone()));
            }
            Err(error) => warn!("{path} cannot be asked for at {}: {error:#}", socket.display()),
        }
    }
    if let (Some(address), Some(file)) = (configured.listen, configured.token_file.clone()) {
        tokio::spawn(async move {
            if let Err(error) = serve_tcp(address, &file, asker).await {
                warn!("/metrics cannot be asked for at {address}: {error:#}");
            }
        });
    }
    (sockets, requests)
}

/// A socket that only root can connect to. One that an agent left behind is replaced, one that is in use is not.
fn bind(path: &Path) -> Result<UnixListener> {
    if let Some(folder) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    if path.exists() {
        let in_use = std::os::unix::net::UnixStream::connect(path).is_ok();
        ensure!(!in_use, "another agent answers there");
        std::fs::remove_file(path).context("cannot replace what an agent left")?;
    }
    let listener = UnixListener::bind(path).context("cannot listen")?;
    // Who connects before this is refused by his credentials.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn serve_unix(listener: UnixListener, page: server::Page, asker: Asker) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS));
    let own = rustix::process::geteuid().as_raw();
    while let Ok(turn) = Arc::clone(&turns).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, perhaps: others are closed meanwhile.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let uid = stream.peer_cred().map(|credentials| credentials.uid());
        if uid.is_ok_and(|uid| uid == 0 || uid == own) {
            let asker = asker.clone();
            tokio::spawn(async move {
                server::serve(stream, page, Allowed::Everybody, asker).await;
                drop(turn);
            });
        }
    }
}

async fn serve_tcp(address: std::net::SocketAddr, token_file: &Path, asker: Asker) -> Result<()> {
    let token = Arc::new(Secret::read(token_file)?);
    let listener = TcpListener::bind(address).await.context("cannot listen")?;
    let turns = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(turn) = Arc::clone(&turns).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (asker, token) = (asker.clone(), Arc::clone(&token));
        let page = server::Page {
            path: "/metrics",
            make: |status| Ok(metrics::text(status)),
        };
        tokio::spawn(async move {
            server::serve(stream, page, Allowed::Bearer(token), asker).await;
            drop(turn);
        });
    }
    Ok(())
}
