//! `tocsin config`: what can be set, what is set, and what is wrong with it.

use std::{io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use tracing::warn;

use super::{AlertArgs, NodeArgs};
use crate::{
    config::{
        definition,
        layers::{Effective, Layers, Origin, Problem, Problems},
        secret,
    },
    sinks,
    sources::feeds,
};

/// Show what can be set, what is in force, and what is wrong with it
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  tocsin config default >tocsin.toml            every setting with its default and what it means
  tocsin config check tocsin.toml               all that is wrong with a file and its drop-ins
  tocsin config show                            what is in force, and where each setting comes from
  tocsin config show --changed                  only what differs from the defaults";

#[derive(Debug, Subcommand)]
enum Action {
    /// Say all that is wrong; exit code 1 if anything is
    Check {
        /// The file, with its drop-ins [default: /etc/tocsin/tocsin.toml, if it is there]
        file: Option<PathBuf>,
    },
    /// Print what is in force, and where each setting comes from; secrets are not shown
    Show {
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        alerts: AlertArgs,
        /// Only what is set anywhere
        #[arg(long)]
        changed: bool,
    },
    /// Print a file with every setting, its default and what it means
    Default,
}

/// Does it.
pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<ExitCode> {
    match &arguments.action {
        Action::Check { file } => return check(&Layers::new(file.clone()), out),
        Action::Show { node, alerts, changed } => {
            let mut layers = node.layers()?;
            alerts.add_to(&mut layers);
            show(&layers.read()?, *changed, out)?;
        }
        Action::Default => write!(out, "{}", definition::default_file())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(layers: &Layers, out: &mut impl Write) -> Result<ExitCode> {
    let (problems, warnings) = match layers.read() {
        Ok(effective) => {
            let mut problems = secret::problems(&effective);
            if problems.is_empty() {
                problems.extend(problems_of_others(layers, &effective));
            }
            (problems, effective.warnings)
        }
        Err(Problems(problems)) => (problems, Vec::new()),
    };
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    for warning in &warnings {
        writeln!(out, "warning: {warning}")?;
    }
    let file = layers.path().display();
    writeln!(out, "{file}: {} errors, {} warnings", problems.len(), warnings.len())?;
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What only shows when the outputs are opened and the servers of feeds could be asked: settings that contradict each
/// other, files that cannot be read.
fn problems_of_others(layers: &Layers, effective: &Effective) -> Vec<Problem> {
    let config = &effective.config;
    let outputs = sinks::open(&config.output, &Arc::default()).err();
    let feeds = config
        .feed
        .iter()
        .filter_map(|(name, feed)| feeds::check(name, feed).err());
    let errors = outputs.into_iter().chain(feeds);
    errors.map(|error| layers.problem(effective, &error)).collect()
}

fn show(effective: &Effective, changed: bool, out: &mut impl Write) -> Result<()> {
    for warning in &effective.warnings {
        warn!("{warning}");
    }
    let mut section = String::new();
    let settings = definition::settings_of(&effective.config);
    for setting in settings {
        let origin = effective.origin(&setting.path);
        if changed && *origin == Origin::Default {
            continue;
        }
        let (name, key) = setting.split();
        if name != section {
            writeln!(out, "\n[{name}]")?;
            name.clone_into(&mut section);
        }
        writeln!(out, "{:<40} # {origin}", format!("{key} = {}", setting.value)).context("cannot write")?;
    }
    Ok(())
}
