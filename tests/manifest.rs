//! The manifest for Kubernetes and the other ways to run the agent in a container: what Kubernetes takes, and what the agent
//! keeps.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use ::tocsin::confine::NEEDED;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Container, Namespace, PodSpec},
};
use serde::{Deserialize as _, Serialize, de::DeserializeOwned};
use serde_json::Value;

#[test]
fn kubernetes_takes_every_field_of_the_manifest() {
    let (namespace, daemon_set) = manifest();
    assert_eq!(daemon_set.metadata.namespace, namespace.metadata.name);
    let spec = daemon_set.spec.unwrap();
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    let selected = spec.selector.match_labels.unwrap();
    assert!(!selected.is_empty() && selected.iter().all(|(name, value)| labels.get(name) == Some(value)));
}

#[test]
fn each_mount_of_the_manifest_is_of_a_volume_and_each_volume_is_mounted() {
    let (pod, container) = pod();
    let volumes: BTreeSet<_> = pod.volumes.unwrap().into_iter().map(|volume| volume.name).collect();
    let mounts = container.volume_mounts.unwrap();
    let places: BTreeMap<_, _> = mounts.iter().map(|mount| (&*mount.mount_path, &mount.name)).collect();
    assert_eq!(places.len(), mounts.len(), "one over the other");
    assert_eq!(
        places.values().map(|name| (*name).clone()).collect::<BTreeSet<_>>(),
        volumes
    );
    // Where the agent looks for the node's files, keeps its state and has its sockets.
    assert_eq!(
        places.into_keys().collect::<Vec<_>>(),
        ["/host", "/run/tocsin", "/var/lib/tocsin"]
    );
}

#[test]
fn what_is_granted_is_what_the_agent_keeps() {
    let kept: BTreeSet<_> = NEEDED.iter_names().map(|(name, _)| name.to_owned()).collect();
    let (_, container) = pod();
    let granted = container.security_context.unwrap().capabilities.unwrap();
    assert_eq!(granted.drop.unwrap(), ["ALL"]);
    assert_eq!(
        granted.add.unwrap().into_iter().collect::<BTreeSet<_>>(),
        kept,
        "DaemonSet"
    );

    let install = read("docs/install.md");
    let added = install.split("--cap-add ").skip(1);
    let added = added.map(|rest| rest.split_whitespace().next().unwrap().to_owned());
    assert_eq!(added.collect::<BTreeSet<_>>(), kept, "docker run of docs/install.md");

    let unit = read("packaging/systemd/tocsin.service");
    let bounding = unit
        .lines()
        .find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let bounding = bounding.unwrap().split(' ').map(|name| name.replace("CAP_", ""));
    assert_eq!(bounding.collect::<BTreeSet<_>>(), kept, "the unit");
}

/// The pod of the manifest, and its container.
fn pod() -> (PodSpec, Container) {
    let pod = manifest().1.spec.unwrap().template.spec.unwrap();
    let [container] = &pod.containers[..] else {
        panic!("one container")
    };
    let container = container.clone();
    (pod, container)
}

fn manifest() -> (Namespace, DaemonSet) {
    let text = read("packaging/kubernetes/daemonset.yaml");
    let documents = yaml_serde::Deserializer::from_str(&text);
    let documents: Vec<_> = documents
        .map(|document| Value::deserialize(document).unwrap())
        .collect();
    let [namespace, daemon_set] = &documents[..] else {
        panic!("{} documents", documents.len())
    };
    (whole(namespace), whole(daemon_set))
}

/// The object, of which Kubernetes knows every field: one that it does not would be missing in what it makes of it.
fn whole<T: DeserializeOwned + Serialize>(document: &Value) -> T {
    let object: T = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), *document);
    object
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
