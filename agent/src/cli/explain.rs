//! `tocsin explain`: why a rule does or does not match recorded events.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use rsigma_eval::{ConditionTrace, DetectionTrace, ItemTrace, MatcherKind, RuleExplanation, SelectionBranch};

use super::{RuleFolders, rules::load};
use crate::{
    detect::{Rule, Rules, score::ScoreExplanation},
    event::recorded::event_from_line,
    observed::Observed,
};

/// Say why a rule does or does not match recorded events: each selection, each field, what was wanted and what it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tocsin explain suspicious-php-high events.jsonl
  tocsin explain 'Process execution from temporary folder' events.jsonl    all its grades
  tocsin record - | tocsin explain miner-image -                           as it happens

FILE holds one JSON object a line, as `tocsin record` writes it.")]
pub(super) struct Arguments {
    /// The rule's id, name or title
    rule: String,
    /// The recorded events; - reads standard input
    file: PathBuf,
    #[command(flatten)]
    folders: RuleFolders,
}

/// Explains.
pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<ExitCode> {
    let (_, rules, _) = load(&arguments.folders.folders()?);
    let wanted: Vec<Arc<Rule>> = rules.find(&arguments.rule).into_iter().cloned().collect();
    if wanted.is_empty() {
        bail!("no rule in force has the id, name or title {}", arguments.rule);
    }
    let name = arguments.file.display();
    let (mut explained, mut refused) = (0, 0);
    for (number, line) in open(&arguments.file)?.lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        if line.trim().is_empty() {
            continue;
        }
        match event_from_line(&line) {
            Ok(event) => explained += explain(&rules, &wanted, number + 1, event.into(), out)?,
            Err(error) => {
                refused += 1;
                eprintln!("{name}:{}: {error:#}", number + 1);
            }
        }
    }
    if explained == 0 {
        eprintln!(
            "{name} holds no {} events, which is what the rule judges",
            wanted[0].log_source.name()
        );
    }
    Ok(if refused == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn open(file: &Path) -> Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Explains one event, and says how many rules had to do with it.
fn explain(
    rules: &Rules,
    wanted: &[Arc<Rule>],
    line: usize,
    mut observed: Observed,
    out: &mut impl Write,
) -> Result<usize> {
    rules.weigh(&mut observed);
    let concerned = wanted
        .iter()
        .filter(|rule| observed.log_source() == Some(rule.log_source));
    let mut explained = 0;
    for rule in concerned {
        let Some(explanation) = rules.explain(rule, &observed) else {
            bail!("{} counts events of other rules: explain those", rule.name);
        };
        let verdict = if explanation.matched {
            "matches"
        } else {
            "does not match"
        };
        writeln!(
            out,
            "line {line}: {verdict}: {} ({}, {})",
            rule.title, rule.name, rule.level
        )?;
        let lines = lines(&explanation);
        for line in lines.iter().chain(&score_lines(rules, &observed, &lines)) {
            writeln!(out, "{line}")?;
        }
        explained += 1;
    }
    Ok(explained)
}

/// The explanation as the lines of an indented tree.
fn lines(explanation: &RuleExplanation) -> Vec<String> {
    let mut tree = Tree::default();
    for condition in &explanation.conditions {
        tree.condition(condition);
    }
    tree.lines
}

/// What the scores came to, of those that the lines speak of.
fn score_lines(rules: &Rules, observed: &Observed, lines: &[String]) -> Vec<String> {
    let mut tree = Tree::default();
    for score in rules.explain_scores(observed) {
        let spoken_of = |field: &str| lines.iter().any(|line| line.contains(&format!(" {field} ")));
        if spoken_of(&score.field) || spoken_of("signals") {
            tree.score(&score);
        }
    }
    tree.lines
}

#[derive(Default)]
struct Tree {
    lines: Vec<String>,
    depth: usize,
}

impl Tree {
    /// One line, and those below it.
    fn node(&mut self, holds: bool, what: &str, below: impl FnOnce(&mut Self)) {
        let sign = if holds { "yes" } else { "no " };
        self.lines
            .push(format!("  {:indent$}{sign} {what}", "", indent = 4 * self.depth));
        self.depth += 1;
        below(self);
        self.depth -= 1;
    }

    /// A score: why the event is scored at all, and if it is, each signal.
    fn score(&mut self, score: &ScoreExplanation) {
        let sum = score
            .sum
            .map_or_else(|| "does not concern the event".into(), |sum| format!("is {sum}"));
        self.node(score.sum.is_some(), &format!("{} {sum}", score.field), |tree| {
            for condition in &score.scored.conditions {
                tree.condition(condition);
            }
            for signal in score.signals.iter().filter(|_| score.sum.is_some()) {
                let what = format!("{:+} {}: {}", signal.weight, signal.name, signal.why);
                tree.each(signal.hit.matched, &what, &signal.hit.conditions, Self::condition);
            }
        });
    }

    /// As [`Self::node`], with the same done to each of several things below it.
    fn each<T>(&mut self, holds: bool, what: &str, below: &[T], show: impl Fn(&mut Self, &T)) {
        self.node(holds, what, |tree| {
            for thing in below {
                show(tree, thing);
            }
        });
    }

    fn condition(&mut self, condition: &ConditionTrace) {
        let holds = condition.matched();
        match condition {
            ConditionTrace::Selection { name, detection, .. } => {
                self.node(holds, name, |tree| tree.detection(detection));
            }
            ConditionTrace::And { children, .. } => self.each(holds, "all of", children, Self::condition),
            ConditionTrace::Or { children, .. } => self.each(holds, "one of", children, Self::condition),
            ConditionTrace::Not { child, .. } => self.node(holds, "not", |tree| tree.condition(child)),
            ConditionTrace::Quantified {
                need, got, branches, ..
            } => {
                let what = format!("{need} of {}, of which {got} hold", branches.len());
                self.each(holds, &what, branches, Self::branch);
            }
        }
    }

    fn branch(&mut self, branch: &SelectionBranch) {
        self.node(branch.matched, &branch.name, |tree| tree.detection(&branch.detection));
    }

    fn detection(&mut self, detection: &DetectionTrace) {
        let holds = detection.matched();
        match detection {
            DetectionTrace::AllOf { items, .. } => {
                for item in items {
                    self.item(item);
                }
            }
            DetectionTrace::AnyOf { branches, .. } => self.each(holds, "one of", branches, Self::detection),
            DetectionTrace::And { branches, .. } => self.each(holds, "all of", branches, Self::detection),
            DetectionTrace::Keywords { item, .. } => self.item(item),
            DetectionTrace::Conditional { condition, .. } => self.condition(condition),
            DetectionTrace::ArrayMatch {
                field,
                quantifier,
                members,
                ..
            } => {
                let what = format!("{quantifier} of the {} members of {field}", members.len());
                self.each(holds, &what, members, |tree, member| tree.detection(&member.detection));
            }
            DetectionTrace::Other { kind, .. } => self.node(holds, kind, |_| ()),
        }
    }

    fn item(&mut self, item: &ItemTrace) {
        let field = item.field.as_deref().unwrap_or("any text");
        let wanted = wanted(item.matcher, item.pattern.as_deref().unwrap_or_default());
        let found = item
            .actual
            .as_ref()
            .map_or_else(|| "absent".to_owned(), ToString::to_string);
        let what = if item.field.is_some() {
            format!("{field} {wanted}; it is {found}")
        } else {
            format!("{field} {wanted}")
        };
        self.node(item.matched, &what, |_| ());
    }
}

fn wanted(matcher: MatcherKind, pattern: &str) -> String {
    let verb = match matcher {
        MatcherKind::Exact | MatcherKind::Bool => "is",
        // The pattern begins with the comparison.
        MatcherKind::Numeric => return pattern.into(),
        MatcherKind::Contains | MatcherKind::Keyword => "contains",
        MatcherKind::StartsWith => "starts with",
        MatcherKind::EndsWith => "ends with",
        MatcherKind::Regex => "matches",
        MatcherKind::OneOf => "fits one of",
        MatcherKind::Cidr => "is in",
        MatcherKind::Exists => return if pattern == "false" { "is absent" } else { "is there" }.into(),
        MatcherKind::FieldRef => "is as the field",
        MatcherKind::Null => return "is null".into(),
        MatcherKind::Expand => "expands to",
        MatcherKind::Timestamp => "is at",
    };
    format!("{verb} {pattern}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: &str, event: &str, expected: &str) {
        let (_, rules, _) = load(&[]);
        let wanted: Vec<_> = rules.find(rule).into_iter().cloned().collect();
        let mut out = Vec::new();
        explain(&rules, &wanted, 1, event_from_line(event).unwrap().into(), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn each_selection_and_field_is_explained() {
        check(
            "health-loss",
            r#"{"time":1,"category":"health","health.kind":"source-down"}"#,
            "line 1: does not match: Events were lost (health-loss, medium)\n  no  selection\n      no  health.kind is \
             loss; it is \"source-down\"\n",
        );
        check(
            "ssh-session-content",
            r#"{"time":1,"category":"process_creation","process.stdin":"internet-socket","container.id":"f00d"}"#,
            "line 1: matches: SSH server is running inside a container (ssh-session-content, informational)
  yes all of
      yes container
          yes container.id is there; it is \"f00d\"
      yes connected
          yes process.stdin is internet-socket; it is \"internet-socket\"
      yes not
          no  named
              no  Image fits one of /dropbear, /sshd, /sshd-session, /tinysshd, /tinysshnoneauthd; it is absent
      yes not
          no  escaped
              no  container.escaped_mounts is true; it is absent
",
        );
        check("health-loss", r#"{"time":1,"category":"dns_query"}"#, "");
    }
}
