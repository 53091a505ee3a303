//! The container storage that Podman and CRI-O share: `overlay-containers/containers.json` in its folder.

use std::path::Path;

use serde::Deserialize;

use super::read_json;
use crate::event::Container;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stored {
    id: String,
    names: Option<Vec<String>>,
    image: String,
    /// JSON again, written by the runtime.
    metadata: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Described {
    image_name: String,
    name: String,
}

/// Fills in what the storage has written, if `folder` is one and knows the container; whether it does.
pub(super) fn describe(folder: &Path, container: &mut Container) -> bool {
    let Some(all) = read_json::<Vec<Stored>>(&folder.join("overlay-containers/containers.json")) else {
        return false;
    };
    let Some(stored) = all.into_iter().find(|stored| *stored.id == *container.id) else {
        return false;
    };
    let described: Described = serde_json::from_str(&stored.metadata).unwrap_or_default();
    let first_name = || stored.names.and_then(|names| names.into_iter().next());
    let name = Some(described.name).filter(|name| !name.is_empty()).or_else(first_name);
    if let Some(name) = name {
        container.name = name.into();
    }
    if !described.image_name.is_empty() {
        container.image = described.image_name.into();
    }
    container.image_digest = stored.image.into();
    true
}
