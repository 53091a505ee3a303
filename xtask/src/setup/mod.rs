//! Finds or installs what building and testing need, once, and says so in one line a thing.

pub(crate) mod toolchain;
pub(crate) mod tools;

use anyhow::Result;

use crate::{fixtures, workspace::Workspace};

/// What a step found, or did.
pub(crate) enum Outcome {
    /// It was there already.
    Found(String),
    /// It was missing or of another version.
    Installed(String),
}

/// Sets up what a build needs, quietly where it is there; gives the toolchain for the kernel programs.
pub(crate) fn build_tools(workspace: &Workspace) -> Result<String> {
    let (toolchain, outcome) = toolchain::ensure(workspace)?;
    outcome.say_news();
    tools::ensure(workspace, &tools::BPF_LINKER)?.say_news();
    Ok(toolchain)
}

/// `cargo xtask setup`: the same with one line for everything, and with the fixtures if `all`.
pub(crate) fn report(workspace: &Workspace, all: bool) -> Result<()> {
    toolchain::ensure(workspace)?.1.say();
    tools::ensure(workspace, &tools::BPF_LINKER)?.say();
    if all {
        tools::ensure(workspace, &tools::TYPOS)?.say();
        for fixture in fixtures::FIXTURES {
            fixtures::ensure(workspace, fixture)?.say();
        }
    }
    Ok(())
}

impl Outcome {
    /// Prints the line to standard error: standard output belongs to what a command runs.
    pub(crate) fn say(&self) {
        match self {
            Self::Found(what) => eprintln!("found      {what}"),
            Self::Installed(what) => eprintln!("installed  {what}"),
        }
    }

    /// Prints the line only where something changed.
    pub(crate) fn say_news(&self) {
        if matches!(self, Self::Installed(_)) {
            self.say();
        }
    }
}
