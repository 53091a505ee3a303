//! Judgement: Sigma rules, one engine a log source.

use std::path::PathBuf;

use uuid::Uuid;

use crate::{alert::Level, event::LogSource};

/// What an alert says of the rule that raised it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its identity.
    pub id: Uuid,
    /// What people call it.
    pub title: Box<str>,
    /// Its slug.
    pub name: Box<str>,
    /// What an operator should understand, and do next.
    pub description: Box<str>,
    /// Who wrote it, as the rule's licence may demand to be kept.
    pub author: Box<str>,
    /// How much a match matters.
    pub level: Level,
    /// `attack.t1611` and the like.
    pub tags: Vec<String>,
    /// Where to read more.
    pub references: Vec<String>,
    /// What else may look like this.
    pub false_positives: Vec<String>,
    /// The family that it judges.
    pub log_source: LogSource,
    /// The fields that tell one subject of this rule from another, from the custom attribute `tocsin: {subject: […]}`;
    /// empty for those of its family ([`crate::alert::dedup`]).
    pub subject: Vec<String>,
    /// The file it came from; `None` for a rule that is built in.
    pub file: Option<PathBuf>,
}
