//! The command line: one definition, from which help, man page and completions are made as well.

mod run;
mod scan;
mod replay;
mod record;
mod explain;
mod rules;
mod except;
mod import;
mod baseline;
mod fields;
mod bench;
mod doctor;
mod selftest;
mod generate;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

use crate::{
    alert::{Level, log::Log, redact::Redactor},
    config::{Config, RULES_FOLDER, ring_bytes},
    detect::problem::Severity,
    sinks::{self, Format, Host, Outputs},
    sources::{
        self,
        rules::{Loaded, load_all},
    },
};

/// Alarm bell of a Linux node: watches processes and sockets through eBPF, and raises alerts by Sigma rules
#[derive(Debug, Parser)]
#[command(name = "tocsin", version, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tocsin doctor                             what this node offers, and what is missing
  tocsin scan                               what on this node deserves a look now
  tocsin run                                watch this node
  tocsin rules list                         what the agent looks for
  tocsin explain temp-folder-execution-medium seen.jsonl    why a rule did or did not match

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 an alert of at least --fail-on was raised.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Scan(scan::ScanArgs),
    Replay(replay::ReplayArgs),
    Record(record::RecordArgs),
    Explain(explain::Arguments),
    Rules(rules::Arguments),
    Baseline(baseline::Arguments),
    Doctor(doctor::DoctorArgs),
    Selftest(selftest::SelftestArgs),
    Generate(generate::GenerateArgs),
}

/// The exit code of a command that looked for alerts: 3 if it raised one of at least the level to fail on.
fn exit_code(raised: Option<Level>, fail_on: Option<Level>) -> ExitCode {
    match (raised, fail_on) {
        (Some(raised), Some(least)) if raised >= least => ExitCode::from(3),
        _ => ExitCode::SUCCESS,
    }
}

impl Cli {
    /// Does what was asked, and gives the exit code. What fails is said in one line on standard error.
    pub fn execute(self) -> ExitCode {
        log_to_stderr();
        let done = match self.command {
            Command::Run(args) => args.execute(),
            Command::Scan(args) => args.execute(),
            Command::Replay(args) => args.execute(),
            Command::Record(args) => args.execute(),
            Command::Explain(args) => to_stdout(|out| explain::run(&args, out)),
            Command::Rules(args) => to_stdout(|out| rules::run(&args, out)),
            Command::Baseline(args) => to_stdout(|out| baseline::run(&args, out)),
            Command::Doctor(args) => args.execute(),
            Command::Selftest(args) => args.execute(),
            Command::Generate(args) => args.execute(),
        };
        match done {
            Ok(code) => code,
            // Whoever reads has seen enough, as in `tocsin rules list | head`.
            Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("tocsin: {}", format!("{error:#}").replace('\n', " "));
                ExitCode::FAILURE
            }
        }
    }
}

/// The agent's own log: to standard error, since standard output belongs to alerts. `TOCSIN_LOG` sets its level.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("TOCSIN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}

