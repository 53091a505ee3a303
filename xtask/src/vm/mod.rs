//! `vm`: the agent on kernels that this machine does not run, each in an emulated machine of its own.

mod initramfs;
mod kernel;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use xshell::cmd;

use self::kernel::Kernel;
use crate::{fixtures, setup, workspace::Workspace};

/// Printed by the guest's `init` when the agent rang.
const PASSED: &str = "tocsin-vm: passed";

/// A kernel boots in seconds under emulation; this is for a machine that is busy otherwise.
const LIMIT: Duration = Duration::from_mins(4);

/// Boots each of `versions`, or every kernel of the table, with the agent in it; one line a kernel.
pub(crate) fn vm(workspace: &Workspace, versions: &[String], agent: Option<PathBuf>) -> Result<()> {
    let kernels = kernel::named(versions)?;
    for name in ["busybox", "qemu"] {
        fixtures::ensure(workspace, fixtures::named(name)?)?.say_news();
    }
    let agent = agent.map_or_else(|| build_static(workspace), Ok)?;
    let scratch = tempfile::tempdir()?;
    let initramfs = initramfs::pack(workspace, &agent, scratch.path())?;
    let mut failed = 0;
    for kernel in kernels {
        let image = kernel::fetch(workspace, kernel)?;
        failed += u32::from(!check(workspace, kernel, &image, &initramfs)?);
    }
    if failed > 0 {
        bail!("the agent failed on {failed} kernels: see above");
    }
    Ok(())
}

fn check(workspace: &Workspace, kernel: &Kernel, image: &Path, initramfs: &Path) -> Result<bool> {
    let start = Instant::now();
    let console = boot(workspace, image, initramfs)?;
    let passed = console.contains(PASSED);
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let verdict = if passed { "ok" } else { "FAILED" };
    println!(
        "{:<5} {verdict:<6} {:>5.1} s  {name}",
        kernel.version,
        start.elapsed().as_secs_f64()
    );
    if !passed {
        println!("{console}");
    }
    Ok(passed)
}

/// Runs the guest until it powers off; gives what its console printed.
fn boot(workspace: &Workspace, image: &Path, initramfs: &Path) -> Result<String> {
    let qemu = workspace.fixtures().join("qemu/usr");
    let mut command = Command::new("timeout");
    command
        .arg(LIMIT.as_secs().to_string())
        .arg(qemu.join("bin/qemu-system-x86_64"));
    command.env("LD_LIBRARY_PATH", qemu.join("lib/x86_64-linux-gnu"));
    for firmware in ["share/seabios", "share/qemu"] {
        command.arg("-L").arg(qemu.join(firmware));
    }
    // Hardware virtualisation is not to be had in many CI machines; without cx16 since its emulation crashes 6.12.
    command.args([
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max,-cx16",
        "-m",
        "1024",
        "-smp",
        "1",
    ]);
    command.arg("-kernel").arg(image).arg("-initrd").arg(initramfs);
    command.args(["-append", "console=ttyS0 panic=-1 quiet mitigations=off nokaslr"]);
    command
        .args(["-nodefaults", "-no-reboot", "-serial", "stdio", "-display", "none"])
        .stdin(Stdio::null());
    let output = command.output().context("failed to start the emulator")?;
    let (console, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ok(format!("{console}{errors}"))
}

/// A guest has no C library: the agent is linked whole.
fn build_static(workspace: &Workspace) -> Result<PathBuf> {
    // With a target named, cargo spares build scripts and macros the flags; musl would want a C compiler of its own.
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    setup::build_tools(workspace)?;
    cmd!(workspace.sh, "cargo build --workspace --bin tocsin --target {TARGET}")
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // The guest holds it in memory.
        .env("CARGO_PROFILE_DEV_STRIP", "debuginfo")
        .run()?;
    Ok(workspace.root.join("target").join(TARGET).join("debug/tocsin"))
}
