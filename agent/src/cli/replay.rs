//! `tocsin replay`: recorded input through the same pipeline.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use jiff::SignedDuration;

use super::{AlertArgs, RulesArgs, configuration, exit_code, finish, load_rules, open_sinks, parse_level};
use crate::{
    alert::Level,
    event::{Event, recorded::event_from_line},
    intel::{
        Intel,
        settings::{FeedSettings, Feeds},
    },
    sources::{feeds, logins, rules::Loaded},
    stream::{Last, Stream, entrance::Entrance, judge::Judge},
};

/// Run recorded input through the same pipeline; needs no root
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReplayArgs {
    /// What the input is
    #[arg(long, value_enum)]
    source: Kind,
    /// Files to read; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Learn of these events first, without alerts; may be given repeatedly
    #[arg(long, value_name = "FILE")]
    history: Vec<PathBuf>,
    /// A threat feed beside those that are configured, in any format but a warninglist's; may be given repeatedly
    #[arg(long, value_name = "FILE")]
    feed: Vec<PathBuf>,
    #[command(flatten)]
    rules: RulesArgs,
    #[command(flatten)]
    alerts: AlertArgs,
    /// Exit with 3 if an alert of at least this level is raised
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    fail_on: Option<Level>,
}

const EXAMPLES: &str = "\
Examples:
  tocsin record - | head -1000 >seen.jsonl          what the sensors see
  tocsin replay --source events seen.jsonl          what the rules say to it
  tocsin replay --source events --feed bad.txt seen.jsonl
                                                    which of it was with addresses that are known to be bad
  tocsin replay --source auth-log /var/log/auth.log  who came in, and whom it took many attempts
  tocsin replay --source events --fail-on high -    the same from standard input; exit code 3 for an alert";

/// The kinds of input.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// JSON lines as `tocsin record` writes them
    Events,
    /// Lines of auth.log or secure
    AuthLog,
}

/// A longer line is no event: it is refused without being kept.
const LONGEST_LINE: u64 = 1 << 20;

/// Refused lines whose reasons are shown; all are counted.
const SHOWN: usize = 10;

/// What became of the lines.
#[derive(Debug, Default)]
struct Counts {
    events: u64,
    refused: u64,
}

impl ReplayArgs {
    /// Replays. Alerts go to standard output, a summary to standard error.
    pub(super) fn execute(self) -> Result<ExitCode> {
        let mut layers = self.rules.layers()?;
        self.alerts.add_to(&mut layers);
        let mut config = configuration(&layers)?;
        config.feed.extend(self.feed.iter().map(|path| feed(path)));
        let Loaded { rules, .. } = load_rules(&config.rules);
        let (log, sinks) = open_sinks(&config, &config.output.only_stdout(), None)?;
        let judge = Judge::new(rules, config.dedup, Arc::clone(&log), config.min_level, None);
        let entrance = Entrance::new(None).learning(config.baseline.measure());
        let mut stream = Stream::new(entrance, Last::Judge(Box::new(judge)));
        stream.carry(vec![read_feeds(&config.feed, &config.state)?]);
        let (mut counts, mut taught) = (Counts::default(), Counts::default());
        for file in &self.history {
            read(file, self.source, &mut taught, |event| stream.learn(vec![event]))?;
        }
        for file in &self.files {
            read(file, self.source, &mut counts, |event| stream.carry(vec![event]))?;
        }
        stream.finish();
        let delivered = finish(&sinks);
        eprintln!(
            "{} events, {} alerts, {} lines refused",
            counts.events,
            log.appended(),
            counts.refused + taught.refused
        );
        delivered.map(|()| exit_code(stream.raised(), self.fail_on))
    }
}

/// A feed of that file, under its name. It is as old as what is replayed may be.
fn feed(path: &Path) -> (String, FeedSettings) {
    let settings = FeedSettings {
        path: path.to_owned(),
        max_age: Some(SignedDuration::ZERO),
        ..FeedSettings::default()
    };
    (path.display().to_string(), settings)
}

/// Reads the feeds. What cannot be read is an error: without it the verdicts would be others.
fn read_feeds(settings: &Feeds, state: &Path) -> Result<Event> {
    let intel = feeds::read(settings, state, &Intel::default());
    if let Some(feed) = intel.feeds.iter().find(|feed| feed.fresh.is_none()) {
        let reason = feed.broken.as_deref().unwrap_or("it was not fetched yet");
        bail!("feed {}: {reason}", feed.name);
    }
    Ok(feeds::tiding(&Arc::new(intel)))
}

/// Hands on the events of a file, and counts its lines.
fn read(file: &Path, kind: Kind, counts: &mut Counts, mut carry: impl FnMut(Event)) -> Result<()> {
    let mut input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(
            File::open(file).with_context(|| format!("cannot open {}", file.display()))?,
        ))
    };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        if read.with_context(|| format!("cannot read {}", file.display()))? == 0 {
            break;
        }
        match event(&line, kind, &mut input)? {
            Ok(None) => {}
            Ok(Some(event)) => {
                counts.events += 1;
                carry(event);
            }
            Err(reason) => {
                counts.refused += 1;
                if counts.refused <= SHOWN as u64 {
                    eprintln!("{}:{number}: {reason}", file.display());
                }
            }
        }
    }
    Ok(())
}

/// The event of a line; none of a blank one, or of one that tells of nothing that is judged. A line that is too long is read over.
fn event(line: &[u8], kind: Kind, input: &mut dyn BufRead) -> Result<Result<Option<Event>, String>> {
    if line.len() as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
        input.skip_until(b'\n').context("cannot read on")?;
        return Ok(Err(format!("a line of more than {LONGEST_LINE} bytes")));
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return Ok(Err("not UTF-8".into()));
    };
    let text = text.trim_start_matches('\u{FEFF}').trim();
    if text.is_empty() {
        return Ok(Ok(None));
    }
    let event = match kind {
        Kind::Events => event_from_line(text).map(Some),
        Kind::AuthLog => logins::event_of_line(text),
    };
    Ok(event.map_err(|reason| format!("{reason:#}")))
}
