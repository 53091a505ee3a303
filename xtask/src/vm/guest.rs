//! The packages on a whole node: a Debian with a service manager and Docker installs the deb as an operator would.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use xshell::cmd;

use super::{
    kernel,
    machine::{Machine, boot},
};
use crate::{fixtures, package, workspace::Workspace};

/// The kernel of the guest's own release.
const KERNEL: &str = "6.1";

/// Lower than any version that was released.
const EARLIER: &str = "0.0.1";

/// Printed by the guest when every step has passed.
const PASSED: &str = "tocsin-guest: passed";

/// Files that the guest has beside its packages: a path below its root, the content, and the mode.
const FILES: &[(&str, &str, u32)] = &[
    ("check.sh", include_str!("guest/check.sh"), 0o755),
    (
        "etc/systemd/system/check.service",
        include_str!("guest/check.service"),
        0o644,
    ),
    (
        "container/Dockerfile",
        include_str!("../../../packaging/container/Dockerfile"),
        0o644,
    ),
    // The root is in memory, where it cannot be left by pivot_root; and no network is needed.
    (
        "etc/default/docker",
        "DOCKER_RAMDISK=yes\nDOCKER_OPTS=\"--bridge=none --iptables=false --ip6tables=false --storage-driver=vfs\"\n",
        0o644,
    ),
];

/// Units that would wait for what an emulated machine does not have.
const MASKED: &[&str] = &["getty.target", "systemd-networkd-wait-online.service"];

/// Boots the guest with the packages in it, and checks each promise about an installation.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    for name in ["busybox", "guest", "qemu"] {
        fixtures::ensure(workspace, fixtures::named(name)?)?.say_news();
    }
    let [kernel] = kernel::named(&[KERNEL.into()])?[..] else {
        bail!("kernel {KERNEL} is not in the table");
    };
    let image = kernel::fetch(workspace, kernel)?;
    let scratch = tempfile::tempdir_in(workspace.fixtures())?;
    let initramfs = pack(workspace, scratch.path())?;
    let machine = Machine {
        memory: "3072",
        processors: "2",
        options: "rdinit=/lib/systemd/systemd systemd.show_status=0 systemd.log_target=null",
        limit: Duration::from_mins(12),
        passed: PASSED,
    };
    let start = Instant::now();
    let console = boot(workspace, &machine, &image, &initramfs, |line| {
        println!("{:>6.1} s  {line}", start.elapsed().as_secs_f64());
    })?;
    if !console.contains(PASSED) {
        bail!("the packages failed in the guest: see above");
    }
    Ok(())
}

/// The guest's root with the packages in it, as an archive in `scratch`.
fn pack(workspace: &Workspace, scratch: &Path) -> Result<PathBuf> {
    let (sh, root) = (&workspace.sh, scratch.join("root"));
    let fixtures = workspace.fixtures();
    let guest = fixtures.join("guest");
    // Links instead of copies: nothing of it is written to.
    cmd!(sh, "cp --archive --link {guest} {root}").quiet().run()?;
    for (path, content, mode) in FILES {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        sh.remove_path(&path)?;
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    let units = root.join("etc/systemd/system");
    for unit in MASKED {
        symlink("/dev/null", units.join(unit))?;
    }
    for (unit, target) in [
        ("docker.service", "multi-user.target"),
        ("docker.socket", "sockets.target"),
        ("containerd.service", "multi-user.target"),
    ] {
        let wants = units.join(format!("{target}.wants"));
        fs::create_dir_all(&wants)?;
        symlink(format!("/lib/systemd/system/{unit}"), wants.join(unit))?;
    }
    symlink(
        "/etc/systemd/system/check.service",
        units.join("multi-user.target.wants/check.service"),
    )?;
    symlink("/lib/systemd/system/multi-user.target", units.join("default.target"))?;
    fs::copy(fixtures.join("busybox/image.tar"), root.join("busybox.tar"))?;
    packages(workspace, &root)?;
    let busybox = fixtures.join("busybox/bin/busybox");
    let _folder = sh.push_dir(&root);
    let names = cmd!(sh, "{busybox} find .").quiet().read()?;
    let archive = scratch.join("initramfs");
    cmd!(sh, "{busybox} cpio -o -H newc -F {archive}")
        .quiet()
        .ignore_stderr()
        .stdin(names + "\n")
        .run()?;
    Ok(archive)
}

/// Puts the packages of `cargo xtask package` into the root, and the same as of an earlier version, to upgrade from.
fn packages(workspace: &Workspace, root: &Path) -> Result<()> {
    let made = workspace.sh.read_dir(workspace.root.join("target/package"));
    let made = made.context("no packages: make them with `cargo xtask package` first")?;
    let [packages, earlier] = [root.join("packages"), root.join("earlier")];
    for folder in [&packages, &earlier] {
        fs::create_dir(folder)?;
    }
    for ending in ["_amd64.deb", ".x86_64.rpm"] {
        let package = made.iter().find(|path| path.to_string_lossy().ends_with(ending));
        let package = package.with_context(|| format!("no package {ending}: make it with `cargo xtask package`"))?;
        fs::copy(
            package,
            packages.join(package.file_name().context("a package has a name")?),
        )?;
    }
    package::of_version(workspace, EARLIER, &earlier)
}
