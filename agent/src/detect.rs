//! Judgement: Sigma rules, one engine a log source, so that no rule sees a foreign event.
//!
//! Everything here is a function of its arguments: [`crate::sources::rules`] reads the files and watches them.

pub mod builtin;
pub mod document;
pub mod problem;
pub mod logsource;
pub mod overrides;
pub mod expiry;
pub mod lists;
mod expressions;
pub mod score;
mod check;
mod texts;
mod reference;
mod family;
pub mod samples;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use jiff::Timestamp;
use rsigma_eval::RuleExplanation;
use serde_json::Value;
use uuid::Uuid;

pub use self::check::slug;
use self::{
    document::{Documents, RuleFile},
    expiry::Expiries,
    family::Family,
    problem::Problem,
    score::ScoreExplanation,
};
use crate::{
    alert::Level,
    event::{LogSource, baseline::BehaviourKind},
    observed::Observed,
};

/// The rules in force. They stay as they were loaded; what moves is what the correlations have counted.
#[derive(Debug)]
pub struct Rules {
    /// One engine a log source, in the order of [`LogSource::ALL`].
    families: [Family; LogSource::ALL.len()],
    expiries: Expiries,
}

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
    /// What an event that it matches may teach, from `tocsin: {teaches: NAME}`: it raises no alert.
    pub teaches: Option<BehaviourKind>,
    /// A match is no alert but gives the event's process this role.
    pub role: Option<Arc<str>>,
    /// Texts that an executable is to be searched for where the rule asks for its content, from `tocsin: {texts: […]}`.
    pub texts: Vec<Box<str>>,
    /// What other products call this finding, such as Microsoft Defender's alert type ids, from the custom attribute
    /// `tocsin: {compatibility: […]}`.
    pub compatibility: Vec<String>,
    /// The file it came from; `None` for a rule that is built in.
    pub file: Option<PathBuf>,
}

/// A rule matched an event.
#[derive(Clone, Debug)]
pub struct Match {
    /// The rule.
    pub rule: Arc<Rule>,
    /// The fields that made it match, with their values; for a correlation its groups and its count.
    pub matched: Vec<(Box<str>, Value)>,
    /// The rule raises no alert but asks for a closer look, whose answer comes as an event of its own.
    pub asks: Option<Ask>,
}

/// A question that a rule can put to a helper among the sources, by `tocsin: {ask: NAME}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Does this listener serve the Docker API, and to whom? The listener comes back with its `listener.finding`.
    DockerApiProbe,
    /// What does the parent of this execution listen on? Its listeners come as events, then this execution once more.
    ListeningSockets,
    /// Which of the rule's texts stand in this process's executable? The event comes once more, with `process.content`.
    ExecutableContent,
    /// Whom does this OpenSSH server let in? The listener comes once more, with `ssh.*`.
    OpensshConfiguration,
    /// What does the process of this execution listen on from its first moment? Its listeners come as events.
    InheritedSockets,
    /// What is who holds this listener connected to? The listener comes back with `listener.connected_to`.
    ListenerConnections,
    /// Who listens on TCP and is connected to unix sockets while this program runs? Such listeners come as events, if
    /// their connections are new.
    ConnectedListeners,
}

impl Ask {
    /// Every question.
    pub const ALL: [Self; 7] = [
        Self::DockerApiProbe,
        Self::ListeningSockets,
        Self::ExecutableContent,
        Self::OpensshConfiguration,
        Self::InheritedSockets,
        Self::ListenerConnections,
        Self::ConnectedListeners,
    ];

    /// The question of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ask| ask.name() == name)
    }

    /// As rules write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DockerApiProbe => "docker-api-probe",
            Self::ListeningSockets => "listening-sockets",
            Self::ExecutableContent => "executable-content",
            Self::OpensshConfiguration => "openssh-configuration",
            Self::InheritedSockets => "inherited-sockets",
            Self::ListenerConnections => "listener-connections",
            Self::ConnectedListeners => "connected-listeners",
        }
    }
}

