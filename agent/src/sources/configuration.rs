//! The configuration while the agent runs: read anew when a file of it changes or somebody says so (SIGHUP). What can
//! take effect at once does, the rest is named; a configuration with an error changes nothing.

use std::{path::PathBuf, time::Duration};

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
};

/// How long the files must be still before they are read.
const QUIET: Duration = Duration::from_millis(300);

/// Watches the configuration until nobody listens any more. What is new in it goes to the stream, and the folders of
/// rules and the feeds to who watches those.
pub async fn follow(
    layers: Layers,
    mut in_force: Config,
    folders: watch::Sender<Vec<PathBuf>>,
    feeds: watch::Sender<Feeds>,
    sender: mpsc::Sender<Reloaded>,
) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let (notice, mut changes) = mpsc::channel(1);
    let mut refused = Vec::new();
    loop {
        // Watched first and read then: what changes in between is noticed.
        let watcher = watcher(&watched(&layers), notice.clone());
        if let Err(error) = &watcher {
            warn!("a changed configuration is only taken up on SIGHUP: {error:#}");
        }
        let read = {
            let layers = layers.clone();
            spawn_blocking(move || read(&layers)).await?
        };
        match read {
            Ok((config, redactor)) => {
                refused.clear();
                let differing = in_force.changes(&config);
                let (later, now): (Vec<_>, Vec<_>) =
                    differing.into_iter().partition(|path| Config::is_read_at_start(path));
                if !later.is_empty() {
                    warn!(
                        settings = later.join(", "),
                        "changed settings that take effect at the next start"
                    );
                }
                in_force = config;
                if !now.is_empty() {
                    folders.send_if_modified(|folders| {
                        let differ = *folders != in_force.rules;
                        folders.clone_from(&in_force.rules);
                        differ
                    });
                    feeds.send_if_modified(|feeds| {
                        let differ = *feeds != in_force.feed;
                        feeds.clone_from(&in_force.feed);
                        differ
                    });
                    let reloaded = Reloaded::Settings(Box::new(in_force.clone()), Box::new(redactor), now);
                    if sender.send(reloaded).await.is_err() {
                        return Ok(());
                    }
                }
            }
            // The same errors are told once.
            Err(problems) if problems != refused => {
                refused.clone_from(&problems);
                if sender
                    .send(Reloaded::SettingsRefused(Problems(problems)))
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
            Err(_) => {}
        }
        tokio::select! {
            _ = hangup.recv() => refused.clear(),
            _ = changes.recv() => while timeout(QUIET, changes.recv()).await.is_ok() {},
            () = sender.closed() => return Ok(()),
        }
    }
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

fn read(layers: &Layers) -> Result<(Config, Redactor), Vec<Problem>> {
    let effective = layers.read().map_err(|Problems(problems)| problems)?;
    let redactor = effective.config.redactor().map_err(|error| {
        vec![Problem {
            origin: effective.origin("secrets").clone(),
            path: "secrets".to_owned(),
            reason: format!("{error:#}"),
        }]
    })?;
    Ok((effective.config, redactor))
}
