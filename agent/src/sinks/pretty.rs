//! The form for people, at a terminal at three in the morning: what, where, who, the process line, what to do next.

mod wrap;

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use self::wrap::{cut, wrap};
use super::{
    Formatter,
    summary::{Place, What, Worker, matched_once, next_steps},
    visible::visible,
};
use crate::{
    alert::{Alert, Level},
    detect::Rule,
    event::Process,
};

/// Column at which the texts start, after their label.
const INDENT: usize = 11;

/// Narrower than this, wrapping would help nobody.
const LEAST_WIDTH: usize = 40;

/// Longest text of one item: an argv may have 32 KiB.
const LONGEST: usize = 600;

/// Processes of a longer line are left out in the middle.
const LONGEST_LINE: usize = 12;

/// Appends the alert, with an empty line after it.
pub(super) fn write(alert: &Alert, formatter: &Formatter, out: &mut Vec<u8>) {
    let mut page = Page {
        text: String::with_capacity(1024),
        colour: formatter.colour,
        width: formatter.width.max(LEAST_WIDTH),
    };
    page.headline(alert);
    page.item("what", &What(alert).to_string());
    page.item("where", &place(alert, &formatter.host.name));
    page.item("who", &who(alert));
    if let Some(process) = &alert.observed.process {
        if let Some(worker) = process.web_worker() {
            page.item("site", &format!("below the web worker {}", Worker(worker)));
        }
        page.tree(process);
    }
    page.matched(alert);
    if alert.count > 1 {
        page.item("count", &format!("{} times since {:.0}", alert.count, alert.first_seen));
    }
    page.item("rule", &rule(&alert.rule));
    page.item(
        "next",
        &next_steps(&alert.rule).split_whitespace().collect::<Vec<_>>().join(" "),
    );
    page.text.push('\n');
    out.extend_from_slice(page.text.as_bytes());
}

/// What is written so far. Every text from outside goes through [`visible`] on its way here.
struct Page {
    text: String,
    colour: bool,
    width: usize,
}

impl Page {
    fn headline(&mut self, alert: &Alert) {
        let level = alert.rule.level;
        let title = visible(&alert.rule.title);
        self.styled(level_style(level), &level.name().to_uppercase());
        self.text.push_str("  ");
        self.styled(Style::new().bold(), &title);
        let startup = if alert.observed.event.startup {
            ", since before the agent started"
        } else {
            ""
        };
        let when = format!("  {:.0}{startup}", alert.time);
        self.styled(Style::new().dimmed(), &when);
        self.text.push('\n');
    }

    /// A label and its text, wrapped; nothing if there is no text.
    fn item(&mut self, label: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let text = visible(text);
        for (index, line) in wrap(&cut(&text, LONGEST), self.width - INDENT).into_iter().enumerate() {
            self.label(if index == 0 { label } else { "" });
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }

    /// The line from PID 1 down to the process, each under its parent.
    fn tree(&mut self, process: &Process) {
        let mut line: Vec<_> = std::iter::once(process).chain(process.ancestors()).collect();
        line.reverse();
        let left_out = line.len().saturating_sub(LONGEST_LINE);
        let shown = line
            .into_iter()
            .enumerate()
            .filter(|(index, _)| *index == 0 || *index > left_out);
        for (depth, (index, process)) in shown.enumerate() {
            self.label(if depth == 0 { "process" } else { "" });
            let branch = match depth {
                0 => String::new(),
                depth => format!("{}└─ ", "   ".repeat(depth - 1)),
            };
            let skipped = if depth == 1 && index > 1 {
                format!("… {left_out} more … ")
            } else {
                String::new()
            };
            let run = &*process.execution;
            let command = if run.command_line.is_empty() {
                &run.exe
            } else {
                &run.command_line
            };
            let text = format!("{branch}{skipped}{} {}", process.key.pid, visible(command));
            self.text.push_str(&cut(&text, self.width - INDENT));
            self.text.push('\n');
        }
    }

    fn matched(&mut self, alert: &Alert) {
        for (index, (name, value)) in matched_once(alert).enumerate() {
            let label = if index == 0 { "matched" } else { "" };
            match value.as_str() {
                Some(text) => self.item(label, &format!("{name} = {text}")),
                None => self.item(label, &format!("{name} = {value}")),
            }
        }
    }

    fn label(&mut self, label: &str) {
        self.text.push_str("  ");
        self.styled(Style::new().dimmed(), &format!("{label:<width$}", width = INDENT - 2));
    }

    fn styled(&mut self, style: Style, text: &str) {
        if self.colour {
            _ = write!(self.text, "{style}{text}{style:#}");
        } else {
            self.text.push_str(text);
        }
    }
}

fn level_style(level: Level) -> Style {
    let colour = match level {
        Level::Critical => return AnsiColor::BrightWhite.on(AnsiColor::Red).bold(),
        Level::High => AnsiColor::Red,
        Level::Medium => AnsiColor::Yellow,
        Level::Low => AnsiColor::Cyan,
        Level::Informational => AnsiColor::Blue,
    };
    colour.on_default().bold()
}

fn place(alert: &Alert, host: &str) -> String {
    match &alert.observed.container {
        Some(container) => format!("{} on {host}", Place(container)),
        None => format!("{host}, on the host"),
    }
}

/// The rule's name, as `tocsin rules show` and `explain` take it, with its author and what others call the finding.
fn rule(rule: &Rule) -> String {
    let mut text = rule.name.to_string();
    if !rule.author.is_empty() {
        _ = write!(text, ", by {}", rule.author);
    }
    if !rule.compatibility.is_empty() {
        _ = write!(text, " (elsewhere {})", rule.compatibility.join(", "));
    }
    text
}

/// The user, as whom it logged in, and the terminal; empty where no process is known.
fn who(alert: &Alert) -> String {
    let Some(process) = &alert.observed.process else {
        return String::new();
    };
    let run = &*process.execution;
    let credentials = run.credentials;
    let name = alert.observed.facts.user.as_deref().unwrap_or("unknown user");
    let mut text = format!("{name} (uid {}", credentials.uid);
    if credentials.euid != credentials.uid {
        _ = write!(text, ", effective {}", credentials.euid);
    }
    if let Some(login) = credentials.login_uid.filter(|login| *login != credentials.uid) {
        _ = write!(text, ", logged in as {login}");
    }
    text.push(')');
    match &*run.tty {
        "" => text.push_str(", no terminal"),
        tty => _ = write!(text, ", terminal {tty}"),
    }
    text
}

#[cfg(test)]
mod tests;
