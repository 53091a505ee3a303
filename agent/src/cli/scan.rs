//! `tocsin scan`: looks once at what already stands on this node.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tracing::warn;

use super::{AlertArgs, NodeArgs, configuration, exit_code, finish, load_rules, open_sinks, parse_level};
use crate::{
    alert::Level,
    event::Event,
    run::{channel, first_tidings, runtime, start_sources},
    sources::{baseline, procfs, rules::Loaded},
    stream::{Last, Stream, entrance::Entrance, judge::Judge},
};

/// Look once at what stands on this node: containers, listeners, processes
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ScanArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    alerts: AlertArgs,
    /// Exit with 3 if an alert of at least this level is raised
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    fail_on: Option<Level>,
}

const EXAMPLES: &str = "\
Examples:
  tocsin scan                       what on this node deserves a look
  tocsin scan --fail-on medium      the same in a pipeline: exit code 3 if there is anything";

/// No answer for that long means that nobody will answer any more …
const QUIET: Duration = Duration::from_millis(300);

/// … and longer than this a scan does not take.
const LONGEST: Duration = Duration::from_secs(10);

impl ScanArgs {
    /// Scans.
    pub(super) fn execute(self) -> Result<ExitCode> {
        let mut layers = self.node.layers()?;
        self.alerts.add_to(&mut layers);
        let config = configuration(&layers)?;
        let Loaded { rules, .. } = load_rules(&config.rules);
        let (log, sinks) = open_sinks(&config, &config.output.only_stdout(), None)?;
        if !rustix::process::geteuid().is_root() {
            warn!("not root: of other users' processes only names and arguments are seen, and no sockets");
        }
        let standing = procfs::scan()?;
        let raised = runtime()?.block_on(async {
            let (events, mut received) = channel();
            let helpers = start_sources(&config, &events);
            let judge = Judge::new(rules, config.dedup, log, config.min_level, Some(helpers.looks));
            let entrance = Entrance::new(Some(helpers.files)).learning(config.baseline.measure());
            let mut stream = Stream::new(entrance, Last::Judge(Box::new(judge)));
            stream.carry(baseline::load(&config.state).into_iter().collect());
            stream.carry(first_tidings(&config));
            stream.carry(standing);
            answers(&mut stream, &mut received).await;
            stream.finish();
            stream.raised()
        });
        finish(sinks)?;
        Ok(exit_code(raised, self.fail_on))
    }
}

/// Takes in what runtimes and helpers tell, until they have no more to tell.
async fn answers(stream: &mut Stream, received: &mut mpsc::Receiver<Vec<Event>>) {
    let end = Instant::now() + LONGEST;
    let mut quiet_at = Instant::now() + QUIET;
    loop {
        match timeout_at(quiet_at.min(end), received.recv()).await {
            Ok(Some(mut batch)) => {
                // What begins from now on is not what the scan is about; what is told of what stands is.
                for event in &mut batch {
                    event.startup = true;
                }
                stream.carry(batch);
                quiet_at = Instant::now() + QUIET;
            }
            Ok(None) => break,
            Err(_) => {
                stream.release_overdue(std::time::Instant::now());
                if !stream.is_waiting() || Instant::now() >= end {
                    break;
                }
                quiet_at = Instant::now() + QUIET;
            }
        }
    }
}