/// Makes a set of rules of files that were read, as it is in force at `now`. What is wrong with one is said, and keeps
/// no other out of force.
pub fn load(files: &[RuleFile], now: Timestamp) -> (Rules, Vec<Problem>) {
    let (mut documents, mut problems) = Documents::read(files);
    let expiries = documents.expire(now);
    let (rules, more) = Rules::of(documents);
    problems.extend(expiries.ended.iter().cloned());
    problems.extend(more);
    (Rules { expiries, ..rules }, problems)
}

impl Rules {
    /// Makes a set of rules, with all that is wrong with them.
    pub fn of(documents: Documents) -> (Self, Vec<Problem>) {
        let (parts, mut problems) = check::check(documents);
        let families = parts.map(|part| {
            let (family, more) = Family::of(part);
            problems.extend(more);
            family
        });
        let expiries = Expiries::default();
        (Self { families, expiries }, problems)
    }

    /// Which exceptions have ended, and when the next one will.
    pub fn expiries(&self) -> &Expiries {
        &self.expiries
    }

    /// What the rules say to an event: all that match, in no order. Rules that grade one finding share its title, and
    /// [`crate::alert::dedup`] lets the highest of them speak.
    /// An event that is judged again is judged by the rules that did not match before.
    pub fn judge(&mut self, observed: &mut Observed) -> Vec<Match> {
        let Some(source) = observed.log_source() else {
            return Vec::new();
        };
        let mut matches = self.families[source as usize].judge(observed);
        if let Some(wider) = source.wider() {
            let scores = std::mem::take(&mut observed.facts.scores);
            matches.extend(self.families[wider as usize].judge(observed));
            observed.facts.scores.extend(scores);
        }
        matches
    }

    /// Adds what the scores that concern an event come to.
    pub fn weigh(&self, observed: &mut Observed) {
        let source = observed.log_source();
        let families = source.into_iter().chain(source.and_then(LogSource::wider));
        let scores = families.flat_map(|source| self.families[source as usize].weigh(observed));
        observed.facts.scores = scores.collect();
    }

    /// Why each score of an event's log source came to what it did.
    pub fn explain_scores(&self, observed: &Observed) -> Vec<ScoreExplanation> {
        let source = observed.log_source();
        let families = source.into_iter().chain(source.and_then(LogSource::wider));
        families
            .flat_map(|source| self.families[source as usize].scores().explain(observed))
            .collect()
    }

    /// Every score: its log source, its field and its title.
    pub fn scores(&self) -> impl Iterator<Item = (LogSource, &str, &str)> {
        let families = LogSource::ALL.into_iter().zip(&self.families);
        families.flat_map(|(source, family)| family.scores().iter().map(move |(field, title)| (source, field, title)))
    }

    /// Every rule in force, by log source and title.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.families.iter().flat_map(Family::rules)
    }

    /// The rules that somebody may mean by an id, a name or a title: grades of one finding share their title.
    pub fn find(&self, wanted: &str) -> Vec<&Arc<Rule>> {
        let id = Uuid::try_parse(wanted).ok();
        let meant = |rule: &&Arc<Rule>| Some(rule.id) == id || *rule.name == *wanted || *rule.title == *wanted;
        self.iter().filter(meant).collect()
    }

    /// Whether a rule counts what others match, rather than matching events itself.
    pub fn is_correlation(&self, rule: &Rule) -> bool {
        self.families[rule.log_source as usize].is_correlation(rule)
    }

    /// Why a rule does or does not match an event; `None` for a correlation, which no single event explains.
    pub fn explain(&self, rule: &Rule, observed: &Observed) -> Option<RuleExplanation> {
        self.families[rule.log_source as usize].explain(rule, observed)
    }

    /// Whether some count, so that an event's verdict depends on those before it.
    pub fn count(&self) -> bool {
        self.families.iter().any(Family::counts)
    }

    /// Takes over what the former set's correlations have counted, for those that say the same as before.
    pub fn continue_from(&mut self, former: &Self) {
        for (family, former) in self.families.iter_mut().zip(&former.families) {
            family.continue_from(former);
        }
    }
}
