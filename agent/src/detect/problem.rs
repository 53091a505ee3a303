//! What is wrong with a rule file, said so that it can be put right: file, line and reason.

use std::{fmt, path::PathBuf};

/// Something that the loader has to say about one place of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
    /// What follows from it.
    pub severity: Severity,
}

/// What follows from a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be, but worth knowing: the rule judges events that this agent does not have.
    Note,
    /// It is in force, and may not do what its author meant.
    Warning,
    /// It is not in force; a reload keeps the rules that were.
    Error,
}

impl Problem {
    /// Whether it keeps something out of force.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            reason,
            severity,
        } = self;
        let severity = match severity {
            Severity::Note => "note: ",
            Severity::Warning => "warning: ",
            Severity::Error => "",
        };
        write!(formatter, "{}:{line}: {severity}{reason}", file.display())
    }
}
