//! The files beside the program that it writes itself, so that they say what it does: man page, completions, default
//! configuration.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::workspace::Workspace;

/// A file and the arguments with which the program prints it.
const FILES: [(&str, &[&str]); 5] = [
    ("tocsin.8", &["generate", "man"]),
    ("tocsin.bash", &["generate", "completions", "bash"]),
    ("_tocsin", &["generate", "completions", "zsh"]),
    ("tocsin.fish", &["generate", "completions", "fish"]),
    ("tocsin.toml", &["config", "default"]),
];

/// Has `program` write them into a folder.
pub(super) fn write(workspace: &Workspace, program: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for (file, arguments) in FILES {
        let printed = cmd!(workspace.sh, "{program} {arguments...}").quiet().output()?.stdout;
        fs::write(folder.join(file), printed).with_context(|| format!("failed to write {file}"))?;
    }
    Ok(())
}
