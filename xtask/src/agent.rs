//! `build` and `run`: the agent is built as the user, and only the built program runs as root.

use std::{
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{self},
};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::{
    setup,
    workspace::{Workspace, is_root},
};

/// Builds the agent with its kernel programs; gives the program's path.
pub(crate) fn build(workspace: &Workspace, release: bool) -> Result<PathBuf> {
    setup::build_tools(workspace)?;
    let profile = release.then_some("--release");
    // The whole workspace is selected, as in tests, so that both share the dependencies' features and builds.
    cmd!(workspace.sh, "cargo build --workspace --bin tocsin {profile...}").run()?;
    Ok(workspace
        .root
        .join("target")
        .join(if release { "release" } else { "debug" })
        .join("tocsin"))
}

/// Builds the agent in release mode and becomes it.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let tocsin = build(workspace, true)?;
    let mut command = if is_root() {
        process::Command::new(&tocsin)
    } else {
        let mut sudo = process::Command::new("sudo");
        sudo.arg(&tocsin);
        sudo
    };
    // Becoming the agent leaves signals and the exit code to it.
    let failure = command.arg("run").args(arguments).env_remove("LD_LIBRARY_PATH").exec();
    Err(failure).with_context(|| format!("failed to run {}", tocsin.display()))
}
