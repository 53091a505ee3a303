//! The root of the unified cgroup hierarchy, which programs are attached to that are to see the sockets of every cgroup.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::{
    fs::{Mode, OFlags, fstat, openat},
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// The inode of the root folder of a whole hierarchy; that of a cgroup namespace is its own cgroup's.
const ROOT_INODE: u64 = 1;

/// The root folder, of the node's whole hierarchy also where the agent's container has a cgroup namespace of its own.
pub(super) fn root() -> Result<File> {
    let root = match mounted()? {
        root if is_whole(&root)? => root,
        _ => of_first_process().context("the agent is in a cgroup namespace of its own and sees no other cgroup")?,
    };
    Ok(root.into())
}

/// As the cgroup namespace of the first process has it, which is the node's for an agent in the node's pid namespace.
fn of_first_process() -> Result<OwnedFd> {
    let namespace = File::open("/proc/1/ns/cgroup").context("/proc/1/ns/cgroup")?;
    // A namespace is entered by a thread, and ours is not to stay there.
    let enter_and_mount = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ControlGroup))?;
        mounted()
    };
    let root = thread::scope(|scope| scope.spawn(enter_and_mount).join());
    let root = root.map_err(|_| anyhow!("the thread that entered it panicked"))??;
    ensure!(is_whole(&root)?, "so is the first process");
    Ok(root)
}

/// The hierarchy as this thread's cgroup namespace has it, mounted nowhere: it is there also where containers live in
/// version 1 hierarchies.
fn mounted() -> Result<OwnedFd> {
    let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC).context("no unified cgroups in this kernel")?;
    fsconfig_create(&context)?;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(&mount, ".", flags, Mode::empty())?)
}

fn is_whole(root: &OwnedFd) -> Result<bool> {
    Ok(fstat(root)?.st_ino == ROOT_INODE)
}
