//! `test`: unit tests as the user, then the end-to-end tests as root, one at a time.

use std::fs;

use anyhow::{Context, Result, bail};
use xshell::{Cmd, cmd};

use crate::{
    fixtures, setup,
    workspace::{Workspace, is_ci, is_root},
};

/// Runs the tests whose names hold `filter`, or all; the runner's summary of the end-to-end tests comes last.
pub(crate) fn test(workspace: &Workspace, filter: Option<&str>) -> Result<()> {
    setup::build_tools(workspace)?;
    unpack_fixtures(workspace)?;
    let sh = &workspace.sh;
    let nextest = cmd!(sh, "cargo nextest --version")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_ok();
    let unit = if nextest {
        cmd!(
            sh,
            "cargo nextest run --workspace --no-fail-fast --no-tests=pass {filter...}"
        )
        .run()
    } else {
        cmd!(sh, "cargo test --workspace --no-fail-fast {filter...}").run()
    };
    // The end-to-end tests run even so: a second failure is worth knowing at once.
    let end_to_end = end_to_end(workspace, filter, nextest);
    if unit.is_err() {
        bail!("unit tests failed: see above");
    }
    end_to_end
}

fn end_to_end(workspace: &Workspace, filter: Option<&str>, nextest: bool) -> Result<()> {
    let sh = &workspace.sh;
    let skipped = workspace.root.join("target/skipped-tests");
    sh.write_file(&skipped, "")?;
    let run = if nextest {
        // `.config/nextest.toml` runs these one at a time.
        cmd!(
            sh,
            "cargo nextest run --workspace --test e2e --no-fail-fast --no-tests=pass {filter...}"
        )
    } else {
        // They share the machine's kernel: one test's storm is another's noise.
        cmd!(
            sh,
            "cargo test --workspace --test e2e --no-fail-fast {filter...} -- --test-threads=1"
        )
    };
    let run = run
        .env("TOCSIN_FIXTURES", workspace.fixtures())
        .env("TOCSIN_SKIPPED", &skipped);
    let result = as_root(workspace, run)?.run();
    // A runner shows no output of tests that pass, and a skipped one passes.
    for reason in sh.read_file(&skipped)?.lines() {
        eprintln!("SKIPPED {reason}");
    }
    result.context("end-to-end tests failed: see above")
}

/// Lets cargo build as the user and start the test program through sudo.
pub(crate) fn as_root<'a>(workspace: &'a Workspace, command: Cmd<'a>) -> Result<Cmd<'a>> {
    if is_root() {
        return Ok(command);
    }
    let version = cmd!(workspace.sh, "rustc -vV").quiet().read()?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc -vV names no host")?;
    let runner = format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_"));
    Ok(command.env(runner, "sudo -E"))
}

/// Unpacks what tests need; under CI all of it must be there.
pub(crate) fn unpack_fixtures(workspace: &Workspace) -> Result<()> {
    fs::create_dir_all(workspace.fixtures())?;
    for fixture in fixtures::FIXTURES.iter().filter(|fixture| fixture.for_tests) {
        match fixtures::ensure(workspace, fixture) {
            Ok(outcome) => outcome.say_news(),
            Err(error) if is_ci() => return Err(error),
            Err(error) => eprintln!(
                "missing {}: {error:#}; the tests that need it are skipped",
                fixture.name
            ),
        }
    }
    Ok(())
}
