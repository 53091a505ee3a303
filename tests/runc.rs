//! Containers that runc runs without any daemon: what other runtimes' containers look like to the kernel.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
    time::{SystemTime, UNIX_EPOCH},
};

use ::tocsin::event::Capabilities;
use procfs::process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{dockerd::Dockerd, fixtures};

/// A container with every capability that this machine can give and without a system call filter.
pub(crate) struct Bundle {
    /// As long as Docker's ids, and so the name of its cgroup.
    pub(crate) id: String,
    folder: TempDir,
}

/// Whose capabilities those are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Users {
    /// The node's own: they are real.
    OfTheNode,
    /// Those of a user namespace of the container's own, as in a rootless container.
    OfItsOwn,
}

impl Bundle {
    /// Makes one that runs `command` in busybox, with the programs of `dockerd`, which need not run.
    pub(crate) fn new(dockerd: &Dockerd, users: Users, command: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("bundle-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .expect("a folder for the bundle");
        let rootfs = folder.path().join("rootfs");
        fs::create_dir(&rootfs).expect("the folder is writable");
        let image = fixtures::require("busybox").expect("dockerd has it").join("image.tar");
        succeed(Command::new("tar").arg("-xf").arg(image).arg("-C").arg(rootfs));
        let mut spec = dockerd.command("runc");
        spec.arg("spec").arg("--bundle").arg(folder.path());
        if users == Users::OfItsOwn {
            spec.arg("--rootless");
        }
        succeed(&mut spec);
        let id = unique_id();
        let bundle = Self { id, folder };
        bundle.adapt(command);
        bundle
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, dockerd: &Dockerd) {
        let mut runc = dockerd.command("runc");
        runc.arg("--root").arg(self.folder.path().join("state"));
        runc.arg("run").arg("--bundle").arg(self.folder.path()).arg(&self.id);
        succeed(&mut runc);
    }

    fn adapt(&self, command: &[&str]) {
        let path = self.folder.path().join("config.json");
        let text = fs::read_to_string(&path).expect("runc wrote it");
        let mut spec: Value = serde_json::from_str(&text).expect("it is JSON");
        let process = &mut spec["process"];
        process["args"] = json!(command);
        process["terminal"] = json!(false);
        let all = all_capabilities();
        process["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
        spec["linux"]["cgroupsPath"] = json!(format!("/docker/{}", self.id));
        fs::write(path, spec.to_string()).expect("the bundle is writable");
    }
}

/// As long as Docker's ids.
pub(crate) fn unique_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    format!("{:0>32x}{:0>32x}", std::process::id(), now.as_nanos())
}

/// Those that this machine's root can have.
fn all_capabilities() -> Vec<String> {
    let status = Process::myself().and_then(|process| process.status());
    let bounding = status.ok().and_then(|status| status.capbnd).expect("/proc tells");
    Capabilities(bounding)
        .names()
        .map(|name| format!("CAP_{name}"))
        .collect()
}

fn succeed(command: &mut Command) {
    let Output { status, stderr, .. } = command.output().expect("the program starts");
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
}
