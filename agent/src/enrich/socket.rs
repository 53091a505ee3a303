//! What the node knows of its sockets: who listens where, and under which name an address was asked for.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use lru::LruCache;

use crate::event::{DnsMessage, Findings, ListenAddress, Listener, Process, ProcessKey};

/// Listening sockets that are remembered.
const LISTENERS: NonZeroUsize = NonZeroUsize::new(8_192).expect("not 0");

/// Addresses whose names are remembered.
const NAMES: NonZeroUsize = NonZeroUsize::new(16_384).expect("not 0");

/// Who listens where. An accepted connection belongs to its listener's owner: the kernel accepts it while some other
/// process runs.
#[derive(Debug)]
pub struct Listeners(LruCache<(u32, ListenAddress), Known>);

/// What is known of a listener.
#[derive(Debug)]
struct Known {
    owner: ProcessKey,
    /// The file that its owner ran, by device and inode: a process may leave its sockets to the next program.
    program: Option<(u32, u64)>,
    /// Only its connections: what else was found is not asked again.
    findings: Findings,
}

fn program(process: &Process) -> (u32, u64) {
    (process.execution.device, process.execution.inode)
}

impl Default for Listeners {
    fn default() -> Self {
        Self(LruCache::new(LISTENERS))
    }
}

impl Listeners {
    /// A socket listens.
    pub fn learn(&mut self, listener: &Listener, process: Option<&Process>) {
        let Some(owner) = listener.owner.process else {
            return;
        };
        let mut findings = connections(listener);
        let before = self.0.peek(&place(listener));
        for path in before.into_iter().flat_map(|before| &before.findings.connected_to) {
            findings.connect(path);
        }
        let known = Known {
            owner,
            program: process.map(program),
            findings,
        };
        self.0.put(place(listener), known);
    }

    /// Whether a listener that a look has found is no news: it was known, and known to be connected so. It was if this
    /// process has it, or an ancestor that runs the same program, such as a server of its worker, to whom it is then put
    /// down. Not if another program has it: systemd opens sockets for those that it starts.
    pub fn know(&mut self, listener: &mut Listener, process: Option<&Process>) -> bool {
        let Some(known) = self.0.get_mut(&place(listener)) else {
            return false;
        };
        let same_program = match (process.map(program), known.program) {
            (Some(program), Some(known)) => program == known,
            _ => true,
        };
        let is_owner = |key: ProcessKey| key == known.owner;
        let below_owner = || process.is_some_and(|process| process.ancestors().any(|ancestor| is_owner(ancestor.key)));
        if !same_program || !(listener.owner.process.is_some_and(is_owner) || below_owner()) {
            return false;
        }
        listener.owner.process = Some(known.owner);
        // All of them are to be noted, not only the first that is new.
        let connections = listener.findings.connected_to.iter();
        let news = connections.filter(|path| known.findings.connect(path)).count();
        news == 0
    }

    /// A look has told more of a listener that was judged.
    pub fn note_connections(&mut self, listener: &Listener) {
        if let Some(known) = self.0.get_mut(&place(listener)) {
            known.findings = connections(listener);
        }
    }

    /// Who owns what is connected at that address of that network namespace: the one that listens there, or on all
    /// addresses.
    pub fn owner(&mut self, network_namespace: u32, local: SocketAddr) -> Option<ProcessKey> {
        let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let mut places = [local.ip()]
            .into_iter()
            .chain(any)
            .map(|ip| SocketAddr::new(ip, local.port()));
        places.find_map(|place| Some(self.0.get(&(network_namespace, ListenAddress::Tcp(place)))?.owner))
    }
}

fn place(listener: &Listener) -> (u32, ListenAddress) {
    (listener.owner.network_namespace, listener.address.clone())
}

fn connections(listener: &Listener) -> Findings {
    Findings {
        connected_to: listener.findings.connected_to.clone(),
        ..Findings::default()
    }
}

/// Whose listening sockets were looked at, and when.
#[derive(Debug)]
pub struct Looked(LruCache<ProcessKey, Timestamp>);

/// Processes of which that is remembered.
const LOOKED: NonZeroUsize = NonZeroUsize::new(4_096).expect("not 0");

/// For how long a look is recent: a server may begin to listen right after it.
const RECENT: SignedDuration = SignedDuration::from_secs(2);

