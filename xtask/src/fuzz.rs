//! `fuzz`: what the agent reads from others, fed with anything for a while.

use anyhow::{Result, bail};
use clap::ValueEnum;
use xshell::cmd;

use crate::{
    setup::{self, tools},
    workspace::Workspace,
};

/// The programs of `fuzz/targets`.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Target {
    /// DNS messages
    Dns,
    /// Recorded events, carried to their verdict
    Event,
    /// Threat feeds of every format
    Feed,
    /// Lines of auth.log
    Login,
    /// What processes say of their memory
    Memory,
    /// Records of the sensors
    Record,
    /// Files of rules
    Rule,
    /// Collections of TAXII servers
    Taxii,
    /// What connections say first
    Wire,
}

impl Target {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or(String::new(), |value| value.get_name().to_owned())
    }

    /// Below the corpus of others' data: what to begin with, beside what `fuzz/src/seeds.rs` makes.
    fn seeds(self) -> &'static [&'static str] {
        match self {
            Self::Feed => &["ti"],
            Self::Rule => &["sigmahq/rules/linux/network_connection"],
            Self::Dns | Self::Event | Self::Login | Self::Memory | Self::Record | Self::Taxii | Self::Wire => &[],
        }
    }
}

/// An input that takes 10 s hangs the agent for as long. No input of a target is so large that more than the agent may have
/// for a million indicators need be asked for at once; freed memory that the sanitizer holds back is most of the rest. Of
/// larger inputs, as whole feeds are, the beginning is tried, or a second would see no more than six of them.
const LIMITS: [&str; 4] = [
    "-timeout=10",
    "-max_len=16384",
    "-malloc_limit_mb=64",
    "-rss_limit_mb=1024",
];

/// Fuzzes these targets, or all, for so long each. What is found once is begun with the next time.
pub(crate) fn fuzz(workspace: &Workspace, targets: &[Target], minutes: u32) -> Result<()> {
    let toolchain = setup::build_tools(workspace)?;
    tools::ensure(workspace, &tools::CARGO_FUZZ)?.say_news();
    let sh = &workspace.sh;
    let _path = sh.push_env("PATH", tools::path(workspace)?);
    // Optimised, but not across crates: that would take minutes for each target.
    let _lto = sh.push_env("CARGO_PROFILE_RELEASE_LTO", "off");
    let _units = sh.push_env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    let seeds = workspace.root.join("target/fuzz/seeds");
    cmd!(sh, "cargo run --quiet --package fuzz --example seeds -- {seeds}").run()?;
    let targets = if targets.is_empty() {
        Target::value_variants()
    } else {
        targets
    };
    let mut broken = Vec::new();
    for target in targets {
        let name = target.name();
        let program = format!("fuzz-{name}");
        let found = workspace.root.join("target/fuzz/corpus").join(&program);
        sh.create_dir(&found)?;
        let others = target.seeds().iter().filter_map(|folder| workspace.corpus(folder));
        let own = Some(seeds.join(&name)).filter(|folder| folder.is_dir());
        let seeds = own.into_iter().chain(others);
        let artifacts = format!("-artifact_prefix={}/", workspace.root.join("target/fuzz").display());
        let longest = format!("-max_total_time={}", minutes * 60);
        let run = cmd!(
            sh,
            "rustup run {toolchain} cargo fuzz run --fuzz-dir fuzz {program} {found} {seeds...} -- {longest} {artifacts}"
        );
        if run.args(LIMITS).run().is_err() {
            broken.push(program);
        }
    }
    if !broken.is_empty() {
        bail!("inputs that break {}: see above", broken.join(", "));
    }
    Ok(())
}
