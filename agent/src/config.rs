//! The configuration: every setting with its default and what it means, in the structures that parse it.
//!
//! `tocsin config default`, `docs/configuration.md` and the names in the environment are made from these structures, so
//! a setting is added by adding a field with its doc comment, and to [`Default`]. Every setting has a default; where
//! there may be none, an empty text says so. Settings of a sink stand in its
//! file, those of a section in `sections.rs`.

pub mod definition;
mod sections;
pub mod layers;
pub mod values;
pub mod secret;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use documented::{Documented, DocumentedFields};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use self::definition::{Section, Setting, settings_of};
pub use self::sections::{Baseline, Docker, LoginSource, Logins, Memory, Podman, Scope, Wire};
use crate::{
    alert::{Level, redact::Redactor},
    control::{Control, Metrics},
    intel::settings::{self, FeedSettings, Feeds, feeds},
    sinks::Outputs,
    sources::docker::RUNTIMES,
};

/// Where the configuration is looked for; a node without it runs with the defaults.
pub const DEFAULT_FILE: &str = "/etc/tocsin/tocsin.toml";

/// Where operators put rules, exceptions and overrides of their own.
pub const RULES_FOLDER: &str = "/etc/tocsin/rules.d";

/// Where the agent keeps what must outlive it.
pub const STATE_FOLDER: &str = "/var/lib/tocsin";

/// How the agent shall work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Folders of rules beside those that are built in. One that does not exist is no error.
    pub rules: Vec<PathBuf>,
    /// The lowest level that is reported: informational, low, medium, high or critical.
    #[serde(with = "values::text")]
    pub min_level: Level,
    /// How long repeats of an alert are counted instead of reported; 0 reports each.
    #[serde(with = "values::duration")]
    pub dedup: SignedDuration,
    /// What looks like a secret (passwords, tokens, keys) is removed from alerts.
    pub redact: bool,
    /// Regular expressions of what else is a secret; of a group named `secret` only that is removed.
    #[serde(with = "values::patterns")]
    pub secrets: Vec<String>,
    /// The folder of what the agent keeps across restarts.
    pub state: PathBuf,
    /// The ring between kernel and agent, a power of two. Where losses are reported, make it larger.
    #[serde(with = "values::ring")]
    pub ring_size: u32,
    /// Docker.
    pub docker: Docker,
    /// Podman.
    pub podman: Podman,
    /// What connections say.
    pub wire: Wire,
    /// Baselines.
    pub baseline: Baseline,
    /// Logins.
    pub logins: Logins,
    /// The control socket.
    pub control: Control,
    /// Metrics.
    pub metrics: Metrics,
    /// Memory.
    pub memory: Memory,
    /// Threat feeds.
    #[serde(deserialize_with = "feeds")]
    pub feed: Feeds,
    /// Where alerts go.
    pub output: Outputs,
}

/// The sections, but for those of the outputs.
const SECTIONS: &[Section] = &[
    Section::of::<Config>(""),
    Section::of::<Docker>("docker"),
    Section::of::<Podman>("podman"),
    Section::of::<Wire>("wire"),
    Section::of::<Baseline>("baseline"),
    Section::of::<Memory>("memory"),
    Section::of::<Logins>("logins"),
    Section::of::<FeedSettings>("feed.NAME"),
    Section::of::<Control>("control"),
    Section::of::<Metrics>("metrics"),
];

impl Default for Config {
    fn default() -> Self {
        Self {
            rules: vec![RULES_FOLDER.into()],
            min_level: Level::Low,
            dedup: SignedDuration::from_mins(10),
            redact: true,
            secrets: Vec::new(),
            state: STATE_FOLDER.into(),
            ring_size: agent_ebpf::record::RING_BYTES,
            docker: Docker::default(),
            podman: Podman::default(),
            wire: Wire::default(),
            baseline: Baseline::default(),
            logins: Logins::default(),
            control: Control::default(),
            metrics: Metrics::default(),
            memory: Memory::default(),
            feed: Feeds::new(),
            output: Outputs::default(),
        }
    }
}

/// Settings that are read when the agent starts: what they concern is not made anew while it runs. A section stands for
/// all that is in it.
const READ_AT_START: &[&str] = &[
    "state",
    "ring-size",
    "docker",
    "podman",
    "wire",
    "baseline.keep-every",
    "logins",
    "control",
    "metrics",
];

impl Config {
    /// Whether a changed setting takes effect only at the next start.
    pub fn is_read_at_start(path: &str) -> bool {
        let concerns = |name: &&&str| {
            path.strip_prefix(**name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        READ_AT_START.iter().any(|name| concerns(&name))
    }

    /// The settings that differ in the other one.
    pub fn changes(&self, other: &Self) -> Vec<String> {
        // Of the feeds there may be others.
        let (own, others) = (settings_of(self), settings_of(other));
        let is_in = |setting: &Setting, known: &[Setting]| known.iter().any(|known| known.is_set_as(setting));
        let gone = own.iter().filter(|setting| !is_in(setting, &others));
        let new = others.iter().filter(|setting| !is_in(setting, &own));
        let changes: BTreeSet<_> = gone.chain(new).map(|setting| setting.path.clone()).collect();
        let mut changes: Vec<_> = changes.into_iter().collect();
        // What is not shown may differ all the same.
        for (path, differs) in [
            ("secrets", self.secrets != other.secrets),
            ("feed", self.feed != other.feed),
            ("output", self.output != other.output),
        ] {
            if differs && !changes.iter().any(|change| change.starts_with(path)) {
                changes.push(path.to_owned());
            }
        }
        changes
    }

    /// What does not go together: the setting, and why.
    pub fn contradictions(&self) -> Vec<(String, String)> {
        let mut found = settings::contradictions(&self.feed);
        if self.metrics.listen.is_some() && self.metrics.token_file.is_none() {
            let reason = "over TCP a token is needed: set metrics.token-file".to_owned();
            found.push(("metrics.listen".to_owned(), reason));
        }
        if self.state.as_os_str().is_empty() {
            found.push(("state".to_owned(), "a folder is needed".to_owned()));
        }
        found
    }

    /// What blots out secrets.
    pub fn redactor(&self) -> anyhow::Result<Redactor> {
        if self.redact {
            Redactor::new(&self.secrets)
        } else {
            Ok(Redactor::off())
        }
    }

    /// The sockets of container runtimes that are asked, by the runtime's name.
    pub fn runtimes(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let sockets = [self.docker.socket.as_deref(), self.podman.socket.as_deref()];
        let runtimes = RUNTIMES.into_iter().zip(sockets);
        runtimes.filter_map(|((name, _), socket)| socket.map(|socket| (name, socket)))
    }
}
