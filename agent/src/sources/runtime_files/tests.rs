//! What is found in a node's files, laid out as the runtimes lay them out.

use std::{fs, os::unix::fs::symlink};

use serde_json::{Value, json};

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const SANDBOX: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// A folder that stands for a node's root.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.0.path().join(path.replace("ID", ID).replace("SANDBOX", SANDBOX));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    /// A process whose root is the node's.
    fn process(&self, pid: u32, parent: u32, comm: &str, cgroup: &str, cwd: &str) {
        self.write(&format!("proc/{pid}/comm"), format!("{comm}\n"));
        self.write(
            &format!("proc/{pid}/status"),
            format!("Name:\t{comm}\nPPid:\t{parent}\n"),
        );
        self.write(
            &format!("proc/{pid}/cgroup"),
            format!("0::{}\n", cgroup.replace("ID", ID)),
        );
        let entry = self.0.path().join(format!("proc/{pid}"));
        symlink(self.0.path(), entry.join("root")).unwrap();
        symlink(cwd.replace("SANDBOX", SANDBOX).replace("ID", ID), entry.join("cwd")).unwrap();
    }

    fn look(&self, pid: u32) -> Option<Container> {
        Some(self.look_with(pid, &[])?.0)
    }

    /// What is found where these folders of data are known, and the folder that told.
    fn look_with(&self, pid: u32, known: &[PathBuf]) -> Option<(Container, Option<PathBuf>)> {
        let question = Question {
            id: ID.into(),
            runtime: "".into(),
            pid,
        };
        look(&question, self.0.path(), known)
    }
}

fn spec(rootfs: &str, annotations: &Value) -> String {
    json!({"root": {"path": rootfs}, "annotations": annotations,
        "process": {"args": ["nginx", "-g"], "env": ["KUBERNETES_SERVICE_HOST=10.96.0.1"],
            "capabilities": {"bounding": ["CAP_CHOWN"]}},
        "mounts": [
            {"type": "proc", "source": "proc", "destination": "/proc"},
            {"type": "bind", "source": "/etc", "destination": "/hetc", "options": ["rbind", "ro"]},
            {"type": "bind", "source": "/var/lib/x/hosts", "destination": "/etc/hosts", "options": ["rbind"]}],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "network", "path": "/proc/7/ns/net"}, {"type": "uts"}, {"type": "ipc"}, {"type": "cgroup"}],
            "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}})
    .to_string()
}

/// `name image runtime`, what a person would ask for first.
fn summary(container: Option<Container>) -> String {
    container.map_or("nothing".to_owned(), |container| {
        assert_eq!(container.metadata, Metadata::Unavailable);
        format!("{} {} {}", container.name, container.image, container.runtime)
    })
}

#[test]
fn a_pods_container_is_found_beside_the_sandbox_that_its_shim_works_in() {
    let node = Node::new();
    let tasks = "srv/state/io.containerd.runtime.v2.task/k8s.io";
    let annotations = json!({"io.kubernetes.cri.container-name": "web", "io.kubernetes.cri.sandbox-namespace": "shop",
        "io.kubernetes.cri.image-name": "docker.io/library/nginx:1.27"});
    node.write(&format!("{tasks}/ID/config.json"), spec("rootfs", &annotations));
    node.process(30, 20, "nginx", "/kubepods/pod1/ID", "/");
    node.process(
        20,
        10,
        "containerd-shim",
        "/system.slice/containerd.service",
        &format!("/{tasks}/SANDBOX"),
    );
    let container = node.look(30).unwrap();
    assert_eq!(container.host_namespaces.names().collect::<Vec<_>>(), ["pid"]);
    assert_eq!((container.privileged, &*container.command), (Some(false), "nginx -g"));
    assert_eq!(container.labels["io.kubernetes.pod.namespace"], "shop");
    assert_eq!(container.labels["io.kubernetes.container.name"], "web");
    assert_eq!(container.kubernetes_api, Some(("10.96.0.1".parse().unwrap(), 443)));
    let sources: Vec<_> = container
        .mounts
        .iter()
        .map(|mount| (&*mount.source, mount.writable))
        .collect();
    assert_eq!(sources, [("/etc", false)]);
    assert_eq!(summary(Some(container)), "web docker.io/library/nginx:1.27 ");
}

