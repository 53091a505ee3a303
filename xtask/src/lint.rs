//! `lint`: everything that is checked without running a test.

use anyhow::Result;
use xshell::cmd;

use crate::{
    agent,
    setup::{self, toolchain, tools},
    workspace::{Workspace, is_ci},
};

/// Checks formatting, clippy for the host and for BPF, spelling, and the agent's rules.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    let sh = &workspace.sh;
    cmd!(sh, "cargo fmt --all --check").run()?;
    let tocsin = agent::build(workspace, false)?;
    cmd!(sh, "cargo clippy --workspace --all-targets -- -D warnings").run()?;
    clippy_bpf(workspace)?;
    spelling(workspace)?;
    cmd!(sh, "{tocsin} rules check").run()?;
    cmd!(sh, "{tocsin} rules test").run()?;
    Ok(())
}

fn clippy_bpf(workspace: &Workspace) -> Result<()> {
    let sh = &workspace.sh;
    let toolchain = setup::build_tools(workspace)?;
    toolchain::ensure_component(sh, &toolchain, "clippy", "bin/cargo-clippy")?;
    // A folder of its own: another compiler's artifacts would push out the host's.
    cmd!(
        sh,
        "rustup run {toolchain} cargo clippy --package agent-ebpf --target bpfel-unknown-none -Zbuild-std=core"
    )
    .args(["--target-dir", "target/bpf-clippy", "--", "-D", "warnings"])
    .run()?;
    Ok(())
}

fn spelling(workspace: &Workspace) -> Result<()> {
    match tools::ensure(workspace, &tools::TYPOS) {
        Ok(outcome) => outcome.say_news(),
        Err(error) if is_ci() => return Err(error),
        Err(error) => {
            eprintln!("SKIPPED spelling: {error:#}");
            return Ok(());
        }
    }
    let typos = workspace.tools().join("bin").join(tools::TYPOS.program);
    cmd!(workspace.sh, "{typos}").run()?;
    Ok(())
}
