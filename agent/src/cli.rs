//! The command line: one definition, from which help, man page and completions are made as well.

mod doctor;
mod generate;
mod record;
mod replay;
mod run;
mod scan;

use std::{
    io::IsTerminal,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;
use tracing_subscriber::EnvFilter;

use crate::{
    alert::{
        Level,
        log::Log,
        redact::Redactor,
    },
    config::{Config, ring_bytes},
    sinks::{Format, SinkConfig},
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
    Doctor(doctor::DoctorArgs),
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// As it should, and it raised an alert that the caller wants to fail on.
    Alerted,
}

impl Outcome {
    fn of(raised: Option<Level>, fail_on: Option<Level>) -> Self {
        match (raised, fail_on) {
            (Some(raised), Some(least)) if raised >= least => Self::Alerted,
            _ => Self::Done,
        }
    }
}

impl Cli {
    /// Does what was asked, and gives the exit code. What fails is said in one line on standard error.
    pub fn execute(self) -> ExitCode {
        log_to_stderr();
        let outcome = match self.command {
            Command::Run(args) => args.execute().map(|()| Outcome::Done),
            Command::Scan(args) => args.execute(),
            Command::Replay(args) => args.execute(),
            Command::Record(args) => args.execute().map(|()| Outcome::Done),
            Command::Doctor(args) => args.execute(),
            Command::Generate(args) => args.execute().map(|()| Outcome::Done),
        };
        match outcome {
            Ok(Outcome::Done) => ExitCode::SUCCESS,
            Ok(Outcome::Alerted) => ExitCode::from(3),
            Err(error) => {
                eprintln!("error: {}", format!("{error:#}").replace('\n', " "));
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
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Which configuration and which rules.
#[derive(Args, Debug)]
struct RulesArgs {
    /// The configuration file [default: /etc/tocsin/tocsin.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A folder of Sigma rules beside those that are built in; may be given several times
    #[arg(long, value_name = "DIR")]
    rules_dir: Vec<PathBuf>,
}

impl RulesArgs {
    fn config(&self) -> Result<Config> {
        Config::read(self.config.as_deref())
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
        config.docker_probe &= !self.no_probe;
        Ok(config)
    }
}

/// What concerns alerts.
#[derive(Args, Debug)]
struct AlertArgs {
    /// The form of the alerts [default: pretty on a terminal, else ocsf]
    #[arg(long, value_enum)]
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

    fn log(config: &Config) -> Result<Arc<Log>> {
        let redactor = if config.redact { Redactor::new(&config.secrets)? } else { Redactor::off() };
        Ok(Log::new(redactor))
    }

    fn sink(&self, output: Option<PathBuf>) -> SinkConfig {
        SinkConfig::new(self.format, output)
    }
}

fn parse_level(name: &str) -> Result<Level, String> {
    name.parse()
}

fn parse_ring(bytes: &str) -> Result<u32, String> {
    let bytes = bytes.parse().map_err(|_| format!("{bytes} is no number of bytes"))?;
    ring_bytes(bytes).map_err(|error| format!("{error:#}"))
}
