//! `bench`: what the agent costs this machine, by the figures that `docs/performance.md` keeps.

mod agent;
mod feeds;
mod kernel;
mod requests;
mod rules;
mod scan;
mod storm;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use self::agent::Agent;
use crate::workspace::{Workspace, is_root};

/// How many rules are in force that no event of the bench matches.
const RULES: u32 = 200;
/// Events a second while latency is measured.
const RATE: u32 = 200;

/// How much is measured.
struct Plan {
    pairs: u32,
    execs: u32,
    connects: u32,
    paced: u32,
    workers: u32,
}

/// What a bench needs at hand.
struct Bench {
    agent: PathBuf,
    tick: PathBuf,
    plan: Plan,
}

/// The figures of one run of the agent beside a storm without it.
struct Run {
    slowdown: f64,
    /// CPU seconds a million execs.
    cpu: f64,
    lost: u32,
    start: Duration,
    rss: f64,
}

/// Measures `agent`, or the agent built for release, and prints a table; needs root.
pub(crate) fn bench(workspace: &Workspace, quick: bool, agent: Option<PathBuf>) -> Result<()> {
    let agent = agent.map_or_else(|| crate::agent::build(workspace, true), Ok)?;
    let tick = storm::tick(workspace)?;
    if !is_root() {
        return again_as_root(quick, &agent);
    }
    let workers = std::thread::available_parallelism()?.get().try_into()?;
    let (pairs, execs) = if quick { (1, 20_000) } else { (5, 200_000) };
    let plan = Plan {
        pairs,
        execs,
        connects: execs,
        paced: if quick { 200 } else { 1500 },
        workers,
    };
    let bench = Bench { agent, tick, plan };
    println!(
        "{execs} execs on {workers} workers, {RULES} rules that never match, {pairs} pairs: median (least to most)"
    );
    storm::exec(&bench.tick, execs / 10, workers)?;
    bench.storms("quiet", false)?;
    bench.storms("alerting", true)?;
    bench.latency()?;
    bench.quiet_costs()?;
    bench.requests()?;
    bench.feeds()?;
    bench.scans()?;
    // Where SigmaHQ's are not at hand, the built-in rules are measured anyway.
    bench.rule_costs(workspace.corpus("sigmahq/rules/linux").as_deref())
}

impl Bench {
    fn storms(&self, name: &str, alerting: bool) -> Result<()> {
        let runs = (0..self.plan.pairs)
            .map(|_| self.pair(alerting))
            .collect::<Result<Vec<_>>>()?;
        let figures = |figure: fn(&Run) -> f64| runs.iter().map(figure).collect::<Vec<_>>();
        row(&format!("{name}: storm slowdown"), "x", &figures(|run| run.slowdown));
        row(
            &format!("{name}: agent CPU a million execs"),
            "s",
            &figures(|run| run.cpu),
        );
        row(&format!("{name}: peak resident"), "MiB", &figures(|run| run.rss));
        row(
            &format!("{name}: start to first event"),
            "ms",
            &figures(|run| run.start.as_secs_f64() * 1e3),
        );
        if alerting {
            row(
                &format!("{name}: lost of {}", self.plan.execs),
                "events",
                &figures(|run| f64::from(run.lost)),
            );
        }
        Ok(())
    }

    /// A storm without the agent, then one with it.
    fn pair(&self, alerting: bool) -> Result<Run> {
        let Plan { execs, workers, .. } = self.plan;
        let without = storm::exec(&self.tick, execs, workers)?;
        self.with_agent(alerting, |agent| {
            let (before, written) = (agent.cpu()?, agent.output_length()?);
            let with = storm::exec(&self.tick, execs, workers)?;
            let cpu = agent.cpu_since(&before)?;
            let lost = if alerting {
                execs - agent.alerted(written, execs)?
            } else {
                0
            };
            Ok(Run {
                slowdown: with.as_secs_f64() / without.as_secs_f64(),
                cpu: cpu / f64::from(execs) * 1e6,
                lost,
                start: agent.start,
                rss: agent.peak_rss()?,
            })
        })
    }