#[test]
fn dockers_own_record_is_found_through_the_root_folder_of_the_container() {
    let node = Node::new();
    let bundle = "run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/ID/config.json";
    node.write(bundle, spec("/data/docker/overlay2/5f/merged", &Value::Null));
    node.write(
        "data/docker/containers/ID/config.v2.json",
        json!({"Name": "/web", "Image": "sha256:7", "Path": "sleep", "Args": ["1"],
        "Config": {"Image": "nginx:1.27", "Env": null, "Labels": {"a": "b"}},
        "State": {"StartedAt": "2026-11-24T01:02:03Z"},
        "MountPoints": {"/h": {"Type": "bind", "Source": "/", "Destination": "/h", "RW": true}}})
        .to_string(),
    );
    node.write(
        "data/docker/containers/ID/hostconfig.json",
        json!({"Privileged": true, "PidMode": "host", "CapAdd": ["ALL"],
        "SecurityOpt": null, "Devices": [], "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}})
        .to_string(),
    );
    let container = node.look(0).unwrap();
    assert_eq!(
        (container.privileged, container.host_namespaces.pid),
        (Some(true), true)
    );
    assert_eq!((&*container.command, &*container.image_digest), ("sleep 1", "sha256:7"));
    assert_eq!((container.mounts.len(), container.published_ports[0].port), (1, 8080));
    assert_eq!(summary(Some(container)), "web nginx:1.27 docker");
}

#[test]
fn where_a_container_that_has_ended_is_told_of_is_remembered() {
    let node = Node::new();
    let bundle = "run/containerd/io.containerd.runtime.v2.task/moby/ID/config.json";
    node.write(bundle, spec("/data/docker/overlay2/5f/merged", &json!({})));
    let record = json!({"Name": "/web", "Config": {"Image": "nginx:1.27"}}).to_string();
    node.write("data/docker/containers/ID/config.v2.json", record);
    let data = PathBuf::from("/data/docker");
    assert_eq!(node.look_with(0, &[]).unwrap().1.as_ref(), Some(&data));
    fs::remove_file(node.0.path().join(bundle.replace("ID", ID))).unwrap();
    assert_eq!(summary(node.look(0)), "nothing");
    let (container, folder) = node.look_with(0, &[PathBuf::from("/elsewhere"), data.clone()]).unwrap();
    assert_eq!(
        (summary(Some(container)).as_str(), folder),
        ("web nginx:1.27 docker", Some(data))
    );
}

#[test]
fn podmans_storage_is_found_through_conmon() {
    let node = Node::new();
    let bundle = "srv/storage/overlay-containers/ID/userdata";
    node.write(
        &format!("{bundle}/config.json"),
        spec("/srv/storage/overlay/5f/merged", &json!({})),
    );
    let metadata = json!({"image-name": "docker.io/library/alpine:3", "name": "keen_cat"}).to_string();
    let stored = json!([{"id": SANDBOX}, {"id": ID, "names": ["x"], "image": "77", "metadata": metadata}]);
    node.write("srv/storage/overlay-containers/containers.json", stored.to_string());
    node.process(30, 20, "sh", "/machine.slice/libpod-ID.scope", "/");
    node.process(20, 1, "conmon", "/machine.slice/libpod-conmon-ID.scope", "/");
    node.write(
        "proc/20/cmdline",
        format!("conmon\0-c\0{ID}\0-b\0/{}\0", bundle.replace("ID", ID)),
    );
    assert_eq!(summary(node.look(30)), "keen_cat docker.io/library/alpine:3 ");
}

#[test]
fn a_process_in_the_container_is_not_believed_to_be_its_shim() {
    let node = Node::new();
    let lie = json!({"io.kubernetes.cri.container-name": "innocent"});
    node.write("evil/ID/config.json", spec("/", &lie));
    node.process(30, 20, "sh", "/kubepods/pod1/ID", "/");
    node.process(20, 10, "containerd-shim", "/kubepods/pod1/ID", "/evil/x");
    assert_eq!(summary(node.look(30)), "nothing");
}

#[test]
fn what_cannot_be_read_is_passed_over() {
    fn check(config: &[u8]) {
        let node = Node::new();
        node.write(
            "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
            config,
        );
        assert_eq!(summary(node.look(4_000_000_000)), "nothing");
    }
    check(b"");
    check(b"{");
    check(b"[]");
    check(b"{\"root\": 7}");
    check(b"\xff\xfe");
    check(&vec![b' '; LARGEST as usize + 1]);
    let question = Question {
        id: "../../etc".into(),
        runtime: "".into(),
        pid: 0,
    };
    assert!(look(&question, Path::new("/"), &[]).is_none());
}
