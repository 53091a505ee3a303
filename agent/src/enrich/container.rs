//! The containers of this node, as the sources have told of them.

pub mod first;
mod id;
mod places;

use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rustc_hash::FxHashMap;

pub use self::id::{container_id, is_container_id, telling};
use self::{first::First, places::Places};
use crate::event::{
    Container, ContainerAction, ContainerChange, Metadata, Namespaces, Process, ProcessKey, RuntimeState, ToldExec,
};

/// How long a removed container is remembered: events of its processes may trail.
const REMEMBERED: Duration = Duration::from_mins(1);
/// How many containers are remembered at most; a node's kubelet runs 110 pods by default.
const CAPACITY: usize = 4_096;
/// How many are forgotten at once when there are too many, so that the search for the oldest is seldom.
const FORGOTTEN_AT_ONCE: usize = CAPACITY / 16;
/// How many cgroups one container is known by at most.
const CGROUPS: usize = 16;
/// How many programs that a runtime was told to put into a container are remembered, of each container.
const TOLD_EXECS: usize = 8;

/// What is known of this node's containers. Does no I/O: it is told.
#[derive(Debug, Default)]
pub struct Containers {
    entries: FxHashMap<Arc<str>, Entry>,
    by_cgroup: FxHashMap<u64, Arc<str>>,
    by_mounts: FxHashMap<u32, Arc<str>>,
    /// Where the agent itself runs, if that is a container.
    own: Option<Arc<str>>,
    places: Places,
    removed: VecDeque<(Instant, Arc<str>)>,
    connected: BTreeSet<&'static str>,
    /// Counts look-ups: the order in which entries were last needed.
    turn: u64,
}

/// What is known of a container.
#[derive(Clone, Debug)]
pub enum Answer {
    /// All.
    Known(Arc<Container>),
    /// Nothing yet, but its runtime can be asked and will tell: hold the event.
    Ask,
    /// Only what the kernel told, or the runtime's files; nothing will come from a runtime.
    Unavailable {
        /// Its facts so far.
        container: Arc<Container>,
        /// Nobody has looked into the runtime's files for it yet: this is the time to ask for that, once.
        first: bool,
    },
}

#[derive(Debug)]
struct Entry {
    container: Arc<Container>,
    /// The runtime's files are being looked into.
    described_soon: bool,
    /// The first execution that was seen in it since it last started, and when.
    first: Option<(Timestamp, First)>,
    cgroups: Vec<u64>,
    /// What a runtime was told to put into it, the latest last: the command line, and whether with every privilege.
    told_execs: VecDeque<(Box<str>, bool)>,
    removed: bool,
    last_used: u64,
}

impl Containers {
    /// What is known of the container `id`, whose cgroup speaks of `runtime` (empty if it does not say).
    pub fn lookup(&mut self, id: &str, runtime: &'static str) -> Answer {
        self.turn += 1;
        if let Some(entry) = self.entries.get_mut(id) {
            entry.last_used = self.turn;
            if entry.described_soon {
                return Answer::Ask;
            }
            let container = Arc::clone(&entry.container);
            return match container.metadata {
                Metadata::Known => Answer::Known(container),
                Metadata::Pending | Metadata::Unavailable => Answer::Unavailable {
                    container,
                    first: false,
                },
            };
        }
        if self.can_ask(runtime) {
            return Answer::Ask;
        }
        let container = self.insert_bare(id, runtime, Metadata::Unavailable);
        Answer::Unavailable { container, first: true }
    }

    /// What an event of the container `id` goes on with after it has waited in vain. Later ones do not wait again.
    pub fn give_up(&mut self, id: &str, runtime: &'static str) -> Arc<Container> {
        match self.entries.get_mut(id) {
            Some(entry) => {
                entry.described_soon = false;
                Arc::clone(&entry.container)
            }
            None => self.insert_bare(id, runtime, Metadata::Pending),
        }
    }

