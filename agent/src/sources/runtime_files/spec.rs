//! A bundle's `config.json`: the OCI runtime specification, as each runtime writes it before it starts a container.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::event::{Capabilities, Container, HostNamespaces, Mount};

/// The parts of the specification that tell something.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    root: Root,
    process: Process,
    mounts: Option<Vec<SpecMount>>,
    annotations: Option<BTreeMap<String, String>>,
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Root {
    path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Process {
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    #[serde(rename = "apparmorProfile")]
    apparmor_profile: String,
    capabilities: Option<CapabilitySets>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CapabilitySets {
    bounding: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SpecMount {
    r#type: String,
    source: String,
    destination: String,
    options: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    namespaces: Option<Vec<Namespace>>,
    seccomp: Option<serde::de::IgnoredAny>,
    masked_paths: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Namespace {
    r#type: String,
    path: String,
}

/// Annotations that hold a name, an image, and say whose they are.
const NAMES: [&str; 3] = [
    "io.kubernetes.cri.container-name",
    "io.kubernetes.container.name",
    "io.kubernetes.cri-o.ContainerName",
];
const IMAGES: [&str; 3] = [
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri-o.Image",
];

/// Labels that a kubelet gives its containers, with the annotations that say the same, containerd's and CRI-O's.
const LABELS: [(&str, [&str; 2]); 3] = [
    (
        "io.kubernetes.container.name",
        ["io.kubernetes.cri.container-name", "io.kubernetes.container.name"],
    ),
    (
        "io.kubernetes.pod.name",
        ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"],
    ),
    (
        "io.kubernetes.pod.namespace",
        ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"],
    ),
];

impl Spec {
    /// The container's root folder on the node: below the runtime's data.
    pub(super) fn rootfs(&self) -> &str {
        &self.root.path
    }

    /// Fills in what the specification tells; whether that is anything.
    pub(super) fn describe(self, container: &mut Container) -> bool {
        container.privileged = self.privileged();
        let Self {
            root,
            process,
            mounts,
            annotations,
            linux,
        } = self;
        container.mounts = mounts
            .into_iter()
            .flatten()
            .filter_map(|mount| mount.of_host(&root.path))
            .collect();
        container.host_namespaces = linux.host_namespaces();
        let environment = process.env.unwrap_or_default();
        container.kubernetes_api = Container::kubernetes_api_of(&environment);
        container.environment = Container::bounded_environment(environment);
        container.apparmor_profile = Container::confining(process.apparmor_profile);
        container.command = process.args.unwrap_or_default().join(" ").into();

        let annotations = annotations.unwrap_or_default();
        let first = |keys: &[&str]| keys.iter().find_map(|key| annotations.get(*key)).cloned();
        container.name = first(&NAMES).unwrap_or_default().into();
        container.image = first(&IMAGES).unwrap_or_default().into();
        let labels = LABELS
            .iter()
            .filter_map(|(label, keys)| Some(((*label).to_owned(), first(keys)?)));
        container.labels = labels.collect();
        !root.path.is_empty()
    }

    /// What `--privileged` amounts to here: every capability, no seccomp filter, and nothing of `/proc` hidden; `None`
    /// if the file does not speak of capabilities.
    fn privileged(&self) -> Option<bool> {
        let bounding = self.process.capabilities.as_ref()?.bounding.as_ref()?;
        let bounding = Capabilities::from_names(bounding.iter().map(String::as_str));
        let hides_nothing = self.linux.masked_paths.as_ref().is_none_or(Vec::is_empty);
        let unfiltered = self.linux.seccomp.is_none();
        Some(bounding.contain(Capabilities::KNOWN_TO_ALL_RUNTIMES) && hides_nothing && unfiltered)
    }
}

impl SpecMount {
    /// A bind of something of the host; not of what the runtime itself puts into every container (`/etc/hosts` and
    /// the like), which lies in its own folders.
    fn of_host(self, rootfs: &str) -> Option<Mount> {
        const RUNTIMES_OWN: [&str; 5] = [
            "/etc/resolv.conf",
            "/etc/hostname",
            "/etc/hosts",
            "/dev/shm",
            "/dev/termination-log",
        ];
        let options = self.options.unwrap_or_default();
        let bind = self.r#type == "bind" || options.iter().any(|option| option == "bind" || option == "rbind");
        let own = RUNTIMES_OWN.contains(&&*self.destination) || self.source.starts_with(rootfs) && !rootfs.is_empty();
        (bind && !own).then(|| Mount {
            source: self.source.into(),
            target: self.destination.into(),
            writable: !options.iter().any(|option| option == "ro"),
            leads_to: None,
        })
    }
}

impl Linux {
    /// The namespaces that are not made anew, nor joined from a file (the pod's, another container's).
    fn host_namespaces(&self) -> HostNamespaces {
        let Some(namespaces) = &self.namespaces else {
            return HostNamespaces::default();
        };
        let shared = |name: &str| {
            let mut own = namespaces.iter().filter(|namespace| namespace.r#type == name);
            !own.any(|namespace| namespace.path != "/proc/1/ns/".to_owned() + name)
        };
        HostNamespaces {
            pid: shared("pid"),
            network: shared("network"),
            ipc: shared("ipc"),
            uts: shared("uts"),
            // Without a user namespace of its own every container is in the host's: `--userns host` is not told apart.
            user: false,
            cgroup: shared("cgroup"),
        }
    }
}
