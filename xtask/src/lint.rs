//! `lint`: everything that is checked without running a test.

use anyhow::Result;
use xshell::cmd;

use crate::{
    agent,
    setup::{
        self, toolchain,
        tools::{self, Tool},
    },
    workspace::{Workspace, is_ci},
};

/// Checks formatting, clippy for the host and for BPF, spelling, and the agent's rules.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    let sh = &workspace.sh;
    cmd!(sh, "cargo fmt --all --check").run()?;
    let tocsin = agent::build(workspace, false)?;
    // The end-to-end tests are none of the targets that cargo takes for tests by itself.
    cmd!(sh, "cargo clippy --workspace --all-targets --test e2e -- -D warnings").run()?;
    clippy_bpf(workspace)?;
    spelling(workspace)?;
    dependencies(workspace)?;
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
    with_tool(workspace, &tools::TYPOS, &[])
}

/// Licences, bans and sources, as `deny.toml` allows them.
fn dependencies(workspace: &Workspace) -> Result<()> {
    with_tool(workspace, &tools::CARGO_DENY, &["check", "licenses", "bans", "sources"])
}

/// Runs a tool; where it cannot be had, that is said, and is a failure in CI alone.
fn with_tool(workspace: &Workspace, tool: &Tool, arguments: &[&str]) -> Result<()> {
    match tools::ensure(workspace, tool) {
        Ok(outcome) => outcome.say_news(),
        Err(error) if is_ci() => return Err(error),
        Err(error) => {
            eprintln!("SKIPPED {}: {error:#}", tool.program);
            return Ok(());
        }
    }
    let program = workspace.tools().join("bin").join(tool.program);
    cmd!(workspace.sh, "{program} {arguments...}").run()?;
    Ok(())
}
