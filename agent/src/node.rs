//! Where the node's own files lie: below `/`, or, for an agent in a container, below the node's root as it is mounted there.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::sources::procfs::own_container;

/// Where the node's root is mounted into the agent's container (`docker run --volume /:/host:ro`).
const MOUNTED: &str = "/host";

/// The root of the node's first process, which a container in the node's pid namespace may look into.
const OF_FIRST_PROCESS: &str = "/proc/1/root";

/// The node's root folder, found once.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| choose(own_container().is_some(), |root| root.join("etc/passwd").is_file()))
}

fn choose(in_container: bool, is_root: impl Fn(&Path) -> bool) -> PathBuf {
    let elsewhere = [MOUNTED, OF_FIRST_PROCESS].map(Path::new).into_iter();
    let mut elsewhere = elsewhere.filter(|root| in_container && is_root(root));
    elsewhere.next().unwrap_or(Path::new("/")).to_owned()
}

/// Where the node's file of that absolute path is for us.
pub fn path(path: &str) -> PathBuf {
    root().join(path.trim_start_matches('/'))
}

/// Where that socket is for us: at its own path, if somebody mounted it there, or below the node's root, also before
/// whoever serves it has started.
pub fn socket(socket: &Path) -> PathBuf {
    socket_below(root(), socket)
}

fn socket_below(root: &Path, socket: &Path) -> PathBuf {
    if root == Path::new("/") || socket.exists() {
        return socket.to_owned();
    }
    // `/var/run` is a link to `/run`, which would lead into the container's own.
    let below = socket.strip_prefix("/var/run").map(|rest| Path::new("/run").join(rest));
    let below = below.as_deref().unwrap_or(socket);
    root.join(below.strip_prefix("/").unwrap_or(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(in_container: bool, roots: &[&str], expected: &str) {
        let chosen = choose(in_container, |root| roots.iter().any(|known| Path::new(known) == root));
        assert_eq!(chosen, Path::new(expected), "{in_container} {roots:?}");
    }

    #[test]
    fn the_nodes_root_is_what_is_mounted_or_what_its_first_process_sees() {
        check(false, &["/host", "/proc/1/root"], "/");
        check(true, &["/host", "/proc/1/root"], "/host");
        check(true, &["/proc/1/root"], "/proc/1/root");
        check(true, &[], "/");
    }

    #[test]
    fn a_socket_is_looked_for_on_the_node_unless_it_was_mounted() {
        let mounted = tempfile::NamedTempFile::new().unwrap();
        let mounted = mounted.path();
        for (root, socket, expected) in [
            (
                "/",
                Path::new("/var/run/docker.sock"),
                Path::new("/var/run/docker.sock"),
            ),
            (
                "/host",
                Path::new("/var/run/docker.sock"),
                Path::new("/host/run/docker.sock"),
            ),
            (
                "/host",
                Path::new("/srv/docker.sock"),
                Path::new("/host/srv/docker.sock"),
            ),
            ("/host", mounted, mounted),
        ] {
            assert_eq!(socket_below(Path::new(root), socket), expected, "{root} {socket:?}");
        }
    }
}
