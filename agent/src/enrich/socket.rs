//! What the node knows of its sockets: who listens where, and under which name an address was asked for.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use lru::LruCache;

use crate::event::{DnsMessage, ListenAddress, Listener, Process, ProcessKey};

/// Listening sockets that are remembered.
const LISTENERS: NonZeroUsize = NonZeroUsize::new(8_192).expect("not 0");

/// Addresses whose names are remembered.
const NAMES: NonZeroUsize = NonZeroUsize::new(16_384).expect("not 0");

/// Who listens where. An accepted connection belongs to its listener's owner: the kernel accepts it while some other
/// process runs.
#[derive(Debug)]
pub struct Listeners(LruCache<(u32, ListenAddress), ProcessKey>);

impl Default for Listeners {
    fn default() -> Self {
        Self(LruCache::new(LISTENERS))
    }
}

impl Listeners {
    /// A socket listens.
    pub fn learn(&mut self, listener: &Listener) {
        if let Some(process) = listener.owner.process {
            self.0
                .put((listener.owner.network_namespace, listener.address.clone()), process);
        }
    }

    /// Whether a listener that a look has found was known already: by this process, or by an ancestor that runs the same
    /// program, such as a server of its worker. Not by another: systemd opens sockets for those that it starts.
    pub fn know(&mut self, listener: &Listener, process: Option<&Process>) -> bool {
        let place = (listener.owner.network_namespace, listener.address.clone());
        let Some(known) = self.0.get(&place).copied() else {
            return false;
        };
        let same_program = |process: &Process, other: &Process| {
            let file = |process: &Process| (process.execution.device, process.execution.inode);
            file(process) == file(other)
        };
        listener.owner.process == Some(known)
            || process.is_some_and(|process| {
                let mut ancestors = process.ancestors();
                ancestors.any(|ancestor| ancestor.key == known && same_program(ancestor, process))
            })
    }

    /// Who owns what is connected at that address of that network namespace: the one that listens there, or on all
    /// addresses.
    pub fn owner(&mut self, network_namespace: u32, local: SocketAddr) -> Option<ProcessKey> {
        let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let mut places = [local.ip()]
            .into_iter()
            .chain(any)
            .map(|ip| SocketAddr::new(ip, local.port()));
        places.find_map(|place| self.0.get(&(network_namespace, ListenAddress::Tcp(place))).copied())
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
pub struct Names(LruCache<(u32, IpAddr), Arc<str>>);

impl Default for Names {
    fn default() -> Self {
        Self(LruCache::new(NAMES))
    }
}

impl Names {
    /// A name server answered.
    pub fn learn(&mut self, message: &DnsMessage) {
        if !message.answer || message.addresses.is_empty() {
            return;
        }
        let name: Arc<str> = message.name.as_ref().into();
        for address in &message.addresses {
            self.0.put(
                (message.owner.network_namespace, address.to_canonical()),
                Arc::clone(&name),
            );
        }
    }

    /// The name of that address as that network namespace knows it.
    pub fn name(&mut self, network_namespace: u32, address: IpAddr) -> Option<Arc<str>> {
        self.0.get(&(network_namespace, address.to_canonical())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Findings, Owner};

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
        listeners.learn(&listener(1, "0.0.0.0:80", 10));
        listeners.learn(&listener(1, "127.0.0.1:80", 11));
        listeners.learn(&listener(2, "[::]:80", 12));
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
        listeners.learn(&listener(1, "0.0.0.0:80", 13));
        assert_eq!(listeners.owner(1, "192.0.2.1:80".parse().unwrap()), Some(process(13)));
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
            answer: true,
        };
        names.learn(&message);
        assert_eq!(
            names.name(7, "192.0.2.1".parse().unwrap()).as_deref(),
            Some("example.org")
        );
        assert_eq!(
            names.name(7, "::ffff:192.0.2.1".parse().unwrap()).as_deref(),
            Some("example.org")
        );
        assert_eq!(names.name(8, "192.0.2.1".parse().unwrap()), None);
        message.answer = false;
        message.addresses = vec!["192.0.2.2".parse().unwrap()];
        names.learn(&message);
        assert_eq!(names.name(7, "192.0.2.2".parse().unwrap()), None);
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
                answer: true,
            };
            names.learn(&message);
            listeners.learn(&listener(number, "0.0.0.0:80", 10));
        }
        assert_eq!((names.0.len(), listeners.0.len()), (NAMES.get(), LISTENERS.get()));
    }
}
