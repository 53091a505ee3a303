//! The files of an OpenSSH server's configuration: the first one, and those that it includes.

use std::path::{Path, PathBuf};

use super::{
    Settings,
    settings::{Scope, words},
};
use crate::sources::looks::inside::Inside;

/// Files that are read, of any length in all.
const FILES: usize = 64;
const BYTES: u64 = 512 << 10;

/// Files that include each other (`sshd_config(5)` ends at as many).
const DEPTH: usize = 16;

/// Names in a folder that is searched for files to include.
const NAMES: usize = 1_024;

/// Where paths of included files begin that are not absolute.
const FOLDER: &str = "/etc/ssh";

/// What was read so far.
pub(super) struct Reading<'a> {
    inside: &'a Inside,
    /// What it says.
    pub(super) settings: Settings,
    files: usize,
    bytes: u64,
}

impl<'a> Reading<'a> {
    /// Nothing was read.
    pub(super) fn new(inside: &'a Inside) -> Self {
        Self {
            inside,
            settings: Settings::default(),
            files: 0,
            bytes: 0,
        }
    }

    /// Reads a file and all that it includes; `None` if some of it cannot be read.
    pub(super) fn file(&mut self, path: &Path) -> Option<()> {
        self.within(path, Scope::Global, 0)
    }

    fn within(&mut self, path: &Path, outer: Scope, depth: usize) -> Option<()> {
        self.files += 1;
        if self.files > FILES || depth > DEPTH {
            return None;
        }
        let text = self.inside.read(path, BYTES - self.bytes);
        let text = text.map_err(|error| tracing::debug!(?path, %error, "not read")).ok()?;
        self.bytes += text.len() as u64;
        let mut scope = outer;
        for (keyword, values) in text.lines().filter_map(words) {
            match &*keyword {
                "match" => scope = self.settings.begin(outer, &values),
                "include" => {
                    for pattern in &values {
                        for file in self.matching(&Path::new(FOLDER).join(pattern))? {
                            self.within(&file, scope, depth + 1)?;
                        }
                    }
                }
                keyword => self.settings.say_within(scope, keyword, &values),
            }
        }
        Some(())
    }

    /// The files of that pattern, in order; `None` if that cannot be told.
    fn matching(&self, pattern: &Path) -> Option<Vec<PathBuf>> {
        let (folder, name) = (pattern.parent()?, pattern.file_name()?.to_str()?);
        let has = |path: &str, letters: &[char]| path.contains(letters);
        if has(folder.to_str()?, &['*', '?', '[', '\\']) || has(name, &['[', '\\']) {
            return None;
        }
        let names = match self.inside.names(folder, NAMES) {
            Ok(names) => names,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(Vec::new()),
            Err(_) => return None,
        };
        let names = names.iter().filter_map(|name| name.to_str());
        let mut files: Vec<_> = names
            .filter(|found| fits(found, name))
            .map(|name| folder.join(name))
            .collect();
        files.sort();
        Some(files)
    }
}

/// Whether a file's name is of that pattern, as a shell reads it.
fn fits(name: &str, pattern: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = without_beginning(name, first) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        let found = rest
            .char_indices()
            .find_map(|(place, _)| without_beginning(&rest[place..], part));
        match found {
            Some(after) => rest = after,
            None if part.is_empty() => {}
            None => return false,
        }
    }
    let ends = |place: usize| without_beginning(&rest[place..], last).is_some_and(str::is_empty);
    last.is_empty() || rest.char_indices().any(|(place, _)| ends(place))
}

/// The rest of a name that begins so; a `?` is any letter.
fn without_beginning<'a>(name: &'a str, beginning: &str) -> Option<&'a str> {
    let mut letters = name.chars();
    let fit = beginning
        .chars()
        .all(|wanted| letters.next().is_some_and(|letter| wanted == '?' || wanted == letter));
    fit.then_some(letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_as_shells_do() {
        for (name, pattern, expected) in [
            ("a.conf", "*.conf", true),
            ("a.conf", "a.conf", true),
            ("a.conf.bak", "*.conf", false),
            ("a.conf", "a*", true),
            ("50-cloud.conf", "??-*.conf", true),
            ("50-cloud.conf", "5*cl*d*.conf", true),
            ("50-cloud.conf", "5*x*.conf", false),
            (".a.conf", "*.conf", false),
            (".a.conf", ".*", true),
            ("", "*", true),
            ("ä.conf", "?.conf", true),
        ] {
            assert_eq!(fits(name, pattern), expected, "{name} {pattern}");
        }
    }
}
