//! Where things lie in the checkout, and the shell that every command runs its programs with.

use std::{
    env,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use xshell::Shell;

/// The checkout, with a shell whose working directory is its root.
pub(crate) struct Workspace {
    /// Runs programs, echoing each command line.
    pub(crate) sh: Shell,
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
}

impl Workspace {
    /// Finds the checkout that this program was built from.
    pub(crate) fn open() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the workspace holds this crate")?;
        let sh = Shell::new().context("failed to open the working directory")?;
        sh.change_dir(root);
        // Cargo points this at the host toolchain's libraries, where the linker would find the wrong LLVM.
        sh.set_var("LD_LIBRARY_PATH", "");
        Ok(Self { sh, root: root.into() })
    }

    /// Pinned developer tools, installed for this checkout alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }

    /// A folder of the corpus of others' data, where it is at hand: named by `TOCSIN_CORPUS`, or beside the checkout.
    pub(crate) fn corpus(&self, folder: &str) -> Option<PathBuf> {
        let beside = || self.root.join("../shared/corpus").into_os_string();
        let corpus = PathBuf::from(env::var_os("TOCSIN_CORPUS").unwrap_or_else(beside));
        Some(corpus.join(folder)).filter(|folder| folder.is_dir())
    }

    /// Servers and images for tests, unpacked and never installed.
    pub(crate) fn fixtures(&self) -> PathBuf {
        self.root.join("target/fixtures")
    }
}

/// Whether this process may load kernel programs and start servers without sudo.
pub(crate) fn is_root() -> bool {
    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|process| process.uid() == 0)
}

/// Whether CI runs this, where nothing may be skipped.
pub(crate) fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}
