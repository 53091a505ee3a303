//! What connections cost that say something: with an agent that does not read them, one that reads others', and one that
//! reads all.

use anyhow::Result;

use super::{Bench, Plan, kernel, row, storm};

/// Requests a second of which none may be lost.
const RATE: u32 = 10_000;

/// Whose connections are read (`wire.of`), and what that means for the bench's.
const READ: [(&str, &str); 3] = [
    ("nowhere", "not read"),
    ("containers", "others' read"),
    ("everywhere", "read"),
];

impl Bench {
    /// Storms of requests, each beside one without an agent, and as many at a steady rate.
    pub(super) fn requests(&self) -> Result<()> {
        let Plan {
            pairs,
            connects,
            workers,
            ..
        } = self.plan;
        for (of, what) in READ {
            let (mut slowdowns, mut seconds, mut nanoseconds) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..pairs {
                let without = storm::requests(connects, workers, None)?;
                self.with_agent_reading(of, false, |agent| {
                    let before = agent.cpu()?;
                    let with = storm::requests(connects, workers, None)?;
                    seconds.push(agent.cpu_since(&before)? / f64::from(connects) * 1e6);
                    slowdowns.push(with.as_secs_f64() / without.as_secs_f64());
                    let _counting = kernel::Counting::start()?;
                    let before = kernel::run_time(agent.pid())?;
                    storm::requests(connects, workers, None)?;
                    let run = kernel::run_time(agent.pid())? - before;
                    nanoseconds.push(run as f64 / f64::from(connects) / 1e3);
                    Ok(())
                })?;
            }
            row(&format!("requests {what}: storm slowdown"), "x", &slowdowns);
            row(&format!("requests {what}: agent CPU a million"), "s", &seconds);
            row(&format!("requests {what}: in the kernel, each"), "µs", &nanoseconds);
        }
        let lost = self.with_agent_reading("everywhere", true, |agent| {
            let written = agent.output_length()?;
            storm::requests(connects, workers, Some(RATE))?;
            agent.settle()?;
            Ok(connects - agent.alerted(written, connects)?)
        })?;
        let name = format!("requests, lost of {connects} at {RATE} a second");
        row(&name, "alerts", &[f64::from(lost)]);
        Ok(())
    }
}
