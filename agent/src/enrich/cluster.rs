//! Where a cluster's API is, as containers were told, as the node's own kubeconfig says, and as name servers answer.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
};

use crate::event::{DnsMessage, KubernetesServer};

/// Addresses of each sort that are kept: a node has one service address, or one a cluster that runs in containers on it,
/// and a few endpoints behind it.
const ADDRESSES: usize = 64;
/// Names of servers that are kept: one a kubeconfig.
const NAMES: usize = 16;

/// Beginnings of the names that every cluster gives its API: `kubernetes.default`, `kubernetes.default.svc…`.
const SERVICE: &str = "kubernetes.default";

/// The addresses that stand for the API.
#[derive(Debug, Default)]
pub struct Cluster {
    /// What containers were told in their environment: the service's address.
    services: VecDeque<(IpAddr, u16)>,
    /// What stands in a kubeconfig: an API server behind it.
    endpoints: VecDeque<(IpAddr, u16)>,
    /// A name in a kubeconfig, whose addresses name servers tell.
    names: VecDeque<(Box<str>, u16)>,
    /// Addresses that a name server gave for the service's name; of their ports nothing is known.
    named: VecDeque<IpAddr>,
}

impl Cluster {
    /// Takes in where a container was told that the API is.
    pub fn learn_service(&mut self, (ip, port): (IpAddr, u16)) {
        remember(&mut self.services, (ip.to_canonical(), port), ADDRESSES);
    }

    /// Takes in where the node itself finds the API.
    pub fn learn_server(&mut self, server: &KubernetesServer) {
        match server.host.parse::<IpAddr>() {
            Ok(ip) => remember(&mut self.endpoints, (ip.to_canonical(), server.port), ADDRESSES),
            Err(_) => remember(&mut self.names, (server.host.clone(), server.port), NAMES),
        }
    }

    /// Takes in what a name server answered, if it is about the API.
    pub fn learn_name(&mut self, message: &DnsMessage) {
        if !message.answer {
            return;
        }
        let service = is_service(&message.name);
        let server = self
            .names
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&message.name));
        let port = server.map(|(_, port)| *port);
        for ip in message.addresses.iter().map(IpAddr::to_canonical) {
            if service {
                remember(&mut self.named, ip, ADDRESSES);
            }
            if let Some(port) = port {
                remember(&mut self.endpoints, (ip, port), ADDRESSES);
            }
        }
    }

    /// Whether the API is there.
    pub fn is_api(&self, ip: IpAddr, port: u16) -> bool {
        let place = (ip, port);
        self.services.contains(&place) || self.endpoints.contains(&place) || self.named.contains(&ip)
    }

    /// The role of an address near the API's service address, where a cluster's other services are: the first 256
    /// addresses of the service network, whose size nobody tells a node.
    pub fn role_of_neighbour(&self, ip: IpAddr) -> Option<&'static str> {
        let IpAddr::V4(ip) = ip.to_canonical() else {
            return None;
        };
        let network = |ip: Ipv4Addr| ip.to_bits() >> 8;
        let is_near = |service: &IpAddr| matches!(service, IpAddr::V4(service) if network(*service) == network(ip));
        let mut services = self.services.iter().map(|(service, _)| service);
        services.any(is_near).then_some("kubernetes-service")
    }
}

/// Whether a name is the API's in every cluster.
pub(super) fn is_service(name: &str) -> bool {
    let begins = name
        .get(..SERVICE.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(SERVICE));
    begins && matches!(name.as_bytes().get(SERVICE.len()), None | Some(b'.'))
}

/// Adds what is not there yet; the oldest goes when there are too many.
fn remember<T: PartialEq>(known: &mut VecDeque<T>, new: T, most: usize) {
    if known.contains(&new) {
        return;
    }
    if known.len() == most {
        known.pop_front();
    }
    known.push_back(new);
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::event::Owner;

    fn check(cluster: &Cluster, place: &str, expected: (bool, bool)) {
        let place: SocketAddr = place.parse().unwrap();
        let found = (
            cluster.is_api(place.ip(), place.port()),
            cluster.role_of_neighbour(place.ip()).is_some(),
        );
        assert_eq!(found, expected, "{place}");
    }

    fn answer(name: &str, address: &str) -> DnsMessage {
        DnsMessage {
            owner: Owner::default(),
            server: "10.96.0.10:53".parse().unwrap(),
            name: name.into(),
            record_type: "A".into(),
            addresses: vec![address.parse().unwrap()],
            answer: true,
            ttl: 60,
        }
    }

    #[test]
    fn the_api_is_where_somebody_said() {
        let mut cluster = Cluster::default();
        let server = |host: &str| KubernetesServer {
            host: host.into(),
            port: 6443,
        };
        cluster.learn_service(("10.96.0.1".parse().unwrap(), 443));
        cluster.learn_server(&server("192.0.2.7"));
        cluster.learn_server(&server("api.example.com"));
        cluster.learn_name(&answer("API.example.com", "198.51.100.3"));
        cluster.learn_name(&answer("kubernetes.default.svc.cluster.local", "10.100.0.1"));
        cluster.learn_name(&answer("kubernetes.defaults.example", "203.0.113.1"));
        cluster.learn_name(&answer("www.example.com", "203.0.113.2"));
        let query = DnsMessage {
            answer: false,
            ..answer("kubernetes.default", "203.0.113.3")
        };
        cluster.learn_name(&query);
        for (place, expected) in [
            ("10.96.0.1:443", (true, true)),
            ("10.96.0.1:80", (false, true)),
            ("10.96.0.77:443", (false, true)),
            ("10.96.1.1:443", (false, false)),
            ("192.0.2.7:6443", (true, false)),
            ("192.0.2.7:443", (false, false)),
            ("198.51.100.3:6443", (true, false)),
            ("10.100.0.1:443", (true, false)),
            ("203.0.113.1:443", (false, false)),
            ("203.0.113.2:6443", (false, false)),
            ("203.0.113.3:443", (false, false)),
            ("[fd00::1]:443", (false, false)),
        ] {
            check(&cluster, place, expected);
        }
    }

    #[test]
    fn many_addresses_are_bounded() {
        let mut cluster = Cluster::default();
        for number in 0..=255 {
            cluster.learn_name(&answer("kubernetes.default", &format!("203.0.113.{number}")));
            cluster.learn_service(([10, 96, number, 1].into(), 443));
        }
        assert_eq!((cluster.named.len(), cluster.services.len()), (ADDRESSES, ADDRESSES));
        check(&cluster, "203.0.113.255:443", (true, false));
        check(&cluster, "203.0.113.0:443", (false, false));
    }
}
