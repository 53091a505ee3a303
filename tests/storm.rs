//! Many executions at once: nothing is lost unnoticed, memory stays flat, and the agent sees well right afterwards.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{deadline::wait_for, fixtures, to_file::ToFile, tocsin::Tocsin};

/// How long the storm blows.
const STORM: Duration = Duration::from_secs(30);
/// Of so many executions one is what the rule looks for: the others must merely not be lost, which the kernel counts.
const MARKED: u64 = 20;
/// How much a table or two may still grow once the storm has blown for a while.
const GROWTH: u64 = 4 << 20;

#[test]
fn a_storm_is_seen_whole_and_costs_no_memory() {
    let Some(gust) = Gust::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let rule = folder.path().join("storm.yml");
    fs::write(&rule, rule_text()).unwrap();
    let agent = ToFile::start(&[
        "--format",
        "falco",
        "--dedup",
        "0",
        "--rules-dir",
        rule.to_str().unwrap(),
    ]);
    let start = Instant::now();
    let (sent, resident) = thread::scope(|scope| {
        let blow = |stop: Instant| {
            let mut sent = 0;
            while Instant::now() < stop {
                gust.run(if sent % MARKED == 0 { "storm-marker" } else { "storm" });
                sent += 1;
            }
            sent
        };
        let processors = thread::available_parallelism().map_or(2, usize::from);
        let threads: Vec<_> = (0..processors)
            .map(|_| scope.spawn(move || blow(start + STORM)))
            .collect();
        let resident = [10, 20, 30].map(|second| {
            thread::sleep((start + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
            resident(agent.pid())
        });
        (
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<u64>>(),
            resident,
        )
    });
    let mut marked: u64 = sent.iter().map(|sent| sent.div_ceil(MARKED)).sum();
    // Right after the storm nothing is missed, either.
    for _ in 0..200 {
        gust.run("storm-marker");
    }
    marked += 200;
    eprintln!("{} executions, resident {resident:?}", sent.iter().sum::<u64>());
    wait_for("alert of each marked execution", Duration::from_secs(30), || {
        (count(&agent.output(), "\"Storm\"") >= marked).then_some(())
    });
    assert_eq!(count(&agent.output(), "\"Storm\""), marked);
    assert_eq!(count(&agent.output(), "Events were lost"), 0);
    assert!(
        resident[2] < resident[0] + GROWTH,
        "resident memory grows: {resident:?}"
    );
}

#[test]
fn what_a_tiny_ring_cannot_hold_is_counted_exactly() {
    let Some(gust) = Gust::new() else { return };
    // The first has room for all and is the measure for the other, since the machine's other processes are seen, too.
    let all = Tocsin::record(&[]);
    let some = Tocsin::record(&["--ring-size", "65536"]);
    let before = reported(&some.alerts());
    let fence = |name: &str| {
        gust.run(name);
        for agent in [&all, &some] {
            agent.wait_for_event(name, |event| is_run(event, name));
        }
    };
    fence("fence-1");
    let pid = Pid::from_raw(i32::try_from(some.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    for _ in 0..1000 {
        gust.run("storm");
    }
    kill_process(pid, Signal::CONT).unwrap();
    // The ring is full until the agent has looked at it.
    wait_for("execution after the gap", Duration::from_secs(10), || {
        gust.run("settled");
        let events = some.alerts();
        events.iter().any(|event| is_run(event, "settled")).then_some(())
    });
    fence("fence-2");
    let missing = executions(&all.alerts()) - executions(&some.alerts());
    assert!(missing > 500, "only {missing} are missing");
    wait_for(&format!("report of {missing} lost"), Duration::from_secs(12), || {
        (reported(&some.alerts()) - before == missing).then_some(())
    });
    assert_eq!(reported(&all.alerts()), 0);
}

/// How many executions were seen between the fences.
fn executions(events: &[Value]) -> i64 {
    let execs = events.iter().filter(|event| event["category"] == "process_creation");
    let after = execs.skip_while(|event| !is_run(event, "fence-1"));
    after
        .take_while(|event| !is_run(event, "fence-2"))
        .count()
        .try_into()
        .unwrap()
}

fn is_run(event: &Value, name: &str) -> bool {
    event["CommandLine"] == format!("true {name} {}", std::process::id())
}

/// How many executions were lost by the last report: `7 events lost, 9 since the start (exec 3, exit 6): …`.
fn reported(events: &[Value]) -> i64 {
    let last = events.iter().rev().find(|event| event["health.kind"] == "loss");
    let detail = last
        .and_then(|event| event["health.detail"].as_str())
        .unwrap_or_default();
    let sensors = detail.split(['(', ')']).nth(1).unwrap_or_default();
    let exec = sensors.split(", ").find_map(|sensor| sensor.strip_prefix("exec "));
    exec.map_or(0, |count| count.parse().unwrap())
}

/// Runs a tiny static program.
struct Gust {
    busybox: PathBuf,
}

impl Gust {
    fn new() -> Option<Self> {
        let busybox = fixtures::require("busybox")?.join("bin/busybox");
        Some(Self { busybox })
    }

    fn run(&self, word: &str) {
        let mut command = Command::new(&self.busybox);
        command.arg0("true").args([word, &std::process::id().to_string()]);
        assert!(command.status().unwrap().success());
    }
}

/// A rule about this process's marked executions: the same test may run elsewhere on the machine.
fn rule_text() -> String {
    format!(
        "title: Storm\nid: 2c1b5f0e-5f5c-4b1e-9a1f-5d7f6e1f0c11\nlevel: high\n\
         logsource: {{product: linux, category: process_creation}}\n\
         detection: {{marked: {{CommandLine: 'true storm-marker {}'}}, condition: marked}}\n",
        std::process::id()
    )
}

/// Alerts that hold that text.
fn count(alerts: &str, text: &str) -> u64 {
    alerts.lines().filter(|line| line.contains(text)).count() as u64
}

/// Resident memory of a process, in bytes, without the ring's pages, which come as they are first used.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
