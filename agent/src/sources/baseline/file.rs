//! The file that holds what was learned: JSON with a version, replaced as a whole.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{BufWriter, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use crate::{
    enrich::{
        baseline::{ALL_BEHAVIOURS, SUBJECTS},
        login::SIGHTS,
    },
    event::baseline::Learned,
};

/// The form that is written, and the only one that is read.
const VERSION: u32 = 1;

/// A larger file is not read: the table's bounds keep it below.
const LARGEST: u64 = 64 << 20;

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    #[serde(flatten)]
    learned: &'a Learned,
}

#[derive(Deserialize)]
struct Stored {
    version: u32,
    #[serde(flatten)]
    learned: Learned,
}

/// Where it lies in the folder of the agent's state.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("baseline.json")
}

/// What that folder holds; `None` where nothing was ever kept. A broken file is set aside under another name, which the
/// error tells.
pub fn load(folder: &Path) -> Result<Option<Learned>> {
    let path = path(folder);
    match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        Ok(_) => {}
    }
    read(&path).map(Some).or_else(|error| {
        let aside = path.with_extension("json.broken");
        fs::rename(&path, &aside).with_context(|| format!("cannot set {} aside", path.display()))?;
        Err(error.context(format!("set aside as {}", aside.display())))
    })
}

/// Reads such a file, wherever it lies.
pub fn read(path: &Path) -> Result<Learned> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    // Not by its length: a pipe has none.
    let mut text = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        text.len() as u64 <= LARGEST,
        "{} has more than {LARGEST} bytes: more than was ever written",
        path.display()
    );
    let read: Stored = serde_json::from_slice(&text).with_context(|| format!("{} is no baseline", path.display()))?;
    let version = read.version;
    ensure!(
        version == VERSION,
        "{} is of version {version}, this agent reads {VERSION}",
        path.display()
    );
    check(&read.learned).with_context(|| format!("{} is refused", path.display()))?;
    Ok(read.learned)
}

/// Whether a table can hold it, or could some versions ago: nothing larger comes to the stream, which would be busy with it
/// while everything else waits.
pub(super) fn check(learned: &Learned) -> Result<()> {
    let images = learned.subjects.len();
    let behaviours: usize = learned.subjects.values().map(|subject| subject.behaviours.len()).sum();
    ensure!(
        images <= 4 * SUBJECTS && behaviours <= 4 * ALL_BEHAVIOURS,
        "{images} images with {behaviours} behaviours: more than a table holds ({SUBJECTS}, {ALL_BEHAVIOURS})"
    );
    let sights = learned.logins.len();
    ensure!(
        sights <= 4 * SIGHTS.get(),
        "{sights} who logged in: more than a table holds ({SIGHTS})"
    );
    Ok(())
}

/// Writes it into that folder, which is made if need be: for root alone, complete or not at all.
pub fn store(folder: &Path, learned: &Learned) -> Result<()> {
    let path = path(folder);
    make(folder)?;
    replace(&path, |file| write(file, learned))
}

/// Writes it as one JSON document.
pub fn write(mut output: impl std::io::Write, learned: &Learned) -> Result<()> {
    let version = VERSION;
    serde_json::to_writer(&mut output, &Written { version, learned })?;
    output.write_all(b"\n")?;
    Ok(())
}

/// Makes a folder that is root's alone.
pub(in crate::sources) fn make(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make {}", folder.display()))
}

/// Whether such a folder, or what it would be made in, can be written to at all. Whether there is room shows when it is.
pub(super) fn may_be_written(folder: &Path) -> Result<()> {
    let there = folder.ancestors().find(|above| above.exists());
    let there = there.unwrap_or(Path::new("/"));
    access(there, Access::WRITE_OK).with_context(|| format!("cannot write to {}", there.display()))
}

/// Replaces a file in one step: whoever reads it, or finds it after a power cut, has the old one or the new one.
pub(in crate::sources) fn replace(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let new = path.with_extension("new");
    // One that an agent left that was killed. The file is made anew, so that its mode is ours.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", new.display()));
        }
        _ => {}
    }
    let written = (|| {
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let mut output = BufWriter::new(created);
        fill(&mut output)?;
        output.flush()?;
        output.get_ref().sync_all()?;
        fs::rename(&new, path)?;
        Ok(())
    })();
    written
        .inspect_err(|_: &anyhow::Error| {
            // Half a file on a full disk helps nobody; that it could not be written is said already.
            let _ = fs::remove_file(&new);
        })
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("state");
        (above, folder)
    }

    #[test]
    fn what_is_stored_is_loaded_again_and_is_roots_alone() {
        let (_above, folder) = folder();
        assert_eq!(load(&folder).unwrap(), None);
        let learned = crate::enrich::baseline::sample();
        for _ in 0..2 {
            store(&folder, &learned).unwrap();
            assert_eq!(load(&folder).unwrap().as_ref(), Some(&learned));
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&path(&folder))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_broken_file_is_set_aside_and_said_in_one_line() {
        let (_above, folder) = folder();
        fs::create_dir(&folder).unwrap();
        for (text, reason) in [
            ("{", "is no baseline: EOF while parsing"),
            (r#"{"version":2,"subjects":{}}"#, "is of version 2, this agent reads 1"),
            (r#"{"version":1,"subjects":{"x":{}}}"#, "is no baseline: missing field"),
        ] {
            fs::write(path(&folder), text).unwrap();
            let error = format!("{:#}", load(&folder).unwrap_err());
            assert!(error.starts_with("set aside as ") && error.contains(reason), "{error}");
            assert!(!error.contains('\n') && !path(&folder).exists(), "{error}");
            assert_eq!(fs::read_to_string(folder.join("baseline.json.broken")).unwrap(), text);
            assert_eq!(load(&folder).unwrap(), None);
        }
    }

    #[test]
    fn what_no_table_holds_is_refused() {
        let (_above, folder) = folder();
        let subject = crate::enrich::baseline::sample().subjects.pop_first().unwrap().1;
        let many = (0..=4 * SUBJECTS).map(|number| (number.to_string().into(), subject.clone()));
        let mut learned = Learned {
            subjects: many.collect(),
            logins: Vec::new(),
        };
        store(&folder, &learned).unwrap();
        let error = format!("{:#}", read(&path(&folder)).unwrap_err());
        assert!(
            error.contains("2049 images with 4098 behaviours: more than a table holds"),
            "{error}"
        );
        learned.subjects.pop_first();
        store(&folder, &learned).unwrap();
        assert_eq!(read(&path(&folder)).unwrap(), learned);
    }

    #[test]
    fn what_never_ends_is_not_read_for_ever() {
        let error = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("more than was ever written"), "{error}");
    }

    #[test]
    fn what_cannot_be_written_leaves_the_former() {
        let (_above, folder) = folder();
        store(&folder, &crate::enrich::baseline::sample()).unwrap();
        let former = fs::read(path(&folder)).unwrap();
        let full = replace(&path(&folder), |file| {
            file.write_all(b"{")?;
            anyhow::bail!("no space left")
        });
        let error = format!("{:#}", full.unwrap_err());
        assert!(error.ends_with("no space left"), "{error}");
        assert_eq!(fs::read(path(&folder)).unwrap(), former);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}
