//! The guest's whole system: busybox, the agent, and a first process that tries it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use xshell::cmd;

use crate::workspace::Workspace;

/// Packs `agent`, a static program, into an archive in the folder `scratch`.
pub(super) fn pack(workspace: &Workspace, agent: &Path, scratch: &Path) -> Result<PathBuf> {
    let root = scratch.join("root");
    for folder in ["bin", "dev", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let busybox = workspace.fixtures().join("busybox/bin/busybox");
    fs::copy(&busybox, root.join("bin/busybox"))?;
    fs::copy(agent, root.join("bin/tocsin")).with_context(|| format!("failed to copy {}", agent.display()))?;
    fs::write(root.join("init"), include_str!("init.sh"))?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    let sh = &workspace.sh;
    let _folder = sh.push_dir(&root);
    let names = cmd!(sh, "{busybox} find .").quiet().read()?;
    // The kernel takes it as it is: to unpack takes longer than to read, under emulation.
    let archive = cmd!(sh, "{busybox} cpio -o -H newc")
        .quiet()
        .ignore_stderr()
        .stdin(names + "\n")
        .output()?
        .stdout;
    let packed = scratch.join("initramfs");
    fs::write(&packed, archive)?;
    Ok(packed)
}
