//! Containers as the runtimes' own files tell of them, for when no runtime can be asked: name, image and more.
//!
//! Looked at once for each container, on question; what is found comes back as an event like any other.

mod dockerd;
mod process;
mod spec;
mod storage;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{Receiver, Sender};

use self::spec::Spec;
use crate::{
    enrich::container::is_container_id,
    event::{Container, ContainerAction, ContainerChange, Event, Kind, Metadata},
    node,
    sources::binds,
};

/// A container of which only the kernel has told.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its id.
    pub id: Arc<str>,
    /// The runtime, as far as the cgroup's path tells.
    pub runtime: Box<str>,
    /// A process in it, whose ancestors lead to the runtime's folder; 0 if none is known.
    pub pid: u32,
}

/// A larger file is not read: the runtimes write some tens of kilobytes.
const LARGEST: u64 = 4 << 20;

/// So many folders of runtimes' data are remembered. A node has one or two.
const FOLDERS: usize = 8;

/// Answers questions until nobody asks or listens. An answer is a [`ContainerAction::Describe`], also where nothing is
/// found: events wait for it.
pub async fn run(mut questions: Receiver<Question>, events: Sender<Vec<Event>>) {
    // Where runtimes keep their data: of a container that has ended already nothing leads there.
    let mut known: Arc<[PathBuf]> = Arc::default();
    while let Some(question) = questions.recv().await {
        let nothing = bare(&question);
        let folders = Arc::clone(&known);
        let answer = tokio::task::spawn_blocking(move || look(&question, node::root(), &folders)).await;
        let (mut container, folder) = answer.ok().flatten().unwrap_or((nothing, None));
        binds::follow(&mut container.mounts, node::root()).await;
        if let Some(folder) = folder
            && !known.contains(&folder)
            && known.len() < FOLDERS
        {
            known = known.iter().cloned().chain([folder]).collect();
        }
        if events.send(vec![describe(container)]).await.is_err() {
            return;
        }
    }
}

/// What the files below `node` (the root folder, outside tests) say of that container, and the folder of its runtime's data
/// if that told; it may be one that is `known`.
fn look(question: &Question, node: &Path, known: &[PathBuf]) -> Option<(Container, Option<PathBuf>)> {
    let Question { id, runtime: _, pid } = question;
    if !is_container_id(id) {
        return None;
    }
    // The runtime may live in another mount namespace than the agent: its files are seen through its own root.
    let caretaker = process::caretaker(*pid, id, node);
    let root = caretaker.as_ref().map_or(node, |caretaker| &caretaker.root);
    let named = caretaker.as_ref().map(|caretaker| caretaker.bundle.clone());
    let mut bundles = named.into_iter().chain(usual_bundles(root, id));
    let spec: Option<Spec> = bundles.find_map(|bundle| read_json(&inside(root, &bundle).join("config.json")));

    let mut container = bare(question);
    let rootfs = spec.as_ref().map(|spec| PathBuf::from(spec.rootfs()));
    let specified = spec.is_some_and(|spec| spec.describe(&mut container));
    let folder = data_folders(rootfs.as_deref(), known).find(|folder| {
        let folder = inside(root, folder);
        dockerd::describe(&folder, &mut container) || storage::describe(&folder, &mut container)
    });
    (specified || folder.is_some()).then_some((container, folder))
}

/// What is known before anybody has looked.
fn bare(question: &Question) -> Container {
    Container {
        id: Arc::clone(&question.id),
        runtime: question.runtime.clone(),
        metadata: Metadata::Unavailable,
        ..Container::default()
    }
}

/// Where the runtimes keep the bundle of a running container unless they were told otherwise.
fn usual_bundles(root: &Path, id: &str) -> Vec<PathBuf> {
    let mut bundles = vec![format!("/run/containers/storage/overlay-containers/{id}/userdata").into()];
    for state in [
        "/run/containerd",
        "/run/docker/containerd/daemon",
        "/run/k3s/containerd",
    ] {
        let tasks = Path::new(state).join("io.containerd.runtime.v2.task");
        // One folder a containerd namespace: `moby`, `k8s.io`, `default`.
        let namespaces = inside(root, &tasks).read_dir().into_iter().flatten().flatten();
        bundles.extend(namespaces.map(|namespace| tasks.join(namespace.file_name()).join(id)));
    }
    bundles
}

/// Folders that may hold a runtime's data: those above the container's own root, then the known and the usual ones.
fn data_folders<'a>(rootfs: Option<&'a Path>, known: &'a [PathBuf]) -> impl Iterator<Item = PathBuf> + 'a {
    let above = rootfs.into_iter().flat_map(Path::ancestors).skip(1);
    let usual = ["/var/lib/docker", "/var/lib/containers/storage"].map(Path::new);
    let folders = above.chain(known.iter().map(PathBuf::as_path)).chain(usual);
    folders.map(Path::to_owned)
}

/// An absolute path as seen from outside of a root folder.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The file's contents, if it is there, of a bearable size, and of that form.
fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let metadata = path.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return None;
    }
    let mut text = Vec::new();
    File::open(path).ok()?.take(LARGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text)
        .inspect_err(|error| tracing::debug!(path = %path.display(), %error, "runtime's file not understood"))
        .ok()
}

fn describe(container: Container) -> Event {
    let change = ContainerChange {
        action: ContainerAction::Describe,
        container: Arc::new(container),
    };
    Event {
        time: Timestamp::now(),
        startup: false,
        kind: Kind::Container(Box::new(change)),
        given: None,
    }
}

#[cfg(test)]
mod tests;