impl Default for Looked {
    fn default() -> Self {
        Self(LruCache::new(LOOKED))
    }
}

impl Looked {
    /// The sockets of that process were looked at.
    pub fn note(&mut self, process: ProcessKey, time: Timestamp) {
        self.0.put(process, time);
    }

    /// Whether they were a moment before `time`.
    pub fn is_recent(&mut self, process: ProcessKey, time: Timestamp) -> bool {
        let looked = self.0.peek(&process);
        looked.is_some_and(|looked| time.duration_since(*looked) < RECENT)
    }
}

/// Under which name an address was last asked for, by network namespace: two containers may ask different servers.
#[derive(Debug)]
pub struct Names(LruCache<(u32, IpAddr), Named>);

/// A name, and until when it stands for its address.
#[derive(Debug)]
struct Named {
    name: Arc<str>,
    until: Timestamp,
}

/// For how long a name is remembered at least, and at most. Programs keep an answer for longer than they may: libraries
/// half a minute, others until they have looked at every connection that they hold.
const SHORTEST: SignedDuration = SignedDuration::from_mins(2);
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

impl Default for Names {
    fn default() -> Self {
        Self(LruCache::new(NAMES))
    }
}

impl Names {
    /// A name server answered, at that time.
    pub fn learn(&mut self, message: &DnsMessage, time: Timestamp) {
        if !message.answer || message.addresses.is_empty() {
            return;
        }
        let name: Arc<str> = message.name.as_ref().into();
        let lasts = SignedDuration::from_secs(message.ttl.into()).clamp(SHORTEST, LONGEST);
        let until = time.saturating_add(lasts).unwrap_or(Timestamp::MAX);
        for address in &message.addresses {
            let named = Named {
                name: Arc::clone(&name),
                until,
            };
            self.0
                .put((message.owner.network_namespace, address.to_canonical()), named);
        }
    }

