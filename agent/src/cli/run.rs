//! `tocsin run`: the agent.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Result;
use clap::Args;
use tokio::sync::mpsc;
use tracing::info;

use super::{AlertArgs, NodeArgs};
use crate::{
    run::{Sensors, channel, first_tidings, rule_folders, runtime, start_sources, until_signal},
    sinks,
    sources::rules,
    stream::{Last, Stream, entrance::Entrance, judge::Judge},
};

/// Watch this node and raise alerts
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    alerts: AlertArgs,
    /// Append alerts to this file instead of writing them to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  tocsin run                                   alerts for people on a terminal, JSON lines otherwise
  tocsin run --min-level medium                only what is worth a look today
  tocsin run --format falco | falcosidekick    alerts in the form that Falco's outputs take
  tocsin run --rules-dir /srv/sigma/linux      with rules of your own beside ours";

impl RunArgs {
    /// Runs the agent until it is told to end.
    pub fn execute(self) -> Result<()> {
        let config = self.node.config()?;
        let mut config = self.alerts.apply(config);
        config.ring_bytes = self.node.ring_size.unwrap_or(config.ring_bytes);
        let folders = rule_folders(&config, &self.node.rules.rules_dir);
        let rules = rules::load_reported(&folders)?;
        let count = rules.iter().count();
        let sinks = sinks::start(self.alerts.sink(self.output), AlertArgs::log(&config)?)?;

        let sensors = Sensors::attach(&config)?;
        let attached = sensors.attached();
        runtime()?.block_on(async {
            let stop = Arc::new(AtomicBool::new(false));
            let (events, received) = channel();
            let (new_rules, received_rules) = mpsc::channel(1);
            let helpers = start_sources(&config, &events);
            tokio::spawn(rules::watch(folders, new_rules, events.clone()));
            let judge = Judge::new(rules, config.dedup, sinks.log(), config.min_level, helpers.probe);
            let mut stream = Stream::new(Entrance::new(Some(helpers.files)), Last::Judge(Box::new(judge)));
            stream.carry(first_tidings(&config));
            stream.carry(sensors.start(&events, Arc::clone(&stop))?);
            drop(events);
            info!(sensors = attached, rules = count, "watching");
            tokio::select! {
                () = stream.run(received, received_rules) => {}
                result = until_signal(stop) => result?,
                reason = sinks.failed() => return Err(reason),
            }
            stream.finish();
            info!(events = stream.passed(), "ended");
            Ok(())
        })?;
        sinks.finish()
    }
}
