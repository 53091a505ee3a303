//! Every developer command of Tocsin, from a machine that has Rust alone to a tested agent.

mod agent;
mod bench;
mod fixtures;
mod fuzz;
mod lint;
mod noise;
mod package;
mod setup;
mod test;
mod vm;
mod workspace;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use workspace::Workspace;

/// Every developer command of Tocsin. Each sets up what it needs first.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask run                          build the agent and run it on this machine
  cargo xtask run -- --format pretty       the same, with arguments for `tocsin run`
  cargo xtask test                         every test, as CI runs them
  cargo xtask test privileged              the tests whose names hold `privileged`
  cargo xtask lint                         what CI checks before it tests
  cargo xtask bench --quick                what the agent costs, roughly, within a minute
  cargo xtask noise --minutes 60           what a working hour raises, and whether an attack is lost in it
  cargo xtask fuzz feed --minutes 1        whether a feed can break the agent
  cargo xtask package                      what users install
  cargo xtask vm --kernel 6.1              the agent on Debian 12's kernel";

#[derive(Subcommand)]
enum Command {
    /// Find or install what the other commands need; nothing outside `target` but Rust toolchains
    Setup {
        /// Also unpack the servers and images that tests use
        #[arg(long)]
        all: bool,
    },
    /// Build the agent with its kernel programs
    Build {
        /// Optimise, as for an installation
        #[arg(long)]
        release: bool,
    },
    /// Build the agent in release mode and run it, through sudo where needed
    Run {
        /// Arguments for `tocsin run`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Run the unit tests, then the end-to-end tests against this machine's kernel and real servers
    Test {
        /// Only tests whose names hold this
        filter: Option<String>,
    },
    /// Check formatting, clippy for the host and for BPF, spelling, and the rules
    Lint,
    /// Measure what the agent costs: slowdown, CPU, losses, latency, memory
    Bench {
        /// Once and briefly, for a first look
        #[arg(long)]
        quick: bool,
        /// Measure this program instead of building the agent
        #[arg(long, value_name = "FILE")]
        agent: Option<PathBuf>,
    },
    /// Feed what reads others' data with anything, for a while, and see whether it stands
    Fuzz {
        /// Only these
        targets: Vec<fuzz::Target>,
        /// How long for each
        #[arg(long, default_value_t = 10)]
        minutes: u32,
    },
    /// Play a working hour of ordinary life with one attack in it, and list every alert
    Noise {
        /// Take so long instead of doing everything once as fast as can be; 60 for a whole hour
        #[arg(long)]
        minutes: Option<u32>,
    },
    /// Make the deb, the rpm and what belongs beside them, in `target/package`
    Package {
        /// Only for this; may be given several times [default: both]
        #[arg(long = "architecture", value_name = "NAME")]
        architectures: Vec<package::Architecture>,
        /// Build the commit a second time in another folder, and fail unless every byte is the same
        #[arg(long)]
        check_reproducible: bool,
    },
    /// Try the agent on Debian's 5.10, 6.1 and 6.12 kernels, each booted in an emulated machine
    Vm {
        /// Install the packages of `cargo xtask package` in a whole Debian instead
        #[arg(long, conflicts_with_all = ["kernels", "agent"])]
        packages: bool,
        /// Only this kernel; may be given several times
        #[arg(long = "kernel", value_name = "VERSION")]
        kernels: Vec<String>,
        /// Try this static program instead of building the agent
        #[arg(long, value_name = "FILE")]
        agent: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<()> {
    let workspace = Workspace::open()?;
    match command {
        Command::Setup { all } => setup::report(&workspace, all),
        Command::Build { release } => agent::build(&workspace, release).map(drop),
        Command::Run { arguments } => agent::run(&workspace, &arguments),
        Command::Test { filter } => test::test(&workspace, filter.as_deref()),
        Command::Lint => lint::lint(&workspace),
        Command::Bench { quick, agent } => bench::bench(&workspace, quick, agent),
        Command::Fuzz { targets, minutes } => fuzz::fuzz(&workspace, &targets, minutes),
        Command::Noise { minutes } => noise::noise(&workspace, minutes),
        Command::Package {
            architectures,
            check_reproducible,
        } => package::package(&workspace, &architectures, check_reproducible),
        Command::Vm { packages: true, .. } => vm::packages(&workspace),
        Command::Vm { kernels, agent, .. } => vm::vm(&workspace, &kernels, agent),
    }
}
