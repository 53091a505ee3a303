//! Where this node's containers can be reached: their addresses, and the ports that the node forwards to them.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
};

use lru::LruCache;
use rustc_hash::FxHashMap;

use crate::event::Container;

/// Addresses that are remembered because a container was seen to use them.
const SEEN: NonZeroUsize = NonZeroUsize::new(4_096).expect("not 0");
/// Addresses and ports of one container that are taken in.
const OF_ONE: usize = 64;
/// Addresses of the node that are remembered.
const GATEWAYS: usize = 256;

/// Which container is where.
#[derive(Debug)]
pub(super) struct Places {
    /// As the runtime says.
    told: FxHashMap<IpAddr, Arc<str>>,
    /// As sockets show: the address of a pod is in no runtime's word for its containers.
    seen: LruCache<IpAddr, Arc<str>>,
    /// Ports of the node. Two containers may have the same one on different addresses; the later counts.
    published: FxHashMap<u16, Arc<str>>,
    /// The node's own addresses as containers see it.
    gateways: VecDeque<IpAddr>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            told: FxHashMap::default(),
            seen: LruCache::new(SEEN),
            published: FxHashMap::default(),
            gateways: VecDeque::new(),
        }
    }
}

impl Places {
    /// Takes in where the runtime says that a container is.
    pub(super) fn learn(&mut self, container: &Container) {
        for address in container.addresses.iter().take(OF_ONE) {
            self.told.insert(*address, Arc::clone(&container.id));
        }
        for port in container
            .published_ports
            .iter()
            .take(OF_ONE)
            .filter(|port| port.port != 0)
        {
            self.published.insert(port.port, Arc::clone(&container.id));
        }
        let published = container
            .published_ports
            .iter()
            .filter_map(|port| port.address.parse().ok());
        for address in published.chain(container.gateways.iter().copied()).take(OF_ONE) {
            self.learn_gateway(address);
        }
    }

    fn learn_gateway(&mut self, address: IpAddr) {
        if address.is_unspecified() || address.is_loopback() || self.gateways.contains(&address) {
            return;
        }
        if self.gateways.len() == GATEWAYS {
            self.gateways.pop_front();
        }
        self.gateways.push_back(address);
    }

    /// Takes in that a socket of the container has that address.
    pub(super) fn see(&mut self, address: IpAddr, id: &Arc<str>) {
        let address = address.to_canonical();
        if address.is_loopback() || address.is_unspecified() || self.told.contains_key(&address) {
            return;
        }
        if self.seen.get(&address).is_none_or(|known| known != id) {
            self.seen.put(address, Arc::clone(id));
        }
    }

    /// Forgets where a container was.
    pub(super) fn forget(&mut self, container: &Container) {
        for address in &container.addresses {
            if self.told.get(address) == Some(&container.id) {
                self.told.remove(address);
            }
        }
        for port in &container.published_ports {
            if self.published.get(&port.port) == Some(&container.id) {
                self.published.remove(&port.port);
            }
        }
    }

    /// Which container answers there; `on_node` if whoever asks shares the node's network, where loopback is the node's.
    pub(super) fn find(&mut self, destination: SocketAddr, on_node: bool) -> Option<&Arc<str>> {
        let address = destination.ip().to_canonical();
        if address.is_loopback() && on_node || self.gateways.contains(&address) {
            return self.published.get(&destination.port());
        }
        self.told.get(&address).or_else(|| self.seen.get(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PublishedPort;

    fn container(id: &str, addresses: &[&str], port: u16) -> Container {
        let published = PublishedPort {
            address: "0.0.0.0".into(),
            port,
            container_port: 80,
        };
        Container {
            id: id.into(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            gateways: vec!["172.17.0.1".parse().unwrap()],
            published_ports: vec![published],
            ..Container::default()
        }
    }

    fn check(places: &mut Places, destination: &str, on_node: bool, expected: Option<&str>) {
        let found = places.find(destination.parse().unwrap(), on_node).map(|id| &**id);
        assert_eq!(found, expected, "{destination} {on_node}");
    }

    #[test]
    fn a_container_is_found_by_its_address_and_its_published_port() {
        let mut places = Places::default();
        let web = container("web", &["172.17.0.2", "2001:db8::2"], 8080);
        places.learn(&web);
        check(&mut places, "172.17.0.2:80", false, Some("web"));
        check(&mut places, "[::ffff:172.17.0.2]:443", false, Some("web"));
        check(&mut places, "[2001:db8::2]:80", true, Some("web"));
        check(&mut places, "127.0.0.1:8080", true, Some("web"));
        check(&mut places, "127.0.0.1:8080", false, None);
        check(&mut places, "172.17.0.1:8080", false, Some("web"));
        check(&mut places, "172.17.0.1:8081", false, None);
        check(&mut places, "172.17.0.3:80", true, None);
        places.forget(&web);
        check(&mut places, "172.17.0.2:80", false, None);
        check(&mut places, "127.0.0.1:8080", true, None);
    }

    #[test]
    fn what_is_seen_counts_less_than_what_is_told() {
        let mut places = Places::default();
        places.learn(&container("web", &["172.17.0.2"], 0));
        places.see("172.17.0.2".parse().unwrap(), &"thief".into());
        places.see("10.244.0.7".parse().unwrap(), &"pod".into());
        places.see("127.0.0.1".parse().unwrap(), &"pod".into());
        check(&mut places, "172.17.0.2:80", false, Some("web"));
        check(&mut places, "10.244.0.7:8443", false, Some("pod"));
        check(&mut places, "127.0.0.1:80", false, None);
    }
}
