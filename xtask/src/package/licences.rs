//! The licences of all that is compiled in, as those licences demand: one file, each text once.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use super::Architecture;
use crate::workspace::Workspace;

/// The file's name.
pub(super) const FILE: &str = "THIRD-PARTY-LICENCES";

/// Writes the file into a folder.
pub(super) fn write(workspace: &Workspace, folder: &Path) -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace.root.join("agent/Cargo.toml"))
        .other_options(["--locked", "--filter-platform", Architecture::X86_64.target()].map(String::from))
        .exec()
        .context("cargo does not tell what the agent depends on")?;
    let mut by_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in compiled_in(&metadata)? {
        let name = format!(
            "{} {} ({})",
            package.name,
            package.version,
            package.license.as_deref().unwrap_or("see below")
        );
        for text in texts(package)? {
            by_text.entry(text).or_default().push(name.clone());
        }
    }
    let mut file = String::from("Tocsin contains the following works, under the licences that follow their names.\n");
    for (text, mut names) in by_text {
        names.sort();
        names.dedup();
        write!(file, "\n{}\n\n{}\n\n{text}\n", "=".repeat(78), names.join("\n"))?;
    }
    fs::write(folder.join(FILE), file)?;
    Ok(())
}

/// Every foreign package that the agent links, not what only builds or tests it.
fn compiled_in(metadata: &Metadata) -> Result<Vec<&Package>> {
    let resolve = metadata.resolve.as_ref().context("cargo resolved nothing")?;
    let root = resolve.root.clone().context("the agent is a package")?;
    let mut found: Vec<PackageId> = vec![root];
    let mut next = 0;
    while let Some(id) = found.get(next) {
        let node = resolve.nodes.iter().find(|node| node.id == *id);
        let linked = node
            .into_iter()
            .flat_map(|node| &node.deps)
            .filter(|dependency| {
                dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal)
            })
            .map(|dependency| dependency.pkg.clone());
        let new: Vec<_> = linked.filter(|id| !found.contains(id)).collect();
        found.extend(new);
        next += 1;
    }
    let foreign = |package: &&Package| found.contains(&package.id) && package.source.is_some();
    let mut packages: Vec<_> = metadata.packages.iter().filter(foreign).collect();
    packages.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(packages)
}

/// The texts of a package's licences, or the name of the licence where it ships none.
fn texts(package: &Package) -> Result<Vec<String>> {
    let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
    let is_licence = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().to_uppercase());
        let begins = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"];
        path.is_file() && name.is_some_and(|name| begins.iter().any(|begin| name.starts_with(begin)))
    };
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files: Vec<_> = entries.filter_map(Result::ok).filter(is_licence).collect();
    files.sort();
    let read = |path: &PathBuf| fs::read_to_string(path).map(|text| text.replace("\r\n", "\n").trim().to_owned());
    let texts = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if texts.is_empty() {
        let licence = package.license.as_deref().unwrap_or("no licence named");
        return Ok(vec![format!("{licence} (the package ships no text of it)")]);
    }
    Ok(texts)
}
