//! From Docker's words to a container's facts.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use bollard::models::{
    ContainerInspectResponse, ContainerSummary, EndpointSettings, EventMessage, ExecInspectResponse, HostConfig,
    HostConfigCgroupnsModeEnum, ImageInspect, MountPoint, PortMap,
};
use jiff::Timestamp;

use super::tracker::{Tidings, Told};
use crate::event::{Container, HostNamespaces, Metadata, Mount, PublishedPort, ToldExec};

/// Names of an image that are kept.
const IMAGE_NAMES: usize = 32;

/// All that an inspection tells.
pub(super) fn container(inspected: ContainerInspectResponse, runtime: &str) -> Container {
    let host = inspected.host_config.unwrap_or_default();
    let config = inspected.config.unwrap_or_default();
    let state = inspected.state.unwrap_or_default();
    let network = inspected.network_settings.unwrap_or_default();
    let networks: Vec<_> = network.networks.unwrap_or_default().into_values().collect();
    let environment = config.env.unwrap_or_default();
    Container {
        id: inspected.id.unwrap_or_default().into(),
        metadata: Metadata::Known,
        runtime: runtime.into(),
        name: name(&inspected.name.unwrap_or_default()),
        image_digest: inspected.image.unwrap_or_default().into(),
        // Of the image, which is asked about by itself.
        image_names: Vec::new(),
        privileged: host.privileged,
        host_namespaces: host_namespaces(&host),
        devices: devices(&host),
        published_ports: published_ports(network.ports, host.port_bindings),
        addresses: addresses(&networks, |network| [&network.ip_address, &network.global_ipv6_address]),
        gateways: addresses(&networks, |network| [&network.gateway, &network.ipv6_gateway]),
        added_capabilities: host.cap_add.unwrap_or_default(),
        security_options: host.security_opt.unwrap_or_default(),
        mounts: mounts(inspected.mounts.unwrap_or_default()),
        command: command(inspected.path, inspected.args),
        kubernetes_api: Container::kubernetes_api_of(&environment),
        environment: Container::bounded_environment(environment),
        apparmor_profile: Container::confining(inspected.app_armor_profile.unwrap_or_default()),
        image: config.image.unwrap_or_default().into(),
        labels: labels(config.labels),
        started_at: started_at(state.started_at),
        init_pid: state.pid.and_then(|pid| pid.try_into().ok()).unwrap_or_default(),
    }
}

/// Every name of an image: its tags, and the names under which it came from registries.
pub(super) fn image_names(inspected: ImageInspect) -> Vec<Box<str>> {
    let [tags, digests] = [inspected.repo_tags, inspected.repo_digests].map(Option::unwrap_or_default);
    let names = tags.into_iter().chain(digests);
    names.take(IMAGE_NAMES).map(String::into_boxed_str).collect()
}

/// The id of the program that an event says is being put into a container.
pub(super) fn exec_id(change: &EventMessage) -> Option<String> {
    change.action.as_deref()?.strip_prefix("exec_create")?;
    change.actor.as_ref()?.attributes.as_ref()?.get("execID").cloned()
}

/// What a program that was put into a container was given.
pub(super) fn told_exec(inspected: ExecInspectResponse) -> Option<ToldExec> {
    let process = inspected.process_config?;
    Some(ToldExec {
        container: inspected.container_id?.into(),
        command_line: command(process.entrypoint, process.arguments),
        privileged: process.privileged?,
    })
}

