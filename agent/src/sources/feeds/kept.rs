//! What was last fetched of a feed and could be understood, in the folder of the agent's state: a restart without a network
//! keeps it in force.
//!
//! One file, so that it is whole or not there: what the server said, and in the last line where that came from and how the
//! server is asked whether it still says so. When it last did is the file's time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Take, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use tempfile::{Builder, NamedTempFile};
use url::Url;

use super::file::{BUFFER, stamp};
use crate::intel::{
    Stamp,
    settings::{FeedSettings, Feeds},
};

/// How a server is asked whether what it said is still so, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Validators {
    /// The `ETag`.
    pub(super) etag: Option<String>,
    /// The `Last-Modified`.
    pub(super) modified: Option<String>,
    /// When the latest object of a TAXII collection was added.
    pub(super) added: Option<String>,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
struct Foot {
    /// A digest of the address, in which a secret may be.
    source: String,
    #[serde(flatten)]
    validators: Validators,
}

/// A longer last line is none of ours.
const LONGEST_FOOT: u64 = 16 << 10;

/// What was fetched and nobody has understood yet.
#[derive(Debug)]
pub(super) struct Fetched {
    /// What the server said.
    pub(super) file: NamedTempFile,
    /// How to ask whether it still does.
    pub(super) validators: Validators,
}

impl Fetched {
    /// What the server said, from its beginning.
    pub(super) fn text(&mut self) -> io::Result<BufReader<&mut File>> {
        self.file.rewind()?;
        Ok(BufReader::with_capacity(BUFFER, self.file.as_file_mut()))
    }
}

/// So begins the name of a file that is still being fetched, and that of no feed.
const UNFINISHED: &str = ".";

/// So ends the name of a file that tells when a server was asked, and that of no feed.
const ASKED: &str = ".asked";

/// Where a feed is kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    path: PathBuf,
}

/// What is kept.
pub(super) struct Document {
    /// What the server said.
    pub(super) text: Take<BufReader<File>>,
    /// How to ask whether it still does.
    pub(super) validators: Validators,
    /// The file's state.
    pub(super) stamp: Stamp,
}

impl Kept {
    pub(super) fn new(state: &Path, name: &str) -> Self {
        Self {
            path: folder(state).join(name),
        }
    }

    /// Opens what is kept of that source; `None` where nothing is.
    pub(super) fn open(&self, source: &Url) -> io::Result<Option<Document>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let stamp = stamp(&file.metadata()?)?;
        let start = stamp.bytes.saturating_sub(LONGEST_FOOT);
        file.seek(SeekFrom::Start(start))?;
        let mut end = Vec::new();
        (&file).take(LONGEST_FOOT).read_to_end(&mut end)?;
        let Some(at) = memchr::memrchr(b'\n', &end) else {
            return Ok(None);
        };
        let foot = serde_json::from_slice::<Foot>(&end[at + 1..]).ok();
        let Some(foot) = foot.filter(|foot| foot.source == fingerprint(source)) else {
            return Ok(None);
        };
        file.rewind()?;
        Ok(Some(Document {
            text: BufReader::with_capacity(BUFFER, file).take(start + at as u64),
            validators: foot.validators,
            stamp,
        }))
    }

    /// Notes that this source is asked now.
    pub(super) fn ask(&self, source: &Url) -> io::Result<()> {
        self.make_folder()?;
        fs::write(self.asked_path(), fingerprint(source))
    }

    /// When that source was last asked, whatever came of it.
    pub(super) fn asked(&self, source: &Url) -> Option<Timestamp> {
        let of = fs::read_to_string(self.asked_path()).ok()?;
        let metadata = fs::metadata(self.asked_path()).ok()?;
        Some(stamp(&metadata).ok()?.written).filter(|_| of == fingerprint(source))
    }

    fn asked_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ASKED);
        path.into()
    }

    fn make_folder(&self) -> io::Result<&Path> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(folder)
    }

    /// A new file for what is being fetched, which is gone once nobody has it any more. Nothing else is touched by it: a
    /// fetch by former settings may still go on.
    pub(super) fn begin(&self) -> io::Result<NamedTempFile> {
        Builder::new().prefix(UNFINISHED).tempfile_in(self.make_folder()?)
    }

    /// Keeps what was fetched from now on, in the place of what was kept before.
    pub(super) fn keep(&self, fetched: Fetched, source: &Url) -> io::Result<Stamp> {
        let Fetched { mut file, validators } = fetched;
        let source = fingerprint(source);
        let foot = serde_json::to_string(&Foot { source, validators })?;
        file.seek(SeekFrom::End(0))?;
        write!(file, "\n{foot}")?;
        file.as_file().sync_all()?;
        let file = file.persist(&self.path)?;
        stamp(&file.metadata()?)
    }

    /// Notes that the server still says so.
    pub(super) fn confirm(&self) -> io::Result<Stamp> {
        let file = OpenOptions::new().append(true).open(&self.path)?;
        file.set_modified(SystemTime::now())?;
        stamp(&file.metadata()?)
    }
}

fn folder(state: &Path) -> PathBuf {
    state.join("fetched-feeds")
}

fn fingerprint(source: &Url) -> String {
    BASE64_STANDARD.encode(digest(&SHA256, source.as_str().as_bytes()))
}

/// Removes what is kept of feeds that are not fetched any more.
pub(super) fn remove_others(state: &Path, feeds: &Feeds) {
    remove(state, |name| {
        let feed = name.strip_suffix(ASKED).unwrap_or(name);
        let is_wanted = feeds.get(feed).is_some_and(FeedSettings::is_fetched);
        !is_wanted && !name.starts_with(UNFINISHED)
    });
}