fn to_stdout(command: impl FnOnce(&mut io::StdoutLock<'static>) -> Result<ExitCode>) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let code = command(&mut out)?;
    out.flush()?;
    Ok(code)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Where rules come from, beside those that are built in.
#[derive(Clone, Debug, Default, Args)]
struct RuleFolders {
    /// A folder (or file) of rules, exceptions and overrides in place of the configured ones; may be given repeatedly
    /// [default: /etc/tocsin/rules.d]
    #[arg(long = "rules-dir", value_name = "DIR")]
    rules_dir: Vec<PathBuf>,
}

impl RuleFolders {
    /// The folders to read: those that were named, which must exist, or the usual one, which need not.
    fn folders(&self) -> Result<Vec<PathBuf>> {
        self.or(vec![RULES_FOLDER.into()])
    }

    /// The folders that were named, which must exist, or the others, which need not.
    fn or(&self, others: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
        if self.rules_dir.is_empty() {
            return Ok(others);
        }
        must_exist(&self.rules_dir)?;
        Ok(self.rules_dir.clone())
    }
}

/// Refuses paths that are not there: a slip of the pen must not look like an empty folder.
fn must_exist(paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        anyhow::ensure!(path.exists(), "{} does not exist", path.display());
    }
    Ok(())
}

/// Reads the rules and says what is wrong with them. What is good is in force.
fn load_rules(folders: &[PathBuf]) -> Loaded {
    let loaded = load_all(folders);
    for problem in &loaded.problems {
        match problem.severity {
            Severity::Error => error!("{problem}"),
            Severity::Warning => warn!("{problem}"),
            Severity::Note => info!("{problem}"),
        }
    }
    loaded
}

/// Which configuration and which rules.
#[derive(Args, Debug)]
struct RulesArgs {
    /// The configuration file [default: /etc/tocsin/tocsin.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    folders: RuleFolders,
}

impl RulesArgs {
    fn config(&self) -> Result<Config> {
        let mut config = Config::read(self.config.as_deref())?;
        config.rules = self.folders.or(config.rules)?;
        Ok(config)
    }
}

/// What concerns the node itself.
#[derive(Args, Debug)]
struct NodeArgs {
    #[command(flatten)]
    rules: RulesArgs,
    /// Docker's socket [default: /var/run/docker.sock]
    #[arg(long, value_name = "SOCKET")]
    docker_socket: Option<PathBuf>,
    /// Bytes of the ring between kernel and agent, a power of two [default: 8388608]
    #[arg(long, value_name = "BYTES", value_parser = parse_ring)]
    ring_size: Option<u32>,
    /// The folder of what is kept across restarts [default: /var/lib/tocsin]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Do not ask listeners that look like a Docker API whether they are one
    #[arg(long)]
    no_probe: bool,
}

impl NodeArgs {
    fn config(&self) -> Result<Config> {
        let mut config = self.rules.config()?;
        if let Some(socket) = &self.docker_socket {
            config.set_socket("docker", socket.clone());
        }
        config.ring_bytes = self.ring_size.unwrap_or(config.ring_bytes);
        config.state = self.state_dir.clone().unwrap_or(config.state);
        config.docker_probe &= !self.no_probe;
        Ok(config)
    }
}

/// What concerns alerts.
#[derive(Args, Debug)]
struct AlertArgs {
    /// The form of the alerts [default: pretty on a terminal, else ocsf]
    #[arg(long, value_name = "FORM", value_parser = parse_format)]
    format: Option<Format>,
    /// The lowest level that is reported [default: low]
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    min_level: Option<Level>,
    /// Seconds in which repeats of an alert are counted instead of reported; 0 reports each [default: 600]
    #[arg(long, value_name = "SECONDS")]
    dedup: Option<u32>,
}

impl AlertArgs {
    fn apply(&self, mut config: Config) -> Config {
        config.min_level = self.min_level.unwrap_or(config.min_level);
        if let Some(seconds) = self.dedup {
            config.dedup = SignedDuration::from_secs(seconds.into());
        }
        config
    }

    /// The log of alerts, with standard output as its only reader: a command's alerts are for whoever called it.
    fn open(&self, config: &Config) -> Result<(Arc<Log>, sinks::Handle)> {
        let mut outputs = Outputs::default();
        outputs.stdout.form = self.format;
        let log = log(config)?;
        let handle = sinks::start(sinks::open(&outputs, &Arc::new(Host::detect()))?, &log, None)?;
        Ok((log, handle))
    }

    /// The log of alerts, and the sinks that are configured. How they fare is told to `health`.
    fn open_configured(&self, config: &Config, health: &sources::Sender) -> Result<(Arc<Log>, sinks::Handle)> {
        let mut outputs = config.outputs.clone();
        outputs.stdout.form = self.format.or(outputs.stdout.form);
        let log = log(config)?;
        let opened = sinks::open(&outputs, &Arc::new(Host::detect()))?;
        let handle = sinks::start(opened, &log, Some(health))?;
        Ok((log, handle))
    }
}

/// A log that redacts as it is configured.
fn log(config: &Config) -> Result<Arc<Log>> {
    let redactor = if config.redact {
        Redactor::new(&config.secrets)?
    } else {
        Redactor::off()
    };
    Ok(Log::new(redactor))
}

/// How long the sinks may take for what is left when the agent ends.
const LAST_DELIVERIES: Duration = Duration::from_secs(5);

/// Lets the sinks deliver what is left. An alert that did not get everywhere is a failure.
fn finish(sinks: sinks::Handle) -> Result<()> {
    let late = sinks.finish(Instant::now() + LAST_DELIVERIES);
    let late: Vec<_> = late.iter().map(|(name, count)| format!("{name} {count}")).collect();
    anyhow::ensure!(late.is_empty(), "alerts could not be delivered: {}", late.join(", "));
    Ok(())
}

fn parse_format(name: &str) -> Result<Format, String> {
    name.parse()
}

fn parse_level(name: &str) -> Result<Level, String> {
    name.parse()
}

fn parse_ring(bytes: &str) -> Result<u32, String> {
    let bytes = bytes.parse().map_err(|_| format!("{bytes} is no number of bytes"))?;
    ring_bytes(bytes).map_err(|error| format!("{error:#}"))
}
