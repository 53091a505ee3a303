//! `tocsin rules import`: takes over the rules of a Sigma folder that this agent can judge by, and keeps them up to date.
//!
//! What was imported is known by its first line, so that a second import touches nothing else. The rest of a file stays
//! as its author wrote it: licences such as SigmaHQ's demand that, and alerts quote the author.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use crate::{
    config::RULES_FOLDER,
    detect::{
        document::RuleFile,
        load,
        problem::{Problem, Severity},
    },
    sources::rules::read,
};

/// Take over rules of a Sigma folder that this agent can judge by; a second import updates them
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tocsin rules import sigma/rules --dry-run     what would come, and why the rest would not
  tocsin rules import sigma/rules               into /etc/tocsin/rules.d/imported
  git -C sigma pull && tocsin rules import sigma/rules

Files that it did not write are never touched. Authors and licences stay in place; alerts name the author.")]
pub(super) struct Arguments {
    /// The folder to take rules from
    from: PathBuf,
    /// The folder to put them in [default: /etc/tocsin/rules.d/imported]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Imports.
pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<ExitCode> {
    let from = &arguments.from;
    let from = from
        .canonicalize()
        .with_context(|| format!("cannot read {}", from.display()))?;
    let into = arguments
        .into
        .clone()
        .unwrap_or_else(|| Path::new(RULES_FOLDER).join("imported"));
    ensure!(
        !io_path(&into).starts_with(&from),
        "{} lies within {}",
        into.display(),
        from.display()
    );
    let (taken, skipped) = select(&from);
    let plan = plan(&from, &into, &taken, today())?;
    if !arguments.dry_run {
        carry_out(&plan)?;
        copy_licence(&from, &into, out)?;
    }
    report(&plan, &skipped, arguments.dry_run, out)?;
    Ok(ExitCode::SUCCESS)
}

/// What a path will be once it is there.
fn io_path(path: &Path) -> PathBuf {
    path.canonicalize()
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// Why files were not taken, each reason with its number of files.
type Skipped = BTreeMap<String, usize>;

/// The files that come into force as they are, and why the others don't.
fn select(from: &Path) -> (Vec<RuleFile>, Skipped) {
    let (files, mut problems) = read(&[from.to_owned()]);
    let (rules, more) = load(&files, Timestamp::now());
    problems.extend(more);
    let in_force: BTreeSet<_> = rules.iter().filter_map(|rule| rule.file.clone()).collect();
    let (mut taken, mut skipped) = (Vec::new(), Skipped::new());
    for file in files.into_iter().filter(|file| !file.built_in) {
        let of_file = || problems.iter().filter(|problem| problem.file == file.path);
        let reason = of_file()
            .find(|problem| problem.is_error())
            .map(|problem| said_of(problem, from))
            .or_else(|| {
                let note = of_file().find(|problem| problem.severity == Severity::Note);
                (!in_force.contains(&file.path))
                    .then(|| note.map_or("holds no rule".into(), |note| note.reason.clone()))
            });
        match reason {
            Some(reason) => *skipped.entry(reason).or_default() += 1,
            None => taken.push(file),
        }
    }
    (taken, skipped)
}

fn said_of(problem: &Problem, from: &Path) -> String {
    let file = problem.file.strip_prefix(from).unwrap_or(&problem.file);
    format!("{}:{}: {}", file.display(), problem.line, problem.reason)
}

/// What an import does.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    new: Vec<(PathBuf, String)>,
    updated: Vec<(PathBuf, String)>,
    unchanged: usize,
    removed: Vec<PathBuf>,
}

/// Compares what is to be there with what is. Refuses to replace a file that no import has written.
fn plan(from: &Path, into: &Path, taken: &[RuleFile], today: Date) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut wanted = BTreeSet::new();
    for file in taken {
        let path = into.join(file.path.strip_prefix(from).unwrap_or(&file.path));
        let text = file.text.trim_start_matches('\u{FEFF}');
        let written = format!("{MARK}{} on {today}\n{text}", file.path.display());
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => plan.new.push((path.clone(), written)),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            Ok(present) => {
                ensure!(
                    present.starts_with(MARK),
                    "{} was not imported: move it away",
                    path.display()
                );
                if present.split_once('\n').is_some_and(|(_, body)| body == text) {
                    plan.unchanged += 1;
                } else {
                    plan.updated.push((path.clone(), written));
                }
            }
        }
        wanted.insert(path);
    }
    let ours = format!("{MARK}{}/", from.display());
    let (present, _) = read(&[into.to_owned()]);
    let gone = present
        .into_iter()
        .filter(|file| !file.built_in && file.text.starts_with(&ours));
    plan.removed = gone
        .map(|file| file.path)
        .filter(|path| !wanted.contains(path))
        .collect();
    Ok(plan)
}

/// How the first line of an imported file begins.
const MARK: &str = "# imported from ";

fn carry_out(plan: &Plan) -> Result<()> {
    for (path, text) in plan.new.iter().chain(&plan.updated) {
        replace(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for path in &plan.removed {
        fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Writes a file so that an agent that watches sees it whole; hidden ones it passes over.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hidden = path.with_file_name(format!(".{name}.new"));
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    fs::write(&hidden, text)?;
    fs::rename(&hidden, path)
}

/// Copies the licence of the rules, which stands in their folder or the one above.
fn copy_licence(from: &Path, into: &Path, out: &mut impl Write) -> Result<()> {
    let above = [Some(from), from.parent()];
    let mut licences = above.into_iter().flatten().map(|folder| folder.join("LICENSE"));
    let Some(licence) = licences.find(|path| path.is_file()) else {
        return Ok(());
    };
    let text = fs::read_to_string(&licence).with_context(|| format!("cannot read {}", licence.display()))?;
    let path = into.join("LICENSE");
    match fs::read_to_string(&path) {
        Ok(present) if present == text => {}
        Ok(_) => writeln!(
            out,
            "{} differs from {} and was left alone",
            path.display(),
            licence.display()
        )?,
        Err(_) => replace(&path, &text).with_context(|| format!("cannot write {}", path.display()))?,
    }
    Ok(())
}

fn report(plan: &Plan, skipped: &Skipped, dry_run: bool, out: &mut impl Write) -> io::Result<()> {
    let would = if dry_run { "would be " } else { "" };
    writeln!(
        out,
        "{would}imported: {} new, {} updated, {} unchanged, {} removed; {} files skipped",
        plan.new.len(),
        plan.updated.len(),
        plan.unchanged,
        plan.removed.len(),
        skipped.values().sum::<usize>()
    )?;
    let mut reasons: Vec<_> = skipped.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (reason, count) in reasons {
        writeln!(out, "{count:7}  {reason}")?;
    }
    Ok(())
}
