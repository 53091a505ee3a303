//! Where the node's own kubelet finds the cluster's API: the `server:` of its kubeconfig, read once at start.

use std::{fs, path::Path};

use serde::Deserialize;

use crate::event::KubernetesServer;

/// Where the distributions keep it: kubeadm; EKS, GKE and others; k3s; RKE2; `MicroK8s`; k0s; `OpenShift`.
const FILES: [&str; 10] = [
    "etc/kubernetes/kubelet.conf",
    "etc/kubernetes/admin.conf",
    "var/lib/kubelet/kubeconfig",
    "var/lib/rancher/k3s/agent/kubelet.kubeconfig",
    "etc/rancher/k3s/k3s.yaml",
    "var/lib/rancher/rke2/agent/kubelet.kubeconfig",
    "etc/rancher/rke2/rke2.yaml",
    "var/snap/microk8s/current/credentials/kubelet.config",
    "var/lib/k0s/kubelet.conf",
    "etc/kubernetes/kubeconfig",
];

/// A larger file is no kubeconfig.
const LARGEST: u64 = 1 << 20;

#[derive(Deserialize)]
struct Kubeconfig {
    #[serde(default)]
    clusters: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    cluster: Cluster,
}

#[derive(Deserialize)]
struct Cluster {
    server: String,
}

/// The servers that the kubeconfigs below that root folder name. A file that is not there or says none is passed over.
pub fn servers(root: &Path) -> impl Iterator<Item = KubernetesServer> {
    FILES
        .into_iter()
        .flat_map(move |file| read(&root.join(file)).unwrap_or_default())
}

fn read(path: &Path) -> Option<Vec<KubernetesServer>> {
    fs::metadata(path)
        .ok()
        .filter(|file| file.is_file() && file.len() <= LARGEST)?;
    let text = fs::read_to_string(path).ok()?;
    let Kubeconfig { clusters } = yaml_serde::from_str(&text)
        .inspect_err(|error| tracing::debug!(path = %path.display(), %error, "no kubeconfig"))
        .ok()?;
    Some(
        clusters
            .iter()
            .filter_map(|named| server(&named.cluster.server))
            .collect(),
    )
}

/// The host and port of an address such as `https://10.0.0.7:6443`.
fn server(url: &str) -> Option<KubernetesServer> {
    let (scheme, rest) = url.split_once("://")?;
    let place = rest.split('/').next()?;
    let usual = if scheme == "http" { 80 } else { 443 };
    let (host, port) = match place.rsplit_once(':') {
        // The colons of an IPv6 address stand within brackets.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (place, usual),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| KubernetesServer {
        host: host.into(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Option<(&str, u16)>) {
        let found = server(url);
        assert_eq!(
            found.as_ref().map(|server| (&*server.host, server.port)),
            expected,
            "{url}"
        );
    }

    #[test]
    fn a_server_is_host_and_port() {
        check("https://10.0.0.7:6443", Some(("10.0.0.7", 6443)));
        check("https://10.0.0.7:6443/k8s/clusters/c-1", Some(("10.0.0.7", 6443)));
        check(
            "https://abc.gr7.eu-west-1.eks.amazonaws.com",
            Some(("abc.gr7.eu-west-1.eks.amazonaws.com", 443)),
        );
        check("http://127.0.0.1:8080", Some(("127.0.0.1", 8080)));
        check("https://[fd00::1]:6443", Some(("fd00::1", 6443)));
        check("https://[fd00::1]", Some(("fd00::1", 443)));
        check("https://10.0.0.7:port", None);
        check("https://", None);
        check("10.0.0.7", None);
    }

    #[test]
    fn the_kubelets_files_are_found() {
        let root = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(servers(root.path()).count(), 0);
        put(
            "etc/kubernetes/kubelet.conf",
            "kind: Config\nclusters:\n- name: a\n  cluster:\n    server: https://192.0.2.7:6443\n",
        );
        put("etc/rancher/k3s/k3s.yaml", "not: [yaml");
        put(
            "var/lib/kubelet/kubeconfig",
            "clusters:\n- cluster: {server: 'https://api.example'}\n  name: b\nusers: []\n",
        );
        let found: Vec<_> = servers(root.path())
            .map(|server| (server.host.to_string(), server.port))
            .collect();
        assert_eq!(found, [("192.0.2.7".to_owned(), 6443), ("api.example".to_owned(), 443)]);
    }
}
