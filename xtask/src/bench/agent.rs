//! The measured agent: started as a user would, watched from outside.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{rules::READY, storm::MARK};

/// A run of the agent, which ends when dropped.
pub(super) struct Agent {
    child: Child,
    output: PathBuf,
    /// From its start to the first event that it told of.
    pub(super) start: Duration,
    /// CPU seconds a second while nothing is measured.
    idle: f64,
}

/// CPU time that the agent had taken at a moment.
pub(super) struct Cpu {
    at: Instant,
    seconds: f64,
}

impl Agent {
    /// Starts the agent by `command` (`tocsin run …`) with the rules in the folder `rules`, and waits for the alert that `probe` raises.
    pub(super) fn start(
        mut command: Command,
        rules: &Path,
        folder: &Path,
        probe: impl Fn() -> Result<()>,
    ) -> Result<Self> {
        let output = folder.join("alerts");
        let messages = File::create(folder.join("messages"))?;
        let began = Instant::now();
        command
            .args(["--format", "ocsf", "--dedup", "0"])
            .arg("--state-dir")
            .arg(folder.join("state"))
            .arg("--rules-dir")
            .arg(rules);
        command
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(messages);
        let child = command
            .spawn()
            .with_context(|| format!("failed to start {}", command.get_program().display()))?;
        let mut agent = Self {
            child,
            output,
            start: Duration::ZERO,
            idle: 0.0,
        };
        while !fs::read_to_string(&agent.output)?.contains(READY) {
            if agent.child.try_wait()?.is_some() || began.elapsed() > Duration::from_secs(30) {
                bail!(
                    "the agent is not ready: {}",
                    fs::read_to_string(folder.join("messages"))?
                );
            }
            probe()?;
            thread::sleep(Duration::from_millis(2));
        }
        agent.start = began.elapsed();
        agent.measure_idle()?;
        Ok(agent)
    }

    /// The CPU time taken so far.
    pub(super) fn cpu(&self) -> Result<Cpu> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).context("the agent ended")?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // Ticks are hundredths of a second for user space, whatever the kernel counts in.
        let ticks: u32 = fields
            .get(11..13)
            .context("/proc/PID/stat is short")?
            .iter()
            .flat_map(|ticks| ticks.parse::<u32>())
            .sum();
        Ok(Cpu {
            at: Instant::now(),
            seconds: f64::from(ticks) / 100.0,
        })
    }

    /// CPU seconds since `before`, but for what the agent takes when nothing happens; waits until it has worked off all.
    pub(super) fn cpu_since(&self, before: &Cpu) -> Result<f64> {
        self.settle()?;
        let now = self.cpu()?;
        Ok(now.seconds - before.seconds - self.idle * (now.at - before.at).as_secs_f64())
    }

    /// Waits until the agent neither writes nor computes more than when idle.
    pub(super) fn settle(&self) -> Result<()> {
        const STILL: Duration = Duration::from_millis(500);
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let (length, cpu) = (self.output_length()?, self.cpu()?);
            thread::sleep(STILL);
            let taken = self.cpu()?.seconds - cpu.seconds;
            if self.output_length()? == length && taken <= self.idle * STILL.as_secs_f64() + 0.02 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the agent still works a minute after the load");
            }
        }
    }

    /// How many of the numbers below `count` were alerted on since the output was `from` bytes long.
    pub(super) fn alerted(&self, from: u64, count: u32) -> Result<u32> {
        let text = fs::read(&self.output)?;
        let mut seen = vec![false; count as usize];
        for number in numbers(&text[usize::try_from(from)?..]) {
            if let Some(seen) = seen.get_mut(number as usize) {
                *seen = true;
            }
        }
        Ok(seen.into_iter().map(u32::from).sum())
    }

    /// Notes when each number can first be read in the output, while `load` runs.
    pub(super) fn follow<T>(&self, load: impl FnOnce() -> Result<T>) -> Result<(T, HashMap<u32, SystemTime>)> {
        let (mut file, over, from) = (File::open(&self.output)?, AtomicBool::new(false), self.output_length()?);
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(from))?;
        thread::scope(|scope| {
            let follower = scope.spawn(|| read_until(&mut file, &over));
            let done = load().and_then(|done| self.settle().map(|()| done));
            over.store(true, Ordering::Relaxed);
            Ok((done?, follower.join().expect("the follower does not panic")?))
        })
    }

    /// The length of what it has written, in bytes.
    pub(super) fn output_length(&self) -> Result<u64> {
        Ok(self.output.metadata()?.len())
    }

    /// The most memory that was ever resident, in MiB.
    pub(super) fn peak_rss(&self) -> Result<f64> {
        self.memory("VmHWM:")
    }

    /// The memory that is resident now, in MiB.
    pub(super) fn rss(&self) -> Result<f64> {
        self.memory("VmRSS:")
    }

    fn memory(&self, kind: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(kind))
            .with_context(|| format!("the agent has no {kind}"))?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn measure_idle(&mut self) -> Result<()> {
        thread::sleep(Duration::from_secs(1));
        let before = self.cpu()?;
        thread::sleep(Duration::from_secs(3));
        let now = self.cpu()?;
        self.idle = (now.seconds - before.seconds) / (now.at - before.at).as_secs_f64();
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // One that has ended already is what was wanted.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn read_until(file: &mut File, over: &AtomicBool) -> Result<HashMap<u32, SystemTime>> {
    let (mut text, mut seen) = (Vec::new(), HashMap::new());
    loop {
        let last = over.load(Ordering::Relaxed);
        if file.read_to_end(&mut text)? == 0 {
            if last {
                return Ok(seen);
            }
            thread::sleep(Duration::from_micros(200));
            continue;
        }
        let now = SystemTime::now();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for number in numbers(&text[..whole]) {
            seen.entry(number).or_insert(now);
        }
        text.drain(..whole);
    }
}

/// The numbers of the events that `text` tells of.
fn numbers(text: &[u8]) -> impl Iterator<Item = u32> {
    let text = String::from_utf8_lossy(text).into_owned();
    let found: Vec<_> = text
        .match_indices(MARK)
        .filter_map(|(at, _)| text.get(at + MARK.len()..)?.get(..7)?.parse().ok())
        .collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_alerts_are_read() {
        let text =
            format!("{{\"cmd_line\":\"tick {MARK}0000012\"}}\n{{\"a\":\"{MARK}ready\"}}\n{MARK}1234567 {MARK}12");
        assert_eq!(numbers(text.as_bytes()).collect::<Vec<_>>(), [12, 1_234_567]);
    }
}
