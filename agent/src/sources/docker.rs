//! Containers as Docker's API tells of them: those that stand when it can be reached, then each change as it happens.
//!
//! Podman speaks the same API on a socket of its own: a row in [`RUNTIMES`].

mod facts;
mod inspections;
mod tracker;

use std::{collections::HashMap, convert::Infallible, path::PathBuf, time::Duration};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error,
    models::EventMessage,
    query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder},
};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::mpsc::Sender;

use self::{
    inspections::{Answer, Inspections},
    tracker::{Step, Tidings, Tracker},
};
use crate::event::{Event, Health, Kind, RuntimeState};

/// Runtimes that speak Docker's API: the name, as in [`Container::runtime`], and the usual socket.
pub const RUNTIMES: [(&str, &str); 2] = [
    ("docker", "/var/run/docker.sock"),
    ("podman", "/run/podman/podman.sock"),
];

/// Which runtime is asked, and where.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// As in [`Container::runtime`].
    pub runtime: &'static str,
    /// The API's unix socket.
    pub socket: PathBuf,
}

/// The changes that are asked for; Podman's own words stand beside Docker's.
const ACTIONS: [&str; 9] = [
    "create",
    "start",
    "die",
    "died",
    "destroy",
    "remove",
    "rename",
    "update",
    "exec_create",
];
/// How long the API may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The pause before the socket is tried again grows between these.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// Follows that runtime until nobody listens to `events`. It may be absent, come late, hang, and come back.
///
/// The first event is always a [`Kind::Runtime`]: whether the runtime could be reached at once.
pub async fn run(config: DockerConfig, events: Sender<Vec<Event>>) {
    let mut follower = Follower {
        tracker: Tracker::default(),
        config,
        events,
        since: None,
        reachable: None,
    };
    let mut pause = PAUSES.0;
    loop {
        let Err(End::Lost(reason)) = follower.follow().await else {
            return;
        };
        if follower.reachable == Some(true) {
            pause = PAUSES.0;
        }
        if follower.lost(&reason).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = follower.events.closed() => return,
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Why following ended.
enum End {
    /// Nobody listens any more: the agent ends.
    Closed,
    /// The API cannot be reached, or no longer.
    Lost(anyhow::Error),
}

impl End {
    fn lost(reason: &'static str) -> Self {
        Self::Lost(anyhow::anyhow!(reason))
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Lost(error.into())
    }
}

struct Follower {
    config: DockerConfig,
    events: Sender<Vec<Event>>,
    tracker: Tracker,
    /// From when on changes are new, in nanoseconds since 1970; `None` before the first connection.
    since: Option<i64>,
    /// What was last reported.
    reachable: Option<bool>,
}

impl Follower {
    /// Connects, takes stock, and follows the changes until the connection is lost.
    async fn follow(&mut self) -> Result<Infallible, End> {
        let docker = connect(&self.config).await?;
        let first = self.since.is_none();
        let since = *self.since.get_or_insert_with(now);
        self.report(true).await?;

        // Subscribed from a moment before the list was made: what happens meanwhile is told twice rather than never,
        // and the tracker knows what it has passed on.
        let standing = self.list(&docker, first).await?;
        let mut changes = std::pin::pin!(changes(&docker, since));
        let mut inspections = Inspections::new(&docker, self.config.runtime);
        let gone = self.tracker.forget_all_but(&standing, Timestamp::now());
        self.send(gone).await?;
        for tidings in standing {
            let step = self.tracker.told(tidings);
            self.send(inspections.take(step)).await?;
        }
        loop {
            let step = tokio::select! {
                change = changes.next() => {
                    let change = change.ok_or_else(|| End::lost("the event stream ended"))??;
                    inspections.ask_about_exec(&change);
                    self.changed(change)
                }
                Some(answer) = inspections.next() => match answer {
                    Answer::Container(id, facts) => self.tracker.answered(&id, facts),
                    Answer::Exec(exec) => {
                        let exec = Kind::ToldExec(Box::new(exec));
                        self.send(vec![tracker::event(Timestamp::now(), false, exec)]).await?;
                        continue;
                    }
                },
                () = self.events.closed() => return Err(End::Closed),
            };
            self.send(inspections.take(step)).await?;
        }
    }

    /// Every container, running or not.
    async fn list(&self, docker: &Docker, first: bool) -> Result<Vec<Tidings>, End> {
        let all = ListContainersOptionsBuilder::new().all(true).build();
        let answer = tokio::time::timeout(TIMEOUT, docker.list_containers(Some(all))).await;
        let summaries = answer.map_err(|_| End::lost("no list of containers in time"))??;
        let standing = |summary| facts::standing(summary, self.config.runtime, first);
        Ok(summaries.into_iter().filter_map(standing).collect())
    }

    fn changed(&mut self, change: EventMessage) -> Step {
        self.since = self.since.max(change.time_nano.map(|time| time.saturating_add(1)));
        match facts::tidings(change, self.config.runtime) {
            Some(tidings) => self.tracker.told(tidings),
            None => Step::default(),
        }
    }

    /// Reports that the runtime cannot be asked, and lets go on what it was asked. One that never answered may simply not
    /// be there; that one went away is news for the rules, too.
    async fn lost(&mut self, reason: &anyhow::Error) -> Result<(), End> {
        let DockerConfig { runtime, socket } = &self.config;
        let health = (self.reachable == Some(true)).then(|| {
            let detail = format!("{runtime} at {}: {reason:#}", socket.display());
            let kind = Kind::Health(Health {
                kind: "source-down",
                detail,
            });
            tracker::event(Timestamp::now(), false, kind)
        });
        if self.reachable != Some(false) {
            tracing::info!(runtime, socket = %socket.display(), reason = format!("{reason:#}"), "container runtime cannot be asked");
        }
        self.report(false).await?;
        let unanswered = self.tracker.abandon();
        self.send(unanswered).await?;
        self.send(health.into_iter().collect()).await
    }

    async fn report(&mut self, reachable: bool) -> Result<(), End> {
        let before = self.reachable.replace(reachable);
        if before == Some(reachable) {
            return Ok(());
        }
        if reachable && before.is_some() {
            tracing::info!(runtime = self.config.runtime, "container runtime can be asked again");
        }
        let state = RuntimeState {
            name: self.config.runtime,
            connected: reachable,
        };
        self.send(vec![tracker::event(Timestamp::now(), false, Kind::Runtime(state))])
            .await
    }

    async fn send(&self, batch: Vec<Event>) -> Result<(), End> {
        if batch.is_empty() {
            return Ok(());
        }
        self.events.send(batch).await.map_err(|_| End::Closed)
    }
}

async fn connect(config: &DockerConfig) -> Result<Docker, End> {
    let path = config
        .socket
        .to_str()
        .ok_or_else(|| End::lost("the socket's path is not UTF-8"))?;
    let docker = Docker::connect_with_socket(path, TIMEOUT.as_secs(), API_DEFAULT_VERSION)?;
    Ok(docker.negotiate_version().await?)
}

/// What happens to containers from that time on (nanoseconds since 1970).
fn changes(docker: &Docker, since: i64) -> impl Stream<Item = Result<EventMessage, Error>> {
    let filters = HashMap::from([("type", vec!["container"]), ("event", ACTIONS.to_vec())]);
    let since = format!("{}.{:09}", since / 1_000_000_000, since % 1_000_000_000);
    docker.events(Some(
        EventsOptionsBuilder::new().since(&since).filters(&filters).build(),
    ))
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
