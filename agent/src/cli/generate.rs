//! `tocsin generate`: the man page and shell completions, from the same definitions as the help.

use std::{io::Write, process::ExitCode};

use anyhow::Result;
use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, to_stdout};

/// Write the man page or the completions of a shell to standard output
#[derive(Args, Debug)]
pub(super) struct GenerateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The man page, for section 8
    Man,
    /// What a shell needs to complete our arguments
    Completions {
        /// The shell
        shell: Shell,
    },
}

impl GenerateArgs {
    /// Writes it.
    pub(super) fn execute(self) -> Result<ExitCode> {
        let mut command = Cli::command();
        let mut output = Vec::new();
        match self.what {
            What::Man => write_man(command, &mut output)?,
            What::Completions { shell } => clap_complete::generate(shell, &mut command, "tocsin", &mut output),
        }
        to_stdout(|out| {
            out.write_all(&output)?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// One page for the command and all its subcommands.
fn write_man(command: clap::Command, output: &mut Vec<u8>) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    Man::new(command.clone()).section("8").render(output)?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        let man = Man::new(subcommand.clone());
        writeln!(output, ".SH \"TOCSIN {}\"", subcommand.get_name().to_uppercase())?;
        man.render_synopsis_section(output)?;
        man.render_description_section(output)?;
        man.render_options_section(output)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_man_page_names_every_command() {
        let mut page = Vec::new();
        write_man(Cli::command(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        for command in ["RUN", "SCAN", "REPLAY", "RECORD", "DOCTOR"] {
            assert!(page.contains(&format!("TOCSIN {command}")), "{command}");
        }
    }
}
