//! The configuration file as it is written, and what it means.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::Deserialize;

use crate::{alert::Level, enrich::baseline::Learning, sinks::Outputs, sources::docker::RUNTIMES};

/// Where the configuration is looked for; a node without it runs with the defaults.
pub const DEFAULT_FILE: &str = "/etc/tocsin/tocsin.toml";

/// Where operators put rules, exceptions and overrides of their own.
pub const RULES_FOLDER: &str = "/etc/tocsin/rules.d";

/// Where the agent keeps what must outlive it.
pub const STATE_FOLDER: &str = "/var/lib/tocsin";

/// How the agent shall work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Folders of rules beside those that are built in. One that does not exist is no error.
    pub rules: Vec<PathBuf>,
    /// The lowest level that is reported.
    pub min_level: Level,
    /// How long repeats of an alert are counted instead of reported; zero: not at all.
    pub dedup: SignedDuration,
    /// The ring between kernel and agent, in bytes: a power of two.
    pub ring_bytes: u32,
    /// The sockets of container runtimes, by the runtime's name.
    pub runtimes: Vec<(&'static str, PathBuf)>,
    /// A listener that looks like a Docker API is asked, on loopback, whether it is one.
    pub docker_probe: bool,
    /// The folder of what the agent keeps across restarts.
    pub state: PathBuf,
    /// When behaviour counts as learned.
    pub learning: Learning,
    /// How often what was learned is written down: so much of it a killed agent may lose.
    pub keep_every: SignedDuration,
    /// What looks like a secret is removed from alerts.
    pub redact: bool,
    /// Regular expressions of what else is a secret.
    pub secrets: Vec<String>,
    /// Where alerts go.
    pub outputs: Outputs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rules: vec![RULES_FOLDER.into()],
            min_level: Level::Low,
            dedup: SignedDuration::from_mins(10),
            ring_bytes: agent_ebpf::record::RING_BYTES,
            // Podman's socket starts Podman's service when somebody connects: it is asked only where that is wished.
            runtimes: RUNTIMES[..1]
                .iter()
                .map(|(name, socket)| (*name, PathBuf::from(socket)))
                .collect(),
            docker_probe: true,
            state: STATE_FOLDER.into(),
            learning: Learning::default(),
            keep_every: SignedDuration::from_mins(1),
            redact: true,
            secrets: Vec::new(),
            outputs: Outputs::default(),
        }
    }
}