/// Removes what an agent left that was killed while it fetched.
pub(super) fn remove_unfinished(state: &Path) {
    remove(state, |name| name.starts_with(UNFINISHED));
}

fn remove(state: &Path, is_unwanted: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder(state)).into_iter().flatten().flatten() {
        if is_unwanted(&entry.file_name().to_string_lossy()) {
            // What stays is no harm: nobody reads it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, time::Duration};

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn fetch(kept: &Kept, text: &str, validators: &Validators) -> Fetched {
        let mut file = kept.begin().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Fetched {
            file,
            validators: validators.clone(),
        }
    }

    fn text(kept: &Kept, source: &Url) -> Option<String> {
        let document = kept.open(source).unwrap()?;
        Some(io::read_to_string(document.text).unwrap())
    }

    #[test]
    fn what_was_kept_is_there_for_its_source_and_roots_alone() {
        let state = tempfile::tempdir().unwrap();
        let (kept, source) = (Kept::new(state.path(), "c2"), url("https://feeds.example/hunter2"));
        assert_eq!(text(&kept, &source), None);
        let validators = Validators {
            etag: Some("\"1\"".to_owned()),
            ..Validators::default()
        };
        for said in ["192.0.2.1\n", "", "no end of line", "{\n}\n\n"] {
            kept.keep(fetch(&kept, said, &validators), &source).unwrap();
            assert_eq!(text(&kept, &source).as_deref(), Some(said));
        }
        assert_eq!(kept.open(&source).unwrap().unwrap().validators, validators);
        assert_eq!(
            text(&kept, &url("https://feeds.example/other")),
            None,
            "of another source"
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder(state.path())), mode(&kept.path)), (0o700, 0o600));
        let written = fs::read_to_string(&kept.path).unwrap();
        assert!(!written.contains("hunter2"), "{written}");

        let fetched = fetch(&kept, "<html>", &validators);
        assert_eq!(text(&kept, &source).as_deref(), Some("{\n}\n\n"), "until it is kept");
        let mut feeds = Feeds::from([("c2".to_owned(), FeedSettings::default())]);
        feeds.get_mut("c2").unwrap().url = Some(source.clone());
        let count = || fs::read_dir(folder(state.path())).unwrap().count();
        remove_others(state.path(), &feeds);
        assert_eq!(count(), 2, "who fetches goes on");
        drop(fetched);
        assert_eq!(count(), 1);
        fs::write(folder(state.path()).join(".left"), "").unwrap();
        remove_unfinished(state.path());
        assert_eq!(count(), 1);
        feeds.get_mut("c2").unwrap().url = None;
        remove_others(state.path(), &feeds);
        assert_eq!(text(&kept, &source), None);
    }

    #[test]
    fn fetches_at_the_same_time_do_not_mingle() {
        let state = tempfile::tempdir().unwrap();
        let (kept, former, new) = (
            Kept::new(state.path(), "c2"),
            url("https://former.example/"),
            url("https://new.example/"),
        );
        let of_new = fetch(&kept, "192.0.2.1\n", &Validators::default());
        let of_former = fetch(&kept, "192.0.2.66\n", &Validators::default());
        drop(of_former);
        kept.keep(of_new, &new).unwrap();
        assert_eq!(text(&kept, &new).as_deref(), Some("192.0.2.1\n"));
        assert_eq!(text(&kept, &former), None);
    }

    #[test]
    fn a_confirmation_renews_the_time_and_nothing_else() {
        let state = tempfile::tempdir().unwrap();
        let (kept, source) = (Kept::new(state.path(), "c2"), url("https://feeds.example/"));
        let fetched = fetch(&kept, "192.0.2.1\n", &Validators::default());
        let first = kept.keep(fetched, &source).unwrap();
        let file = OpenOptions::new().append(true).open(&kept.path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(24)).unwrap();
        let confirmed = kept.confirm().unwrap();
        assert!(confirmed.written >= first.written);
        assert_eq!((confirmed.inode, confirmed.bytes), (first.inode, first.bytes));
        assert_eq!(text(&kept, &source).as_deref(), Some("192.0.2.1\n"));
    }

    #[test]
    fn when_a_source_was_asked_is_known_of_that_source() {
        let state = tempfile::tempdir().unwrap();
        let (kept, source) = (Kept::new(state.path(), "c2"), url("https://feeds.example/hunter2"));
        assert_eq!(kept.asked(&source), None);
        let before = Timestamp::now() - Duration::from_secs(2);
        kept.ask(&source).unwrap();
        assert!(kept.asked(&source).unwrap() > before);
        assert_eq!(kept.asked(&url("https://feeds.example/other")), None);
        let settings = FeedSettings {
            url: Some(source.clone()),
            ..FeedSettings::default()
        };
        remove_others(state.path(), &Feeds::from([("c2".to_owned(), settings)]));
        assert!(kept.asked(&source).is_some());
        remove_others(state.path(), &Feeds::new());
        assert_eq!(kept.asked(&source), None);
    }

    #[test]
    fn what_is_none_of_ours_is_not_read() {
        let state = tempfile::tempdir().unwrap();
        let (kept, source) = (Kept::new(state.path(), "c2"), url("https://feeds.example/"));
        for text_there in ["", "192.0.2.1", "192.0.2.1\n{\"source\":\"x\"}", "192.0.2.1\n{"] {
            let fetched = fetch(&kept, text_there, &Validators::default());
            fetched.file.persist(&kept.path).unwrap();
            assert_eq!(text(&kept, &source), None, "{text_there}");
        }
    }
}
