//! Rule files as YAML documents: each rule, correlation, filter and override with the place where it stands.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rsigma_parser::{CorrelationRule, FilterRule, SigmaCollection, SigmaRule, parse_sigma_yaml};
use serde::Deserialize as _;
use uuid::Uuid;

use super::{
    check::id_of,
    expiry::{self, expiry},
    lists::{self, Lists},
    overrides::{self, Override},
    problem::{Problem, Severity},
    score::{self, Score},
};

/// A file that may hold rules, already read.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// Where it is from, as problems should name it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// It is part of the binary.
    pub built_in: bool,
}

/// What a set of files says, each thing by itself, before anybody has asked whether it fits together.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// Detection rules.
    pub rules: Vec<Placed<SigmaRule>>,
    /// Correlations of rules.
    pub correlations: Vec<Placed<CorrelationRule>>,
    /// Exceptions to rules.
    pub filters: Vec<Placed<FilterRule>>,
    /// What is switched off or graded otherwise.
    pub overrides: Vec<Placed<Override>>,
    /// Values that rules and filters quote by the name of their list.
    pub lists: Vec<Placed<Lists>>,
    /// What is weighed to make facts of it.
    pub scores: Vec<Placed<Score>>,
}

/// Something and the place where it stands.
#[derive(Clone, Debug)]
pub struct Placed<T> {
    /// What stands there.
    pub what: T,
    /// Where.
    pub place: Place,
}

/// A YAML document within a file.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// It is part of the binary.
    pub built_in: bool,
    /// The document's first line, counted from 1.
    pub line: usize,
    /// The document.
    pub text: Arc<str>,
}

impl Documents {
    /// Takes the files apart. What cannot be read is a problem and nothing else.
    pub fn read(files: &[RuleFile]) -> (Self, Vec<Problem>) {
        let (mut documents, mut problems) = (Self::default(), Vec::new());
        for file in files {
            let path: Arc<Path> = file.path.as_path().into();
            for (line, text) in split(&file.text) {
                let place = Place {
                    file: Arc::clone(&path),
                    built_in: file.built_in,
                    line,
                    text: text.into(),
                };
                problems.extend(documents.add(place));
            }
        }
        (documents, problems)
    }

    /// Every rule and correlation: its place and its id, of those whose id can be read.
    pub fn places(&self) -> impl Iterator<Item = (&Place, Uuid)> {
        let rules = self
            .rules
            .iter()
            .map(|placed| (&placed.place, &placed.what.id, &placed.what.title));
        let correlations = self.correlations.iter();
        let correlations = correlations.map(|placed| (&placed.place, &placed.what.id, &placed.what.title));
        let all = rules.chain(correlations);
        all.filter_map(|(place, id, title)| Some((place, id_of(place, id.as_deref(), title).ok()?)))
    }

    /// Whether a file holds rules or correlations, which samples can show at work.
    pub fn judge_by(&self, file: &Path) -> bool {
        self.places().any(|(place, _)| *place.file == *file)
    }

    /// Adds one document.
    fn add(&mut self, place: Place) -> Vec<Problem> {
        let says = |key: &str| place.text.lines().any(|line| line.starts_with(key));
        if says(overrides::KEY) {
            return keep(overrides::parse(&place), &mut self.overrides, place);
        }
        if says(lists::KEY) {
            return keep(lists::parse(&place), &mut self.lists, place);
        }
        if says(score::KEY) {
            return keep(score::parse(&place), &mut self.scores, place);
        }
        match parse_sigma_yaml(&place.text) {
            Ok(collection) => self.extend(collection, &place),
            Err(error) => vec![place.error(&error.to_string())],
        }
    }

