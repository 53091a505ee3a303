//! The settings of each section: what is asked, read and learned.

use std::{fmt, path::PathBuf, str::FromStr};

use documented::{Documented, DocumentedFields};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::values;
use crate::{enrich::baseline::Learning, sources::docker::RUNTIMES};

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

impl Default for Docker {
    fn default() -> Self {
        let [(_, socket), ..] = RUNTIMES;
        Self {
            socket: Some(socket.into()),
            probe: true,
        }
    }
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

impl Default for Wire {
    fn default() -> Self {
        Self {
            of: Scope::Containers,
            // A cluster's API as a node has it, its kubelets and etcd.
            ports: vec![2379, 6443, 10250],
        }
    }
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

impl Default for Memory {
    fn default() -> Self {
        Self {
            per_process: 32 << 20,
            total: 1 << 30,
            yara_rules: Vec::new(),
        }
    }
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
