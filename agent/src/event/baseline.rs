//! What was learned of an image, in the form in which it is kept, and what an operator orders about it.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;
use jiff::Timestamp;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The subject of all that happens outside of containers.
pub const HOST: &str = "host";

/// All that was learned: a state to keep, to show and to carry to other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// By image digest, or [`HOST`].
    pub subjects: BTreeMap<Arc<str>, Arc<Subject>>,
    /// Who came in from where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<Sight>,
}

/// Somebody came in from a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Who.
    pub user: Arc<str>,
    /// From where: an address or a network.
    #[serde(with = "network")]
    pub network: IpNet,
    /// For the first time.
    pub first_seen: Timestamp,
    /// For the last time.
    pub last_seen: Timestamp,
}

/// An image (by its digest), or the node itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The image's name when it was last met, for people; names are not what is known by.
    pub name: Box<str>,
    /// When it was first met: its learning begins.
    pub first_seen: Timestamp,
    /// When it was last met.
    pub last_seen: Timestamp,
    /// Somebody said that what was seen is all there is: its learning has ended.
    #[serde(default)]
    pub settled: bool,
    /// What its containers did.
    #[serde(with = "entries")]
    pub behaviours: FxHashMap<Behaviour, Sightings>,
}

/// Something that a program did and may do again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Behaviour {
    /// Of which kind it is.
    pub kind: BehaviourKind,
    /// The program that did it.
    pub program: Box<str>,
    /// Where that program is from: `image`, or else its `process.exe_kind`. A program of the same path that was put
    /// there later did not do what the image's own did.
    pub origin: Box<str>,
    /// For a child the web worker above it; else empty.
    #[serde(default)]
    pub worker: Box<str>,
    /// For a request the role of where it went; else empty.
    #[serde(default)]
    pub destination: Box<str>,
    /// The shape of the program's arguments.
    pub arguments: Box<str>,
}

/// The kinds of behaviour that are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BehaviourKind {
    /// A program talked to a cluster's control plane: API server, kubelet, etcd, dashboard.
    KubernetesApi,
    /// A web worker ran a program.
    Child,
    /// A container ran a program that its image does not hold.
    Drift,
}

/// When and where a behaviour was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sightings {
    /// For the first time, whether or not it taught anything.
    pub first_seen: Timestamp,
    /// For the last time.
    pub last_seen: Timestamp,
    /// In so many minutes a sighting taught.
    #[serde(default)]
    pub minutes: u32,
    /// The last of them, in minutes since 1970.
    #[serde(default)]
    pub last_minute: i64,
    /// The containers in which a sighting taught, as far as they matter.
    #[serde(default)]
    pub containers: Vec<Box<str>>,
    /// It was learned, or somebody approved it.
    #[serde(default)]
    pub known: bool,
}

/// A copy of what was learned, for its keeper.
#[derive(Clone, Debug)]
pub struct Copy {
    /// All of it.
    pub learned: Learned,
    /// The orders that were done since the last copy: once this one is kept, they need not be done again.
    pub done: Vec<Box<str>>,
}

/// What comes into the stream about what was learned.
#[derive(Clone, Debug)]
pub enum Tidings {
    /// What was learned before the agent started.
    Learned(Learned),
    /// An order, with the name by which its keeper knows that it was done.
    Order(Box<str>, Order),
}

/// What an operator orders while the agent runs or before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// All that was seen of a subject is known from now on, or the one behaviour of that id.
    Approve {
        /// The subject's key.
        subject: Box<str>,
        /// [`Behaviour::id`]; `None` for all, which also ends its learning.
        behaviour: Option<Box<str>>,
    },
    /// A subject is forgotten, or all are.
    Reset {
        /// The subject's key.
        subject: Option<Box<str>>,
    },
    /// What another node learned is known here, too.
    Import(Learned),
}

impl BehaviourKind {
    /// As rules see it under `baseline.kind` and write it after `teaches:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::KubernetesApi => "kubernetes-api",
            Self::Child => "child",
            Self::Drift => "drift",
        }
    }
}

impl Behaviour {
    /// A short name that stays the same on every node, for people to point at it.
    pub fn id(&self) -> String {
        let Self {
            kind,
            program,
            origin,
            worker,
            destination,
            arguments,
        } = self;
        let parts = [kind.name(), program, origin, worker, destination, arguments];
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, parts.join("\0").as_bytes());
        id.simple().to_string()[..12].to_owned()
    }
}

/// A network as people write it.
mod network {
    use ipnet::IpNet;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(network: &IpNet, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(network)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| D::Error::custom(format_args!("{text} is no network")))
    }
}

/// Behaviours as a list of flat objects, in a stable order: a JSON object's keys can only be texts.
mod entries {
    use rustc_hash::FxHashMap;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Behaviour, Sightings};

    #[derive(Serialize)]
    struct Written<'a> {
        #[serde(flatten)]
        behaviour: &'a Behaviour,
        #[serde(flatten)]
        sightings: &'a Sightings,
    }

    #[derive(Deserialize)]
    struct Read {
        #[serde(flatten)]
        behaviour: Behaviour,
        #[serde(flatten)]
        sightings: Sightings,
    }

    pub(super) fn serialize<S: Serializer>(
        behaviours: &FxHashMap<Behaviour, Sightings>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut entries: Vec<_> = behaviours.iter().collect();
        entries.sort_unstable_by_key(|(behaviour, _)| *behaviour);
        let entries = entries
            .into_iter()
            .map(|(behaviour, sightings)| Written { behaviour, sightings });
        serializer.collect_seq(entries)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<FxHashMap<Behaviour, Sightings>, D::Error> {
        let entries = Vec::<Read>::deserialize(deserializer)?;
        let pairs = entries.into_iter().map(|entry| (entry.behaviour, entry.sightings));
        Ok(pairs.collect())
    }
}
