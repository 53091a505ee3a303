//! Where settings come from: the defaults, the file, its drop-ins, the environment, the command line. Later ones win,
//! setting by setting; a list takes the place of the former list.

mod file;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    env, fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize as _;
use toml::{Table, Value};

use super::{
    Config, DEFAULT_FILE,
    definition::{NAME, Setting, nearest, settings},
};

/// What is to be read.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The file, which must be there; `None`: the usual one, if it is there. Drop-ins stand in the folder of its name with
    /// `.d` behind it.
    pub file: Option<PathBuf>,
    /// Variables of the environment that may concern settings.
    pub environment: Vec<(String, String)>,
    /// What the command line says.
    pub flags: Vec<Flag>,
}

/// A setting on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The flag, such as `--min-level`.
    pub name: &'static str,
    /// The setting that it stands for.
    pub path: &'static str,
    /// What it sets.
    pub value: Value,
}

/// The configuration in force, and where it comes from.
#[derive(Debug)]
pub struct Effective {
    /// What it is.
    pub config: Config,
    /// What may be a mistake.
    pub warnings: Vec<Problem>,
    origins: BTreeMap<String, Origin>,
}

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In that line of a file; 0: the file as a whole.
    File(PathBuf, usize),
    /// In a variable of the environment.
    Environment(String),
    /// On the command line.
    Flag(&'static str),
}

/// Something that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// The setting, if it is about one.
    pub path: String,
    /// What.
    pub reason: String,
}

/// All that is wrong with a configuration, which therefore is not in force.
#[derive(Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// Prefix of variables that set something.
const PREFIX: &str = "TOCSIN_";

/// Variables of that prefix that are no settings.
const OTHER_VARIABLES: [&str; 1] = ["TOCSIN_LOG"];

