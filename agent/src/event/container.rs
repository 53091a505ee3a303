//! A container's facts, from whichever runtime tells them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// A container changed, or more became known about it.
#[derive(Clone, Debug)]
pub struct ContainerChange {
    /// What happened.
    pub action: ContainerAction,
    /// Its facts as they now stand.
    pub container: Arc<Container>,
}

/// Whether a container runtime's API can be asked about its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimeState {
    /// As in [`Container::runtime`].
    pub name: &'static str,
    /// Its API answers: facts of its containers are on their way.
    pub connected: bool,
}

/// A program that a runtime was told to put into a running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldExec {
    /// The container's full id.
    pub container: Arc<str>,
    /// The program and its arguments, joined by spaces.
    pub command_line: Box<str>,
    /// As by `docker exec --privileged`.
    pub privileged: bool,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerAction {
    /// It was made; it does not run yet.
    Create,
    /// It runs.
    Start,
    /// It ended.
    Die,
    /// It was removed.
    Destroy,
    /// Nothing happened: its facts became known.
    Describe,
}

impl ContainerAction {
    /// Docker's word for it, as rules see it under `Action`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Die => "die",
            Self::Destroy => "destroy",
            Self::Describe => "describe",
        }
    }
}

/// How much is known of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metadata {
    /// The runtime told all.
    Known,
    /// The runtime was asked and has not answered in time.
    Pending,
    /// No runtime can be asked: only kernel facts and the runtime's own files.
    #[default]
    Unavailable,
}

impl Metadata {
    /// As rules see it under `container.metadata`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Pending => "pending",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What is known of a container. An empty text or list: not known, or none.
#[derive(Clone, Debug, Default)]
pub struct Container {
    /// The full id, 64 hexadecimal digits for the common runtimes.
    pub id: Arc<str>,
    /// Where these facts come from.
    pub metadata: Metadata,
    /// `docker`, `containerd`, `cri-o`, `podman`.
    pub runtime: Box<str>,
    /// Its name, without Docker's leading slash.
    pub name: Box<str>,
    /// The image as it was asked for: `nginx:1.27`.
    pub image: Box<str>,
    /// The image's own id or digest: `sha256:…`.
    pub image_digest: Box<str>,
    /// Every name that the image bears on this node: tags, and names in registries with their digests.
    pub image_names: Vec<Box<str>>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Started with `--privileged`; `None` if not known.
    pub privileged: Option<bool>,
    /// Capabilities that were added: `SYS_ADMIN`, `ALL`.
    pub added_capabilities: Vec<String>,
    /// Security options: `seccomp=unconfined`, `apparmor=unconfined`.
    pub security_options: Vec<String>,
    /// Host devices it was given.
    pub devices: Vec<String>,
    /// Host folders and sockets it was given.
    pub mounts: Vec<Mount>,
    /// Host namespaces that it shares.
    pub host_namespaces: HostNamespaces,
    /// Ports published on the host.
    pub published_ports: Vec<PublishedPort>,
    /// What its first process is told to run.
    pub command: Box<str>,
    /// The environment of its first process, each as `NAME=value`, as far as [`Self::bounded_environment`] keeps it.
    /// Holds secrets: rules may judge it, nobody may quote it.
    pub environment: Vec<Box<str>>,
    /// The AppArmor profile that confines it; empty if none does, or if that is not known.
    pub apparmor_profile: Box<str>,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The node's addresses as the container sees them.
    pub gateways: Vec<IpAddr>,
    /// The Kubernetes API's address as its environment names it (`KUBERNETES_SERVICE_HOST` and `_PORT`).
    pub kubernetes_api: Option<(IpAddr, u16)>,
    /// When it was started, as the runtime writes it (RFC 3339).
    pub started_at: Box<str>,
    /// The first process as the node sees it; 0 if not known.
    pub init_pid: u32,
}

impl Container {
    /// The Kubernetes API's address in a container's environment (`NAME=value`), which the kubelet puts there.
    pub fn kubernetes_api_of(environment: &[String]) -> Option<(IpAddr, u16)> {
        let value = |name: &str| {
            let mut variables = environment.iter().filter_map(|variable| variable.split_once('='));
            variables.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let host = value("KUBERNETES_SERVICE_HOST")?.parse().ok()?;
        let port = value("KUBERNETES_SERVICE_PORT").and_then(|port| port.parse().ok());
        Some((host, port.unwrap_or(443)))
    }

    /// Whether nothing is known but that it is there.
    pub fn tells_nothing(&self) -> bool {
        let unnamed = self.name.is_empty() && self.image.is_empty() && self.command.is_empty();
        self.metadata != Metadata::Known && unnamed && self.host_namespaces == HostNamespaces::default()
    }

    /// The `AppArmor` profile that confines a container: runtimes write `unconfined` where none does, or nothing where the
    /// node has no `AppArmor`.
    pub fn confining(profile: String) -> Box<str> {
        if profile == "unconfined" {
            Box::default()
        } else {
            profile.into()
        }
    }

    /// As much of an environment as is kept: whoever may start containers chooses how long it is.
    pub fn bounded_environment(environment: Vec<String>) -> Vec<Box<str>> {
        const LONGEST_VARIABLE: usize = 1 << 10;
        const LONGEST: usize = 8 << 10;
        let mut room = LONGEST;
        let fits = |variable: &String| {
            let fits = variable.len() <= LONGEST_VARIABLE.min(room);
            room -= if fits { variable.len() } else { 0 };
            fits
        };
        environment
            .into_iter()
            .filter(fits)
            .map(String::into_boxed_str)
            .collect()
    }
}

/// A part of the host inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The path on the host.
    pub source: Box<str>,
    /// The path in the container.
    pub target: Box<str>,
    /// It can be written through.
    pub writable: bool,
    /// Where the path leads by links, if that is elsewhere.
    pub leads_to: Option<Box<str>>,
}

impl Mount {
    /// The path on the host, and where it leads.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        [Some(&*self.source), self.leads_to.as_deref()].into_iter().flatten()
    }
}

/// Host namespaces that a container shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one switch a namespace, as the runtimes have them"
)]
pub struct HostNamespaces {
    /// `--pid host`
    pub pid: bool,
    /// `--network host`
    pub network: bool,
    /// `--ipc host`
    pub ipc: bool,
    /// `--uts host`
    pub uts: bool,
    /// `--userns host`
    pub user: bool,
    /// `--cgroupns host`
    pub cgroup: bool,
}

impl HostNamespaces {
    /// As rules see them under `container.host_namespaces`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let Self {
            pid,
            network,
            ipc,
            uts,
            user,
            cgroup,
        } = self;
        let all = [
            (pid, "pid"),
            (network, "network"),
            (ipc, "ipc"),
            (uts, "uts"),
            (user, "user"),
            (cgroup, "cgroup"),
        ];
        all.into_iter().filter_map(|(shared, name)| shared.then_some(name))
    }
}

/// A port that the host forwards into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// The address on the host; `0.0.0.0` for all.
    pub address: Box<str>,
    /// The port on the host.
    pub port: u16,
    /// The port in the container.
    pub container_port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_kept_as_far_as_it_is_bearable() {
        let environment = |lengths: &[usize]| lengths.iter().map(|length| "x".repeat(*length)).collect();
        for (lengths, expected) in [
            (&[10, 20][..], &[10, 20][..]),
            (&[5000, 10], &[10]),
            (&[1000; 20], &[1000; 8]),
        ] {
            let kept = Container::bounded_environment(environment(lengths));
            let kept: Vec<_> = kept.iter().map(|variable| variable.len()).collect();
            assert_eq!(kept, expected);
        }
    }
}
