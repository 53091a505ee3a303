//! What an address stands for on a node: a cluster's API, a metadata service, a daemon that gives away root.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cluster::{Cluster, is_service};
use crate::event::{Container, Said};

/// A place with a known role: an address, a port, or both.
struct Place {
    role: &'static str,
    address: Address,
    /// Empty for every port.
    ports: &'static [u16],
}

/// Which addresses a row speaks of.
enum Address {
    /// This one.
    Is(IpAddr),
    /// Loopback and private ones, where a cluster's own services are.
    Internal,
    /// All: the port says enough.
    Any,
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> Address {
    Address::Is(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
}

/// Every role but those of a cluster's API and services, whose addresses are learned. The first row that fits counts.
#[rustfmt::skip] // one row a place, to be read as a table
const PLACES: &[Place] = &[
    // AWS, Azure, Google Cloud, OpenStack, DigitalOcean, Hetzner; then AWS over IPv6, ECS tasks, EKS pods.
    Place { role: "cloud-metadata", address: v4(169, 254, 169, 254), ports: &[] },
    Place { role: "cloud-metadata", address: Address::Is(IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))), ports: &[] },
    Place { role: "cloud-metadata", address: v4(169, 254, 170, 2), ports: &[] },
    Place { role: "cloud-metadata", address: v4(169, 254, 170, 23), ports: &[] },
    // Alibaba Cloud.
    Place { role: "cloud-metadata", address: v4(100, 100, 100, 200), ports: &[] },
    // Azure's WireServer, which hands out the node's certificates and settings.
    Place { role: "cloud-metadata", address: v4(168, 63, 129, 16), ports: &[80, 32526] },
    Place { role: "kubelet", address: Address::Internal, ports: &[10250, 10255] },
    Place { role: "etcd", address: Address::Internal, ports: &[2379, 2380] },
    Place { role: "docker-api", address: Address::Any, ports: &[2375, 2376] },
];

/// The role of that address and port, as rules see it under `destination.role`.
pub fn role(ip: IpAddr, port: u16, cluster: &Cluster) -> Option<&'static str> {
    let ip = ip.to_canonical();
    if cluster.is_api(ip, port) {
        return Some("kubernetes-api");
    }
    let fits = |place: &&Place| place.address.holds(ip) && (place.ports.is_empty() || place.ports.contains(&port));
    PLACES.iter().find(fits).map(|place| place.role)
}

/// Labels by which Kubernetes' own dashboard is known: of its manifests, and of its charts.
const DASHBOARD_LABELS: [(&str, &str); 4] = [
    ("k8s-app", "kubernetes-dashboard"),
    ("app.kubernetes.io/name", "kubernetes-dashboard"),
    ("app.kubernetes.io/part-of", "kubernetes-dashboard"),
    ("io.kubernetes.container.name", "kubernetes-dashboard"),
];

/// The role of a container of this node, by what its labels say that it is.
pub fn role_of_container(container: &Container) -> Option<&'static str> {
    let bears = |(name, value): &(&str, &str)| container.labels.get(*name).is_some_and(|found| found == value);
    DASHBOARD_LABELS.iter().any(bears).then_some("kubernetes-dashboard")
}

/// The role of an address that was asked for under that name: a service's own name, or with its namespace and so on.
pub fn role_of_name(name: &str) -> Option<&'static str> {
    let service = name.split('.').next()?;
    let is_dashboard = service == "kubernetes-dashboard" || service.starts_with("kubernetes-dashboard-");
    is_dashboard.then_some("kubernetes-dashboard")
}

/// The role of a server by the name that a client asks it for, where the address tells none: that of a balancer before
/// the API, or of a server behind it.
pub fn role_of_said(said: &Said) -> Option<&'static str> {
    let mut names = [&said.server_name, &said.host].into_iter().flatten();
    names.find_map(|name| {
        if is_service(name) {
            Some("kubernetes-api")
        } else {
            role_of_name(name)
        }
    })
}

impl Address {
    fn holds(&self, ip: IpAddr) -> bool {
        match self {
            Self::Is(address) => *address == ip,
            Self::Internal => match ip {
                IpAddr::V4(v4) => v4.is_loopback() || v4.is_private(),
                IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
            },
            Self::Any => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn check(destination: &str, expected: Option<&str>) {
        let destination: SocketAddr = destination.parse().unwrap();
        let mut cluster = Cluster::default();
        cluster.learn_service(("10.96.0.1".parse().unwrap(), 443));
        cluster.learn_service(("fd00:10:96::1".parse().unwrap(), 6443));
        assert_eq!(
            role(destination.ip(), destination.port(), &cluster),
            expected,
            "{destination}"
        );
    }

    #[test]
    fn a_server_is_known_by_the_name_that_it_is_asked_for() {
        let check = |server_name: Option<&str>, host: Option<&str>, expected: Option<&str>| {
            let said = Said {
                server_name: server_name.map(Into::into),
                host: host.map(Into::into),
                ..Said::default()
            };
            assert_eq!(role_of_said(&said), expected, "{said:?}");
        };
        check(Some("kubernetes.default.svc"), None, Some("kubernetes-api"));
        check(None, Some("Kubernetes.Default"), Some("kubernetes-api"));
        check(
            None,
            Some("kubernetes-dashboard.kubernetes-dashboard"),
            Some("kubernetes-dashboard"),
        );
        check(Some("kubernetes.example.org"), Some("www.example.org"), None);
        check(Some("unknown"), None, None);
        check(None, None, None);
    }

    #[test]
    fn the_dashboard_is_known_by_name_and_label() {
        for (name, is_dashboard) in [
            ("kubernetes-dashboard", true),
            ("kubernetes-dashboard.kubernetes-dashboard.svc.cluster.local", true),
            ("kubernetes-dashboard-kong-proxy.dashboard.svc", true),
            ("kubernetes-dashboards.example.org", false),
            ("dashboard.example.org", false),
        ] {
            assert_eq!(role_of_name(name).is_some(), is_dashboard, "{name}");
        }
        for (label, value, is_dashboard) in [
            ("k8s-app", "kubernetes-dashboard", true),
            ("app.kubernetes.io/part-of", "kubernetes-dashboard", true),
            ("k8s-app", "kube-dns", false),
            ("team", "kubernetes-dashboard", false),
        ] {
            let container = Container {
                labels: [(label.to_owned(), value.to_owned())].into(),
                ..Container::default()
            };
            assert_eq!(role_of_container(&container).is_some(), is_dashboard, "{label}={value}");
        }
    }

    #[test]
    fn places_have_roles() {
        check("10.96.0.1:443", Some("kubernetes-api"));
        check("[::ffff:10.96.0.1]:443", Some("kubernetes-api"));
        check("[fd00:10:96::1]:6443", Some("kubernetes-api"));
        check("10.96.0.1:80", None);
        check("10.96.0.2:443", None);
        check("127.0.0.1:10250", Some("kubelet"));
        check("192.168.3.4:10255", Some("kubelet"));
        check("[fe80::1]:10250", Some("kubelet"));
        check("93.184.216.34:10250", None);
        check("10.0.0.7:2379", Some("etcd"));
        check("[::1]:2380", Some("etcd"));
        check("169.254.169.254:80", Some("cloud-metadata"));
        check("[fd00:ec2::254]:80", Some("cloud-metadata"));
        check("100.100.100.200:80", Some("cloud-metadata"));
        check("168.63.129.16:53", None);
        check("172.17.0.1:2375", Some("docker-api"));
        check("93.184.216.34:2376", Some("docker-api"));
        check("93.184.216.34:443", None);
    }
}
