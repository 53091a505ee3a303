//! The process that takes care of a container, and the bundle that it was started for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::enrich::container::container_id;

/// A shim (containerd, dockerd) or conmon (Podman, CRI-O).
pub(super) struct Caretaker {
    /// Its root folder, as the agent reaches it.
    pub(super) root: PathBuf,
    /// The container's bundle, as a path inside that root.
    pub(super) bundle: PathBuf,
}

/// A container's process has few ancestors outside of it; more are not looked at.
const GENERATIONS: usize = 64;

/// The caretaker among the ancestors of the process `pid`, which is in the container `id`.
pub(super) fn caretaker(pid: u32, id: &str, node: &Path) -> Option<Caretaker> {
    let mut pid = pid;
    for _ in 0..GENERATIONS {
        if pid <= 1 {
            return None;
        }
        let entry = node.join(format!("proc/{pid}"));
        if let Some(bundle) = bundle(&entry, id) {
            let root = entry.join("root");
            return Some(Caretaker { root, bundle });
        }
        pid = parent(&entry)?;
    }
    None
}

/// The bundle, if the process of that `/proc` entry is the container's caretaker. A process inside the container can
/// bear any name and must not be believed.
fn bundle(entry: &Path, id: &str) -> Option<PathBuf> {
    let comm = fs::read_to_string(entry.join("comm")).ok()?;
    let is_shim = comm.starts_with("containerd-shim");
    if !is_shim && comm.trim_end() != "conmon" {
        return None;
    }
    let cgroups = fs::read_to_string(entry.join("cgroup")).ok()?;
    if cgroups
        .lines()
        .any(|line| container_id(line).is_some_and(|(inside, _)| inside == id))
    {
        return None;
    }
    if is_shim {
        // One shim serves all containers of a pod: it works in the first one's bundle, beside which the others are.
        return Some(fs::read_link(entry.join("cwd")).ok()?.parent()?.join(id));
    }
    let arguments = fs::read(entry.join("cmdline")).ok()?;
    let mut arguments = arguments.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    arguments.find(|argument| argument == "-b" || argument == "--bundle")?;
    arguments.next().map(|bundle| PathBuf::from(bundle.into_owned()))
}

fn parent(entry: &Path) -> Option<u32> {
    let status = fs::read_to_string(entry.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}
