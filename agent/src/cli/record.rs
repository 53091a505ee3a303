//! `tocsin record`: what the sensors see, as JSON lines.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::sync::mpsc;
use tracing::info;

use super::{NodeArgs, configuration, output::Output};
use crate::{
    event::recorded::write_event,
    intel::Intel,
    run::{LAST_EVENTS, Sensors, Started, channel, first_tidings, runtime, start_logins, start_sources, until_signal},
    sources::feeds,
    stream::{Last, Stream, entrance::Entrance},
};

/// Write down what the sensors see, as JSON lines that `replay --source events` takes
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct RecordArgs {
    /// The file to write; `-` is standard output. Secrets on command lines are written as they are
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
}

const EXAMPLES: &str = "\
Examples:
  tocsin record seen.jsonl                           until ctrl-c
  tocsin record - | grep process_creation            on standard output
  tocsin replay --source events seen.jsonl           what the rules say to it";

impl RecordArgs {
    /// Records until it is told to end.
    pub(super) fn execute(self) -> Result<ExitCode> {
        let config = configuration(&self.node.layers()?)?;
        let mut output = open(&self.file)?;
        let (failed, mut failures) = mpsc::channel(1);
        let file = self.file.clone();
        let write = move |observed: &crate::observed::Observed| {
            let written = write_event(&mut output, observed).and_then(|()| output.flush());
            if let Err(error) = written {
                let reason = anyhow::Error::new(error).context(format!("cannot write {}", file.display()));
                // The first failure ends the recording; later ones say nothing new.
                let _ = failed.try_send(reason);
            }
        };
        let intel = Arc::new(feeds::read(&config.feed, &config.state, &Intel::default()));
        let sensors = Sensors::attach(Sensors::load(&config)?)?;
        runtime()?.block_on(async {
            let (events, mut received) = channel();
            let helpers = start_sources(&config, &events);
            start_logins(&config, None, &events);
            let mut stream = Stream::new(Entrance::new(Some(helpers.files)), Last::Record(Box::new(write)));
            stream.carry(first_tidings(&config));
            stream.carry(feeds::tidings(&intel, &Intel::default()));
            let Started { first, mut reading } = sensors.start(&events, Arc::default())?;
            stream.carry(first);
            drop(events);
            info!(file = %self.file.display(), "recording");
            let (_none, no_rules) = mpsc::channel(1);
            let ended = tokio::select! {
                () = stream.run(&mut received, no_rules) => Ok(()),
                result = until_signal() => result,
                Some(reason) = reading.failure() => Err(anyhow::anyhow!("the kernel's events cannot be read any more: {reason}")),
                Some(reason) = failures.recv() => Err(reason),
            };
            reading.stop();
            stream.run_out(&mut received, reading.failure(), LAST_EVENTS).await;
            ended.map(|()| ExitCode::SUCCESS)
        })
    }
}

fn open(file: &Path) -> Result<Box<dyn Write>> {
    if file == Path::new("-") {
        return Ok(Box::new(Output::open()));
    }
    let created = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Box::new(BufWriter::new(created)))
}
