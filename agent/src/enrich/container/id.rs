//! Which container a cgroup belongs to, read off the cgroup's path: every runtime writes the id into it.

/// Hexadecimal digits in a container's id.
const ID_LENGTH: usize = 64;

/// What stands before an id in a cgroup's name, and whose habit that is.
const PREFIXES: [(&str, &str); 7] = [
    ("docker-", "docker"),
    ("cri-containerd-", "containerd"),
    ("nerdctl-", "containerd"),
    ("crio-", "cri-o"),
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
    ("", ""),
];

/// The middle of `SLICE:PREFIX:ID`, which runc makes of systemd's notation when it drives cgroups by itself.
const MIDDLES: [(&str, &str); 4] = [
    ("docker", "docker"),
    ("cri-containerd", "containerd"),
    ("crio", "cri-o"),
    ("libpod", "podman"),
];

/// The id of the outermost container on that path, which is the one that this node's runtime knows, and the runtime
/// (empty where the path does not say: a `--cgroup-parent`, or a path relative to a cgroup namespace).
///
/// Cgroups of a runtime's helpers (conmon, shims, image builds) are nobody's.
pub fn container_id(cgroup_path: &str) -> Option<(&str, &'static str)> {
    let mut parent = "";
    let mut in_pod = false;
    for name in cgroup_path.split('/') {
        if let Some((id, runtime)) = id_in_name(name) {
            let runtime = match (runtime, parent) {
                ("", "buildkit") => return None,
                ("", "docker") => "docker",
                ("", "libpod_parent") => "podman",
                ("", _) if in_pod => "containerd",
                (runtime, _) => runtime,
            };
            return Some((id, runtime));
        }
        in_pod |= name.starts_with("kubepods");
        parent = name;
    }
    None
}

/// Whether that text is a full container id: nothing else may become part of a path.
pub fn is_container_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The id in one cgroup's name, with the runtime that its prefix tells.
fn id_in_name(name: &str) -> Option<(&str, &'static str)> {
    if name.len() < ID_LENGTH {
        return None;
    }
    if let Some((slice, id)) = name.rsplit_once(':') {
        let middle = slice.rsplit(':').next().unwrap_or_default();
        let (_, runtime) = MIDDLES.iter().find(|(known, _)| *known == middle)?;
        return is_container_id(id).then_some((id, runtime));
    }
    let name = name.strip_suffix(".scope").unwrap_or(name);
    PREFIXES.iter().find_map(|(prefix, runtime)| {
        let id = name.strip_prefix(prefix)?;
        is_container_id(id).then_some((id, *runtime))
    })
}

/// Of a process's paths in the unified and in a version 1 hierarchy the one that names its container, else the one that
/// says more. A runtime need not move its containers in both.
pub fn telling(unified: Box<str>, legacy: Box<str>) -> Box<str> {
    let depth = |path: &str| path.split('/').filter(|name| !name.is_empty()).count();
    let worth = |path: &str| (container_id(path).is_some(), depth(path));
    if worth(&legacy) > worth(&unified) {
        legacy
    } else {
        unified
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const INNER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

    /// `ID` and `INNER` in the path stand for ids; the runtime `none` for a path that is no container's.
    fn check(path: &str, runtime: &str) {
        let path = path.replace("INNER", INNER).replace("ID", ID);
        let expected = (runtime != "none").then_some((ID, runtime));
        assert_eq!(container_id(&path), expected, "{path}");
    }

    #[test]
    fn every_runtime_is_known_by_its_paths() {
        check("/docker/ID", "docker");
        check("/system.slice/docker-ID.scope", "docker");
        check("/build.slice/docker-ID.scope", "docker");
        check("/tocsin-v1/ID", "");
        check("/system.slice:docker:ID", "docker");
        check("/ecs/0f9dd0a2b4d44a77a36a1e4b3f1f1c1d/ID", "");
        check("/kubepods/burstable/podUID/ID", "containerd");
        check("/kubepods/besteffort/pod0d5e/ID/init.scope", "containerd");
        check(
            "/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope",
            "containerd",
        );
        check(
            "/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:ID",
            "containerd",
        );
        check("/kubepods.slice/kubepods-pod1.slice/docker-ID.scope", "docker");
        check("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope", "cri-o");
        check("/kubepods.slice/kubepods-pod1.slice/crio-ID.scope/container", "cri-o");
        check("/kubepods/pod1/crio-ID", "cri-o");
        check("/machine.slice/libpod-ID.scope", "podman");
        check("/machine.slice/libpod-ID.scope/container/app", "podman");
        check("/machine.slice/libpod-payload-ID", "podman");
        check("/libpod_parent/libpod-ID", "podman");
        check(
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            "podman",
        );
        check("/system.slice/nerdctl-ID.scope", "containerd");
    }

    #[test]
    fn relative_and_nested_paths_give_the_outermost_container() {
        check("/../ID", "");
        check("/../../system.slice/docker-ID.scope", "docker");
        check("/docker/ID/docker/INNER", "docker");
        check("/docker/ID/kubelet/kubepods/pod1/INNER", "docker");
        check("/system.slice/docker-ID.scope/init.scope", "docker");
    }

    #[test]
    fn helpers_and_others_are_no_containers() {
        check("", "none");
        check("/", "none");
        check("/user.slice/user-0.slice/session-1.scope", "none");
        check("/kubepods.slice/kubepods-pod1.slice/crio-conmon-ID.scope", "none");
        check("/machine.slice/libpod-conmon-ID.scope", "none");
        check("/libpod_parent/conmon", "none");
        check("/system.slice/containerd.service", "none");
        check("/system.slice/docker.service", "none");
        check("/docker/buildkit/7x3sq1fzcnl9jv5hoy0p2d4kw", "none");
        check("/docker/buildkit/ID", "none");
        check("/docker/IDab", "none");
        check("/system.slice/sandbox-ID.scope", "none");
        check("/system.slice:other:ID", "none");
        check("/system.slice/docker-ID.mount", "none");
        check(&format!("/docker/{}", "ABCDEF0123456789".repeat(4)), "none");
        check(&format!("/docker/{}", "é".repeat(32)), "none");
    }
}
