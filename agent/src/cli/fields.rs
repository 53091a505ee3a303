//! `tocsin rules fields`: the table of fields, for people.

use std::{io::Write, process::ExitCode};

use anyhow::Result;

use crate::{event::LogSource, fields::FIELDS};

/// Prints the table.
pub(super) fn run(markdown: bool, out: &mut impl Write) -> Result<ExitCode> {
    if markdown {
        write!(out, "{}", page())?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = FIELDS.iter().map(|field| field.name.len()).max().unwrap_or_default();
    for field in FIELDS {
        writeln!(
            out,
            "{:width$}  {}  [{}]",
            field.name,
            field.meaning,
            carriers(field.carried_by)
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn carriers(sources: &[LogSource]) -> String {
    if sources.len() == LogSource::ALL.len() {
        return "all".into();
    }
    sources
        .iter()
        .map(|source| source.name())
        .collect::<Vec<_>>()
        .join(", ")
}

/// What stands above the tables of `docs/fields.md`.
const HEAD: &str = "# Fields

What rules can ask about, by log source. Names with a capital letter and those of web requests are SigmaHQ's, so that
its rules run as they are; the others are Tocsin's own. A field that an event does not have is absent: `|exists: false`
finds it so.

Made by `tocsin rules fields --markdown`; a test compares it.";

/// `docs/fields.md`.
fn page() -> String {
    let mut lines = vec![HEAD.to_owned()];
    for source in LogSource::ALL {
        lines.push(format!("\n## {}\n\n`logsource: {}`\n", source.name(), written(source)));
        lines.push("| field | meaning |\n|---|---|".to_owned());
        let carried = FIELDS.iter().filter(|field| field.carried_by.contains(&source));
        lines.extend(carried.map(|field| format!("| `{}` | {} |", field.name, field.meaning)));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// A family as a rule writes it.
fn written(source: LogSource) -> &'static str {
    match source {
        LogSource::ProcessCreation => "{product: linux, category: process_creation}",
        LogSource::NetworkConnection => "{product: linux, category: network_connection}",
        LogSource::NetworkListen => "{product: linux, category: network_listen}",
        LogSource::DnsQuery => "{category: dns_query}",
        LogSource::Memory => "{product: linux, category: memory}",
        LogSource::Container => "{product: docker, category: container}",
        LogSource::Sshd => "{product: linux, service: sshd}",
        LogSource::Sudo => "{product: linux, service: sudo}",
        LogSource::Auth => "{product: linux, service: auth}",
        LogSource::Webserver => "{category: webserver}",
        LogSource::Health => "{product: tocsin, service: health}",
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_page_says_what_the_table_says() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fields.md"));
        let written = fs::read_to_string(path).unwrap_or_default();
        let how = "run `cargo run -p agent -- rules fields --markdown > docs/fields.md`";
        assert!(written == page(), "docs/fields.md is not what the table says: {how}");
    }

    #[test]
    fn a_family_is_written_as_rules_find_it() {
        for source in LogSource::ALL {
            let parsed = yaml_serde::from_str(written(source)).unwrap();
            assert_eq!(crate::detect::logsource::family(&parsed), Ok(source));
        }
    }
}
