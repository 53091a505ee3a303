//! The configuration while the agent runs: read anew when a file of it changes or somebody says so (SIGHUP). What can
//! take effect at once does, the rest is named; a configuration with an error changes nothing.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::timeout,
};
use tracing::warn;

use super::rules::{Reloaded, watcher};
use crate::{
    alert::redact::Redactor,
    config::{
        Config,
        layers::{Layers, Problem, Problems},
    },
    intel::settings::Feeds,
    sinks,
};

/// How long the files must be still before they are read.
const QUIET: Duration = Duration::from_millis(300);

/// Who is told what is new.
pub struct Listeners {
    /// Who watches the folders of rules.
    pub folders: watch::Sender<Vec<PathBuf>>,
    /// Who reads the feeds.
    pub feeds: watch::Sender<Feeds>,
    /// The outputs.
    pub outputs: Arc<sinks::Handle>,
    /// The stream.
    pub stream: mpsc::Sender<Reloaded>,
}

/// Watches the configuration until the stream listens no more, and has what is new put into force.
pub async fn follow(layers: Layers, in_force: Config, listeners: Listeners) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let (notice, mut changes) = mpsc::channel(1);
    let mut following = Following {
        in_force,
        refused: Vec::new(),
        listeners,
    };
    loop {
        // Watched first and read then: what changes in between is noticed.
        let watcher = watcher(&watched(&layers), notice.clone());
        if let Err(error) = &watcher {
            warn!("a changed configuration is only taken up on SIGHUP: {error:#}");
        }
        following.read(&layers).await?;
        tokio::select! {
            _ = hangup.recv() => following.refused.clear(),
            _ = changes.recv() => while timeout(QUIET, changes.recv()).await.is_ok() {},
            () = following.listeners.stream.closed() => return Ok(()),
        }
    }
}

/// What is in force, and who must know of another.
struct Following {
    in_force: Config,
    /// What is wrong with what was read last.
    refused: Vec<Problem>,
    listeners: Listeners,
}

impl Following {
    /// Reads what the configuration is now.
    async fn read(&mut self, layers: &Layers) -> Result<()> {
        let (layers, outputs) = (layers.clone(), Arc::clone(&self.listeners.outputs));
        match spawn_blocking(move || read(&layers, &outputs)).await? {
            Ok((config, redactor)) => self.take_up(config, redactor).await,
            Err(problems) => self.refuse(problems).await,
        }
        Ok(())
    }

    /// Puts that one into force, as far as it can be while the agent runs.
    async fn take_up(&mut self, config: Config, redactor: Redactor) {
        let differing = self.in_force.changes(&config);
        let (later, now): (Vec<_>, Vec<_>) = differing.into_iter().partition(|path| Config::is_read_at_start(path));
        if !later.is_empty() {
            warn!(
                settings = later.join(", "),
                "changed settings that take effect at the next start"
            );
        }
        let was_refused = !std::mem::take(&mut self.refused).is_empty();
        self.in_force = config;
        if now.is_empty() && !was_refused {
            return;
        }
        tell(&self.listeners.folders, &self.in_force.rules);
        tell(&self.listeners.feeds, &self.in_force.feed);
        let config = Box::new(self.in_force.clone());
        self.tell_stream(Reloaded::Settings(config, Box::new(redactor), now))
            .await;
    }

    /// Leaves what is in force. The same errors are told once.
    async fn refuse(&mut self, problems: Vec<Problem>) {
        if problems != self.refused {
            self.refused.clone_from(&problems);
            self.tell_stream(Reloaded::SettingsRefused(Problems(problems))).await;
        }
    }

    async fn tell_stream(&self, reloaded: Reloaded) {
        // A stream that has ended ends this, too: the loop sees it next.
        let _ = self.listeners.stream.send(reloaded).await;
    }
}

/// Tells what is named now, if that is new.
fn tell<T: Clone + PartialEq>(listener: &watch::Sender<T>, named: &T) {
    listener.send_if_modified(|known| {
        let differ = known != named;
        known.clone_from(named);
        differ
    });
}

/// What is watched for changes: the file and the folder of its drop-ins. With /dev/null for a file nothing is: every write
/// to it would be a change.
fn watched(layers: &Layers) -> Vec<PathBuf> {
    let file = layers.path();
    if file.exists() && !file.is_file() {
        return Vec::new();
    }
    vec![file.to_owned(), layers.folder()]
}

/// Reads the configuration, and puts the outputs into force: whether they can be opened says whether it is in order.
fn read(layers: &Layers, outputs: &sinks::Handle) -> Result<(Config, Redactor), Vec<Problem>> {
    let effective = layers.read().map_err(|Problems(problems)| problems)?;
    let redactor = effective.config.redactor().map_err(|error| {
        vec![Problem {
            origin: effective.origin("secrets").clone(),
            path: "secrets".to_owned(),
            reason: format!("{error:#}"),
        }]
    })?;
    let opened = outputs.reconfigure(&effective.config.output);
    opened.map_err(|error| vec![layers.problem(&effective, &error)])?;
    Ok((effective.config, redactor))
}
