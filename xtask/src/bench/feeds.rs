//! What a feed of a million indicators costs: time at the start, memory, and time on each connection.

use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{Bench, row, storm};

const INDICATORS: u32 = 1_000_000;

/// The figures of one run of the agent.
struct Run {
    /// Seconds from its start to its first event.
    start: f64,
    rss: f64,
    /// CPU seconds a million connections: microseconds each.
    cpu: f64,
}

impl Bench {
    /// Pairs of runs without and with the feed.
    pub(super) fn feeds(&self) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (without, with) = (folder.path().join("without.toml"), configure(folder.path())?);
        fs::write(&without, "")?;
        let pairs = (0..self.plan.pairs)
            .map(|_| Ok((self.with_feed(&without)?, self.with_feed(&with)?)))
            .collect::<Result<Vec<_>>>()?;
        let more = |figure: fn(&Run) -> f64| {
            let differences = pairs.iter().map(|(without, with)| figure(with) - figure(without));
            differences.collect::<Vec<_>>()
        };
        row("a million indicators: to read them", "s", &more(|run| run.start));
        row("a million indicators: more resident", "MiB", &more(|run| run.rss));
        row("a million indicators: more a connection", "µs", &more(|run| run.cpu));
        Ok(())
    }

    fn with_feed(&self, config: &Path) -> Result<Run> {
        let mut command = self.command();
        command.arg("--config").arg(config);
        self.with_agent_by(command, false, |agent| {
            let rss = agent.rss()?;
            let before = agent.cpu()?;
            storm::connect(self.plan.connects, self.plan.workers)?;
            Ok(Run {
                start: agent.start.as_secs_f64(),
                rss,
                cpu: agent.cpu_since(&before)? / f64::from(self.plan.connects) * 1e6,
            })
        })
    }
}

/// Writes the feed, and the configuration that names it.
fn configure(folder: &Path) -> Result<PathBuf> {
    let mut list = String::new();
    for number in 0..INDICATORS {
        // All over the addresses, in no order.
        writeln!(list, "{}", Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761)))?;
    }
    let (feed, config) = (folder.join("feed"), folder.join("with.toml"));
    fs::write(&feed, list)?;
    fs::write(&config, format!("[feed.bench]\npath = '{}'\n", feed.display()))?;
    Ok(config)
}
