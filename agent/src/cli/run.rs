//! `tocsin run`: the agent.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Result, anyhow};
use clap::Args;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tracing::{info, warn};

use super::{AlertArgs, NodeArgs, configuration, finish, in_its_place, load_rules, open_sinks};
use crate::{
    alert::log::Log,
    config::{Config, layers::Layers},
    confine::confine,
    control::{
        self,
        status::{Desk, Question},
    },
    detect::Rules,
    event::Event,
    intel::{Intel, settings::Feeds},
    run::{
        Helpers, LAST_EVENTS, Sensors, Started, channel, first_tidings, runtime, start_keeper, start_logins,
        start_sources, until_signal,
    },
    service, sinks,
    sources::{
        self, baseline,
        configuration::{self, Listeners},
        feeds,
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
        let (agent, rules) = Agent::prepare(layers)?;
        let sinks = Arc::clone(&agent.sinks);
        let ended = runtime()?.block_on(agent.watch(rules));
        let delivered = finish(&sinks);
        ended.and(delivered).map(|()| ExitCode::SUCCESS)
    }
}

/// An agent whose sensors see already, and whose alerts have somewhere to go.
struct Agent {
    layers: Layers,
    config: Config,
    events: sources::Sender,
    received: mpsc::Receiver<Vec<Event>>,
    log: Arc<Log>,
    sinks: Arc<sinks::Handle>,
    intel: Arc<Intel>,
    sensors: Sensors,
}

impl Agent {
    /// Makes it ready, and loads its rules. The order is that of memory: what needs much for a moment comes first.
    fn prepare(layers: Layers) -> Result<(Self, Loaded)> {
        let config = configuration(&layers)?;
        // The rules' memory is then what this needs for a moment, rather than more.
        let sensors = Sensors::load(&config)?;
        let rules = load_rules(&config.rules);
        let (events, received) = channel();
        let opened = open_sinks(&config, &config.output, Some(&events));
        let (log, sinks) = opened.map_err(|error| in_its_place(&layers, &error))?;
        // Before the sensors see anything: a large feed takes a second, in which their ring would fill.
        let intel = Arc::new(feeds::read(&config.feed, &config.state, &Intel::default()));
        let agent = Self {
            sensors: Sensors::attach(sensors)?,
            sinks: Arc::new(sinks),
            layers,
            config,
            events,
            received,
            log,
            intel,
        };
        Ok((agent, rules))
    }

    /// Watches until it is told to end or cannot go on.
    async fn watch(self, Loaded { rules, in_force, .. }: Loaded) -> Result<()> {
        let (attached, count) = (self.sensors.attached(), rules.iter().count());
        let (reloaded, rules_received) = mpsc::channel(1);
        let (asker, questions) = mpsc::channel(1);
        let helpers = start_sources(&self.config, &self.events);
        self.follow_changes(in_force, reloaded);
        let (mut stream, kept) = self.stream(rules, helpers, questions);
        let desk = self.desk(asker);
        let Self {
            config,
            events,
            mut received,
            sinks,
            sensors,
            ..
        } = self;
        let Started { first, mut reading } = sensors.start(&events, Arc::clone(&desk.kernel))?;
        stream.carry(first);
        let (_sockets, requests) = control::start(&config.control, &config.metrics);
        // The sources keep the stream open from now on.
        drop(events);
        info!(sensors = attached, rules = count, "watching");
        service::ready(attached, count);
        let ended = tokio::select! {
            () = stream.run(&mut received, rules_received) => Ok(()),
            result = until_signal() => result,
            Some(reason) = reading.failure() => Err(anyhow!("the kernel's events cannot be read any more: {reason}")),
            () = answer(&desk, &sinks, requests) => Ok(()),
            never = service::keep_watchdog_calm() => match never {},
            () = sinks.gone() => Err(anyhow!("nobody takes the alerts any more")),
        };
        service::stopping();
        reading.stop();
        stream.run_out(&mut received, reading.failure(), LAST_EVENTS).await;
        end(stream, kept).await;
        ended
    }

    /// Has changes of the configuration, the rules and the feeds taken up.
    fn follow_changes(&self, in_force: InForce, reloaded: mpsc::Sender<Reloaded>) {
        let (folders, named) = watch::channel(self.config.rules.clone());
        let (feeds, feeds_named) = watch::channel(self.config.feed.clone());
        let listeners = Listeners {
            folders,
            feeds,
            outputs: Arc::clone(&self.sinks),
            stream: reloaded.clone(),
        };
        let (layers, config) = (self.layers.clone(), self.config.clone());
        tokio::spawn(follow_configuration(layers, config, listeners));
        tokio::spawn(watch_rules(named, in_force, reloaded));
        let (state, intel) = (self.config.state.clone(), Arc::clone(&self.intel));
        tokio::spawn(watch_feeds(feeds_named, state, intel, self.events.clone()));
    }

    /// The stream, which knows what the agent knew before, and who keeps what it learns.
    fn stream(&self, rules: Rules, helpers: Helpers, questions: mpsc::Receiver<Question>) -> (Stream, JoinHandle<()>) {
        let config = &self.config;
        let judge = Judge::new(
            rules,
            config.dedup,
            Arc::clone(&self.log),
            config.min_level,
            Some(helpers.looks),
        );
        let (keeper, kept) = start_keeper(config, &self.events);
        let entrance = Entrance::new(Some(helpers.files)).learning(config.baseline.measure());
        let mut stream = Stream::new(entrance, Last::Judge(Box::new(judge)))
            .kept_by(keeper, config.baseline.keep_every.unsigned_abs())
            .asked_by(questions);
        stream.carry(baseline::load(&config.state).into_iter().collect());
        stream.carry(first_tidings(config));
        stream.carry(feeds::tidings(&self.intel, &Intel::default()));
        (stream, kept)
    }

    /// Who says how the agent fares.
    fn desk(&self, stream: mpsc::Sender<Question>) -> Desk {
        let config = &self.config;
        Desk {
            fixed: Desk::fixed(config, self.sensors.states()),
            kernel: Arc::default(),
            logins: start_logins(config, Some(config.state.clone()), &self.events),
            queue: self.events.downgrade(),
            stream,
        }
    }
}

/// Ends the stream: what it still counts is told, and what it learned is kept.
async fn end(mut stream: Stream, kept: JoinHandle<()>) {
    stream.finish();
    stream.end_keeping().await;
    if timeout(LAST_COPY, kept).await.is_err() {
        warn!("the last of what was learned could not be kept in time");
    }
    info!(events = stream.passed(), "ended");
}

/// Answers how the agent fares as long as it runs.
async fn answer(desk: &Desk, sinks: &sinks::Handle, requests: control::Requests) {
    desk.answer(sinks, requests).await;
    // Nobody can ask any more, since no socket could be opened.
    std::future::pending::<()>().await;
}

/// Takes changes of the configuration up. Where they cannot be noticed, it stays as it is.
async fn follow_configuration(layers: Layers, in_force: Config, listeners: Listeners) {
    if let Err(reason) = configuration::follow(layers, in_force, listeners).await {
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
