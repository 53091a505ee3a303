//! A file of settings: its values with their lines.

use std::{
    fs::{self, File},
    io::{self, Read},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;
use toml::{
    Spanned, Value,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{Origin, Reading, one_line};

/// A longer file is none of settings.
const LONGEST: u64 = 1 << 20;

/// Reads a file. Where it need not be there, it may be missing.
pub(super) fn read(path: &Path, required: bool, reading: &mut Reading) {
    let text = match text(path) {
        Ok(text) => text,
        Err(error) if !required && error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return cannot_be_read(path, &error, reading),
    };
    let file = SettingsFile { path, text: &text };
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        let span = error.span().unwrap_or_default();
        reading.problem(file.origin(&span), "", one_line(error.message()));
    }
    file.take(table.into_inner(), "", reading);
}

/// The drop-ins in a folder, in the order of their names. Hidden files are passed over.
pub(super) fn drop_ins(folder: &Path, reading: &mut Reading) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            cannot_be_read(folder, &error, reading);
            return Vec::new();
        }
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    let is_hidden = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml") && !is_hidden(path));
    paths.sort();
    paths
}

fn cannot_be_read(path: &Path, error: &io::Error, reading: &mut Reading) {
    let origin = Origin::File(path.to_owned(), 0);
    reading.problem(origin, "", format!("cannot be read: {error}"));
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("it has more than {LONGEST} bytes")));
    }
    Ok(text)
}

/// A file that was read.
struct SettingsFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl SettingsFile<'_> {
    /// Takes what stands in a section, and in those below it.
    fn take(&self, table: DeTable<'_>, section: &str, reading: &mut Reading) {
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let path = format!("{section}{}", key.get_ref());
            let below = format!("{path}.");
            let is_section = reading.known.iter().any(|setting| setting.is_within(&path));
            let origin = self.origin(&key.span());
            match value.into_inner() {
                DeValue::Table(table) if is_section => self.take(table, &below, reading),
                _ if is_section => reading.problem(origin, &path, "this is a section, not a setting".to_owned()),
                value => match owned(value) {
                    Ok(value) => reading.take(&path, value, origin),
                    Err(reason) => reading.problem(origin, &path, reason),
                },
            }
        }
    }

    fn origin(&self, span: &Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or_default();
        Origin::File(self.path.to_owned(), before.matches('\n').count() + 1)
    }
}

fn owned(value: DeValue<'_>) -> Result<Value, String> {
    let deserializer = ValueDeserializer::from(Spanned::new(0..0, value));
    Value::deserialize(deserializer).map_err(|error| one_line(error.message()))
}
