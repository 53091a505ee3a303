//! The configuration: every setting with its default and what it means, in the structures that parse it.
//!
//! `tocsin config default`, `docs/configuration.md` and the names in the environment are made from these structures, so
//! a setting is added by adding a field with its doc comment, and to [`Default`]. Every setting has a default; where
//! there may be none, an empty text says so. Settings of a sink stand in its file, those of a section here.

pub mod definition;
pub mod layers;
pub mod values;
pub mod secret;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use documented::{Documented, DocumentedFields};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use self::definition::{Section, Setting, settings_of};
use crate::{
    alert::{Level, redact::Redactor},
    control::{Control, Metrics},
    enrich::baseline::Learning,
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

/// Docker, which tells the names, images and settings of containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Docker {
    /// Docker's socket; empty: Docker is not asked.
    #[serde(with = "values::optional_path")]
    pub socket: Option<PathBuf>,
    /// Listeners that look like a Docker API are asked, over loopback, whether they are one.
    pub probe: bool,
}

/// Podman, which is asked only where that is wished: its socket starts its service when somebody connects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Podman {
    /// Podman's socket, usually /run/podman/podman.sock; empty: Podman is not asked.
    #[serde(with = "values::optional_path")]
    pub socket: Option<PathBuf>,
}

/// What outgoing connections say first: the server in a TLS client's hello, or host, path and user agent of an HTTP
/// request. Nothing else of them is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Wire {
    /// Whose connections are read: containers, everywhere (the node's own too) or nowhere.
    #[serde(with = "values::text")]
    pub of: Scope,
    /// Ports, 8 at most, to which the node's own connections are read as those of containers are.
    #[serde(deserialize_with = "values::at_most::<{ agent_ebpf::wire::PORTS }, _, _>")]
    pub ports: Vec<u16>,
}

/// Whose connections are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Nobody's.
    Nowhere,
    /// Those of containers, and to some ports.
    Containers,
    /// Everybody's.
    Everywhere,
}

/// What images normally do, as far as it was learned (docs/baseline.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Baseline {
    /// How long an image is watched before anything is new to it.
    #[serde(with = "values::duration")]
    pub learning: SignedDuration,
    /// What is seen in so many separate minutes meanwhile is known …
    #[serde(deserialize_with = "values::within::<1, 10_000, _, _>")]
    pub minutes: u32,
    /// … or in so many containers, 16 at most.
    #[serde(deserialize_with = "values::within::<1, 16, _, _>")]
    pub containers: usize,
    /// How often what was learned is written down: so much of it a killed agent may lose.
    #[serde(with = "values::duration")]
    pub keep_every: SignedDuration,
}

/// What `tocsin scan --memory` reads of processes (docs/memory.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Memory {
    /// The most that is read of one process; what is left out is counted.
    #[serde(with = "values::size")]
    pub per_process: u64,
    /// The most that is read of all.
    #[serde(with = "values::size")]
    pub total: u64,
    /// Files of YARA rules, or folders of files that end in .yar or .yara, beside those that are built in.
    pub yara_rules: Vec<PathBuf>,
}

/// Who logs in, as sshd, su and sudo write it down (docs/logins.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Documented, DocumentedFields)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Logins {
    /// Where that is read: auto (the journal if there is one, else the file), journal, file or off.
    #[serde(with = "values::text")]
    pub source: LoginSource,
    /// The folder of the journal; empty: /var/log/journal and /run/log/journal.
    #[serde(with = "values::optional_path")]
    pub journal: Option<PathBuf>,
    /// The file; empty: /var/log/auth.log or /var/log/secure.
    #[serde(with = "values::optional_path")]
    pub file: Option<PathBuf>,
}

/// Where logins are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginSource {
    /// Where they are written down.
    #[default]
    Auto,
    /// In the systemd journal.
    Journal,
    /// In a file.
    File,
    /// Nowhere.
    Off,
}

impl LoginSource {
    const ALL: [Self; 4] = [Self::Auto, Self::Journal, Self::File, Self::Off];

    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Journal => "journal",
            Self::File => "file",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for LoginSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for LoginSource {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|source| source.name() == name);
        found.ok_or_else(|| format!("{name} is none of {}", Self::ALL.map(Self::name).join(", ")))
    }
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

impl Default for Docker {
    fn default() -> Self {
        let [(_, socket), ..] = RUNTIMES;
        Self {
            socket: Some(socket.into()),
            probe: true,
        }
    }
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            of: Scope::Containers,
            // A cluster's API as a node has it, its kubelets and etcd.
            ports: vec![2379, 6443, 10250],
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            per_process: 32 << 20,
            total: 1 << 30,
            yara_rules: Vec::new(),
        }
    }
}

impl Scope {
    const ALL: [Self; 3] = [Self::Nowhere, Self::Containers, Self::Everywhere];

    /// As it is written.
    fn name(self) -> &'static str {
        match self {
            Self::Nowhere => "nowhere",
            Self::Containers => "containers",
            Self::Everywhere => "everywhere",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|scope| scope.name() == name);
        known.ok_or_else(|| format!("{name} is none of containers, everywhere and nowhere"))
    }
}

impl Default for Baseline {
    fn default() -> Self {
        let Learning {
            duration,
            minutes,
            containers,
        } = Learning::default();
        Self {
            learning: duration,
            minutes,
            containers,
            keep_every: SignedDuration::from_mins(1),
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

impl Baseline {
    /// When behaviour counts as learned.
    pub fn measure(&self) -> Learning {
        Learning {
            duration: self.learning,
            minutes: self.minutes,
            containers: self.containers,
        }
    }
}