impl Layers {
    /// That file, with the environment of this process.
    pub fn new(file: Option<PathBuf>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            Some((name, value.to_string_lossy().into_owned()))
        };
        Self {
            file,
            environment: env::vars_os().filter_map(text).collect(),
            flags: Vec::new(),
        }
    }

    /// Sets something on the command line.
    pub fn set(&mut self, name: &'static str, path: &'static str, value: Value) {
        self.flags.push(Flag { name, path, value });
    }

    /// The file, whether it is there or not.
    pub fn path(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE))
    }

    /// The folder of the drop-ins.
    pub fn folder(&self) -> PathBuf {
        self.path().with_added_extension("d")
    }

    /// What is wrong with a setting, from an error that begins with its name.
    pub fn problem(&self, effective: &Effective, error: &anyhow::Error) -> Problem {
        let reason = format!("{error:#}");
        let (path, reason) = reason.split_once(": ").unwrap_or(("", &reason));
        let origin = match effective.origin(path) {
            Origin::Default => Origin::File(self.path().to_owned(), 0),
            origin => origin.clone(),
        };
        Problem {
            origin,
            path: path.to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// Reads it all, and says all that is wrong.
    pub fn read(&self) -> Result<Effective, Problems> {
        let mut reading = Reading::default();
        file::read(self.path(), self.file.is_some(), &mut reading);
        for path in file::drop_ins(&self.folder(), &mut reading) {
            file::read(&path, true, &mut reading);
        }
        for (name, value) in &self.environment {
            reading.take_variable(name, value);
        }
        for Flag { name, path, value } in &self.flags {
            reading.take(path, value.clone(), Origin::Flag(name));
        }
        reading.finish()
    }
}

/// What was read so far.
struct Reading {
    known: Vec<Setting>,
    values: BTreeMap<String, (Value, Origin)>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            known: settings(),
            values: BTreeMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

impl Reading {
    /// Takes a value, if it is one for that setting.
    fn take(&mut self, path: &str, value: Value, origin: Origin) {
        let Some(setting) = self.known.iter().find(|setting| setting.is(path)) else {
            let name = path.split('.').nth(1).unwrap_or(NAME);
            let known = self.known.iter();
            let known = known.flat_map(|setting| [setting.path.as_str(), setting.split().0]);
            let known: Vec<_> = known.map(|known| known.replace(NAME, name)).collect();
            let reason = match nearest(path, known.iter().map(String::as_str)) {
                Some(nearest) => format!("there is no such setting; did you mean {nearest}?"),
                None => "there is no such setting".to_owned(),
            };
            return self.problem(origin, path, reason);
        };
        match try_out(path, setting, &value) {
            Ok(()) => _ = self.values.insert(path.to_owned(), (value, origin)),
            Err(reason) => self.problem(origin, path, reason),
        }
    }

    /// Takes a variable: a text as it is, everything else as TOML writes it. One that sets nothing is no error, since
    /// others put variables into the environment too (Kubernetes does so for a service of the agent's name).
    fn take_variable(&mut self, name: &str, value: &str) {
        let origin = Origin::Environment(name.to_owned());
        let mut known = self.known.iter().filter(|setting| !setting.is_of_named());
        let Some(setting) = known.find(|setting| setting.variable() == name) else {
            // Less the prefix, which makes all of them alike.
            let known: Vec<_> = self.known.iter().map(Setting::variable).collect();
            let known = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
            let nearest = name.strip_prefix(PREFIX).and_then(|written| nearest(written, known));
            if let Some(nearest) = nearest.filter(|_| !OTHER_VARIABLES.contains(&name)) {
                self.warnings.push(Problem {
                    origin,
                    path: String::new(),
                    reason: format!("sets nothing; did you mean {PREFIX}{nearest}?"),
                });
            }
            return;
        };
        let text = Value::String(value.to_owned());
        let value = match try_out(&setting.path, setting, &text) {
            Ok(()) => text,
            Err(_) => value.parse().unwrap_or(text),
        };
        let path = setting.path.clone();
        self.take(&path, value, origin);
    }

    fn problem(&mut self, origin: Origin, path: &str, reason: String) {
        self.problems.push(Problem {
            origin,
            path: path.to_owned(),
            reason,
        });
    }

    fn finish(self) -> Result<Effective, Problems> {
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        let (mut table, mut origins) = (Table::new(), BTreeMap::new());
        for (path, (value, origin)) in self.values {
            insert(&mut table, &path, value);
            origins.insert(path, origin);
        }
        let config = Config::deserialize(table).map_err(|error| {
            Problems(vec![Problem {
                origin: Origin::Default,
                path: String::new(),
                reason: one_line(error.message()),
            }])
        })?;
        let contradictions = config.contradictions().into_iter().map(|(path, reason)| Problem {
            origin: origins.get(&path).cloned().unwrap_or(Origin::Default),
            path,
            reason,
        });
        let contradictions: Vec<_> = contradictions.collect();
        if !contradictions.is_empty() {
            return Err(Problems(contradictions));
        }
        Ok(Effective {
            config,
            warnings: self.warnings,
            origins,
        })
    }
}

/// Whether a setting takes that value: what would parse all of them parses this one alone.
fn try_out(path: &str, setting: &Setting, value: &Value) -> Result<(), String> {
    let mut table = Table::new();
    insert(&mut table, path, value.clone());
    let Err(error) = Config::deserialize(table) else {
        return Ok(());
    };
    if !error.message().starts_with("invalid type") {
        return Err(one_line(error.message()));
    }
    let (kind, default) = (setting.kind(), &setting.value);
    Err(format!(
        "expected {kind}, such as {default}, but it is of the type {}",
        value.type_str()
    ))
}

/// Puts a value to its place among the tables.
fn insert(table: &mut Table, path: &str, value: Value) {
    let Some((section, rest)) = path.split_once('.') else {
        table.insert(path.to_owned(), value);
        return;
    };
    let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(inner) = inner {
        insert(inner, rest, value);
    }
}

fn one_line(message: &str) -> String {
    message.trim().replace('\n', " ")
}

impl Effective {
    /// Where a setting comes from.
    pub fn origin(&self, path: &str) -> &Origin {
        self.origins.get(path).unwrap_or(&Origin::Default)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path, 0) => write!(formatter, "{}", path.display()),
            Self::File(path, line) => write!(formatter, "{}:{line}", path.display()),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::Flag(name) => formatter.write_str(name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, path, reason } = self;
        match path.as_str() {
            "" => write!(formatter, "{origin}: {reason}"),
            _ => write!(formatter, "{origin}: {path}: {reason}"),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        formatter.write_str(&problems.join("; "))
    }
}

impl std::error::Error for Problems {}
