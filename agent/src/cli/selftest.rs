//! `tocsin selftest`: whether alerts arrive.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context as _, Result};
use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::{AlertArgs, RulesArgs, configuration, in_its_place, load_rules};
use crate::{
    alert::{
        Level,
        log::{Log, Wanted},
    },
    event::{Event, Health, Kind},
    sinks::{Host, selftest},
    sources::rules::Loaded,
    stream::{Last, Stream, entrance::Entrance, judge::Judge},
};

/// Send one harmless alert through each configured output, and say how it fared
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct SelftestArgs {
    #[command(flatten)]
    rules: RulesArgs,
    #[command(flatten)]
    alerts: AlertArgs,
}

const EXAMPLES: &str = "\
Examples:
  tocsin selftest                                the outputs of /etc/tocsin/tocsin.toml
  tocsin selftest --config new.toml >/dev/null   those of a configuration that is not in force yet

It opens the outputs itself: an agent that runs is neither needed nor disturbed. Exit code 1 if one failed.";

impl SelftestArgs {
    /// Sends it. The alert goes to the outputs, how they fared to standard error.
    pub(super) fn execute(self) -> Result<ExitCode> {
        let mut layers = self.rules.layers()?;
        self.alerts.add_to(&mut layers);
        let config = configuration(&layers)?;
        let Loaded { rules, .. } = load_rules(&config.rules);
        let log = Log::new(config.redactor()?);
        let mut reader = log.reader(Wanted::ALL);
        let judge = Judge::new(
            rules,
            SignedDuration::ZERO,
            Arc::clone(&log),
            Level::Informational,
            None,
        );
        Stream::new(Entrance::new(None), Last::Judge(Box::new(judge))).carry(vec![event()]);
        log.close();
        let batch = reader.read(1).unwrap_or_default();
        let alert = batch
            .alerts
            .first()
            .context("the rule health-selftest is switched off")?;

        let outcomes = selftest::deliver(&config.output, &Arc::new(Host::detect()), alert);
        let outcomes = outcomes.map_err(|error| in_its_place(&layers, &error))?;
        let mut code = ExitCode::SUCCESS;
        for outcome in outcomes {
            match outcome.result {
                Ok(()) => eprintln!("{}: delivered", outcome.name),
                Err(reason) => {
                    eprintln!("{}: failed: {}", outcome.name, format!("{reason:#}").replace('\n', " "));
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }
}

fn event() -> Event {
    Event {
        time: Timestamp::now(),
        startup: false,
        kind: Kind::Health(Health {
            kind: "selftest",
            detail: "asked for by tocsin selftest: nothing has happened".to_owned(),
        }),
        given: None,
    }
}
