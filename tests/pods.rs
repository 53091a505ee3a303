//! Containers of containerd alone, where a kubelet has those of its pods: no Docker knows of them.

use std::fs;

use procfs::process::Process;

use crate::{dockerd::Dockerd, runc::unique_id};

/// The containerd of a `dockerd`, in the namespace that a kubelet uses.
pub(crate) struct Pods<'a> {
    dockerd: &'a Dockerd,
    /// The pod, as its cgroup is called.
    pod: String,
}

impl<'a> Pods<'a> {
    /// One pod, for containers of busybox.
    pub(crate) fn new(dockerd: &'a Dockerd) -> Self {
        let archive = dockerd.save(dockerd.import_busybox());
        dockerd.ctr(&["images", "import", &archive.to_string_lossy()]);
        Self {
            dockerd,
            pod: format!("pod{}", unique_id()),
        }
    }

    /// Runs a container to its end and gives its id.
    pub(crate) fn run_to_end(&self, options: &[&str], command: &[&str]) -> String {
        let (id, runtime) = (unique_id(), self.dockerd.runtime());
        let cgroup = format!("/kubepods/burstable/{}/{id}", self.pod);
        let run = [
            "run",
            "--rm",
            "--null-io",
            "--runc-binary",
            &runtime.to_string_lossy(),
            "--cgroup",
            &cgroup,
        ];
        let labels = [
            "--label",
            "io.kubernetes.pod.name=web",
            "--label",
            "io.kubernetes.pod.namespace=shop",
        ];
        let image = [&*format!("docker.io/{}", crate::dockerd::BUSYBOX), &id];
        self.dockerd
            .ctr(&[&run[..], &labels, options, &image, command].concat());
        id
    }
}

impl Drop for Pods<'_> {
    fn drop(&mut self) {
        // A container's end leaves the cgroups above it; those of a real kubelet, if this machine has one, are not empty.
        let mounts = Process::myself().and_then(|process| process.mountinfo());
        for mount in mounts
            .into_iter()
            .flatten()
            .filter(|mount| mount.fs_type.starts_with("cgroup"))
        {
            let burstable = mount.mount_point.join("kubepods/burstable");
            let _ = fs::remove_dir(burstable.join(&self.pod));
            let _ = fs::remove_dir(&burstable);
            let _ = burstable.parent().map(fs::remove_dir);
        }
    }
}
