//! dockerd's own record of a container: `containers/ID/config.v2.json` and `hostconfig.json` in its data folder.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use serde::Deserialize;

use super::read_json;
use crate::event::{Container, HostNamespaces, Mount, PublishedPort};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Record {
    name: String,
    image: String,
    path: String,
    args: Option<Vec<String>>,
    config: Config,
    state: State,
    mount_points: Option<BTreeMap<String, MountPoint>>,
    #[serde(rename = "AppArmorProfile")]
    apparmor_profile: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    image: String,
    env: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct State {
    started_at: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct MountPoint {
    r#type: String,
    name: String,
    source: String,
    destination: String,
    #[serde(rename = "RW")]
    writable: bool,
}

/// What a volume was made of (`volumes/NAME/opts.json`, moby's `volume/local`); an ordinary one has no such file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct VolumeOptions {
    mount_device: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HostConfig {
    privileged: bool,
    cap_add: Option<Vec<String>>,
    security_opt: Option<Vec<String>>,
    devices: Option<Vec<Device>>,
    pid_mode: String,
    network_mode: String,
    ipc_mode: String,
    #[serde(rename = "UTSMode")]
    uts_mode: String,
    userns_mode: String,
    cgroupns_mode: String,
    port_bindings: Option<HashMap<String, Option<Vec<Binding>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Device {
    path_on_host: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Binding {
    host_ip: String,
    host_port: String,
}

/// Fills in what dockerd has written, if `folder` is its data folder; whether it is.
pub(super) fn describe(folder: &Path, container: &mut Container) -> bool {
    let volumes = folder.join("volumes");
    let folder = folder.join("containers").join(&*container.id);
    let Some(mut record) = read_json::<Record>(&folder.join("config.v2.json")) else {
        return false;
    };
    for mount in record.mount_points.iter_mut().flat_map(BTreeMap::values_mut) {
        mount.look_behind(&volumes);
    }
    record.describe(container);
    if let Some(host) = read_json::<HostConfig>(&folder.join("hostconfig.json")) {
        host.describe(container);
    }
    true
}

impl Record {
    fn describe(self, container: &mut Container) {
        let words: Vec<_> = std::iter::once(self.path)
            .chain(self.args.unwrap_or_default())
            .collect();
        let binds = self
            .mount_points
            .unwrap_or_default()
            .into_values()
            .filter(|mount| mount.r#type == "bind");
        container.runtime = "docker".into();
        container.name = self.name.trim_start_matches('/').into();
        container.image = self.config.image.into();
        container.image_digest = self.image.into();
        container.labels = self.config.labels.unwrap_or_default();
        let environment = self.config.env.unwrap_or_default();
        container.kubernetes_api = Container::kubernetes_api_of(&environment);
        container.environment = Container::bounded_environment(environment);
        container.apparmor_profile = Container::confining(self.apparmor_profile);
        container.command = words.join(" ").into();
        container.mounts = binds.map(MountPoint::into_mount).collect();
        if !self.state.started_at.starts_with("0001-") {
            container.started_at = self.state.started_at.into();
        }
    }
}

impl MountPoint {
    /// Takes a volume for the bind that it is, if it was made of a path of the host.
    fn look_behind(&mut self, volumes: &Path) {
        if self.r#type == "volume"
            && let Some(options) = read_json::<VolumeOptions>(&volumes.join(&self.name).join("opts.json"))
            && options.mount_device.starts_with('/')
        {
            "bind".clone_into(&mut self.r#type);
            self.source = options.mount_device;
        }
    }

    fn into_mount(self) -> Mount {
        Mount {
            source: self.source.into(),
            target: self.destination.into(),
            writable: self.writable,
            leads_to: None,
        }
    }
}

impl HostConfig {
    fn describe(self, container: &mut Container) {
        container.privileged = Some(self.privileged);
        container.host_namespaces = HostNamespaces {
            pid: self.pid_mode == "host",
            network: self.network_mode == "host",
            ipc: self.ipc_mode == "host",
            uts: self.uts_mode == "host",
            user: self.userns_mode == "host",
            cgroup: self.cgroupns_mode == "host",
        };
        container.added_capabilities = self.cap_add.unwrap_or_default();
        container.security_options = self.security_opt.unwrap_or_default();
        let devices = self.devices.into_iter().flatten();
        container.devices = devices.map(|device| device.path_on_host).collect();
        let ports = self.port_bindings.into_iter().flatten();
        container.published_ports = ports.flat_map(|(port, bindings)| published(&port, bindings)).collect();
    }
}

/// The bindings of one of the container's ports, written `80/tcp`.
fn published(port: &str, bindings: Option<Vec<Binding>>) -> Vec<PublishedPort> {
    let Some(Ok(container_port)) = port.split('/').next().map(str::parse) else {
        return Vec::new();
    };
    let bindings = bindings.into_iter().flatten().map(|binding| PublishedPort {
        address: if binding.host_ip.is_empty() {
            "0.0.0.0".into()
        } else {
            binding.host_ip.into()
        },
        port: binding.host_port.parse().unwrap_or_default(),
        container_port,
    });
    bindings.collect()
}
