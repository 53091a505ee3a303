//! Work that is done in a process's network namespace.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Does the work in the network namespace of that process, if it still is the one with that inode (0: whichever).
///
/// A namespace is entered by a thread, which must not come back: another one's does the work, unless it is our own.
pub(in crate::sources) fn in_network_of<T: Send>(
    pid: u32,
    inode: u32,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    let found = namespace.metadata()?.ino();
    if inode != 0 && found != u64::from(inode) {
        return Err(io::Error::other(format!(
            "process {pid} is in network namespace {found}, not in {inode}"
        )));
    }
    if std::fs::metadata("/proc/thread-self/ns/net")?.ino() == found {
        return work();
    }
    let enter_and_work = || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        work()
    };
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("look".to_owned());
        let done = worker.spawn_scoped(scope, enter_and_work)?.join();
        done.unwrap_or_else(|_| Err(io::Error::other("the look panicked")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_not_the_one_meant_is_not_entered() {
        let refused = in_network_of(std::process::id(), 1, || Ok(())).unwrap_err();
        assert!(refused.to_string().ends_with("not in 1"), "{refused}");
    }
}