    /// Takes in that somebody looks into the runtime's files for that container and will tell what was found.
    pub fn await_description(&mut self, id: &str) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.described_soon = true;
        }
    }

    /// Its facts as far as they are known; never says that somebody could be asked.
    pub fn get(&self, id: &str) -> Option<&Arc<Container>> {
        self.entries.get(id).map(|entry| &entry.container)
    }

    /// Takes in what a source told of a container, as of that time.
    pub fn apply(&mut self, change: &ContainerChange, time: Timestamp, now: Instant) {
        let ContainerChange { action, container } = change;
        self.forget_removed(now);
        self.learn(container);
        let Some(entry) = self.entries.get_mut(&container.id) else {
            return;
        };
        match action {
            ContainerAction::Create | ContainerAction::Start => entry.removed = false,
            // Its next execution is a start again. The runtime tells of a start only after the first execution, which
            // is why the end counts.
            ContainerAction::Die => {
                let first = entry.first.take_if(|(started, _)| *started <= time);
                forget_mounts(&mut self.by_mounts, first, &container.id);
            }
            ContainerAction::Destroy => {
                entry.removed = true;
                self.removed.push_back((now, Arc::clone(&container.id)));
            }
            ContainerAction::Describe => {}
        }
    }

    /// Takes in that a runtime was told to put a program into a container.
    pub fn told_exec(&mut self, exec: &ToldExec) {
        let Some(entry) = self.entries.get_mut(&exec.container) else {
            return;
        };
        if entry.told_execs.len() == TOLD_EXECS {
            entry.told_execs.pop_front();
        }
        entry.told_execs.push_back((exec.command_line.clone(), exec.privileged));
    }

    /// Whether a runtime was told to put that command line into the container, and if so whether with every privilege. It
    /// follows within moments and once, so that the same line later is somebody else's.
    pub fn exec_that_was_told(&mut self, id: &str, command_line: &str) -> Option<bool> {
        let told = &mut self.entries.get_mut(id)?.told_execs;
        let place = told.iter().position(|(line, _)| **line == *command_line)?;
        told.remove(place).map(|(_, privileged)| privileged)
    }

    /// Takes in what is known of a container beyond what a runtime told.
    pub fn describe(&mut self, container: &Arc<Container>) {
        self.learn(container);
    }

    /// Takes in that a runtime can be asked, or no longer.
    pub fn apply_runtime(&mut self, state: RuntimeState) {
        let RuntimeState { name, connected } = state;
        if connected {
            self.connected.insert(name);
        } else {
            self.connected.remove(name);
        }
    }

    /// Whether this execution of `process` is the first that was seen in that container since it last started: true
    /// once. The container must have been looked up before.
    pub fn first_execution(&mut self, id: &str, process: &Process, standing: bool) -> bool {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.first.is_none()) else {
            return false;
        };
        let first = First::new(process, standing);
        entry.first = Some((process.execution.time, first));
        if first.namespaces.mount != 0 {
            self.by_mounts
                .insert(first.namespaces.mount, Arc::clone(&entry.container.id));
        }
        true
    }

    /// A container's process ended. The first one takes all others with it: what comes after is a start again, also
    /// where no runtime tells of the end.
    pub fn ended(&mut self, id: &str, process: ProcessKey) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let first = entry.first.take_if(|(_, first)| first.key == process);
        forget_mounts(&mut self.by_mounts, first, id);
    }

    /// The first process of that container, if it is known.
    pub fn first(&self, id: &str) -> Option<&First> {
        self.entries.get(id)?.first.as_ref().map(|(_, first)| first)
    }

    /// The container that a process of those namespaces is in, with its first process.
    pub fn by_namespaces(&self, namespaces: &Namespaces) -> Option<(&Arc<str>, &First)> {
        let id = self.by_mounts.get(&namespaces.mount)?;
        let first = self.first(id).filter(|first| first.shares(namespaces))?;
        Some((id, first))
    }

    /// Takes in where the agent itself runs.
    pub fn apply_own(&mut self, id: &Arc<str>) {
        self.own = Some(Arc::clone(id));
    }

    /// Whether the agent itself runs in that container.
    pub fn is_own(&self, id: &str) -> bool {
        self.own.as_deref() == Some(id)
    }

    /// Takes in that a socket of that container has that address.
    pub fn see_at(&mut self, address: IpAddr, container: &Container) {
        self.places.see(address, &container.id);
    }

    /// The container that answers at `destination`; `on_node` if whoever asks shares the node's network.
    pub fn at(&mut self, destination: SocketAddr, on_node: bool) -> Option<Arc<Container>> {
        let id = self.places.find(destination, on_node)?;
        self.entries.get(id).map(|entry| Arc::clone(&entry.container))
    }

    /// Remembers that a cgroup is that container's, for sockets whose process is not known.
    pub fn note_cgroup(&mut self, cgroup: u64, id: &str) {
        // In the version 1 hierarchies every process is in the root of the unified one, which has the id 1.
        if cgroup <= 1 || self.by_cgroup.contains_key(&cgroup) {
            return;
        }
        if let Some((id, entry)) = self.entries.get_key_value(id)
            && entry.cgroups.len() < CGROUPS
        {
            let id = Arc::clone(id);
            self.by_cgroup.insert(cgroup, Arc::clone(&id));
            self.entries.entry(id).and_modify(|entry| entry.cgroups.push(cgroup));
        }
    }

    /// The container of that cgroup, by its id in the unified hierarchy.
    pub fn by_cgroup(&self, cgroup: u64) -> Option<&Arc<str>> {
        self.by_cgroup.get(&cgroup)
    }

    /// Whether some runtime may yet tell of a container whose cgroup speaks of `runtime`.
    fn can_ask(&self, runtime: &str) -> bool {
        match runtime {
            "" => !self.connected.is_empty(),
            // A pod's cgroups look the same whether containerd made them or dockerd did (through cri-dockerd).
            "containerd" => self.connected.contains("containerd") || self.connected.contains("docker"),
            _ => self.connected.contains(runtime),
        }
    }

    fn insert_bare(&mut self, id: &str, runtime: &str, metadata: Metadata) -> Arc<Container> {
        let container = Arc::new(Container {
            id: id.into(),
            metadata,
            runtime: runtime.into(),
            ..Container::default()
        });
        self.learn(&container);
        container
    }

    /// Puts facts into the table, unless better ones are there.
    fn learn(&mut self, container: &Arc<Container>) {
        if let Some(entry) = self.entries.get_mut(&container.id) {
            entry.described_soon = false;
            let better = entry.container.metadata == Metadata::Known && container.metadata != Metadata::Known;
            if !better && !container.tells_nothing() {
                self.places.forget(&entry.container);
                self.places.learn(container);
                entry.container = Arc::clone(container);
            }
            return;
        }
        if self.entries.len() >= CAPACITY {
            self.forget_oldest();
        }
        let entry = Entry {
            container: Arc::clone(container),
            described_soon: false,
            first: None,
            cgroups: Vec::new(),
            told_execs: VecDeque::new(),
            removed: false,
            last_used: self.turn,
        };
        self.places.learn(container);
        self.entries.insert(Arc::clone(&container.id), entry);
    }

    fn forget_removed(&mut self, now: Instant) {
        while let Some((since, _)) = self.removed.front()
            && now.saturating_duration_since(*since) >= REMEMBERED
            && let Some((_, id)) = self.removed.pop_front()
        {
            if self.entries.get(&id).is_some_and(|entry| entry.removed) {
                self.forget(&id);
            }
        }
    }

    /// Makes room: first the removed ones, then those without facts, then those that were not needed for longest.
    fn forget_oldest(&mut self) {
        let worth = |entry: &Entry| {
            let known = entry.container.metadata == Metadata::Known;
            (!entry.removed, known, entry.last_used)
        };
        let mut by_worth: Vec<_> = self
            .entries
            .iter()
            .map(|(id, entry)| (worth(entry), Arc::clone(id)))
            .collect();
        by_worth.select_nth_unstable(FORGOTTEN_AT_ONCE);
        for (_, id) in &by_worth[..FORGOTTEN_AT_ONCE] {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: &str) {
        let Some(entry) = self.entries.remove(id) else {
            return;
        };
        for cgroup in entry.cgroups {
            self.by_cgroup.remove(&cgroup);
        }
        forget_mounts(&mut self.by_mounts, entry.first, id);
        self.places.forget(&entry.container);
    }
}

/// The mount namespace of a container that has ended; unless its number has become another container's since.
fn forget_mounts(by_mounts: &mut FxHashMap<u32, Arc<str>>, first: Option<(Timestamp, First)>, id: &str) {
    if let Some((_, first)) = first
        && by_mounts
            .get(&first.namespaces.mount)
            .is_some_and(|known| **known == *id)
    {
        by_mounts.remove(&first.namespaces.mount);
    }
}

#[cfg(test)]
mod tests;
