//! The node's users: reads `/etc/passwd` at start and again when it has changed.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use tokio::sync::mpsc::Sender;

use crate::event::{Event, Kind};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// A larger file is not read: it would be no user table.
const LARGEST: u64 = 4 << 20;

/// Sends the text of that file whenever it is new, until nobody listens.
pub async fn run(path: PathBuf, events: Sender<Vec<Event>>) {
    let mut interval = tokio::time::interval(INTERVAL);
    let mut seen = None;
    loop {
        interval.tick().await;
        if let Some(passwd) = read_if_new(&path, &mut seen)
            && events.send(vec![users(passwd)]).await.is_err()
        {
            return;
        }
    }
}

/// The text of the file if it is not the one that was `seen`.
fn read_if_new(path: &Path, seen: &mut Option<Identity>) -> Option<String> {
    let identity = identity(path)?;
    if seen.replace(identity) == Some(identity) {
        return None;
    }
    let bytes =
        std::fs::read(path).inspect_err(|error| tracing::debug!(path = %path.display(), %error, "user names not read"));
    Some(String::from_utf8_lossy(&bytes.ok()?).into_owned())
}

/// What changes when the file does: tools replace it (another inode) or write it (another time).
type Identity = (u64, SystemTime);

fn identity(path: &Path) -> Option<Identity> {
    let metadata = path.metadata().ok().filter(|metadata| metadata.len() <= LARGEST)?;
    Some((metadata.ino(), metadata.modified().ok()?))
}

fn users(passwd: String) -> Event {
    Event {
        time: Timestamp::now(),
        startup: false,
        kind: Kind::Users(passwd.into()),
        given: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_once_and_again_when_it_was_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd");
        let mut seen = None;
        assert_eq!(read_if_new(&path, &mut seen), None);
        std::fs::write(&path, "root:x:0:0::/:\n").unwrap();
        assert_eq!(read_if_new(&path, &mut seen).as_deref(), Some("root:x:0:0::/:\n"));
        assert_eq!(read_if_new(&path, &mut seen), None);
        let new = folder.path().join("passwd.new");
        std::fs::write(&new, b"caf\xe9:x:1:1::/:\n").unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(
            read_if_new(&path, &mut seen).as_deref(),
            Some("caf\u{fffd}:x:1:1::/:\n")
        );
    }
}