    /// The name of that address as that network namespace knows it at that time.
    pub fn name(&mut self, network_namespace: u32, address: IpAddr, time: Timestamp) -> Option<Arc<str>> {
        let place = (network_namespace, address.to_canonical());
        let named = self.0.get(&place)?;
        if named.until < time {
            self.0.pop(&place);
            return None;
        }
        Some(Arc::clone(&named.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Execution, Owner};

    fn process(pid: u32) -> ProcessKey {
        ProcessKey { pid, start: 1 }
    }

    fn listener(namespace: u32, address: &str, pid: u32) -> Listener {
        let owner = Owner {
            process: Some(process(pid)),
            network_namespace: namespace,
            ..Owner::default()
        };
        Listener {
            owner,
            address: ListenAddress::Tcp(address.parse().unwrap()),
            looked_up: false,
            findings: Findings::default(),
        }
    }

    #[test]
    fn a_connection_belongs_to_the_listener() {
        let mut listeners = Listeners::default();
        listeners.learn(&listener(1, "0.0.0.0:80", 10), None);
        listeners.learn(&listener(1, "127.0.0.1:80", 11), None);
        listeners.learn(&listener(2, "[::]:80", 12), None);
        for (namespace, local, expected) in [
            (1, "192.0.2.1:80", Some(10)),
            (1, "127.0.0.1:80", Some(11)),
            (2, "192.0.2.1:80", Some(12)),
            (1, "192.0.2.1:81", None),
            (3, "192.0.2.1:80", None),
        ] {
            assert_eq!(
                listeners.owner(namespace, local.parse().unwrap()),
                expected.map(process),
                "{local}"
            );
        }
        listeners.learn(&listener(1, "0.0.0.0:80", 13), None);
        assert_eq!(listeners.owner(1, "192.0.2.1:80".parse().unwrap()), Some(process(13)));
    }

    /// A process of that number that runs the program of that inode.
    fn running(pid: u32, inode: u64, parent: Option<&Arc<Process>>) -> Arc<Process> {
        let execution = Execution {
            inode,
            ..Execution::default()
        };
        Arc::new(Process {
            key: process(pid),
            parent: parent.cloned(),
            execution: Arc::new(execution),
            container: None,
            escaped_cgroup: false,
            entered: false,
            replaced: None,
            former_exe: None,
            depth: 0,
        })
    }

    #[test]
    fn what_a_look_finds_is_news_to_another_program_and_with_another_connection() {
        let mut listeners = Listeners::default();
        let (systemd, proxy) = (running(1, 5, None), running(10, 7, None));
        listeners.learn(&listener(1, "0.0.0.0:80", 1), Some(&systemd));
        listeners.learn(&listener(1, "0.0.0.0:90", 10), Some(&proxy));
        let mut is_news = |address: &str, by: &Arc<Process>, connected_to: &[&str]| {
            let mut found = listener(1, address, by.key.pid);
            found.findings.connected_to = connected_to.iter().map(|path| Arc::from(*path)).collect();
            let is_news = !listeners.know(&mut found, Some(by));
            (is_news, found.owner.process.unwrap().pid)
        };
        let worker = running(11, 7, Some(&proxy));
        assert_eq!(is_news("0.0.0.0:80", &running(20, 6, Some(&systemd)), &[]), (true, 20));
        assert_eq!(is_news("0.0.0.0:80", &running(1, 6, None), &[]), (true, 1), "execve");
        assert_eq!(is_news("0.0.0.0:80", &systemd, &[]), (false, 1));
        assert_eq!(is_news("0.0.0.0:90", &worker, &[]), (false, 10));
        assert_eq!(is_news("0.0.0.0:90", &worker, &["/a", "/b"]), (true, 10));
        assert_eq!(is_news("0.0.0.0:90", &proxy, &["/b"]), (false, 10));
        assert_eq!(is_news("0.0.0.0:99", &proxy, &[]), (true, 10));
        let again = listener(1, "0.0.0.0:90", 10);
        listeners.learn(&again, Some(&proxy));
        let mut found = again;
        found.findings.connect(&"/a".into());
        assert!(
            listeners.know(&mut found, Some(&proxy)),
            "what was known of it stays known"
        );
    }

    #[test]
    fn answers_name_addresses() {
        let mut names = Names::default();
        let mut message = DnsMessage {
            owner: Owner {
                network_namespace: 7,
                ..Owner::default()
            },
            server: "192.0.2.53:53".parse().unwrap(),
            name: "example.org".into(),
            record_type: "A".into(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
            ttl: 300,
            answer: true,
        };
        let at = |second| Timestamp::new(second, 0).unwrap();
        names.learn(&message, at(0));
        assert_eq!(
            names.name(7, "192.0.2.1".parse().unwrap(), at(1)).as_deref(),
            Some("example.org")
        );
        assert_eq!(
            names.name(7, "::ffff:192.0.2.1".parse().unwrap(), at(300)).as_deref(),
            Some("example.org")
        );
        assert_eq!(names.name(8, "192.0.2.1".parse().unwrap(), at(1)), None);
        assert_eq!(names.name(7, "192.0.2.1".parse().unwrap(), at(301)), None);
        message.answer = false;
        message.addresses = vec!["192.0.2.2".parse().unwrap()];
        names.learn(&message, at(1));
        assert_eq!(names.name(7, "192.0.2.2".parse().unwrap(), at(1)), None);
        message.answer = true;
        for (ttl, lasts) in [(0, 120), (u32::MAX, 86_400)] {
            message.ttl = ttl;
            names.learn(&message, at(0));
            assert!(names.name(7, "192.0.2.2".parse().unwrap(), at(lasts)).is_some());
            assert!(names.name(7, "192.0.2.2".parse().unwrap(), at(lasts + 1)).is_none());
        }
    }

    #[test]
    fn names_and_listeners_are_bounded() {
        let mut names = Names::default();
        let mut listeners = Listeners::default();
        for number in 0..20_000_u32 {
            let address = IpAddr::V4(Ipv4Addr::from_bits(number));
            let message = DnsMessage {
                owner: Owner::default(),
                server: "192.0.2.53:53".parse().unwrap(),
                name: "example.org".into(),
                record_type: "A".into(),
                addresses: vec![address],
                ttl: 60,
                answer: true,
            };
            names.learn(&message, Timestamp::UNIX_EPOCH);
            listeners.learn(&listener(number, "0.0.0.0:80", 10), None);
        }
        assert_eq!((names.0.len(), listeners.0.len()), (NAMES.get(), LISTENERS.get()));
    }
}