impl Config {
    /// Reads that file; `None`: the usual one, if it is there.
    pub fn read(file: Option<&Path>) -> Result<Self> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).with_context(|| format!("configuration {}", path.display())),
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read configuration {}", path.display())),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        // toml's own message draws the line under the fault over several lines; one line says as much.
        let file: File = toml::from_str(text).map_err(|error| {
            let before = error.span().map_or(0, |span| span.start);
            let line = text[..before].matches('\n').count() + 1;
            anyhow::anyhow!("line {line}: {}", error.message().replace('\n', " "))
        })?;
        file.mean()
    }
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    rules: Option<Vec<PathBuf>>,
    min_level: Option<String>,
    dedup_seconds: Option<u32>,
    ring_mib: Option<u32>,
    redact: Option<bool>,
    secrets: Option<Vec<String>>,
    state: Option<PathBuf>,
    docker: Docker,
    podman: Podman,
    baseline: Baseline,
    output: Outputs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Docker {
    socket: Option<PathBuf>,
    probe: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Podman {
    socket: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Baseline {
    learning: Option<String>,
    minutes: Option<u32>,
    containers: Option<usize>,
    keep_every: Option<String>,
}

impl Baseline {
    fn mean(&self) -> Result<Learning> {
        let usual = Learning::default();
        let minutes = self.minutes.unwrap_or(usual.minutes);
        let containers = self.containers.unwrap_or(usual.containers);
        if minutes == 0 || !(1..=MOST_CONTAINERS).contains(&containers) {
            bail!("{minutes} minutes, {containers} containers: at least 1, and at most {MOST_CONTAINERS} containers");
        }
        Ok(Learning {
            duration: self
                .learning
                .as_deref()
                .map_or(Ok(usual.duration), duration)
                .context("learning")?,
            minutes,
            containers,
        })
    }
}

/// Containers that are told apart for each behaviour.
const MOST_CONTAINERS: usize = 16;

/// A length of time as people write it: `36h`, `7d`.
pub(crate) fn duration(text: &str) -> Result<SignedDuration> {
    let span: Span = text
        .parse()
        .map_err(|_| anyhow::anyhow!("{text} is no length of time such as 36h or 7d"))?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let duration = duration.ok().filter(|duration| !duration.is_negative());
    duration.with_context(|| format!("{text} is not made of days, hours, minutes and seconds"))
}

impl File {
    fn mean(self) -> Result<Config> {
        let Self {
            rules,
            min_level,
            dedup_seconds,
            ring_mib,
            redact,
            secrets,
            state,
            docker,
            podman,
            baseline,
            output,
        } = self;
        let mut config = Config::default();
        config.rules = rules.unwrap_or(config.rules);
        if let Some(name) = min_level {
            config.min_level = name.parse().map_err(anyhow::Error::msg).context("min-level")?;
        }
        if let Some(seconds) = dedup_seconds {
            config.dedup = SignedDuration::from_secs(seconds.into());
        }
        if let Some(mib) = ring_mib {
            config.ring_bytes = ring_bytes(mib.saturating_mul(1 << 20)).context("ring-mib")?;
        }
        config.redact = redact.unwrap_or(config.redact);
        config.secrets = secrets.unwrap_or(config.secrets);
        config.outputs = output;
        config.state = state.unwrap_or(config.state);
        config.learning = baseline.mean().context("baseline")?;
        if let Some(text) = &baseline.keep_every {
            config.keep_every = duration(text).context("baseline: keep-every")?;
        }
        config.docker_probe = docker.probe.unwrap_or(config.docker_probe);
        for (name, socket) in [("docker", docker.socket), ("podman", podman.socket)] {
            if let Some(socket) = socket {
                config.set_socket(name, socket);
            }
        }
        Ok(config)
    }
}

impl Config {
    /// Asks that runtime at another socket.
    pub fn set_socket(&mut self, runtime: &str, socket: PathBuf) {
        let Some((name, _)) = RUNTIMES.iter().find(|(name, _)| *name == runtime) else {
            return;
        };
        self.runtimes.retain(|(known, _)| known != name);
        self.runtimes.push((name, socket));
    }
}

/// A ring's size that the kernel takes: a power of two, of at least a page.
pub fn ring_bytes(bytes: u32) -> Result<u32> {
    if !bytes.is_power_of_two() || !(4096..=1 << 28).contains(&bytes) {
        bail!("a ring of {bytes} bytes: it must be a power of two from 4096 to 268435456");
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn settings_are_meant() {
        let text =
            "min-level = 'high'\ndedup-seconds = 0\nring-mib = 16\n[docker]\nsocket = '/x.sock'\nprobe = false\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.min_level, Level::High);
        assert!(config.dedup.is_zero() && !config.docker_probe);
        assert_eq!(config.ring_bytes, 16 << 20);
        assert!(config.runtimes.contains(&("docker", "/x.sock".into())));
        let text = "state = '/srv/tocsin'\n[baseline]\nlearning = '7d'\nminutes = 1\nkeep-every = '5s'\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.state, Path::new("/srv/tocsin"));
        let expected = Learning {
            duration: SignedDuration::from_hours(7 * 24),
            minutes: 1,
            containers: 2,
        };
        assert_eq!(
            (config.learning, config.keep_every),
            (expected, SignedDuration::from_secs(5))
        );
    }

    #[test]
    fn faults_name_line_and_reason() {
        for (text, expected) in [
            ("\nmin-lvl = 'high'", "line 2: unknown field `min-lvl`"),
            ("min-level = 'loud'", "min-level: loud is no level"),
            ("ring-mib = 3", "ring-mib: a ring of 3145728 bytes"),
            (
                "baseline.learning = 'a week'",
                "baseline: learning: a week is no length of time",
            ),
            (
                "baseline.learning = '1 month'",
                "baseline: learning: 1 month is not made of days",
            ),
            (
                "baseline.containers = 0",
                "baseline: 3 minutes, 0 containers: at least 1",
            ),
            ("rules = 7", "line 1: invalid type"),
            ("[docker", "line 1: "),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
