//! Rule files: reads the folders, and loads them anew when something in them changes or somebody says so (SIGHUP).

use std::{
    fs,
    hash::{BuildHasher as _, BuildHasherDefault},
    path::{self, Path, PathBuf},
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use rustc_hash::FxHasher;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::spawn_blocking,
};
use tracing::{info, warn};

use super::{stillness::Stillness, wall_clock};
use crate::{
    alert::redact::Redactor,
    config::{Config, layers::Problems},
    detect::{
        Rules,
        builtin::{self, is_rule},
        document::RuleFile,
        load,
        problem::{Problem, Severity},
    },
};

/// How deep folders are read, so that a link to a folder above ends somewhere.
const DEEPEST: usize = 8;

/// What came of loading the rules or the configuration anew.
#[derive(Debug)]
pub enum Reloaded {
    /// A new set, with what its files should know. The stream puts it in force between two events.
    Rules(Box<Rules>, Vec<Problem>),
    /// There are errors: the set that was in force stays.
    Refused(Vec<Problem>),
    /// Another configuration, what blots out secrets by it, and which of its settings are new.
    Settings(Box<Config>, Box<Redactor>, Vec<String>),
    /// The configuration has errors: the one that was in force stays.
    SettingsRefused(Problems),
}

/// A set of rules as it was first loaded.
#[derive(Debug)]
pub struct Loaded {
    /// All that can be in force, whatever else is wrong.
    pub rules: Rules,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What [`watch`] must know of it.
    pub in_force: InForce,
}

/// What is to be known of the rules in force to see whether they still are what they should be.
#[derive(Debug)]
pub struct InForce {
    /// What the files said when they were last read, to know a change by.
    fingerprint: u64,
    /// When the next exception ends.
    next_expiry: Option<Timestamp>,
    /// The files, to make the set anew without that exception; none if no exception ends.
    files: Vec<RuleFile>,
}

/// Reads the built-in rules and those in the folders, and makes a set of them as it is in force now.
pub fn load_all(folders: &[PathBuf]) -> Loaded {
    let (files, mut problems) = read(folders);
    let (rules, more) = load(&files, Timestamp::now());
    problems.extend(more);
    let mut in_force = InForce {
        fingerprint: fingerprint(&files),
        next_expiry: None,
        files: Vec::new(),
    };
    in_force.taken_up(&rules, files);
    Loaded {
        rules,
        problems,
        in_force,
    }
}

/// The built-in rule files and those in the folders, in the order of their paths. A folder that does not exist holds
/// none.
pub fn read(folders: &[PathBuf]) -> (Vec<RuleFile>, Vec<Problem>) {
    let (mut files, mut problems) = (builtin::rules(), Vec::new());
    for folder in folders {
        let mut paths = Vec::new();
        find(folder, DEEPEST, &mut paths, &mut problems);
        paths.sort();
        for path in paths {
            match fs::read_to_string(&path) {
                Ok(text) => files.push(RuleFile {
                    path,
                    text,
                    built_in: false,
                }),
                Err(error) => problems.push(unreadable(&path, &error)),
            }
        }
    }
    (files, problems)
}

/// Finds rule files. Hidden entries are passed over: a Kubernetes volume holds each file twice, once under such a name.
fn find(path: &Path, depth: usize, paths: &mut Vec<PathBuf>, problems: &mut Vec<Problem>) {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return paths.push(path.to_owned()),
        Err(error) => return problems.push(unreadable(path, &error)),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() && depth > 0 {
            find(&path, depth - 1, paths, problems);
        } else if path.is_file() && is_rule(&path) {
            paths.push(path);
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem {
        file: path.to_owned(),
        line: 1,
        reason: format!("cannot be read: {error}"),
        severity: Severity::Error,
    }
}

/// Watches the folders until nobody listens any more, loads what differs from what is in force, and ends exceptions when
/// their time has come. A folder may come and go, and others take the place of all of them.
pub async fn watch(
    mut folders: watch::Receiver<Vec<PathBuf>>,
    mut in_force: InForce,
    sender: mpsc::Sender<Reloaded>,
) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let (notice, mut changes) = mpsc::channel(1);
    let (mut told, mut stillness) = (false, Stillness::default());
    // Once nobody can name other folders, these stay.
    let mut others = true;
    loop {
        let named = folders.borrow_and_update().clone();
        // Watched first and read then: what changes in between is noticed. Where the kernel gives no more watches,
        // SIGHUP still works.
        let watcher = watcher(&named, notice.clone());
        if let Err(error) = &watcher {
            warn!("changed rules are only taken up on SIGHUP: {error:#}");
        }
        let (files, problems) = spawn_blocking(move || read(&named)).await?;
        let now = fingerprint(&files);
        if told || now != in_force.fingerprint {
            in_force.fingerprint = now;
            let (reloaded, files) = spawn_blocking(move || (reload(&files, problems), files)).await?;
            if let Reloaded::Rules(rules, _) = &reloaded {
                in_force.taken_up(rules, files);
            }
            if sender.send(reloaded).await.is_err() {
                return Ok(());
            }
        }
        told = loop {
            tokio::select! {
                _ = hangup.recv() => break true,
                () = stillness.after(&mut changes) => break false,
                named = folders.changed(), if others => {
                    others = named.is_ok();
                    if others {
                        break false;
                    }
                    continue;
                }
                () = sender.closed() => return Ok(()),
                timer = wall_clock::until(in_force.next_expiry) => timer?,
            }
            if sender.send(in_force.expire().await?).await.is_err() {
                return Ok(());
            }
        };
    }
}

