//! What can be set: every setting with its default and its meaning, told by the structures that parse them.

use std::fmt::Write as _;

use documented::{Documented, DocumentedFields};
use strsim::normalized_damerau_levenshtein;

use super::{Config, SECTIONS};
use crate::{intel::settings::FeedSettings, sinks};

/// A section of the file, and what its structure says of it.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name, such as `docker`; empty for what stands above all sections.
    pub name: &'static str,
    meaning: &'static str,
    fields: &'static [&'static str],
    meanings: &'static [&'static str],
}

/// Something that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name with that of its section, such as `docker.socket`.
    pub path: String,
    /// Its default, or what it is set to, as TOML writes it.
    pub value: String,
    /// What it means.
    pub meaning: &'static str,
}

impl Section {
    /// The section that `T` parses.
    pub const fn of<T: Documented + DocumentedFields>(name: &'static str) -> Self {
        Self {
            name,
            meaning: T::DOCS,
            fields: T::FIELD_NAMES,
            meanings: T::FIELD_DOCS,
        }
    }

    /// Whether it is that of this name.
    fn is(&self, name: &str) -> bool {
        fits(self.name, name) && fits_length(self.name, name)
    }

    fn meaning_of(&self, key: &str) -> Option<&'static str> {
        let at = self.fields.iter().position(|field| field.replace('_', "-") == key)?;
        self.meanings.get(at).copied()
    }
}

/// Every section, in the order of the file.
fn sections() -> impl Iterator<Item = &'static Section> {
    SECTIONS.iter().chain(sinks::SECTIONS)
}

/// Every setting with its default, in the order of the file.
pub fn settings() -> Vec<Setting> {
    let mut config = Config::default();
    config.feed.insert(NAME.to_owned(), FeedSettings::default());
    settings_of(&config)
}

/// What stands in a path for a name that its user gives.
pub const NAME: &str = "NAME";

fn fits_length(known: &str, written: &str) -> bool {
    known.matches('.').count() == written.matches('.').count()
}

/// Whether that is what a known path, or the beginning of one, means.
fn fits(known: &str, written: &str) -> bool {
    let mut known = known.split('.');
    written
        .split('.')
        .all(|word| known.next().is_some_and(|known| known == NAME || known == word))
}

/// Every setting with its value there. What is secret is not shown.
pub fn settings_of(config: &Config) -> Vec<Setting> {
    // What was parsed from TOML, or is a default, is written as TOML too.
    let text = toml::to_string(config).unwrap_or_default();
    let (mut settings, mut section) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, value)) = line.split_once(" = ") {
            let name = section.trim_end_matches('.');
            let known = sections().find(|section| section.is(name));
            settings.push(Setting {
                path: format!("{section}{key}"),
                value: value.to_owned(),
                meaning: known.and_then(|section| section.meaning_of(key)).unwrap_or_default(),
            });
        }
    }
    settings
}

impl Setting {
    /// The name of its section, and its own within.
    pub fn split(&self) -> (&str, &str) {
        self.path.rsplit_once('.').unwrap_or(("", &self.path))
    }

    /// Whether it is the one of that path.
    pub fn is(&self, path: &str) -> bool {
        fits(&self.path, path) && fits_length(&self.path, path)
    }

    /// Whether it is in a section of that path, or below it.
    pub fn is_within(&self, section: &str) -> bool {
        fits(&self.path, section) && !fits_length(&self.path, section)
    }

    /// Whether the other one is the same, of the same value.
    pub fn is_set_as(&self, other: &Self) -> bool {
        self.path == other.path && self.value == other.value
    }

    /// Whether its user gives its section a name: only a file can do that.
    pub fn is_of_named(&self) -> bool {
        self.path.split('.').any(|word| word == NAME)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("TOCSIN_{}", self.path.to_uppercase().replace(['.', '-'], "_"))
    }

    /// What it means, and when a change takes effect if that is not at once.
    fn documented(&self) -> String {
        let when = if Config::is_read_at_start(&self.path) {
            " (At start.)"
        } else {
            ""
        };
        format!("{}{when}", self.meaning)
    }

    /// What its values are, by the one that it has.
    pub fn kind(&self) -> &'static str {
        match self.value.as_bytes() {
            [b'"' | b'\'', ..] => "a text",
            [b'[', ..] => "a list of texts",
            [b't' | b'f', ..] => "true or false",
            _ => "a number",
        }
    }
}

/// The known name that somebody may have meant.
pub fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |name: &str| {
        let of_all = normalized_damerau_levenshtein(written, name);
        // The right name in the wrong section.
        let of_last = normalized_damerau_levenshtein(&last(written), &last(name)) * 0.9;
        of_all.max(of_last)
    };
    let graded = known.map(|name| (likeness(name), name));
    let (likeness, name) = graded.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (likeness >= 0.6).then_some(name)
}

/// The file that says the defaults, each with its meaning.
pub fn default_file() -> String {
    let mut file = String::from(
        "# How tocsin works. Each line that begins with `#` and a name shows a default: remove the `#` to change it.\n\
         # `tocsin config check` says what is wrong with this file, `tocsin config show` what is in force and why.\n\
         # A change takes effect when the file is saved, or at SIGHUP; where it says so, only at the next start.\n",
    );
    let mut section = "";
    for setting in settings() {
        let (name, key) = setting.split();
        let meaning = setting.documented();
        if name != section {
            let known = sections().find(|section| section.name == name);
            section = known.map_or("", |section| section.name);
            let meaning = known.map_or("", |section| section.meaning);
            // As a section it would be there.
            let mark = if setting.is_of_named() { "#" } else { "" };
            _ = write!(file, "\n\n{}\n{mark}[{name}]", comment(meaning));
        }
        _ = write!(file, "\n{}\n#{key} = {}\n", comment(&meaning), setting.value);
    }
    file
}

fn comment(text: &str) -> String {
    text.lines()
        .map(|line| format!("# {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The page of the documentation that lists every setting.
pub fn page() -> String {
    let mut page = String::from(include_str!("definition/page.md"));
    let mut section = None;
    for setting in settings() {
        let (name, key) = setting.split();
        if section.as_deref() != Some(name) {
            let known = sections().find(|section| section.name == name);
            let meaning = known.map_or("", |section| section.meaning).replace('\n', " ");
            if name.is_empty() {
                page.push_str("\n## Above all sections\n");
            } else {
                _ = write!(page, "\n## `[{name}]`\n\n{meaning}\n");
            }
            page.push_str("\n| setting | default | meaning |\n|---|---|---|\n");
            section = Some(name.to_owned());
        }
        let meaning = setting.documented().replace('\n', " ").replace('|', "\\|");
        _ = writeln!(page, "| `{key}` | `{}` | {meaning} |", setting.value);
    }
    page
}
