//! An emulated machine, from its first line on the console to its last.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::workspace::Workspace;

/// What is emulated.
pub(super) struct Machine {
    /// MiB.
    pub(super) memory: &'static str,
    pub(super) processors: &'static str,
    /// What the kernel is told beside what every guest's is.
    pub(super) options: &'static str,
    /// How long it may run; well above what it takes, for a host that is busy otherwise.
    pub(super) limit: Duration,
    /// What it prints last, when all went well.
    pub(super) passed: &'static str,
}

/// How long it may take to power off, which some emulated machines never do.
const FAREWELL: Duration = Duration::from_secs(30);

/// Runs the guest until it powers off or its time is over. Each line of its console goes to `on_line` as it comes; gives
/// all of them.
pub(super) fn boot(
    workspace: &Workspace,
    machine: &Machine,
    image: &Path,
    initramfs: &Path,
    on_line: impl Fn(&str),
) -> Result<String> {
    let mut deadline = Instant::now() + machine.limit;
    let mut passed = false;
    let mut emulator = command(workspace, machine, image, initramfs)
        .spawn()
        .context("failed to start the emulator")?;
    let lines = lines(emulator.stdout.take().context("the console is piped")?);
    let mut console = String::new();
    let mut keep = |line: &str| {
        on_line(line);
        console += line;
        console.push('\n');
    };
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                keep(&line);
                if line.contains(machine.passed) {
                    passed = true;
                    deadline = deadline.min(Instant::now() + FAREWELL);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                emulator.kill()?;
                if !passed {
                    keep(&format!("stopped: it still ran after {} s", machine.limit.as_secs()));
                }
                break;
            }
        }
    }
    emulator.wait()?;
    Ok(console)
}

/// The emulator's command line.
fn command(workspace: &Workspace, machine: &Machine, image: &Path, initramfs: &Path) -> Command {
    let qemu = workspace.fixtures().join("qemu/usr");
    let mut command = Command::new(qemu.join("bin/qemu-system-x86_64"));
    command.env("LD_LIBRARY_PATH", qemu.join("lib/x86_64-linux-gnu"));
    for firmware in ["share/seabios", "share/qemu"] {
        command.arg("-L").arg(qemu.join(firmware));
    }
    // Hardware virtualisation is not to be had in many CI machines; without cx16 since its emulation crashes 6.12.
    command.args(["-accel", "tcg,thread=multi", "-cpu", "max,-cx16"]);
    command.args(["-m", machine.memory, "-smp", machine.processors]);
    command.arg("-kernel").arg(image).arg("-initrd").arg(initramfs);
    command.arg("-append").arg(format!(
        "console=ttyS0 panic=-1 quiet mitigations=off nokaslr {}",
        machine.options
    ));
    command
        .args(["-nodefaults", "-no-reboot", "-serial", "stdio", "-display", "none"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// The lines of a console, read by a thread of their own so that waiting for one can end.
fn lines(console: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        // A guest may print any bytes.
        let lines = BufReader::new(console).split(b'\n').map_while(Result::ok);
        for line in lines {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
