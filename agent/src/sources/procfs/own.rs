//! The container that the agent itself runs in, and what it may do there.

use std::{fs, sync::Arc};

use procfs::process::Process;

use crate::{
    enrich::container::{container_id, is_container_id},
    event::Capabilities,
};

/// Files that a runtime binds into each container from a folder that bears the container's id.
const BOUND: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// Its id; `None` on the node itself, or where nothing tells.
pub fn own_container() -> Option<Arc<str>> {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let (cgroups, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
    own(&cgroups, &mounts).map(Arc::from)
}

/// What the agent may do.
pub fn own_capabilities() -> Option<Capabilities> {
    let status = Process::myself().ok()?.status().ok()?;
    Some(Capabilities(status.capeff))
}

/// By the cgroup; in a cgroup namespace of its own, which hides that, by what is mounted.
fn own<'a>(cgroups: &'a str, mounts: &'a str) -> Option<&'a str> {
    let by_cgroup = cgroups
        .lines()
        .find_map(|line| container_id(line.splitn(3, ':').nth(2)?));
    by_cgroup
        .map(|(id, _)| id)
        .or_else(|| mounts.lines().find_map(by_mount))
}

/// `36 35 98:0 /var/lib/docker/containers/ID/hostname /etc/hostname rw …` (`proc_pid_mountinfo(5)`).
fn by_mount(line: &str) -> Option<&str> {
    let mut words = line.split(' ').skip(3);
    let (source, target) = (words.next()?, words.next()?);
    let (_, below) = source.rsplit_once("containers/").filter(|_| BOUND.contains(&target))?;
    let id = below.split('/').next()?;
    is_container_id(id).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn check(cgroups: &str, mounts: &str, expected: bool) {
        let (cgroups, mounts) = (cgroups.replace("ID", ID), mounts.replace("ID", ID));
        assert_eq!(own(&cgroups, &mounts), expected.then_some(ID), "{cgroups} {mounts}");
    }

    #[test]
    fn the_own_container_is_found_by_cgroup_or_mount() {
        let docker = "36 35 98:0 /var/lib/docker/containers/ID/hostname /etc/hostname rw - ext4 /dev/vda rw";
        let podman =
            "36 35 0:9 /containers/storage/overlay-containers/ID/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw";
        check("12:pids:/docker/ID\n0::/docker/ID", "", true);
        check(
            "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope",
            "",
            true,
        );
        check("0::/", docker, true);
        check("0::/", podman, true);
        check("0::/", &docker.replace("/etc/hostname", "/host"), false);
        check(
            "0::/user.slice/session-1.scope",
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw",
            false,
        );
        check("", "", false);
    }
}
