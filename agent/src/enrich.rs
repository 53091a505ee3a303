//! Enrichers: what the node's state adds to an event. They open nothing and never wait.

pub mod process;
pub mod socket;
pub mod address;
pub mod cluster;
pub mod container;
pub mod baseline;
mod facts;
pub mod hold;
pub mod login;
pub mod user;

use std::{sync::Arc, time::Instant};

use self::{
    baseline::Baseline,
    cluster::Cluster,
    container::{Answer, Containers, container_id},
    login::Failures,
    process::{Processes, shared_namespaces},
    socket::{Listeners, Looked, Names},
    user::Users,
};
use crate::{
    control::status,
    event::{Again, Connection, Container, Endpoint, Event, Exec, Kind, Metadata, Owner, Process},
    intel::Intel,
    observed::Observed,
};

/// All that the agent knows of its node.
#[derive(Debug, Default)]
pub struct Node {
    processes: Processes,
    containers: Containers,
    users: Users,
    listeners: Listeners,
    looked: Looked,
    names: Names,
    cluster: Cluster,
    intel: Arc<Intel>,
    baseline: Baseline,
    failures: Failures,
}

/// What became of an event.
#[derive(Debug)]
pub enum Step {
    /// It told the tables something; nobody judges it.
    Learned,
    /// All is known that will be known.
    Ready(Observed),
    /// It happened in this container, about which a runtime will soon tell more.
    Awaits(Arc<str>, Observed),
    /// It happened in this container, of which no runtime can tell more; perhaps its files can. Goes on by
    /// [`Node::resume`], at once or when that is known.
    Undescribed(Arc<Container>, Observed),
}

impl Node {
    /// Says how large its tables are, and which runtimes answer.
    pub fn tell(&self, status: &mut status::Stream) {
        status.processes = self.processes.len();
        status.containers = self.containers.len();
        let connected = self.containers.connected();
        status.runtimes = connected.map(|name| (name.to_owned(), true)).collect();
        (status.images, status.behaviours) = self.baseline.size();
        status.feeds = self.intel.feeds.iter().map(|feed| status::Feed::of(feed)).collect();
    }

    /// Takes in what happened, and adds who did it and in which container.
    pub fn observe(&mut self, mut event: Event, now: Instant) -> Step {
        if self.learn(&event) {
            return Step::Learned;
        }
        let process = match &mut event.kind {
            Kind::Exec(exec) => Some(self.exec(exec)),
            Kind::Connection(connection) => self.connection(connection),
            Kind::Listen(listener) => {
                let process = self.process(listener.owner);
                if listener.looked_up && self.listeners.know(listener, process.as_deref()) {
                    return Step::Learned;
                }
                // Whom it was put down to may be another.
                let process = self.process(listener.owner).or(process);
                self.listeners.learn(listener, process.as_deref());
                process
            }
            Kind::Again(again) => return Step::Ready(self.again(again)),
            Kind::Dns(message) => {
                self.names.learn(message, event.time);
                self.cluster.learn_name(message);
                self.process(message.owner)
            }
            Kind::Memory(found) => self.processes.get(found.process).cloned(),
            Kind::Container(change) => {
                if let Some(api) = change.container.kubernetes_api {
                    self.cluster.learn_service(api);
                }
                self.containers.apply(change, event.time, now);
                None
            }
            Kind::Login(login) => {
                login::remember(login, event.time, &mut self.failures, self.baseline.sights());
                // What was written before the agent started is only learned from.
                if event.startup {
                    return Step::Learned;
                }
                None
            }
            Kind::Fork(_)
            | Kind::Exit(_)
            | Kind::Users(_)
            | Kind::Runtime(_)
            | Kind::ToldExec(_)
            | Kind::KubernetesServer(_)
            | Kind::Intel(_)
            | Kind::Baseline(_)
            | Kind::OwnContainer(_)
            | Kind::Looked(_)
            | Kind::Health(_)
            | Kind::Recorded(_) => None,
        };
        self.place(event, process)
    }