impl InForce {
    /// These rules are in force from now on.
    fn taken_up(&mut self, rules: &Rules, files: Vec<RuleFile>) {
        self.next_expiry = rules.expiries().next;
        self.files = if self.next_expiry.is_some() { files } else { Vec::new() };
    }

    /// Makes the set anew without the exceptions that have ended. Of the files nothing is read: what is wrong with them
    /// by now must not prolong an exception.
    async fn expire(&mut self) -> Result<Reloaded> {
        let files = std::mem::take(&mut self.files);
        let made = spawn_blocking(move || (load(&files, Timestamp::now()), files));
        let ((rules, problems), files) = made.await?;
        for ended in &rules.expiries().ended {
            info!("{ended}");
        }
        self.taken_up(&rules, files);
        Ok(Reloaded::Rules(Box::new(rules), problems))
    }
}

fn reload(files: &[RuleFile], mut problems: Vec<Problem>) -> Reloaded {
    let (rules, more) = load(files, Timestamp::now());
    problems.extend(more);
    if problems.iter().any(Problem::is_error) {
        return Reloaded::Refused(problems);
    }
    Reloaded::Rules(Box::new(rules), problems)
}

/// Whether files say the same as before, without keeping all of their text.
fn fingerprint(files: &[RuleFile]) -> u64 {
    let files = files.iter().map(|file| (&file.path, &file.text));
    BuildHasherDefault::<FxHasher>::default().hash_one(files.collect::<Vec<_>>())
}

