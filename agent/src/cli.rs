//! The command line: one file a command.

pub mod rules;
pub mod explain;
mod fields;
mod bench;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::config::RULES_FOLDER;

/// The alarm bell of a Linux node: watches programs, sockets and containers, and rings when something matches a rule.
#[derive(Debug, Parser)]
#[command(name = "tocsin", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Rules(rules::Arguments),
    Explain(explain::Arguments),
}

/// Where rules come from, beside those that are built in.
#[derive(Clone, Debug, Default, Args)]
pub struct RuleFolders {
    /// A folder (or file) of rules, exceptions and overrides in place of /etc/tocsin/rules.d; may be given repeatedly
    #[arg(long = "rules-dir", value_name = "DIR")]
    rules_dir: Vec<PathBuf>,
}

impl RuleFolders {
    /// The folders to read. One that was named must exist; the usual one need not.
    pub fn folders(&self) -> Result<Vec<PathBuf>> {
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

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    let done = match cli.command {
        Command::Rules(arguments) => rules::run(&arguments, &mut out),
        Command::Explain(arguments) => explain::run(&arguments, &mut out),
    };
    let done = done.and_then(|code| out.flush().map(|()| code).map_err(Into::into));
    match done {
        // Whoever reads has seen enough, as in `tocsin rules list | head`.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        done => done,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
