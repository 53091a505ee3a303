//! Where the parts of the node lie that containers are given: a path may lead elsewhere by a link, and whoever starts a
//! container chooses it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Once,
    thread,
    time::Duration,
};

use rustix::io::Errno;
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};
use tracing::warn;

use super::looks::inside::Inside;
use crate::event::Mount;

/// Looks at the same time. One that waits for a file system that does not answer keeps its place.
static LOOKS: Semaphore = Semaphore::const_new(4);
/// That one does not answer is said once.
static SAID: Once = Once::new();
/// How long a look may take: the container's first events wait for it.
const PATIENCE: Duration = Duration::from_millis(300);
/// So many of a container's mounts are looked at, some microseconds each.
const MOST: usize = 4096;

/// Adds where the mounts lead, seen from the node's `root`. Where that cannot be found in time, what was told stands.
pub(super) async fn follow(mounts: &mut [Mount], root: &'static Path) {
    if mounts.is_empty() {
        return;
    }
    let sources: Vec<_> = mounts.iter().take(MOST).map(|mount| mount.source.clone()).collect();
    let looking = async {
        // Whoever has all places will most likely keep them: to wait for one would hold up every container.
        let place = LOOKS.try_acquire().ok()?;
        let (tell, told) = oneshot::channel();
        let look = move || {
            let _place = place;
            let Ok(root) = Inside::at(root) else { return };
            // Fails only where nobody waits any more.
            let _ = tell.send(sources.iter().map(|source| lead(&root, source)).collect::<Vec<_>>());
        };
        // Not the runtime's own thread: at the end it would wait for that.
        thread::Builder::new().name("binds".to_owned()).spawn(look).ok()?;
        told.await.ok()
    };
    let found = timeout(PATIENCE, looking).await.ok().flatten();
    if found.is_none() {
        // Most likely so for every container to come.
        SAID.call_once(|| warn!("containers' mounts are not followed: a file system of the node does not answer"));
    }
    for (mount, leads_to) in mounts.iter_mut().zip(found.unwrap_or_default()) {
        mount.leads_to = leads_to;
    }
}

/// Where that path leads, unless that is where it says. That `/lib` is `/usr/lib` is how systems are laid out.
fn lead(root: &Inside, source: &str) -> Option<Box<str>> {
    if !source.starts_with('/') {
        return None;
    }
    let found = match root.without_links(Path::new(source)) {
        Ok(found) => found,
        // Through a process's view (`/proc/1/root`), or in a circle, which the runtime could not mount either. Such a view may
        // be of anything, and most often is of the node's root.
        Err(error) if is_loop(&error) => PathBuf::from("/"),
        Err(_) => return None,
    };
    let found = found.to_str()?;
    let elsewhere =
        found != source.trim_end_matches('/') && found != source && found.strip_prefix("/usr") != Some(source);
    elsewhere.then(|| found.into())
}

fn is_loop(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[tokio::test]
    async fn mounts_are_followed_below_the_nodes_root() {
        let root: &'static Path = Box::leak(tempfile::tempdir().unwrap().keep().into_boxed_path());
        for folder in ["usr/lib", "run", "srv/data"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("run/docker.sock"), "").unwrap();
        for (link, target) in [
            ("lib", "usr/lib"),
            ("srv/root", "/"),
            ("srv/up", "../../../.."),
            ("srv/run", "/run"),
            ("srv/again", "run"),
            ("srv/round", "round"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let cases = [
            ("/srv/data", None),
            ("/srv/data/", None),
            ("/", None),
            ("/lib", None),
            ("/gone", None),
            ("srv/root", None),
            ("/srv/root", Some("/")),
            ("/srv/up", Some("/")),
            ("/srv/root/run", Some("/run")),
            ("/srv/again/docker.sock", Some("/run/docker.sock")),
            ("/srv/round", Some("/")),
        ];
        let mut mounts = cases.map(|(source, _)| Mount {
            source: source.into(),
            target: "/x".into(),
            writable: true,
            leads_to: None,
        });
        follow(&mut mounts, root).await;
        for (mount, (source, expected)) in mounts.iter().zip(cases) {
            assert_eq!(mount.leads_to.as_deref(), expected, "{source}");
        }
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_process_view_is_taken_for_the_root() {
        let root = Inside::at(Path::new("/")).unwrap();
        assert_eq!(lead(&root, "/proc/self/root").as_deref(), Some("/"));
        assert_eq!(lead(&root, "/proc/self/cwd/x").as_deref(), Some("/"));
    }
}