    /// Takes in what only tells the tables something; whether it is such.
    fn learn(&mut self, event: &Event) -> bool {
        match &event.kind {
            Kind::Fork(fork) => self.processes.fork(fork),
            Kind::Exit(exit) => {
                if let Some(container) = self.processes.container_of(exit.process) {
                    self.containers.ended(container, exit.process);
                }
                self.processes.exit(exit, event.time);
            }
            Kind::Users(passwd) => self.users = Users::parse(passwd),
            Kind::Runtime(state) => self.containers.apply_runtime(*state),
            Kind::ToldExec(exec) => self.containers.told_exec(exec),
            Kind::KubernetesServer(server) => self.cluster.learn_server(server),
            Kind::Intel(intel) => self.learn_intel(Arc::clone(intel)),
            Kind::Baseline(tidings) => self.baseline.hear(tidings),
            Kind::OwnContainer(id) => self.containers.apply_own(id),
            Kind::Looked(process) => self.looked.note(*process, event.time),
            Kind::Exec(_)
            | Kind::Connection(_)
            | Kind::Listen(_)
            | Kind::Again(_)
            | Kind::Dns(_)
            | Kind::Memory(_)
            | Kind::Container(_)
            | Kind::Login(_)
            | Kind::Health(_)
            | Kind::Recorded(_) => return false,
        }
        true
    }

    fn exec(&mut self, exec: &Exec) -> Arc<Process> {
        // Once a container has ended, the numbers of its namespaces may be another's.
        let entered = self.containers.by_namespaces(&exec.execution.namespaces);
        let entered = entered.filter(|(_, first)| self.processes.is_live(first.key));
        let entered = entered.map(|(id, _)| id);
        let execution = Arc::clone(&exec.execution);
        self.processes.exec(exec.process, exec.parent, execution, entered)
    }

    fn connection(&mut self, connection: &mut Connection) -> Option<Arc<Process>> {
        if !connection.initiated {
            let owner = &mut connection.owner;
            owner.process = self.listeners.owner(owner.network_namespace, connection.destination);
        }
        self.process(connection.owner)
    }

    /// An event that was judged, with what is known by now.
    fn again(&mut self, again: &Again) -> Observed {
        let mut observed = Observed::clone(&again.observed);
        if let Kind::Listen(listener) = &observed.event.kind {
            self.listeners.note_connections(listener);
        }
        let by_now = self.facts(&observed.event, observed.process.as_deref());
        observed.facts.parent_sockets_unknown = by_now.parent_sockets_unknown;
        observed.facts.judged_before.clone_from(&again.matched);
        observed
    }

    /// Takes in that somebody looks into the runtime's files for that container: its events wait for what is found.
    pub fn await_description(&mut self, id: &str) {
        self.containers.await_description(id);
    }

    /// Lets an event go on that waited for the facts of a container: with those that have come.
    pub fn resume(&mut self, id: &str, mut observed: Observed) -> Observed {
        let runtime = observed.process.as_deref().map_or("", runtime_of);
        let container = self.containers.give_up(id, runtime);
        self.add_container(&mut observed, container);
        observed
    }

    /// What the images of this node normally do.
    pub fn baseline(&mut self) -> &mut Baseline {
        &mut self.baseline
    }

    /// Takes in what the threat feeds say from now on.
    pub fn learn_intel(&mut self, intel: Arc<Intel>) {
        self.intel = intel;
    }

    /// A rule gave a process a role: it, its forks, and below them all that asks for its ancestors' roles know it now.
    pub fn learn_role(&mut self, process: &Process, role: &Arc<str>) {
        process.execution.roles.add(role);
    }

    fn process(&mut self, owner: Owner) -> Option<Arc<Process>> {
        self.processes.get(owner.process?).cloned()
    }

