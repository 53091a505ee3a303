//! The load: programs run and connections made, as fast as they go or at a rate, each with a number of its own.

use std::{
    io::Write as _,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use rustix::net::sockopt::set_socket_linger;
use xshell::cmd;

use crate::workspace::Workspace;

/// What stands before the seven digits of an event's number in the program's first argument.
pub(super) const MARK: &str = "tocsin-bench-";

/// Compiles the program that a storm runs; gives its path.
pub(super) fn tick(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.root.join("target/bench");
    let (source, program) = (workspace.root.join("xtask/src/bench/tick.rs"), folder.join("tick"));
    workspace.sh.create_dir(&folder)?;
    cmd!(
        workspace.sh,
        "rustc --edition 2024 {source} -o {program} -C opt-level=3 -C panic=abort"
    )
    .args([
        "-C",
        "relocation-model=static",
        "-C",
        "link-args=-nostartfiles -nostdlib -static",
    ])
    .quiet()
    .run()?;
    Ok(program)
}

/// Runs `tick` `count` times over `workers` threads; gives the time it took.
pub(super) fn exec(tick: &Path, count: u32, workers: u32) -> Result<Duration> {
    spread(count, workers, |number| run(tick, number))
}

/// Connects `count` times over `workers` threads to a listener of its own on loopback; gives the time it took.
pub(super) fn connect(count: u32, workers: u32) -> Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    spread(count, workers, |_| {
        let stream = TcpStream::connect(address).context("failed to connect")?;
        // Reset when closed: else the ports that wait for stragglers run out.
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        // Whoever connects accepts, too, so that the listener's queue never fills.
        listener.accept()?;
        Ok(())
    })
}

/// The same, and each says what it wants, as HTTP; at most `rate` a second.
pub(super) fn requests(count: u32, workers: u32, rate: Option<u32>) -> Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (address, start) = (listener.local_addr()?, Instant::now());
    spread(count, workers, |number| {
        if let Some(rate) = rate {
            let due = start + Duration::from_secs(1) * number / rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let mut stream = TcpStream::connect(address).context("failed to connect")?;
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        let request = format!(
            "GET /{MARK}{number:07} HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        listener.accept()?;
        Ok(())
    })
}

/// Runs `tick` `count` times, `rate` a second; gives for each number the time just before.
pub(super) fn paced(tick: &Path, count: u32, rate: u32) -> Result<Vec<SystemTime>> {
    let start = Instant::now();
    let one = |number| {
        let due = start + Duration::from_secs(1) * number / rate;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let before = SystemTime::now();
        run(tick, number).map(|()| before)
    };
    (0..count).map(one).collect()
}

fn run(tick: &Path, number: u32) -> Result<()> {
    let mut command = Command::new(tick);
    command
        .arg(format!("{MARK}{number:07}"))
        .env_clear()
        .stdin(Stdio::null());
    ensure!(
        command.status().context("failed to run the bench's program")?.success(),
        "the bench's program failed"
    );
    Ok(())
}

fn spread(count: u32, workers: u32, one: impl Fn(u32) -> Result<()> + Sync) -> Result<Duration> {
    let (start, next) = (Instant::now(), AtomicU32::new(0));
    let work = || -> Result<()> {
        while let number = next.fetch_add(1, Ordering::Relaxed)
            && number < count
        {
            one(number)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    Ok(start.elapsed())
}
