//! What the agent raises: a rule, the event that it matched, and how often.

pub mod dedup;
pub mod redact;
pub mod log;
#[cfg(test)]
pub(crate) mod samples;

use std::{fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use uuid::{NoContext, Uuid};

use crate::{detect::Rule, event::Process, observed::Observed};

/// A rule matched an event.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Its id wherever it goes: an update bears the id of the alert that it updates.
    pub id: Uuid,
    /// First sight, or later news of the same.
    pub activity: Activity,
    /// When the event happened (for an update: the last one).
    pub time: Timestamp,
    /// When it happened for the first time.
    pub first_seen: Timestamp,
    /// How often it happened so far.
    pub count: u64,
    /// The rule.
    pub rule: Arc<Rule>,
    /// The event and all that is known of it.
    pub observed: Arc<Observed>,
    /// The fields that the rule matched, with their values.
    pub matched: Vec<(Box<str>, serde_json::Value)>,
}

impl Alert {
    /// A first sight. Ids sort by the event's time and are random beyond it.
    pub fn new(rule: Arc<Rule>, observed: Arc<Observed>, matched: Vec<(Box<str>, serde_json::Value)>) -> Self {
        let time = observed.event.time;
        let seconds = u64::try_from(time.as_second()).unwrap_or_default();
        let nanoseconds = u32::try_from(time.subsec_nanosecond()).unwrap_or_default();
        Self {
            id: Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanoseconds)),
            activity: Activity::Create,
            time,
            first_seen: time,
            count: 1,
            rule,
            observed,
            matched,
        }
    }

    /// About how many bytes it keeps alive. Command lines reach 32 KiB and are the attacker's to choose, so whoever
    /// keeps alerts bounds their bytes as well as their number.
    pub fn weight(&self) -> usize {
        const FIXED: usize = 1024;
        let texts = |process: &Process| process.execution.command_line.len() + process.execution.exe.len();
        let process = self.observed.process.as_deref();
        let processes = process.map_or(0, |process| {
            texts(process) + process.ancestors().map(texts).sum::<usize>()
        });
        let matched = self.matched.iter().map(|(_, value)| value.as_str().map_or(0, str::len));
        FIXED + processes + matched.sum::<usize>()
    }
}

/// What an alert says of its subject (OCSF's activities of a finding).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It was seen for the first time.
    Create,
    /// It was seen again within the window.
    Update,
}

/// How much an alert matters, as Sigma grades it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Worth knowing.
    Informational,
    /// Worth a look some day.
    Low,
    /// Worth a look today.
    #[default]
    Medium,
    /// Worth a look now.
    High,
    /// Worth waking somebody.
    Critical,
}

impl Level {
    /// Every level, the lowest first.
    pub const ALL: [Self; 5] = [Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Sigma's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|level| level.name() == name);
        known.ok_or_else(|| format!("{name} is no level: informational, low, medium, high or critical"))
    }
}