    fn place(&mut self, event: Event, process: Option<Arc<Process>>) -> Step {
        let facts = self.facts(&event, process.as_deref());
        let mut observed = Observed {
            event,
            process,
            container: None,
            facts,
        };
        if let Kind::Container(change) = &observed.event.kind {
            observed.facts.own_container = self.containers.is_own(&change.container.id);
            observed.container = Some(Arc::clone(&change.container));
            return Step::Ready(observed);
        }
        let Some(id) = self.container_of(&observed) else {
            return Step::Ready(observed);
        };
        let runtime = observed.process.as_deref().map_or("", runtime_of);
        match self.containers.lookup(&id, runtime) {
            Answer::Known(container)
            | Answer::Unavailable {
                container,
                first: false,
            } => {
                self.add_container(&mut observed, container);
                Step::Ready(observed)
            }
            Answer::Unavailable { container, first: true } => Step::Undescribed(container, observed),
            Answer::Ask => Step::Awaits(id, observed),
        }
    }

    fn container_of(&self, observed: &Observed) -> Option<Arc<str>> {
        match &observed.process {
            Some(process) => process.container.clone(),
            None => self
                .containers
                .by_cgroup(owner(&observed.event.kind)?.cgroup_id)
                .cloned(),
        }
    }

    fn add_container(&mut self, observed: &mut Observed, mut container: Arc<Container>) {
        if let Some(process) = observed.process.clone() {
            if matches!(observed.event.kind, Kind::Exec(_)) && process.entered {
                let standing = observed.event.startup;
                observed.facts.container_start = self.containers.first_execution(&container.id, &process, standing);
            }
            if observed.facts.container_start {
                container = self.first_sight(&process, container);
            }
            if !process.escaped_cgroup {
                self.containers.note_cgroup(process.execution.cgroup_id, &container.id);
            }
            if let Some(first) = self.containers.first(&container.id) {
                observed.facts.beyond_container = first.exceeded_by(&process);
                observed.facts.from_outside = first.has_not_made(&process);
                observed.facts.container_began = first.began;
            }
            let came_in = process.entered && process.ancestors_inside().next().is_none();
            if came_in && !observed.facts.container_start && matches!(observed.event.kind, Kind::Exec(_)) {
                let line = &process.execution.command_line;
                observed.facts.told_exec = self.containers.exec_that_was_told(&container.id, line);
            }
        }
        if let Kind::Connection(connection) = &observed.event.kind
            && !container.host_namespaces.network
            && let Some(address) = own_side(connection)
        {
            self.containers.see_at(address.ip(), &container);
        }
        observed.facts.own_container = self.containers.is_own(&container.id);
        observed.container = Some(container);
    }

    /// What a container's first process tells of it: where the Kubernetes API is, and, of a container that no runtime
    /// tells of, which of the node's namespaces it shares.
    fn first_sight(&mut self, process: &Process, container: Arc<Container>) -> Arc<Container> {
        if let Some(api) = process.execution.kubernetes_api {
            self.cluster.learn_service(api);
        }
        let shared = shared_namespaces(process);
        if container.metadata == Metadata::Known || container.host_namespaces == shared {
            return container;
        }
        let container = Arc::new(Container {
            host_namespaces: shared,
            ..(*container).clone()
        });
        self.containers.describe(&container);
        container
    }
}

/// The container's end of a connection.
fn own_side(connection: &Connection) -> Option<Endpoint> {
    if connection.initiated {
        connection.source
    } else {
        Some(connection.destination)
    }
}

/// The runtime that a process's cgroup speaks of; empty if it does not say.
fn runtime_of(process: &Process) -> &'static str {
    container_id(&process.execution.cgroup).map_or("", |(_, runtime)| runtime)
}

/// Who owns the socket that an event speaks of.
fn owner(kind: &Kind) -> Option<Owner> {
    match kind {
        Kind::Connection(connection) => Some(connection.owner),
        Kind::Listen(listener) => Some(listener.owner),
        Kind::Dns(message) => Some(message.owner),
        Kind::Fork(_)
        | Kind::Exec(_)
        | Kind::Exit(_)
        | Kind::Memory(_)
        | Kind::Login(_)
        | Kind::Container(_)
        | Kind::Baseline(_)
        | Kind::KubernetesServer(_)
        | Kind::Health(_)
        | Kind::Recorded(_)
        | Kind::Runtime(_)
        | Kind::ToldExec(_)
        | Kind::OwnContainer(_)
        | Kind::Users(_)
        | Kind::Intel(_)
        | Kind::Again(_)
        | Kind::Looked(_) => None,
    }
}
