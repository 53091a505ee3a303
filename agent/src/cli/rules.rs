//! `tocsin rules`: the rules in force, their text, their validity, their tests.

use std::{fs, io::Write, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{RuleFolders, bench, except, fields, must_exist};
use crate::{
    config::RULES_FOLDER,
    detect::{
        Rule, Rules, builtin,
        document::{Documents, Place, RuleFile},
        problem::{Problem, Severity},
        samples,
        score::PREFIX,
    },
    sources::rules::read,
};

/// List, show, check and test rules.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tocsin rules list                         every rule in force
  tocsin rules show privileged-container-medium
  tocsin rules check /etc/tocsin/rules.d    what is wrong, as file:line: reason
  tocsin rules test ./my-rules              run the samples beside the rules
  tocsin rules except alert.json            do not raise this again")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Every rule and score in force: level, log source, name, title, and its file if it is not built in
    List {
        #[command(flatten)]
        folders: RuleFolders,
    },
    /// The text of a rule, by its id, name or title, or of a list or score by its name
    Show {
        /// Its id, name or title (several rules share a title when they grade one finding), or the name of a list or score
        rule: String,
        #[command(flatten)]
        folders: RuleFolders,
    },
    /// Say what is wrong with rule files; fails if anything in them would not come into force
    Check {
        /// Folders or files [default: /etc/tocsin/rules.d]
        paths: Vec<PathBuf>,
    },
    /// Run the samples (NAME.jsonl) beside rule files; fails if one goes otherwise than it says
    Test {
        /// Folders or files [default: the built-in rules]
        paths: Vec<PathBuf>,
    },
    Except(except::Arguments),
    /// The fields that rules can name, with the log sources that carry them
    Fields {
        /// As a page of documentation
        #[arg(long)]
        markdown: bool,
    },
    /// Measure how long rules take over an event
    #[command(hide = true)]
    Bench(bench::Arguments),
}

/// Does it.
pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<ExitCode> {
    match &arguments.action {
        Action::List { folders } => list(folders, out),
        Action::Show { rule, folders } => show(rule, folders, out),
        Action::Check { paths } => check(paths, out),
        Action::Test { paths } => test(paths, out),
        Action::Except(arguments) => except::run(arguments, out),
        Action::Fields { markdown } => fields::run(*markdown, out),
        Action::Bench(arguments) => bench::run(arguments, out),
    }
}

fn list(folders: &RuleFolders, out: &mut impl Write) -> Result<ExitCode> {
    let (_, rules, problems) = load(&folders.folders()?);
    let width = |part: fn(&Rule) -> &str| rules.iter().map(|rule| part(rule).len()).max().unwrap_or_default();
    let (sources, names) = (width(|rule| rule.log_source.name()), width(|rule| &rule.name));
    for rule in rules.iter() {
        let Rule { level, name, title, .. } = &**rule;
        let role = rule.role.as_ref().map(|role| format!(" [gives the role {role}]"));
        let file = rule.file.as_ref().map(|file| format!("  ({})", file.display()));
        let source = rule.log_source.name();
        writeln!(
            out,
            "{level:13}  {source:sources$}  {name:names$}  {title}{}{}",
            role.unwrap_or_default(),
            file.unwrap_or_default()
        )?;
    }
    for (source, field, title) in rules.scores() {
        writeln!(
            out,
            "{:13}  {:sources$}  {field:names$}  {title}",
            "score",
            source.name()
        )?;
    }
    let errors: Vec<_> = problems.iter().filter(|problem| problem.is_error()).collect();
    for problem in errors.iter().copied().chain(&rules.expiries().ended) {
        eprintln!("{problem}");
    }
    Ok(if errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show(wanted: &str, folders: &RuleFolders, out: &mut impl Write) -> Result<ExitCode> {
    let (files, rules, _) = load(&folders.folders()?);
    let (documents, _) = Documents::read(&files);
    let found = rules.find(wanted);
    let mut places: Vec<_> = found
        .into_iter()
        .filter_map(|rule| place_of(&documents, rule))
        .collect();
    let lists = documents.lists.iter();
    places.extend(
        lists
            .filter(|lists| lists.what.vars.contains_key(wanted))
            .map(|lists| &lists.place),
    );
    let name = wanted.strip_prefix(PREFIX).unwrap_or(wanted);
    let scores = documents.scores.iter();
    places.extend(scores.filter(|score| score.what.name == name).map(|score| &score.place));
    if places.is_empty() {
        bail!("no rule in force has the id, name or title {wanted}, nor any list or score that name");
    }
    for (number, place) in places.into_iter().enumerate() {
        let separator = if number > 0 { "---\n" } else { "" };
        let origin = if place.built_in { "built in: " } else { "" };
        writeln!(out, "{separator}# {origin}{}:{}", place.file.display(), place.line)?;
        writeln!(out, "{}", place.text.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a rule stands.
fn place_of<'a>(documents: &'a Documents, rule: &Arc<Rule>) -> Option<&'a Place> {
    documents
        .places()
        .find(|(_, id)| *id == rule.id)
        .map(|(place, _)| place)
}

fn check(paths: &[PathBuf], out: &mut impl Write) -> Result<ExitCode> {
    must_exist(paths)?;
    let usual = [PathBuf::from(RULES_FOLDER)];
    let (_, rules, problems) = load(if paths.is_empty() { &usual } else { paths });
    for problem in &problems {
        writeln!(out, "{problem}")?;
    }
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let errors = count(Severity::Error);
    let own = rules.iter().filter(|rule| rule.file.is_some()).count();
    eprintln!(
        "{own} rules beside {} built-in ones; {errors} errors, {} warnings",
        rules.iter().count() - own,
        count(Severity::Warning)
    );
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn test(paths: &[PathBuf], out: &mut impl Write) -> Result<ExitCode> {
    must_exist(paths)?;
    let (files, problems) = read(paths);
    let (mut documents, more) = Documents::read(&files);
    documents.expire(Timestamp::now());
    let errors: Vec<_> = problems
        .iter()
        .chain(&more)
        .filter(|problem| problem.is_error())
        .collect();
    for problem in &errors {
        writeln!(out, "{problem}")?;
    }
    let (mut ran, mut failed, mut without) = (0, errors.len(), 0);
    let wanted = files.iter().filter(|file| file.built_in == paths.is_empty());
    for file in wanted.filter(|file| documents.judge_by(&file.path)) {
        let Some(text) = samples_of(file) else {
            without += 1;
            continue;
        };
        let outcome = samples::run(&text, &documents, &file.path);
        let name = file.path.with_extension("jsonl");
        ran += outcome.matching + outcome.near_misses;
        for (line, reason) in &outcome.failures {
            writeln!(out, "{}:{line}: {reason}", name.display())?;
        }
        if let Some(lacking) = outcome.lacking() {
            writeln!(out, "{}:1: {lacking}", name.display())?;
        }
        failed += outcome.failures.len() + usize::from(outcome.lacking().is_some());
    }
    eprintln!("{ran} samples, {failed} failures; {without} files without samples");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn samples_of(file: &RuleFile) -> Option<String> {
    if file.built_in {
        return builtin::samples(&file.path).map(str::to_owned);
    }
    fs::read_to_string(file.path.with_extension("jsonl")).ok()
}

/// The built-in rules and those of the folders: as files, as a set, and what is wrong with them.
pub(super) fn load(folders: &[PathBuf]) -> (Vec<RuleFile>, Rules, Vec<Problem>) {
    let (files, mut problems) = read(folders);
    let (rules, more) = crate::detect::load(&files, Timestamp::now());
    problems.extend(more);
    (files, rules, problems)
}
