//! The `tocsin` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    tocsin::cli::Cli::parse().execute()
}
