//! The program as it is shipped: static, optimised, and free of the paths of the machine that built it.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use xshell::cmd;

use crate::{
    setup::{self, toolchain, tools},
    workspace::Workspace,
};

/// What the program is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    /// 64-bit Intel and AMD
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit Arm
    #[value(name = "aarch64")]
    Aarch64,
}

impl Architecture {
    /// As Linux calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Whether this machine runs programs for it.
    pub(super) fn is_here(self) -> bool {
        self.name() == env::consts::ARCH
    }

    /// As Rust calls it, with the C library that makes static programs.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }
}

/// Keeps this machine's paths out of the kernel programs' line information. Their build is a cargo of its own, which takes
/// no flags from us but has the environment of the build script; only a nightly knows the setting, and it is one.
const WITHOUT_PATHS: [&str; 2] = [
    r#"env.CARGO_UNSTABLE_TRIM_PATHS = "true""#,
    r#"env.CARGO_PROFILE_RELEASE_TRIM_PATHS = "all""#,
];

/// Builds the program; gives its path.
///
/// With the C library's own allocator: mimalloc takes 5 % off what judging an event costs, and 25 MiB more memory.
pub(crate) fn build(workspace: &Workspace, architecture: Architecture) -> Result<PathBuf> {
    setup::build_tools(workspace)?;
    let (sh, target) = (&workspace.sh, architecture.target());
    toolchain::ensure_target(sh, target)?;
    // What little C there is needs no C library of its own: this machine's compiler will do, but for its own architecture.
    let (build, compiler) = if architecture.is_here() {
        ("build", Some((format!("CC_{}", target.replace('-', "_")), "cc")))
    } else {
        tools::ensure_zig(workspace)?.say_news();
        ("zigbuild", None)
    };
    let _path = sh.push_env("PATH", tools::path(workspace)?);
    let flags = path_prefixes(workspace)?.join("\u{1f}");
    let kernel_programs = WITHOUT_PATHS.iter().flat_map(|setting| ["--config", setting]);
    cmd!(
        sh,
        "cargo {build} --release --locked --package agent --bin tocsin --target {target} {kernel_programs...}"
    )
    .env("CARGO_ENCODED_RUSTFLAGS", flags)
    .envs(compiler)
    .run()
    .with_context(|| format!("failed to build for {target}"))?;
    Ok(workspace.root.join("target").join(target).join("release/tocsin"))
}

/// Compiler flags that keep this machine's paths out of messages of panics.
fn path_prefixes(workspace: &Workspace) -> Result<Vec<String>> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home);
    let cargo_home = cargo_home.context("neither CARGO_HOME nor HOME is set")?;
    Ok([(&workspace.root, "/tocsin"), (&cargo_home, "/cargo")]
        .map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display()))
        .to_vec())
}
