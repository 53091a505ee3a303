//! `package`: what users install, the same bytes each time it is made of the same commit.

mod extras;
mod licences;
mod program;
mod reproducible;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use xshell::cmd;

pub(crate) use self::program::Architecture;
use self::program::build;
use crate::{
    agent,
    setup::tools::{self, Tool},
    workspace::Workspace,
};

/// What makes packages of the program, and tells what is in it.
const TOOLS: [&Tool; 3] = [&tools::CARGO_DEB, &tools::CARGO_GENERATE_RPM, &tools::CARGO_CYCLONEDX];

/// The file of the others' checksums.
const CHECKSUMS: &str = "SHA256SUMS";

/// The list of what is compiled in.
const BILL: &str = "tocsin.cdx.json";

/// What the rpm is made of beside the program: the manifest with the table of its files, and those.
const RPM_SOURCES: [&str; 9] = [
    "Cargo.toml",
    "agent/Cargo.toml",
    "agent/rules",
    "docs",
    "packaging",
    "target/package/files",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
];

/// Makes a deb and an rpm for each architecture, with what belongs beside them, in `target/package`; if `twice`, also
/// elsewhere, to prove that they are the same.
pub(crate) fn package(workspace: &Workspace, architectures: &[Architecture], twice: bool) -> Result<()> {
    if twice {
        reproducible::refuse_changes(workspace)?;
    }
    let every = Architecture::value_variants();
    let architectures = if architectures.is_empty() { every } else { architectures };
    for tool in TOOLS {
        tools::ensure(workspace, tool)?.say_news();
    }
    let folder = workspace.root.join("target/package");
    workspace.sh.remove_path(&folder)?;
    fs::create_dir_all(&folder)?;
    let build = |&architecture: &Architecture| Ok((architecture, build(workspace, architecture)?));
    let programs = architectures.iter().map(build).collect::<Result<Vec<_>>>()?;
    // The files beside the program come from the program, and one for another architecture does not run here.
    let runs_here = programs.iter().find(|(architecture, _)| architecture.is_here());
    let runs_here = runs_here.map_or_else(|| agent::build(workspace, false), |(_, program)| Ok(program.clone()))?;
    extras::write(workspace, &runs_here, &folder.join("files"))?;
    licences::write(workspace, &folder.join("files"))?;
    for (architecture, program) in programs {
        fs::copy(&program, folder.join(format!("tocsin-{}", architecture.name())))?;
        deb(workspace, architecture, &folder, &[])?;
        rpm(workspace, architecture, &folder, &[])?;
    }
    bill_of_materials(workspace, &folder)?;
    fs::copy(
        folder.join("files").join(licences::FILE),
        folder.join("THIRD-PARTY-LICENCES.txt"),
    )?;
    checksums(workspace, &folder)?;
    if twice {
        reproducible::check(workspace, architectures, &folder)?;
    }
    Ok(())
}

/// Packages the program as it was built last, into another folder and as of that version, to upgrade from.
pub(crate) fn of_version(workspace: &Workspace, version: &str, into: &Path) -> Result<()> {
    let metadata = format!("version = \"{version}\"");
    deb(workspace, Architecture::X86_64, into, &["--deb-version", version])?;
    rpm(workspace, Architecture::X86_64, into, &["--set-metadata", &metadata])
}

fn deb(workspace: &Workspace, architecture: Architecture, into: &Path, further: &[&str]) -> Result<()> {
    let (sh, target) = (&workspace.sh, architecture.target());
    let _path = sh.push_env("PATH", tools::path(workspace)?);
    let _epoch = sh.push_env("SOURCE_DATE_EPOCH", source_date(workspace)?);
    cmd!(
        sh,
        "cargo deb --quiet --package agent --no-build --no-strip --target {target} --output {into} {further...}"
    )
    .run()
    .context("failed to make the deb")
}

/// Makes the rpm of copies: a file bears its own date in it unless that is after the commit's, and a copy's is.
fn rpm(workspace: &Workspace, architecture: Architecture, into: &Path, further: &[&str]) -> Result<()> {
    let (sh, target) = (&workspace.sh, architecture.target());
    let epoch = source_date(workspace)?;
    let program = format!("target/{target}/release/tocsin");
    let copies = tempfile::tempdir()?;
    let folder = copies.path();
    cmd!(sh, "cp --recursive --parents {RPM_SOURCES...} {program} {folder}")
        .quiet()
        .run()?;
    let _folder = sh.push_dir(folder);
    let _path = sh.push_env("PATH", tools::path(workspace)?);
    // A static program needs nothing; what it embeds would be taken for libraries.
    cmd!(
        sh,
        "cargo generate-rpm --package agent --target {target} --auto-req disabled --source-date {epoch} --output {into} {further...}"
    )
    .run()
    .context("failed to make the rpm")
}

/// A list of all that was compiled in, in the form of `CycloneDX`.
fn bill_of_materials(workspace: &Workspace, into: &Path) -> Result<()> {
    let sh = &workspace.sh;
    let _path = sh.push_env("PATH", tools::path(workspace)?);
    let _epoch = sh.push_env("SOURCE_DATE_EPOCH", source_date(workspace)?);
    let target = Architecture::X86_64.target();
    cmd!(
        sh,
        "cargo cyclonedx --manifest-path agent/Cargo.toml --format json --target {target} --no-build-deps --override-filename tocsin.cdx"
    )
    .run()
    .context("failed to list what is compiled in")?;
    // It writes one into each crate's folder, and has no option for another.
    for krate in ["agent-ebpf", "fuzz", "xtask"] {
        sh.remove_path(workspace.root.join(krate).join(BILL))?;
    }
    let written = workspace.root.join("agent").join(BILL);
    // Crates of the workspace are named by their folder.
    let bill = fs::read_to_string(&written)?.replace(&workspace.root.display().to_string(), "/tocsin");
    fs::write(into.join(BILL), bill)?;
    fs::remove_file(written)?;
    Ok(())
}

fn checksums(workspace: &Workspace, folder: &Path) -> Result<()> {
    let sh = &workspace.sh;
    let _folder = sh.push_dir(folder);
    let mut files: Vec<PathBuf> = sh.read_dir(".")?;
    files.retain(|path| path.is_file());
    files.sort();
    let names: Vec<_> = files.iter().filter_map(|path| path.file_name()).collect();
    let sums = cmd!(sh, "sha256sum {names...}").quiet().read()?;
    fs::write(folder.join(CHECKSUMS), format!("{sums}\n"))?;
    println!("{sums}");
    Ok(())
}

/// The moment that everything in the packages is dated: that of the commit, in seconds since 1970.
fn source_date(workspace: &Workspace) -> Result<String> {
    cmd!(workspace.sh, "git log -1 --format=%ct")
        .quiet()
        .read()
        .context("the packages are dated by the commit, and git does not tell it")
}
