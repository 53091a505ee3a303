//! The process table: who runs what, made by whom, in which container.

use std::{collections::VecDeque, num::NonZeroUsize, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use lru::LruCache;
use rustc_hash::FxHashSet;

use super::container::container_id;
use crate::event::{Capabilities, Execution, Exit, Fork, HostNamespaces, Process, ProcessKey};

/// Processes that are remembered. Beyond, the one that was longest not heard of is forgotten; its children still hold it.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(65_536).expect("not 0");

/// How long a process is remembered after its end: a DNS answer or a look at its listener may come a little later.
const REMEMBERED: SignedDuration = SignedDuration::from_millis(250);

/// Ancestors in a line. A line of processes that each make another and end grows for ever; beyond this, the ended ones
/// are left out.
const MAX_DEPTH: u16 = 64;

/// Bytes of a command line that are kept for later events: an attacker may give 32 KiB to each of many processes. The
/// event itself has all of it.
const KEPT_ARGUMENTS: usize = 2048;

/// Every live process that the agent has heard of.
#[derive(Debug)]
pub struct Processes {
    live: LruCache<ProcessKey, Arc<Process>>,
    /// Those that have ended, in their order.
    ended: VecDeque<(Timestamp, ProcessKey)>,
    /// The same, to be asked for.
    gone: FxHashSet<ProcessKey>,
}

impl Default for Processes {
    fn default() -> Self {
        Self {
            live: LruCache::unbounded(),
            ended: VecDeque::new(),
            gone: FxHashSet::default(),
        }
    }
}

impl Processes {
    /// The process of that key.
    pub fn get(&mut self, key: ProcessKey) -> Option<&Arc<Process>> {
        self.live.get(&key)
    }

    /// Whether that process is remembered and has not ended.
    pub fn is_live(&self, key: ProcessKey) -> bool {
        self.live.contains(&key) && !self.gone.contains(&key)
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// A process was made: it runs what its parent runs, in its parent's container.
    pub fn fork(&mut self, fork: &Fork) {
        let Fork { child, parent } = fork;
        let parent = self.live.get(parent).cloned();
        let node = match &parent {
            Some(maker) => Process {
                key: *child,
                parent: self.bounded(parent.clone()),
                execution: Arc::clone(&maker.execution),
                container: maker.container.clone(),
                escaped_cgroup: maker.escaped_cgroup,
                entered: maker.entered,
                replaced: None,
                former_exe: None,
                depth: 0,
            },
            None => unknown(*child),
        };
        self.insert(node);
    }

    /// A process runs a program, in the namespaces of the container `entered` if of any. Gives back its node.
    pub fn exec(
        &mut self,
        process: ProcessKey,
        parent: ProcessKey,
        execution: Arc<Execution>,
        entered: Option<&Arc<str>>,
    ) -> Arc<Process> {
        let before = self.live.get(&process).cloned();
        let parent = match &before {
            Some(before) => before.parent.clone().or_else(|| self.live.get(&parent).cloned()),
            None => self.live.get(&parent).cloned(),
        };
        let from = before.as_ref().or(parent.as_ref());
        let inherited = from.and_then(|process| process.container.clone());
        let was_inside = from.is_some_and(|process| process.entered);
        let by_cgroup = container_id(&execution.cgroup).map(|(id, _)| id);
        let by_namespaces = entered.filter(|_| by_cgroup.is_none());
        let container = inherited
            .or_else(|| by_cgroup.map(Arc::from))
            .or_else(|| by_namespaces.cloned());
        let escaped_cgroup = container.is_some() && container.as_deref() != by_cgroup;
        let parent = self.bounded(parent);
        let mut node = Process {
            key: process,
            parent,
            execution,
            container,
            escaped_cgroup,
            entered: false,
            former_exe: before.as_deref().and_then(former_exe),
            replaced: before.and_then(replaced),
            depth: 0,
        };
        node.entered = was_inside || is_inside_container(&node);
        self.insert(node)
    }

    /// The container of that process, without counting that as news of it.
    pub fn container_of(&self, key: ProcessKey) -> Option<&Arc<str>> {
        self.live.peek(&key)?.container.as_ref()
    }

    /// A process ended.
    pub fn exit(&mut self, exit: &Exit, now: Timestamp) {
        self.ended.push_back((now, exit.process));
        self.gone.insert(exit.process);
        while let Some((since, key)) = self.ended.front()
            && now.duration_since(*since) >= REMEMBERED
        {
            self.live.pop(key);
            self.gone.remove(key);
            self.ended.pop_front();
        }
    }

    fn insert(&mut self, mut node: Process) -> Arc<Process> {
        node.depth = node.parent.as_ref().map_or(0, |parent| parent.depth + 1);
        let node = Arc::new(node);
        if self.live.len() >= CAPACITY.get() {
            self.live.pop_lru();
        }
        self.live.put(node.key, kept(&node));
        node
    }

    /// The parent for a new node: where the line is too long, the nearest ancestor that lives, as the kernel itself
    /// hands orphans on.
    fn bounded(&self, parent: Option<Arc<Process>>) -> Option<Arc<Process>> {
        let mut parent = parent?;
        while parent.depth >= MAX_DEPTH {
            parent = parent.parent.clone()?;
            while !self.live.contains(&parent.key) && parent.parent.is_some() {
                parent = parent.parent.clone()?;
            }
        }
        Some(parent)
    }
}

/// Whether a process has run a program of its own, and not only its parent's since it was made.
fn runs_its_own(process: &Process) -> bool {
    let parent = process.parent.as_ref();
    !parent.is_some_and(|parent| Arc::ptr_eq(&parent.execution, &process.execution))
}

/// What it ran until now, which only ever shows of what becomes another program instead of starting it.
fn former_exe(before: &Process) -> Option<Box<str>> {
    runs_its_own(before).then(|| before.execution.exe.clone())
}

/// What a process leaves behind when it runs another program: the first web worker among its programs. What it was made
/// with is its parent's program, which stays above it anyway.
fn replaced(before: Arc<Process>) -> Option<Arc<Process>> {
    let own = runs_its_own(&before) && before.is_web_worker();
    before.replaced.clone().or_else(|| own.then_some(before))
}

/// The node as the table keeps it: with no more than the beginning of a long command line.
fn kept(node: &Arc<Process>) -> Arc<Process> {
    let command_line = &node.execution.command_line;
    if command_line.len() <= KEPT_ARGUMENTS {
        return Arc::clone(node);
    }
    let execution = Execution {
        command_line: command_line[..command_line.floor_char_boundary(KEPT_ARGUMENTS)].into(),
        command_line_cut: true,
        roles: node.execution.roles.shared(),
        ..(*node.execution).clone()
    };
    Arc::new(Process {
        execution: Arc::new(execution),
        ..(**node).clone()
    })
}

/// A process that was made by one that the agent has not heard of.
fn unknown(key: ProcessKey) -> Process {
    Process {
        key,
        parent: None,
        execution: Arc::default(),
        container: None,
        escaped_cgroup: false,
        entered: false,
        replaced: None,
        former_exe: None,
        depth: 0,
    }
}

/// Whether a container's process holds every capability that its runtime can give, in the node's own user namespace.
pub fn has_full_capabilities(process: &Process) -> bool {
    holds_all(process, process.execution.credentials.effective)
}

/// Whether a container's process could gain every such capability: also that of a user without any.
pub fn has_full_bounding_set(process: &Process) -> bool {
    holds_all(process, process.execution.credentials.bounding)
}

/// The measure is the bounding set of the nearest ancestor outside the container, since a runtime cannot give what it
/// does not have itself; of it, what all runtimes know.
fn holds_all(process: &Process, set: Capabilities) -> bool {
    if process.container.is_none() || process.execution.namespaces.in_initial_user() != Some(true) {
        return false;
    }
    let giver = outside(process)
        .map(|ancestor| ancestor.execution.credentials.bounding)
        .filter(|set| set.0 != 0);
    let known = Capabilities::KNOWN_TO_ALL_RUNTIMES;
    let full = giver.map_or(known, |set| Capabilities(set.0 & known.0));
    set.contain(full)
}

/// Whether a container's process is inside of it: before, it is the runtime on its way there, which already counts to
/// the container's cgroup but still sees the files of whoever sent it.
fn is_inside_container(process: &Process) -> bool {
    process.container.is_some() && !process.execution.entering && !sees_senders_files(process)
}

/// Whether a container's process has been inside, and now sees the files of whoever started the container, or of one
/// above: a runtime may have mounts of its own.
pub fn has_left_mounts(process: &Process) -> bool {
    let mounts = process.execution.namespaces.mount;
    let is_theirs = |sender: &Process| {
        let above = std::iter::once(sender).chain(sender.ancestors());
        above
            .into_iter()
            .any(|ancestor| ancestor.execution.namespaces.mount == mounts)
    };
    process.entered && mounts != 0 && outside(process).is_some_and(is_theirs)
}

fn sees_senders_files(process: &Process) -> bool {
    let mounts = |process: &Process| process.execution.namespaces.mount;
    let senders = outside(process).map(mounts);
    senders.is_some_and(|senders| senders != 0 && senders == mounts(process))
}

/// Which namespaces a container's process shares with whoever sent it, of those that make it part of the node.
pub fn shared_namespaces(process: &Process) -> HostNamespaces {
    let Some(sender) = outside(process) else {
        return HostNamespaces::default();
    };
    let (own, senders) = (&process.execution.namespaces, &sender.execution.namespaces);
    let shared = |own: u32, senders: u32| own != 0 && own == senders;
    HostNamespaces {
        pid: shared(own.pid, senders.pid),
        network: shared(own.network, senders.network),
        ipc: shared(own.ipc, senders.ipc),
        ..HostNamespaces::default()
    }
}

/// The nearest ancestor outside the container that the process is in; of one that is in none, nobody.
pub fn outside(process: &Process) -> Option<&Process> {
    process.container.as_ref()?;
    let mut ancestors = process.ancestors();
    ancestors.find(|ancestor| ancestor.container != process.container)
}

#[cfg(test)]
mod tests;