/// The news in an event, if it is one that matters.
pub(super) fn tidings(change: EventMessage, runtime: &str) -> Option<Tidings> {
    let told = match change.action.as_deref()? {
        "create" => Told::Create,
        "start" => Told::Start,
        "die" | "died" => Told::Die,
        "destroy" | "remove" => Told::Destroy,
        "rename" | "update" => Told::Update,
        _ => return None,
    };
    let actor = change.actor?;
    let mut attributes = actor.attributes.unwrap_or_default();
    // The attributes are the container's labels and these.
    let mut take = |key: &str| attributes.remove(key).unwrap_or_default();
    let (container_name, image) = (name(&take("name")), take("image"));
    let said = Container {
        name: container_name,
        image: image.into(),
        labels: attributes.into_iter().collect(),
        ..bare(actor.id?, runtime)
    };
    let time = change
        .time_nano
        .and_then(|time| Timestamp::from_nanosecond(time.into()).ok());
    Some(Tidings {
        told,
        time: time.unwrap_or_else(Timestamp::now),
        said,
    })
}

/// A row of the list of containers, as news; `first` if the list is the first one.
pub(super) fn standing(summary: ContainerSummary, runtime: &str, first: bool) -> Option<Tidings> {
    let names = summary.names.unwrap_or_default();
    let said = Container {
        name: names.first().map(|first| name(first)).unwrap_or_default(),
        image: summary.image.unwrap_or_default().into(),
        image_digest: summary.image_id.unwrap_or_default().into(),
        labels: labels(summary.labels),
        ..bare(summary.id?, runtime)
    };
    Some(Tidings {
        told: Told::Standing { first },
        time: Timestamp::now(),
        said,
    })
}

fn bare(id: String, runtime: &str) -> Container {
    Container {
        id: id.into(),
        metadata: Metadata::Unavailable,
        runtime: runtime.into(),
        ..Container::default()
    }
}

fn name(docker_name: &str) -> Box<str> {
    docker_name.trim_start_matches('/').into()
}

/// Docker writes year 1 for what has never been started.
fn started_at(started_at: Option<String>) -> Box<str> {
    let started_at = started_at.filter(|time| !time.starts_with("0001-"));
    started_at.unwrap_or_default().into()
}

fn labels(labels: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
    labels.unwrap_or_default().into_iter().collect()
}

fn command(path: Option<String>, arguments: Option<Vec<String>>) -> Box<str> {
    let words: Vec<_> = path.into_iter().chain(arguments.unwrap_or_default()).collect();
    words.join(" ").into()
}

fn host_namespaces(host: &HostConfig) -> HostNamespaces {
    let is_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    HostNamespaces {
        pid: is_host(&host.pid_mode),
        network: is_host(&host.network_mode),
        ipc: is_host(&host.ipc_mode),
        uts: is_host(&host.uts_mode),
        user: is_host(&host.userns_mode),
        cgroup: host.cgroupns_mode == Some(HostConfigCgroupnsModeEnum::HOST),
    }
}

fn devices(host: &HostConfig) -> Vec<String> {
    let devices = host.devices.iter().flatten();
    devices.filter_map(|device| device.path_on_host.clone()).collect()
}

