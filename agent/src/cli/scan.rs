//! `tocsin scan`: looks once at what already stands on this node.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use toml::Value;
use tracing::warn;

use super::{
    AlertArgs, NodeArgs, configuration, exit_code, finish, load_rules, must_exist, open_sinks, parse_level, path_value,
};
use crate::{
    alert::Level,
    config,
    event::{Capabilities, Event, Kind},
    run::{channel, first_tidings, runtime, start_sources},
    sources::{
        baseline,
        memory::{Limits, look, signatures::Signatures},
        procfs,
        rules::Loaded,
    },
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
    /// Also look into the memory of all processes, or of the one with that id, and what they load and hold: injected
    /// code, code that differs from its file, preloaded libraries, deleted scripts, hidden processes, YARA rules. Reads
    /// only; no process is stopped
    #[arg(long, value_name = "PID", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "not at all, or all, or one")]
    memory: Option<Option<u32>>,
    /// A file of YARA rules, or a folder of *.yar and *.yara files, in place of the configured ones; may be given
    /// repeatedly
    #[arg(long, value_name = "PATH", requires = "memory")]
    yara_rules: Vec<PathBuf>,
    /// Exit with 3 if an alert of at least this level is raised
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    fail_on: Option<Level>,
}

const EXAMPLES: &str = "\
Examples:
  tocsin scan                       what on this node deserves a look
  tocsin scan --fail-on medium      the same in a pipeline: exit code 3 if there is anything
  tocsin scan --memory              also what is in the memory of its processes
  tocsin scan --memory 4711 --yara-rules ./rules
                                    of one process, with YARA rules of one's own";

/// No answer for that long means that nobody will answer any more …
const QUIET: Duration = Duration::from_millis(300);

/// … and longer than this a scan does not take.
const LONGEST: Duration = Duration::from_secs(10);

impl ScanArgs {
    /// Scans.
    pub(super) fn execute(self) -> Result<ExitCode> {
        let mut layers = self.node.layers()?;
        self.alerts.add_to(&mut layers);
        if !self.yara_rules.is_empty() {
            must_exist(&self.yara_rules)?;
            let paths = self.yara_rules.iter().map(|path| path_value(path));
            let paths = Value::Array(paths.collect::<Result<_>>()?);
            layers.set("--yara-rules", "memory.yara-rules", paths);
        }
        let config = configuration(&layers)?;
        let Loaded { rules, .. } = load_rules(&config.rules);
        let (log, sinks) = open_sinks(&config, &config.output.only_stdout(), None)?;
        if !rustix::process::geteuid().is_root() {
            warn!("not root: of other users' processes only names and arguments are seen, and no sockets");
        }
        let standing = procfs::scan()?;
        // Before the sinks are told anything: a YARA rule that is none ends the scan.
        let memory = self
            .memory
            .map(|only| memory(only, &standing, &config.memory))
            .transpose()?;
        let raised = runtime()?.block_on(async {
            let (events, mut received) = channel();
            let helpers = start_sources(&config, &events);
            let judge = Judge::new(rules, config.dedup, log, config.min_level, Some(helpers.looks));
            let entrance = Entrance::new(Some(helpers.files)).learning(config.baseline.measure());
            let mut stream = Stream::new(entrance, Last::Judge(Box::new(judge)));
            stream.carry(baseline::load(&config.state).into_iter().collect());
            stream.carry(first_tidings(&config));
            stream.carry(standing);
            stream.carry(memory.unwrap_or_default());
            answers(&mut stream, &mut received).await;
            stream.finish();
            stream.raised()
        });
        finish(&sinks)?;
        Ok(exit_code(raised, self.fail_on))
    }
}

/// Looks into the memory of one process, or of all. What was looked at, and what not, is said on standard error.
fn memory(only: Option<u32>, standing: &[Event], settings: &config::Memory) -> Result<Vec<Event>> {
    let signatures = Signatures::load(&settings.yara_rules)?;
    let effective = procfs::own_capabilities().unwrap_or_default();
    let may = |name: &str| effective.contain(Capabilities::from_names(std::iter::once(name)));
    if !may("SYS_PTRACE") {
        warn!("without CAP_SYS_PTRACE no other user's memory is seen, nor that of whoever may do more than this scan");
    }
    if !may("SYS_ADMIN") && !may("CHECKPOINT_RESTORE") {
        warn!("without CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE code is not compared with its file");
    }
    let limits = Limits {
        process: settings.per_process,
        total: settings.total,
    };
    let executions = standing.iter().filter_map(|event| match &event.kind {
        Kind::Exec(exec) => Some((exec.process, exec.execution.inode)),
        _ => None,
    });
    let looked = look(only, &executions.collect(), limits, &signatures)?;
    eprintln!("{looked}");
    Ok(looked.events)
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
