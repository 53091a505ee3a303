//! The proof that a commit always gives the same packages: it is built a second time, in another folder.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use xshell::cmd;

use super::{Architecture, CHECKSUMS};
use crate::workspace::Workspace;

/// Fails where the commit is given by `git status` as changed: the second build would not have the changes.
pub(super) fn refuse_changes(workspace: &Workspace) -> Result<()> {
    let changes = cmd!(workspace.sh, "git status --porcelain").quiet().read()?;
    if !changes.is_empty() {
        bail!("a second build is made of the commit, and there are changes beside it:\n{changes}");
    }
    Ok(())
}

/// Makes the packages again in a folder elsewhere, and compares them with those in `made`.
pub(super) fn check(workspace: &Workspace, architectures: &[Architecture], made: &Path) -> Result<()> {
    let (sh, root) = (&workspace.sh, &workspace.root);
    let scratch = tempfile::tempdir()?;
    let elsewhere = scratch.path().join("elsewhere");
    cmd!(sh, "git clone --quiet {root} {elsewhere}").run()?;
    fs::create_dir(elsewhere.join("target"))?;
    symlink(workspace.tools(), elsewhere.join("target/tools"))?;
    let names = architectures.iter().filter_map(ValueEnum::to_possible_value);
    let options = names.flat_map(|name| ["--architecture".to_owned(), name.get_name().to_owned()]);
    let _folder = sh.push_dir(&elsewhere);
    cmd!(sh, "cargo xtask package {options...}").run()?;
    let [first, second] = [made, &elsewhere.join("target/package")].map(|folder| lines(&folder.join(CHECKSUMS)));
    let (first, second) = (first?, second?);
    let differing: Vec<_> = first.symmetric_difference(&second).map(String::as_str).collect();
    if !differing.is_empty() {
        bail!("the second build gave other bytes:\n{}", differing.join("\n"));
    }
    println!(
        "reproducible: a second build in {} gave the same bytes",
        elsewhere.display()
    );
    Ok(())
}

fn lines(file: &Path) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    Ok(text.lines().map(String::from).collect())
}
