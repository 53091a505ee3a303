//! `tocsin run`: the agent.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Result;
use clap::Args;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{info, warn};

use super::{AlertArgs, NodeArgs, configuration, finish, load_rules, open_sinks};
use crate::{
    config::{Config, layers::Layers},
    confine::confine,
    control::{self, status::Desk},
    intel::{Intel, settings::Feeds},
    run::{
        LAST_EVENTS, Sensors, Started, channel, first_tidings, runtime, start_keeper, start_logins, start_sources,
        until_signal,
    },
    service, sinks,
    sources::{
        self, baseline, configuration, feeds,
        rules::{self, InForce, Loaded, Reloaded},
    },
    stream::{Last, Stream, entrance::Entrance, judge::Judge},
};

/// Watch this node and raise alerts
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    alerts: AlertArgs,
}

const EXAMPLES: &str = "\
Examples:
  tocsin run                                   alerts for people on a terminal, JSON lines otherwise
  tocsin run --min-level medium                only what is worth a look today
  tocsin run --format falco | falcosidekick    alerts in the form that Falco's outputs take
  tocsin run --rules-dir /srv/sigma/linux      with rules of your own beside ours";

/// How long the last copy of what was learned may take.
const LAST_COPY: Duration = Duration::from_secs(5);

impl RunArgs {
    /// Runs the agent until it is told to end.
    pub(super) fn execute(self) -> Result<ExitCode> {
        if let Err(error) = confine() {
            warn!(
                reason = format!("{error:#}"),
                "the agent keeps privileges that it does not need"
            );
        }
        let mut layers = self.node.layers()?;
        self.alerts.add_to(&mut layers);
        let config = configuration(&layers)?;
        // The rules' memory is then what this needs for a moment, rather than more.
        let sensors = Sensors::load(&config)?;
        let Loaded { rules, in_force, .. } = load_rules(&config.rules);
        let (events, mut received) = channel();
        let (log, sinks) = open_sinks(&config, &config.output, Some(&events))?;
        // Before the sensors see anything: a large feed takes a second, in which their ring would fill.
        let intel = Arc::new(feeds::read(&config.feed, &config.state, &Intel::default()));
        let sensors = Sensors::attach(sensors)?;
        let (attached, count) = (sensors.attached(), rules.iter().count());
        let ended = runtime()?.block_on(async {
            let (reloaded, rules_received) = mpsc::channel(1);
            let (asker, questions) = mpsc::channel(1);
            let helpers = start_sources(&config, &events);
            let (folders, named) = watch::channel(config.rules.clone());
            let (feeds, feeds_named) = watch::channel(config.feed.clone());
            tokio::spawn(follow_configuration(
                layers,
                config.clone(),
                folders,
                feeds,
                reloaded.clone(),
            ));
            tokio::spawn(watch_rules(named, in_force, reloaded));
            tokio::spawn(watch_feeds(
                feeds_named,
                config.state.clone(),
                Arc::clone(&intel),
                events.clone(),
            ));
            let judge = Judge::new(rules, config.dedup, log, config.min_level, Some(helpers.looks));
            let (keeper, kept) = start_keeper(&config, &events);
            let entrance = Entrance::new(Some(helpers.files)).learning(config.baseline.measure());
            let mut stream = Stream::new(entrance, Last::Judge(Box::new(judge)))
                .kept_by(keeper, config.baseline.keep_every.unsigned_abs())
                .asked_by(questions);
            stream.carry(baseline::load(&config.state).into_iter().collect());
            stream.carry(first_tidings(&config));
            stream.carry(feeds::tidings(&intel, &Intel::default()));
            let desk = Desk {
                fixed: Desk::fixed(&config, sensors.states()),
                kernel: Arc::default(),
                logins: start_logins(&config, Some(config.state.clone()), &events),
                queue: events.downgrade(),
                stream: asker,
            };
            let Started { first, mut reading } = sensors.start(&events, Arc::clone(&desk.kernel))?;
            stream.carry(first);
            let (_sockets, requests) = control::start(&config.control, &config.metrics);
            drop(events);
            info!(sensors = attached, rules = count, "watching");
            service::ready(attached, count);
            let ended = tokio::select! {
                () = stream.run(&mut received, rules_received) => Ok(()),
                result = until_signal() => result,
                Some(reason) = reading.failure() => Err(anyhow::anyhow!("the kernel's events cannot be read any more: {reason}")),
                () = answer(&desk, &sinks, requests) => Ok(()),
                never = service::keep_watchdog_calm() => match never {},
                () = sinks.gone() => Err(anyhow::anyhow!("nobody takes the alerts any more")),
            };
            service::stopping();
            reading.stop();
            stream.run_out(&mut received, reading.failure(), LAST_EVENTS).await;
            stream.finish();
            stream.end_keeping().await;
            if timeout(LAST_COPY, kept).await.is_err() {
                warn!("the last of what was learned could not be kept in time");
            }
            info!(events = stream.passed(), "ended");
            ended
        });
        let delivered = finish(sinks);
        ended.and(delivered).map(|()| ExitCode::SUCCESS)
    }
}

/// Answers how the agent fares as long as it runs.
async fn answer(desk: &Desk, sinks: &sinks::Handle, requests: control::Requests) {
    desk.answer(sinks, requests).await;
    // Nobody can ask any more, since no socket could be opened.
    std::future::pending::<()>().await;
}

/// Takes changes of the configuration up. Where they cannot be noticed, it stays as it is.
async fn follow_configuration(
    layers: Layers,
    in_force: Config,
    folders: watch::Sender<Vec<PathBuf>>,
    feeds: watch::Sender<Feeds>,
    reloaded: mpsc::Sender<Reloaded>,
) {
    if let Err(reason) = configuration::follow(layers, in_force, folders, feeds, reloaded).await {
        warn!(
            reason = format!("{reason:#}"),
            "changes of the configuration are not noticed"
        );
    }
}

/// Loads the rules anew when they change. Where that cannot be noticed, the rules that are in force stay.
async fn watch_rules(folders: watch::Receiver<Vec<PathBuf>>, in_force: InForce, reloaded: mpsc::Sender<Reloaded>) {
    if let Err(reason) = rules::watch(folders, in_force, reloaded).await {
        warn!(reason = format!("{reason:#}"), "changes of rules are not noticed");
    }
}

/// Reads the feeds anew when they change. Where that cannot be noticed, what was read stays in force.
async fn watch_feeds(
    configured: watch::Receiver<Feeds>,
    state: PathBuf,
    in_force: Arc<Intel>,
    events: sources::Sender,
) {
    if let Err(reason) = feeds::watch(configured, state, in_force, events).await {
        warn!(reason = format!("{reason:#}"), "changes of feeds are not noticed");
    }
}
