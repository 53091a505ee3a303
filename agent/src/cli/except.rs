//! `tocsin rules except`: an exception made of an alert that should not have been one.

mod told;
mod choice;
mod filter;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use self::{
    choice::{Choice, choose},
    filter::Exception,
    told::Alert,
};
use super::{RuleFolders, rules::load};
use crate::{
    config::RULES_FOLDER,
    detect::{
        Rule, Rules,
        document::{Documents, RuleFile},
        expiry, slug,
    },
    observed::field_by_name,
};

/// Write an exception from an alert that should not have been one
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tocsin rules except alert.json                     for 90 days, into /etc/tocsin/rules.d
  tail -1 alerts.jsonl | tocsin rules except -       the last alert
  tocsin rules except alert.json --output -          only show it
  tocsin rules except alert.json --field Image --field ParentImage --expires never

ALERT holds one alert, in OCSF or Falco form. The exception names what caused it: of a container its image and digest, of
a process its program, command line and user. It concerns every grade of the rule. Read it before you trust it.")]
pub(super) struct Arguments {
    /// A file with one alert as JSON; - reads standard input
    alert: PathBuf,
    #[command(flatten)]
    folders: RuleFolders,
    /// Until when it holds: so many days (30d), through a date (2026-12-24), up to a time (RFC 3339), or never
    #[arg(long, value_name = "WHEN", default_value = "90d", value_parser = parse_expires)]
    expires: Expires,
    /// A field to ask for in place of those that fit the rule; may be given repeatedly
    #[arg(long = "field", value_name = "NAME")]
    fields: Vec<String>,
    /// Where to write it; - is standard output [default: except-RULE-ID.yml in the first folder of rules]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// When an exception ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expires {
    Days(u16),
    Moment(String),
    Never,
}

fn parse_expires(written: &str) -> Result<Expires, String> {
    if written == "never" {
        return Ok(Expires::Never);
    }
    if let Some(days) = written.strip_suffix('d').and_then(|days| days.parse().ok()) {
        return Ok(Expires::Days(days));
    }
    let moment = expiry::moment(written).map_err(|reason| format!("{reason}, nor so many days such as 30d"))?;
    if moment <= Timestamp::now() {
        return Err(format!("{written} has passed"));
    }
    Ok(Expires::Moment(written.to_owned()))
}

/// Writes one.
pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<ExitCode> {
    let name = arguments.alert.display();
    let alert = Alert::read(&read(&arguments.alert)?).with_context(|| format!("cannot take {name}"))?;
    let folders = arguments.folders.folders()?;
    let (files, rules, _) = load(&folders);
    let made = make(&alert, &rules, &arguments.fields, &arguments.expires, Timestamp::now())?;
    prove(&made.text, files)?;
    match arguments.output.as_deref() {
        Some(path) if path == Path::new("-") => {
            out.write_all(made.text.as_bytes())?;
            explain(&made.choice, &mut io::stderr())?;
        }
        path => {
            let path = path.map_or_else(|| place(&folders, &alert), Path::to_owned);
            write_new(&path, &made.text)?;
            writeln!(out, "{} excepts from {}:", path.display(), made.title)?;
            explain(&made.choice, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        return io::read_to_string(io::stdin().take(MOST)).context("cannot read standard input");
    }
    let file = fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    io::read_to_string(file.take(MOST)).with_context(|| format!("cannot read {}", path.display()))
}

/// An alert is shorter: this is somebody's log.
const MOST: u64 = 16 << 20;

/// An exception, not yet written.
#[derive(Debug)]
struct Made {
    title: String,
    text: String,
    choice: Choice,
}

/// Makes an exception of an alert.
fn make(alert: &Alert, rules: &Rules, wanted: &[String], expires: &Expires, now: Timestamp) -> Result<Made> {
    let found = rules.find(&alert.rule);
    let Some(rule) = found.first() else {
        bail!("no rule in force has the id {} ({})", alert.rule, alert.title);
    };
    ensure!(
        !rules.is_correlation(rule),
        "{} counts what other rules match: except from those",
        rule.name
    );
    let choice = choose(rule, &alert.told(rule), wanted)?;
    let date = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
    let text = Exception {
        title: &rule.title,
        rules: &grades(rules, rule, &choice),
        chosen: &choice.chosen,
        alert: &alert.id,
        date: date(now),
        expires: written(expires, date(now))?.as_deref(),
    }
    .text();
    Ok(Made {
        title: rule.title.to_string(),
        text,
        choice,
    })
}

/// The rules of that title whose events carry what the exception asks for.
fn grades<'a>(rules: &'a Rules, rule: &Rule, choice: &Choice) -> Vec<&'a Rule> {
    let carried = |rule: &&Arc<Rule>| {
        let mut fields = choice.chosen.iter();
        fields
            .all(|chosen| field_by_name(&chosen.field).is_some_and(|field| field.carried_by.contains(&rule.log_source)))
    };
    let of_title = rules
        .iter()
        .filter(|other| other.title == rule.title && !rules.is_correlation(other));
    of_title.filter(carried).map(|rule| &**rule).collect()
}

fn written(expires: &Expires, today: Date) -> Result<Option<String>> {
    Ok(match expires {
        Expires::Days(days) => {
            let end = today.checked_add(SignedDuration::from_hours(24 * i64::from(*days)));
            Some(end.context("the exception would end beyond all time")?.to_string())
        }
        Expires::Moment(moment) => Some(moment.clone()),
        Expires::Never => None,
    })
}

/// The rules with the exception. Refuses to hand out what would not come into force.
fn prove(text: &str, mut files: Vec<RuleFile>) -> Result<Rules> {
    let path = PathBuf::from("the exception");
    files.push(RuleFile {
        path: path.clone(),
        text: text.to_owned(),
        built_in: false,
    });
    let (documents, mut problems) = Documents::read(&files);
    let (rules, more) = Rules::of(documents);
    problems.extend(more);
    match problems.iter().find(|problem| problem.file == path) {
        Some(problem) => bail!("the exception would not come into force: {problem}\n{text}"),
        None => Ok(rules),
    }
}

fn explain(choice: &Choice, out: &mut impl Write) -> io::Result<()> {
    for chosen in &choice.chosen {
        let value = chosen
            .value
            .as_ref()
            .map_or_else(|| "absent".to_owned(), ToString::to_string);
        writeln!(out, "  {} = {value}: {}", chosen.field, chosen.why)?;
    }
    for note in &choice.notes {
        writeln!(out, "  note: {note}")?;
    }
    Ok(())
}

/// The usual place: the end of a UUID of version 7 is what tells it from others of its hour.
fn place(folders: &[PathBuf], alert: &Alert) -> PathBuf {
    let folder = folders.iter().find(|folder| folder.is_dir());
    let folder = folder.cloned().unwrap_or_else(|| RULES_FOLDER.into());
    let letters: Vec<_> = alert.id.chars().filter(char::is_ascii_alphanumeric).collect();
    let short: String = letters[letters.len().saturating_sub(8)..].iter().collect();
    folder.join(format!("except-{}-{short}.yml", slug(&alert.title)))
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}
