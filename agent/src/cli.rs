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
mod config;
mod status;
mod fields;
mod bench;
mod doctor;
mod selftest;
mod generate;
mod output;

use std::{
    env,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;
use toml::Value;
use tracing::{error, info, level_filters::LevelFilter, warn};
use tracing_subscriber::EnvFilter;

use self::output::{Output, reader_has_gone};
use crate::{
    alert::{Level, log::Log},
    config::{
        Config, RULES_FOLDER,
        layers::{Effective, Layers, Problems},
        values::{parse_duration, parse_ring},
    },
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
    Config(config::Arguments),
    Status(status::StatusArgs),
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
            Command::Config(args) => to_stdout(|out| config::run(&args, out)),
            Command::Status(args) => to_stdout(|out| status::run(&args, out)),
            Command::Doctor(args) => args.execute(),
            Command::Selftest(args) => args.execute(),
            Command::Generate(args) => args.execute(),
        };
        match done {
            Ok(code) => code,
            Err(error) if reader_has_gone(&error) => ExitCode::SUCCESS,
            Err(error) => {
                match error.downcast_ref::<Problems>() {
                    Some(Problems(problems)) => problems.iter().for_each(|problem| eprintln!("tocsin: {problem}")),
                    None => eprintln!("tocsin: {}", format!("{error:#}").replace('\n', " ")),
                }
                ExitCode::FAILURE
            }
        }
    }
}

/// The agent's own log: to standard error, since standard output belongs to alerts. `TOCSIN_LOG` sets its level.
fn log_to_stderr() {
    let said = env::var("TOCSIN_LOG").ok().filter(|said| !said.is_empty());
    let filter = said.as_deref().and_then(log_filter);
    let refused = said.filter(|_| filter.is_none());
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new("info")))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    if let Some(said) = refused {
        warn!("TOCSIN_LOG is {said}, which is none of error, warn, info, debug and trace: it is info");
    }
}

/// What is to be logged; `None` where that is no level. A word that is none would be taken for the name of a module, and
/// silence everything else.
fn log_filter(said: &str) -> Option<EnvFilter> {
    let is_level = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    said.split(',').all(is_level).then(|| said.parse().ok())?
}

fn to_stdout(command: impl FnOnce(&mut Output) -> Result<ExitCode>) -> Result<ExitCode> {
    let mut out = Output::open();
    let code = command(&mut out)?;
    out.flush()?;
    Ok(code)
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
        if self.rules_dir.is_empty() {
            return Ok(vec![RULES_FOLDER.into()]);
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
#[derive(Args, Clone, Debug)]
struct RulesArgs {
    /// The configuration file [default: /etc/tocsin/tocsin.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    folders: RuleFolders,
}

impl RulesArgs {
    fn layers(&self) -> Result<Layers> {
        let mut layers = Layers::new(self.config.clone());
        if !self.folders.rules_dir.is_empty() {
            let folders = self.folders.folders()?;
            let folders = folders.iter().map(|folder| path_value(folder));
            layers.set("--rules-dir", "rules", Value::Array(folders.collect::<Result<_>>()?));
        }
        Ok(layers)
    }
}

/// What concerns the node itself.
#[derive(Args, Clone, Debug)]
struct NodeArgs {
    #[command(flatten)]
    rules: RulesArgs,
    /// Docker's socket [default: /var/run/docker.sock]
    #[arg(long, value_name = "SOCKET")]
    docker_socket: Option<PathBuf>,
    /// The ring between kernel and agent, a power of two such as 16MiB [default: 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_ring)]
    ring_size: Option<u32>,
    /// The folder of what is kept across restarts [default: /var/lib/tocsin]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Do not ask listeners that look like a Docker API whether they are one
    #[arg(long)]
    no_probe: bool,
}

impl NodeArgs {
    fn layers(&self) -> Result<Layers> {
        let mut layers = self.rules.layers()?;
        if let Some(socket) = &self.docker_socket {
            layers.set("--docker-socket", "docker.socket", path_value(socket)?);
        }
        if let Some(bytes) = self.ring_size {
            layers.set("--ring-size", "ring-size", Value::Integer(bytes.into()));
        }
        if let Some(folder) = &self.state_dir {
            layers.set("--state-dir", "state", path_value(folder)?);
        }
        if self.no_probe {
            layers.set("--no-probe", "docker.probe", Value::Boolean(false));
        }
        Ok(layers)
    }
}

/// What concerns alerts.
#[derive(Args, Clone, Debug)]
struct AlertArgs {
    /// The form of the alerts on standard output [default: pretty on a terminal, else ocsf]
    #[arg(long, value_name = "FORM", value_parser = parse_format)]
    format: Option<Format>,
    /// The lowest level that is reported [default: low]
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    min_level: Option<Level>,
    /// How long repeats of an alert are counted instead of reported, in seconds or as 90s, 10m; 0 reports each [default:
    /// 10m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    dedup: Option<SignedDuration>,
}

impl AlertArgs {
    fn add_to(&self, layers: &mut Layers) {
        if let Some(format) = self.format {
            layers.set("--format", "output.stdout.format", Value::String(format.to_string()));
        }
        if let Some(level) = self.min_level {
            layers.set("--min-level", "min-level", Value::String(level.to_string()));
        }
        if let Some(window) = self.dedup {
            layers.set("--dedup", "dedup", Value::Integer(window.as_secs()));
        }
    }
}

/// Reads the configuration. What may be a mistake is said.
fn configuration(layers: &Layers) -> Result<Config> {
    let Effective { config, warnings, .. } = layers.read()?;
    for warning in warnings {
        warn!("{warning}");
    }
    Ok(config)
}

/// The log of alerts, and the sinks that read it. How they fare is told to `health`.
fn open_sinks(
    config: &Config,
    outputs: &Outputs,
    health: Option<&sources::Sender>,
) -> Result<(Arc<Log>, sinks::Handle)> {
    let log = Log::new(config.redactor()?);
    let host = Arc::new(Host::detect());
    let opened = sinks::open(outputs, &host)?;
    let handle = sinks::start(opened, host, &log, health)?;
    Ok((log, handle))
}

/// An error about a setting of these layers, with the place where that stands.
fn in_its_place(layers: &Layers, error: &anyhow::Error) -> Problems {
    match layers.read() {
        Ok(effective) => Problems(vec![layers.problem(&effective, error)]),
        Err(problems) => problems,
    }
}

fn path_value(path: &Path) -> Result<Value> {
    let text = path.to_str();
    let text = text.with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(Value::String(text.to_owned()))
}

/// How long the sinks may take for what is left when the agent ends.
const LAST_DELIVERIES: Duration = Duration::from_secs(5);

/// Lets the sinks deliver what is left. An alert that did not get everywhere is a failure.
fn finish(sinks: &sinks::Handle) -> Result<()> {
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

#[cfg(test)]
mod tests;