fn addresses(networks: &[EndpointSettings], of: impl Fn(&EndpointSettings) -> [&Option<String>; 2]) -> Vec<IpAddr> {
    let texts = networks.iter().flat_map(of).flatten();
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// Binds only: an ordinary volume lies below the runtime's own folder and gives away nothing of the host.
fn mounts(mounts: Vec<MountPoint>) -> Vec<Mount> {
    let binds = mounts.into_iter().filter(|mount| mount.typ.as_deref() == Some("bind"));
    binds
        .map(|mount| Mount {
            source: mount.source.unwrap_or_default().into(),
            target: mount.destination.unwrap_or_default().into(),
            writable: mount.rw.unwrap_or(true),
            leads_to: None,
        })
        .collect()
}

/// Takes a volume for the bind that it is, if it was made of a path of the host by these options.
pub(super) fn look_behind(mount: &mut MountPoint, options: &HashMap<String, String>) {
    if let Some(device) = options.get("device").filter(|device| device.starts_with('/')) {
        mount.typ = Some("bind".to_owned());
        mount.source = Some(device.clone());
    }
}

/// The ports in force where it runs, else those that were asked for (of which the host's may yet be chosen: 0).
fn published_ports(in_force: Option<PortMap>, asked: Option<PortMap>) -> Vec<PublishedPort> {
    let published = |ports: &PortMap| {
        ports
            .values()
            .any(|bindings| bindings.as_ref().is_some_and(|list| !list.is_empty()))
    };
    let ports = in_force.filter(published).or(asked).unwrap_or_default();
    let mut list: Vec<_> = ports
        .into_iter()
        .flat_map(|(port, bindings)| {
            bindings
                .into_iter()
                .flatten()
                .map(move |binding| (port.clone(), binding))
        })
        .filter_map(|(port, binding)| {
            let address = binding.host_ip.filter(|ip| !ip.is_empty());
            Some(PublishedPort {
                address: address.unwrap_or_else(|| "0.0.0.0".to_owned()).into(),
                port: binding.host_port.and_then(|port| port.parse().ok()).unwrap_or_default(),
                container_port: port.split('/').next()?.parse().ok()?,
            })
        })
        .collect();
    list.sort_by(|a, b| (a.container_port, &a.address).cmp(&(b.container_port, &b.address)));
    list
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What an inspection with these parts gives.
    fn inspect(parts: serde_json::Value) -> Container {
        container(serde_json::from_value(parts).unwrap(), "docker")
    }

    #[test]
    fn an_inspection_gives_all_facts() {
        let container = inspect(json!({
            "Id": "ab12", "Name": "/web", "Image": "sha256:77", "Path": "sleep", "Args": ["60", "s"],
            "State": {"Pid": 4711, "Running": true, "StartedAt": "2026-11-24T01:02:03.4Z"},
            "Config": {"Image": "nginx:1.27", "Labels": {"a": "b"}, "Env": [
                "PATH=/bin", "KUBERNETES_SERVICE_HOST=10.96.0.1", "KUBERNETES_SERVICE_PORT=6443"]},
            "HostConfig": {"Privileged": true, "CapAdd": ["SYS_ADMIN"], "SecurityOpt": ["seccomp=unconfined"],
                "PidMode": "host", "NetworkMode": "bridge", "IpcMode": "private", "UTSMode": "host",
                "UsernsMode": "", "CgroupnsMode": "host",
                "Devices": [{"PathOnHost": "/dev/kmsg", "PathInContainer": "/dev/k", "CgroupPermissions": "r"}],
                "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}]}},
            "AppArmorProfile": "docker-default",
            "NetworkSettings": {"Networks": {"shop": {"IPAddress": "172.18.0.5", "Gateway": "172.18.0.1",
                "GlobalIPv6Address": "", "IPv6Gateway": ""}}, "Ports": {"80/tcp": [{"HostIp": "::", "HostPort": "32768"}], "443/tcp": null}},
            "Mounts": [
                {"Type": "bind", "Source": "/", "Destination": "/host", "RW": false},
                {"Type": "volume", "Source": "/var/lib/docker/volumes/v/_data", "Destination": "/data", "RW": true}],
        }));
        assert_eq!(
            (&*container.id, &*container.name, &*container.image),
            ("ab12", "web", "nginx:1.27")
        );
        assert_eq!(
            (&*container.image_digest, &*container.command),
            ("sha256:77", "sleep 60 s")
        );
        assert_eq!(
            (container.metadata, container.privileged),
            (Metadata::Known, Some(true))
        );
        assert_eq!(
            container.host_namespaces.names().collect::<Vec<_>>(),
            ["pid", "uts", "cgroup"]
        );
        assert_eq!(
            (container.added_capabilities, container.devices),
            (vec!["SYS_ADMIN".into()], vec!["/dev/kmsg".into()])
        );
        let mount = Mount {
            source: "/".into(),
            target: "/host".into(),
            writable: false,
            leads_to: None,
        };
        assert_eq!(container.mounts, [mount]);
        let port = PublishedPort {
            address: "::".into(),
            port: 32768,
            container_port: 80,
        };
        assert_eq!(container.published_ports, [port]);
        assert_eq!(container.kubernetes_api, Some(("10.96.0.1".parse().unwrap(), 6443)));
        assert_eq!(&*container.environment[0], "PATH=/bin");
        assert_eq!(&*container.apparmor_profile, "docker-default");
        let [address, gateway] = ["172.18.0.5", "172.18.0.1"].map(|address| vec![address.parse::<IpAddr>().unwrap()]);
        assert_eq!((container.addresses, container.gateways), (address, gateway));
        assert_eq!(
            (&*container.started_at, container.init_pid),
            ("2026-11-24T01:02:03.4Z", 4711)
        );
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        let container = inspect(json!({"Id": "ab12"}));
        assert_eq!(
            (container.privileged, container.kubernetes_api, container.init_pid),
            (None, None, 0)
        );
        let made = inspect(json!({"State": {"Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"}}));
        assert_eq!(&*made.started_at, "");
        let asked = inspect(json!({"HostConfig": {"PortBindings": {"22/tcp": [{"HostPort": "2222"}], "x": []}}}));
        let port = PublishedPort {
            address: "0.0.0.0".into(),
            port: 2222,
            container_port: 22,
        };
        assert_eq!(asked.published_ports, [port]);
        let named = inspect(json!({"Config": {"Env": ["KUBERNETES_SERVICE_HOST=kubernetes.default"]}}));
        assert_eq!(named.kubernetes_api, None);
    }

    #[test]
    fn an_image_has_many_names() {
        let inspected = json!({"RepoTags": ["web:1"], "RepoDigests": ["xmrig/xmrig@sha256:77"]});
        let names = image_names(serde_json::from_value(inspected).unwrap());
        assert_eq!(names, ["web:1", "xmrig/xmrig@sha256:77"].map(Box::from));
        assert!(image_names(serde_json::from_value(json!({})).unwrap()).is_empty());
    }

    #[test]
    fn a_program_that_is_put_into_a_container_is_asked_about() {
        let change = |action: &str| {
            let event =
                json!({"Action": action, "Actor": {"ID": "ab12", "Attributes": {"execID": "77", "name": "web"}}});
            exec_id(&serde_json::from_value(event).unwrap())
        };
        assert_eq!(change("exec_create: sh -c id"), Some("77".to_owned()));
        assert_eq!(change("exec_start: sh -c id"), None);
        let told = |parts: serde_json::Value| told_exec(serde_json::from_value(parts).unwrap());
        let process = json!({"privileged": true, "entrypoint": "sh", "arguments": ["-c", "id"]});
        let expected = ToldExec {
            container: "ab12".into(),
            command_line: "sh -c id".into(),
            privileged: true,
        };
        assert_eq!(
            told(json!({"ContainerID": "ab12", "ProcessConfig": process})),
            Some(expected)
        );
        assert_eq!(told(json!({"ContainerID": "ab12"})), None);
    }

    #[test]
    fn events_are_news() {
        fn check(action: &str, expected: Option<Told>) {
            let event = json!({"Type": "container", "Action": action, "timeNano": 1_700_000_000_000_000_007_i64,
                "Actor": {"ID": "ab12", "Attributes": {"image": "nginx", "name": "web", "team": "shop"}}});
            let tidings = tidings(serde_json::from_value(event).unwrap(), "docker");
            assert_eq!(tidings.as_ref().map(|tidings| tidings.told), expected, "{action}");
            let Some(Tidings { time, said, .. }) = tidings else {
                return;
            };
            assert_eq!(time.as_nanosecond(), 1_700_000_000_000_000_007);
            assert_eq!((&*said.name, &*said.image, said.labels.len()), ("web", "nginx", 1));
        }
        check("create", Some(Told::Create));
        check("die", Some(Told::Die));
        check("rename", Some(Told::Update));
        check("exec_create: sh", None);
        check("", None);
    }
}
