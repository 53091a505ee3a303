//! `noise`: a working hour on a node, with one attack in it, and what the agent says of both.

use anyhow::{Result, bail};
use xshell::cmd;

use crate::{setup, test, workspace::Workspace};

/// The test that plays the hour, as fast as it can unless it is told how long to take.
const HOUR: &str = "noise::a_working_hour_raises_at_most_two_alerts_beside_the_attack";

/// Plays `minutes` of it, or all of it once as fast as can be; every alert is printed, by rule.
pub(crate) fn noise(workspace: &Workspace, minutes: Option<u32>) -> Result<()> {
    setup::build_tools(workspace)?;
    test::unpack_fixtures(workspace)?;
    // Not the runner that tests have otherwise, which ends what takes so long.
    let mut hour = cmd!(
        workspace.sh,
        "cargo test --quiet --workspace --test e2e {HOUR} -- --exact --nocapture"
    )
    .env("TOCSIN_FIXTURES", workspace.fixtures());
    if let Some(minutes) = minutes {
        hour = hour.env("TOCSIN_NOISE_MINUTES", minutes.to_string());
    }
    if test::as_root(workspace, hour)?.run().is_err() {
        bail!("the hour was louder than it may be, or the attack was lost in it: see above");
    }
    Ok(())
}