    fn extend(&mut self, collection: SigmaCollection, place: &Place) -> Vec<Problem> {
        let SigmaCollection {
            rules,
            correlations,
            filters,
            errors,
        } = collection;
        let nothing = rules.is_empty() && correlations.is_empty() && filters.is_empty();
        let levels = rules.iter().map(|rule| rule.level);
        let mut levels = levels.chain(correlations.iter().map(|correlation| correlation.level));
        // The parser passes over a level that it does not know; an alert of the wrong level is worse than none.
        let level_lost =
            levels.any(|level| level.is_none()) && place.text.lines().any(|line| line.starts_with("level:"));
        if level_lost {
            return vec![place.problem(Severity::Error, "level:", unknown_level(&place.text))];
        }
        let placed = |place: &Place| place.clone();
        self.rules.extend(rules.into_iter().map(|what| Placed {
            what,
            place: placed(place),
        }));
        self.correlations.extend(correlations.into_iter().map(|what| Placed {
            what,
            place: placed(place),
        }));
        let mut problems = Vec::new();
        for what in filters {
            match expiry(&what) {
                Ok(_) => self.filters.push(Placed {
                    what,
                    place: placed(place),
                }),
                Err(reason) => problems.push(place.problem(Severity::Error, expiry::KEY, reason)),
            }
        }
        let severity = if nothing { Severity::Error } else { Severity::Warning };
        problems.extend(errors.iter().map(|error| Problem {
            severity,
            ..place.error(error)
        }));
        problems
    }
}

/// Keeps what was read, or says why it was not.
fn keep<T>(read: Result<T, Problem>, kept: &mut Vec<Placed<T>>, place: Place) -> Vec<Problem> {
    match read {
        Ok(what) => {
            kept.push(Placed { what, place });
            Vec::new()
        }
        Err(problem) => vec![problem],
    }
}

fn unknown_level(text: &str) -> String {
    let line = text.lines().find(|line| line.starts_with("level:")).unwrap_or_default();
    let level = line.trim_start_matches("level:").trim();
    match level.parse::<crate::alert::Level>() {
        Err(reason) => reason,
        Ok(_) => format!("the level {level} cannot be read"),
    }
}

impl Place {
    /// A problem at the line of this document that holds `near`, else at its first.
    pub fn problem(&self, severity: Severity, near: &str, reason: impl Into<String>) -> Problem {
        Problem {
            file: self.file.to_path_buf(),
            line: self.line + self.offset_of(near).unwrap_or_default(),
            reason: reason.into(),
            severity,
        }
    }

    /// What the YAML library says, which knows the line within the document.
    pub fn yaml_problem(&self, what: &str, error: &yaml_serde::Error) -> Problem {
        let line = error.location().map_or(0, |location| location.line().saturating_sub(1));
        let message = error.to_string();
        let reason = message.split(" at line ").next().unwrap_or_default();
        Problem {
            line: self.line + line,
            ..self.problem(Severity::Error, "", format!("{what}: {reason}"))
        }
    }

    /// An error in the parser's words, at the line that they speak of as far as that can be told.
    fn error(&self, message: &str) -> Problem {
        if let Some(error) = yaml_error(&self.text) {
            return self.yaml_problem("not YAML", &error);
        }
        let reason = lower_first(message.lines().next().unwrap_or_default());
        let near = if message.starts_with("Condition") {
            Some("condition:")
        } else {
            message
                .split('\'')
                .skip(1)
                .step_by(2)
                .find(|quoted| self.offset_of(quoted).is_some())
        };
        self.problem(Severity::Error, near.unwrap_or_default(), reason)
    }

    /// How many lines below the document's first that text stands.
    fn offset_of(&self, near: &str) -> Option<usize> {
        self.text.lines().position(|line| line.contains(near))
    }
}

/// Why a document is no YAML, with the line: the rule parser hands the text of the error on, but not its place.
fn yaml_error(text: &str) -> Option<yaml_serde::Error> {
    let mut documents = yaml_serde::Deserializer::from_str(text);
    let document = documents.next()?;
    yaml_serde::Value::deserialize(document).err()
}

/// The documents of a file with their first lines. A file that uses Sigma's collection actions stays whole, since there
/// a document means nothing without those before it.
fn split(text: &str) -> Vec<(usize, &str)> {
    if text.lines().any(|line| line.starts_with("action:")) {
        return vec![(1, text)];
    }
    let (mut documents, mut start, mut first, mut offset) = (Vec::new(), 0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let next = offset + line.len();
        // In column one three dashes always part documents, even within a block of text.
        if line.trim_end() == "---" || line.starts_with("--- ") {
            documents.push((first, &text[start..offset]));
            (start, first) = (next, number + 2);
        }
        offset = next;
    }
    documents.push((first, &text[start..]));
    documents.retain(|(_, text)| text.lines().any(says_something));
    documents
}

fn says_something(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn lower_first(message: &str) -> String {
    let mut letters = message.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
