//! `vm`: the agent on kernels that this machine does not run, each in an emulated machine of its own.

mod guest;
mod initramfs;
mod kernel;
mod machine;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use xshell::cmd;

use self::{
    kernel::Kernel,
    machine::{Machine, boot},
};
use crate::{fixtures, setup, workspace::Workspace};

/// Printed by the guest's `init` when the agent rang.
const PASSED: &str = "tocsin-vm: passed";

/// Enough for the agent alone.
const SMALL: Machine = Machine {
    memory: "1024",
    processors: "1",
    options: "",
    limit: Duration::from_mins(4),
    passed: PASSED,
};

/// Boots a whole Debian and installs the packages in it.
pub(crate) fn packages(workspace: &Workspace) -> Result<()> {
    guest::check(workspace)
}

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
    let console = boot(workspace, &SMALL, image, initramfs, |_| ())?;
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