    fn latency(&self) -> Result<()> {
        let mut delays = self.with_agent(true, |agent| {
            let (sent, seen) = agent.follow(|| storm::paced(&self.tick, self.plan.paced, RATE))?;
            let delay = |(number, at): (u32, _)| Some(seen.get(&number)?.duration_since(at).ok()?.as_secs_f64() * 1e3);
            Ok((0..).zip(sent).filter_map(delay).collect::<Vec<_>>())
        })?;
        ensure!(!delays.is_empty(), "no event was alerted on");
        delays.sort_unstable_by(f64::total_cmp);
        for (name, part) in [("p50", 50), ("p99", 99)] {
            let at = (delays.len() * part / 100).min(delays.len() - 1);
            row(
                &format!("exec to alert at {RATE} a second, {name}"),
                "ms",
                &[delays[at]],
            );
        }
        Ok(())
    }

    /// Connections, and the time in the kernel: both of one quiet run.
    fn quiet_costs(&self) -> Result<()> {
        let Plan {
            execs,
            connects,
            workers,
            ..
        } = self.plan;
        self.with_agent(false, |agent| {
            let before = agent.cpu()?;
            storm::connect(connects, workers)?;
            row(
                "quiet: agent CPU a million connects",
                "s",
                &[agent.cpu_since(&before)? / f64::from(connects) * 1e6],
            );
            let _counting = kernel::Counting::start()?;
            let before = kernel::run_time(agent.pid())?;
            storm::exec(&self.tick, execs, workers)?;
            let nanoseconds = kernel::run_time(agent.pid())? - before;
            row(
                "in the kernel a fork, exec and exit",
                "µs",
                &[nanoseconds as f64 / f64::from(execs) / 1e3],
            );
            Ok(())
        })
    }

    /// How long a look at what stands takes, the runtime's answers included.
    fn scans(&self) -> Result<()> {
        let _crowd = scan::Crowd::gather()?;
        let times = (0..self.plan.pairs.max(3))
            .map(|_| scan::scan(&self.agent).map(|time| time.as_secs_f64()))
            .collect::<Result<Vec<_>>>()?;
        row(&format!("scan with {} more processes", scan::PROCESSES), "s", &times);
        Ok(())
    }

    /// What the rules alone cost: the agent measures that itself, without a sensor.
    fn rule_costs(&self, rules: Option<&Path>) -> Result<()> {
        let mut bench = Command::new(&self.agent);
        bench.args(["rules", "bench"]);
        if let Some(rules) = rules {
            bench.arg("--rules-dir").arg(rules);
        }
        ensure!(
            bench.status().context("the agent did not start")?.success(),
            "the rules were not measured"
        );
        Ok(())
    }

    fn with_agent<T>(&self, alerting: bool, measure: impl FnOnce(&Agent) -> Result<T>) -> Result<T> {
        self.with_agent_reading("containers", alerting, measure)
    }

    /// With an agent that reads these connections (`wire.of`).
    fn with_agent_reading<T>(
        &self,
        connections: &str,
        alerting: bool,
        measure: impl FnOnce(&Agent) -> Result<T>,
    ) -> Result<T> {
        let mut command = self.command();
        command.env("TOCSIN_WIRE_OF", connections);
        self.with_agent_by(command, alerting, measure)
    }

    /// How the agent is started.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.agent);
        command.arg("run");
        command
    }

    fn with_agent_by<T>(
        &self,
        command: Command,
        alerting: bool,
        measure: impl FnOnce(&Agent) -> Result<T>,
    ) -> Result<T> {
        let folder = tempfile::tempdir()?;
        let rules = folder.path().join("rules");
        rules::write(&rules, RULES, alerting)?;
        let probe = || probe(&self.tick);
        measure(&Agent::start(command, &rules, folder.path(), probe)?)
    }
}

fn probe(tick: &Path) -> Result<()> {
    Command::new(tick)
        .arg(rules::READY)
        .status()
        .map(drop)
        .context("failed to run the bench's program")
}

fn row(name: &str, unit: &str, values: &[f64]) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (least, median, most) = (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    if sorted.len() == 1 {
        println!("{name:<44} {median:>9.2} {unit}");
    } else {
        println!("{name:<44} {median:>9.2} {unit:<6} ({least:.2} to {most:.2})");
    }
}

/// Both were built as the user; only the measuring needs root.
fn again_as_root(quick: bool, agent: &Path) -> Result<()> {
    let mut sudo = Command::new("sudo");
    sudo.arg("-E")
        .arg(env::current_exe()?)
        .arg("bench")
        .arg("--agent")
        .arg(agent);
    if quick {
        sudo.arg("--quick");
    }
    if !sudo
        .status()
        .context("the bench needs root, and sudo did not start")?
        .success()
    {
        bail!("the bench failed: see above");
    }
    Ok(())
}
