//! What of an event is behaviour that can be learned, and whose it is. Read by the fields' names, so that a recorded
//! event teaches as a live one does.

use std::borrow::Cow;

use rsigma_eval::EventValue;

use super::shape::shape;
use crate::{
    event::{
        LogSource,
        baseline::{Behaviour, BehaviourKind, HOST},
    },
    observed::Observed,
};

/// Bytes of a program's path that are kept. What has a longer one is never known: paths that begin alike are not alike.
const LONGEST_PATH: usize = 256;

/// Roles of a cluster's control plane (`destination.role`).
const CONTROL_PLANE: [&str; 4] = ["kubernetes-api", "kubernetes-dashboard", "kubelet", "etcd"];

/// Whose behaviour an event is: that of an image, by its digest, or of the node itself. Of a container whose digest
/// nobody told, nothing can be learned: its name may be another's tomorrow.
pub(super) fn subject(observed: &Observed) -> Option<Cow<'_, str>> {
    match text(observed, "container.image_digest") {
        Some(digest) if digest.len() <= LONGEST_PATH => Some(digest),
        Some(_) => None,
        None if observed.field("container.id").is_some() => None,
        None => Some(Cow::Borrowed(HOST)),
    }
}

/// What the event's process does that can be learned, if anything.
pub(super) fn behaviour(observed: &Observed) -> Option<Behaviour> {
    match observed.log_source()? {
        LogSource::NetworkConnection => request(observed),
        LogSource::ProcessCreation => child(observed).or_else(|| drift(observed)),
        _ => None,
    }
}

fn request(observed: &Observed) -> Option<Behaviour> {
    let role = text(observed, "destination.role")?;
    let incoming = matches!(observed.field("Initiated"), Some(EventValue::Bool(false)));
    (!incoming && CONTROL_PLANE.contains(&&*role)).then_some(())?;
    let behaviour = described(observed, BehaviourKind::KubernetesApi)?;
    Some(Behaviour {
        destination: role.into(),
        ..behaviour
    })
}

fn child(observed: &Observed) -> Option<Behaviour> {
    let worker = bounded(text(observed, "web_worker.image")?)?;
    let behaviour = described(observed, BehaviourKind::Child)?;
    Some(Behaviour { worker, ..behaviour })
}

fn drift(observed: &Observed) -> Option<Behaviour> {
    let origin = origin(observed);
    if origin == IMAGE || origin == PATH_CUT {
        return None;
    }
    observed.field("container.id")?;
    let behaviour = described(observed, BehaviourKind::Drift)?;
    Some(Behaviour {
        // The same program again is the same drift, whatever it is told to do.
        arguments: Box::default(),
        ..behaviour
    })
}

fn described(observed: &Observed, kind: BehaviourKind) -> Option<Behaviour> {
    Some(Behaviour {
        kind,
        program: bounded(text(observed, "Image")?)?,
        origin: origin(observed).into(),
        worker: Box::default(),
        destination: Box::default(),
        arguments: shape(&text(observed, "CommandLine").unwrap_or_default()),
    })
}

/// Where a program is from if nothing is wrong about it: from the image, or the node's own disk.
const IMAGE: &str = "image";
const PATH_CUT: &str = "path-cut";

/// Kinds of executables that make a program another one than the image's of that path, the strangest first.
const ORIGINS: [&str; 4] = ["memfd", "deleted", PATH_CUT, "upper-layer"];

fn origin(observed: &Observed) -> &'static str {
    let Some(EventValue::Array(kinds)) = observed.field("process.exe_kind") else {
        return IMAGE;
    };
    let is = |name: &str| {
        kinds
            .iter()
            .any(|kind| matches!(kind, EventValue::Str(text) if text == name))
    };
    ORIGINS.into_iter().find(|name| is(name)).unwrap_or(IMAGE)
}

fn bounded(path: Cow<'_, str>) -> Option<Box<str>> {
    (path.len() <= LONGEST_PATH).then(|| path.into())
}

/// A field's text, if the event carries one that is not empty.
pub(super) fn text<'a>(observed: &'a Observed, name: &str) -> Option<Cow<'a, str>> {
    match observed.field(name)? {
        EventValue::Str(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}
