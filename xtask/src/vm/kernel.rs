//! The kernels that the agent is tried on: those of Debian's releases, for machines in a cloud.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    fixtures::{self, Apt, Release},
    workspace::Workspace,
};

/// A kernel series and where its newest image comes from.
pub(super) struct Kernel {
    /// The series, as the command line names it.
    pub(super) version: &'static str,
    release: Release,
    /// An extended regular expression: old images leave the mirror, so that none is named whole.
    package: &'static str,
}

/// Every kernel that is tried.
const KERNELS: &[Kernel] = &[
    Kernel {
        version: "5.10",
        release: Release::SecurityOf("bullseye"),
        package: "^linux-image-5\\.10\\.0-[0-9]+-cloud-amd64$",
    },
    Kernel {
        version: "6.1",
        release: Release::Named("bookworm"),
        package: "^linux-image-6\\.1\\.0-[0-9]+-cloud-amd64$",
    },
    Kernel {
        version: "6.12",
        release: Release::Named("trixie"),
        package: "^linux-image-6\\.12\\.[0-9]+[+]deb13-cloud-amd64$",
    },
];

/// The kernels called `versions`, or all if none is named.
pub(super) fn named(versions: &[String]) -> Result<Vec<&'static Kernel>> {
    if versions.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    let known = || {
        KERNELS
            .iter()
            .map(|kernel| kernel.version)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let find = |version: &String| KERNELS.iter().find(|kernel| kernel.version == version);
    versions
        .iter()
        .map(|version| find(version).with_context(|| format!("no kernel {version}: known are {}", known())))
        .collect()
}

/// Finds the kernel's image or downloads the newest.
pub(super) fn fetch(workspace: &Workspace, kernel: &Kernel) -> Result<PathBuf> {
    let folder = workspace.fixtures().join("vm").join(kernel.version);
    if let Ok(image) = image_in(&folder) {
        return Ok(image);
    }
    let _lock = fixtures::lock(workspace)?;
    let scratch = tempfile::tempdir_in(workspace.fixtures())?;
    let apt = Apt::open(workspace, kernel.release)?;
    let packages = apt.matching(kernel.package)?;
    let newest = packages.into_iter().max_by_key(|package| numbers(package));
    let newest = newest.with_context(|| format!("no package matches {}", kernel.package))?;
    apt.unpack(&[newest], scratch.path())?;
    let image = image_in(&scratch.path().join("boot"))?;
    let kept = folder.join(image.file_name().context("the image has a name")?);
    fs::create_dir_all(&folder)?;
    fs::rename(image, &kept)?;
    Ok(kept)
}

fn image_in(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    let is_image = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    };
    let mut paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths
        .find(is_image)
        .with_context(|| format!("{} has no kernel", folder.display()))
}

/// The numbers in a package's name, by which versions are ordered.
fn numbers(package: &str) -> Vec<u32> {
    package
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert!(numbers("linux-image-6.1.0-10-cloud-amd64") > numbers("linux-image-6.1.0-9-cloud-amd64"));
        assert!(numbers("linux-image-6.12.95+deb13-cloud-amd64") < numbers("linux-image-6.12.101+deb13-cloud-amd64"));
    }

    #[test]
    fn an_unknown_kernel_is_refused_with_the_known_ones() {
        let error = named(&["4.19".into()]).err().unwrap();
        assert_eq!(error.to_string(), "no kernel 4.19: known are 5.10, 6.1, 6.12");
    }
}