/// Gives notice of changes in the folders; of one that does not exist, when the first folder on the way to it appears.
pub(super) fn watcher(folders: &[PathBuf], notice: mpsc::Sender<()>) -> Result<RecommendedWatcher> {
    // What is told of is so named as it is watched; and a relative name has no folder on the way to it.
    let folders = folders.iter().map(path::absolute).collect::<Result<Vec<_>, _>>()?;
    let wanted = folders.clone();
    let concerns = move |path: &PathBuf| {
        wanted
            .iter()
            .any(|folder| path.starts_with(folder) || folder.starts_with(path))
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error is taken for a change. Our own reading is none.
        let changed = event.map_or(true, |event| {
            !event.kind.is_access() && event.paths.iter().any(&concerns)
        });
        if changed {
            // One notice that waits is as good as two.
            let _ = notice.try_send(());
        }
    })
    .context("cannot watch for changes of rules")?;
    for folder in &folders {
        let (path, mode) = if folder.exists() {
            (folder.as_path(), RecursiveMode::Recursive)
        } else {
            let above = folder.ancestors().find(|above| above.is_dir());
            (above.unwrap_or(Path::new("/")), RecursiveMode::NonRecursive)
        };
        watcher
            .watch(path, mode)
            .with_context(|| format!("cannot watch {}", path.display()))?;
    }
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;
    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;
    use crate::{event::recorded::event_from_line, observed::Observed};

    const RULE: &str = "title: A rule\nid: 11111111-1111-4111-8111-111111111111\nname: a-rule\n\
        logsource: {product: linux, category: process_creation}\ndetection:\n    selection: {Image: /bin/x}\n    \
        condition: selection\n";

    #[test]
    fn files_are_found_in_order_and_hidden_ones_are_not() {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("b/deep")).unwrap();
        fs::create_dir(at("..data")).unwrap();
        for name in [
            "b/deep/2.yaml",
            "a.yml",
            "..data/a.yml",
            ".swap.yml",
            "notes.txt",
            "a.jsonl",
        ] {
            fs::write(at(name), RULE).unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), at("b/above")).unwrap();
        let (files, problems) = read(&[folder.path().into()]);
        let found: Vec<_> = files
            .iter()
            .filter(|file| !file.built_in)
            .map(|file| &file.path)
            .collect();
        assert_eq!((found[0], problems.len()), (&at("a.yml"), 0));
        assert!(found.contains(&&at("b/deep/2.yaml")));
        assert!(
            found.iter().all(|path| path.components().count() < 40),
            "a link to a folder above ends somewhere"
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_and_what_is_not_there_is_not() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("a.yml"), [0xff, 0xfe]).unwrap();
        let (_, problems) = read(&[folder.path().into(), folder.path().join("none")]);
        let [problem] = &problems[..] else {
            panic!("{problems:?}")
        };
        assert_eq!(problem.reason, "cannot be read: stream did not contain valid UTF-8");
    }

    /// An exception to everything of [`RULE`], which ends so many milliseconds from now.
    fn exception(milliseconds: i64) -> String {
        let end = Timestamp::now() + SignedDuration::from_millis(milliseconds);
        format!(
            "title: For now\nlogsource: {{category: process_creation}}\nfilter:\n    rules: [a-rule]\n    \
             selection: {{Image: /bin/x}}\n    condition: not selection\ntocsin: {{expires: '{end}'}}\n"
        )
    }

    #[tokio::test]
    async fn an_exception_ends_while_the_agent_runs_even_if_its_file_is_broken_by_then() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("a.yml"), RULE).unwrap();
        fs::write(folder.path().join("b.yml"), exception(1500)).unwrap();
        let folders = vec![folder.path().to_owned()];
        let Loaded {
            mut rules, in_force, ..
        } = load_all(&folders);
        let event = event_from_line(r#"{"time":1,"category":"process_creation","Image":"/bin/x"}"#).unwrap();
        let mut event = Observed::from(event);
        assert!(rules.judge(&mut event).is_empty());
        let (sender, mut reloads) = mpsc::channel(4);
        let (_folders, folders) = watch::channel(folders);
        tokio::spawn(watch(folders, in_force, sender));
        let mut next = async || timeout(Duration::from_secs(20), reloads.recv()).await.unwrap().unwrap();
        fs::write(folder.path().join("b.yml"), "title: [").unwrap();
        assert!(matches!(next().await, Reloaded::Refused(_)));
        let Reloaded::Rules(mut rules, problems) = next().await else {
            panic!("refused")
        };
        assert_eq!(rules.judge(&mut event).len(), 1);
        let [ended] = &problems[..] else { panic!("{problems:?}") };
        assert!(
            ended.to_string().contains("b.yml:7: note: the exception ended at "),
            "{ended}"
        );
        assert_eq!(rules.expiries().next, None);
    }

    #[tokio::test]
    async fn what_is_named_relative_to_the_current_folder_is_watched_too() {
        let folder = TempDir::new_in(".").unwrap();
        let relative = folder.path().strip_prefix(std::env::current_dir().unwrap()).unwrap();
        let (notice, mut changes) = mpsc::channel(1);
        for path in [relative.join("there"), relative.join("not-yet")] {
            if path.ends_with("there") {
                fs::write(&path, "").unwrap();
            }
            let _watcher = watcher(std::slice::from_ref(&path), notice.clone()).unwrap();
            fs::write(&path, RULE).unwrap();
            timeout(Duration::from_secs(20), changes.recv()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_change_comes_into_force_and_an_error_does_not() {
        let folder = TempDir::new().unwrap();
        let rules = folder.path().join("rules.d");
        let (sender, mut reloads) = mpsc::channel(4);
        let folders = vec![rules.clone()];
        let known = load_all(&folders).in_force;
        let (_folders, folders) = watch::channel(folders);
        let watching = tokio::spawn(watch(folders, known, sender));
        let mut next = async || timeout(Duration::from_secs(20), reloads.recv()).await.unwrap().unwrap();
        // The folder comes into being while it is being watched for.
        fs::create_dir(&rules).unwrap();
        fs::write(rules.join("a.yml"), RULE).unwrap();
        let Reloaded::Rules(loaded, _) = next().await else {
            panic!("refused")
        };
        assert_eq!(loaded.find("a-rule").len(), 1);
        fs::write(rules.join("b.yml"), "title: [").unwrap();
        let Reloaded::Refused(problems) = next().await else {
            panic!("not refused")
        };
        assert_eq!(problems[0].file, rules.join("b.yml"));
        fs::remove_file(rules.join("b.yml")).unwrap();
        assert!(matches!(next().await, Reloaded::Rules(..)));
        drop(reloads);
        timeout(Duration::from_secs(20), watching)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}
