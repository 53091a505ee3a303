//! Chooses the nightly that compiles the kernel programs: its LLVM must be the one that the pinned linker loads.

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

use super::Outcome;
use crate::workspace::Workspace;

/// The LLVM that bpf-linker 0.10 is made for; it loads the library of the toolchain that it links for.
const LLVM: u32 = 22;

/// Installed where no nightly of this machine fits; its LLVM is 22.
const DATED_NIGHTLY: &str = "nightly-2026-05-20";

/// A toolchain as rustup names it.
#[derive(Debug, PartialEq)]
struct Toolchain {
    name: String,
    /// The major version of its LLVM, unless it cannot say.
    llvm: Option<u32>,
}

/// Finds or installs the nightly with its standard library's source, and names it to `agent/build.rs`.
pub(crate) fn ensure(workspace: &Workspace) -> Result<(String, Outcome)> {
    let sh = &workspace.sh;
    let installed = installed(sh)?;
    let (name, mut changed) = match choose(&installed) {
        Some(toolchain) => (toolchain.name.clone(), false),
        None => (install(sh)?, true),
    };
    changed |= ensure_component(sh, &name, "rust-src", "lib/rustlib/src/rust/library/Cargo.toml")?;
    let chosen = workspace.tools().join("bpf-toolchain");
    // An unchanged file keeps its time, so that the kernel programs are not built again.
    if sh.read_file(&chosen).ok().as_deref() != Some(&name) {
        sh.write_file(&chosen, &name)?;
    }
    let line = format!("{name} with LLVM {LLVM} and rust-src, for the kernel programs");
    Ok((
        name,
        if changed {
            Outcome::Installed(line)
        } else {
            Outcome::Found(line)
        },
    ))
}

/// Adds `component` unless the toolchain has `file`, a path below its root; says whether it was added.
pub(crate) fn ensure_component(sh: &Shell, toolchain: &str, component: &str, file: &str) -> Result<bool> {
    let root = cmd!(sh, "rustup run {toolchain} rustc --print sysroot")
        .quiet()
        .read()?;
    if sh.path_exists(format!("{root}/{file}")) {
        return Ok(false);
    }
    cmd!(sh, "rustup component add {component} --toolchain {toolchain}")
        .run()
        .with_context(|| format!("toolchain {toolchain} has no {component}, and rustup could not add it"))?;
    Ok(true)
}

/// Adds the standard library for `target` to the toolchain that builds the agent, unless it is there.
pub(crate) fn ensure_target(sh: &Shell, target: &str) -> Result<()> {
    let root = cmd!(sh, "rustc --print sysroot").quiet().read()?;
    if !sh.path_exists(format!("{root}/lib/rustlib/{target}/lib")) {
        cmd!(sh, "rustup target add {target}")
            .run()
            .with_context(|| format!("the toolchain cannot build for {target}, and rustup could not add it"))?;
    }
    Ok(())
}

/// The nightly to use: one that follows the channel before dated ones, of which the newest.
fn choose(installed: &[Toolchain]) -> Option<&Toolchain> {
    let fits = |toolchain: &&Toolchain| toolchain.name.starts_with("nightly") && toolchain.llvm == Some(LLVM);
    let dated = |toolchain: &Toolchain| toolchain.name.strip_prefix("nightly-20").is_some();
    installed
        .iter()
        .filter(fits)
        .max_by_key(|toolchain| (!dated(toolchain), toolchain.name.clone()))
}

fn install(sh: &Shell) -> Result<String> {
    let arguments = install_arguments();
    cmd!(sh, "rustup {arguments...}").run().with_context(|| {
        format!("no installed nightly has LLVM {LLVM}, which bpf-linker needs, and rustup could not install one")
    })?;
    Ok(DATED_NIGHTLY.into())
}

fn install_arguments() -> [&'static str; 7] {
    [
        "toolchain",
        "install",
        DATED_NIGHTLY,
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ]
}

fn installed(sh: &Shell) -> Result<Vec<Toolchain>> {
    let list = cmd!(sh, "rustup toolchain list").quiet().read();
    let Ok(list) = list else {
        bail!("rustup is missing: the kernel programs need a nightly toolchain")
    };
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"));
    let toolchain = |name: &str| {
        // A toolchain that does not run is no candidate; rustup's complaint about it is not news.
        let version = cmd!(sh, "rustup run {name} rustc -vV").quiet().ignore_stderr().read();
        Toolchain {
            name: name.into(),
            llvm: version.ok().as_deref().and_then(llvm_major),
        }
    };
    Ok(names.map(toolchain).collect())
}

/// The major version in `rustc -vV`'s line `LLVM version: 22.1.4`.
fn llvm_major(version: &str) -> Option<u32> {
    version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?
        .split('.')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(installed: &[(&str, Option<u32>)], expected: Option<&str>) {
        let toolchain = |&(name, llvm): &(&str, Option<u32>)| Toolchain {
            name: name.into(),
            llvm,
        };
        let installed: Vec<_> = installed.iter().map(toolchain).collect();
        assert_eq!(
            choose(&installed).map(|chosen| chosen.name.as_str()),
            expected,
            "of {installed:?}"
        );
    }

    #[test]
    fn an_installed_nightly_is_used_where_its_llvm_fits() {
        check(
            &[("nightly-x86_64-unknown-linux-gnu", Some(22))],
            Some("nightly-x86_64-unknown-linux-gnu"),
        );
        check(
            &[("nightly-2026-05-20", Some(22)), ("nightly", Some(22))],
            Some("nightly"),
        );
        check(
            &[("nightly", Some(23)), ("nightly-2026-05-20", Some(22))],
            Some("nightly-2026-05-20"),
        );
        check(
            &[("nightly-2026-03-01", Some(22)), ("nightly-2026-04-01", Some(22))],
            Some("nightly-2026-04-01"),
        );
    }

    #[test]
    fn none_is_chosen_where_none_fits() {
        check(&[], None);
        check(&[("nightly", Some(21)), ("nightly-2026-11-01", Some(23))], None);
        check(&[("nightly-broken", None)], None);
        check(&[("stable", Some(22)), ("1.95.0", Some(22))], None);
    }

    #[test]
    fn the_dated_nightly_is_installed_with_the_source_alone() {
        let line = install_arguments().join(" ");
        assert_eq!(
            line,
            "toolchain install nightly-2026-05-20 --profile minimal --component rust-src"
        );
    }

    #[test]
    fn the_llvm_version_is_read() {
        assert_eq!(llvm_major("rustc 1.97.0-nightly\nLLVM version: 22.1.4\n"), Some(22));
        assert_eq!(llvm_major("error: toolchain is not installed"), None);
    }
}
