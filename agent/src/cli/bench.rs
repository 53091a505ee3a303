//! `tocsin rules bench`: what judging costs, over executions as a busy node has them.

use std::{hint::black_box, io::Write, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use super::RuleFolders;
use crate::{
    detect::{Rules, document::Documents, logsource::family},
    event::{Event, Exec, Execution, Kind, LogSource, Process, ProcessKey, Seccomp},
    observed::{Facts, Observed},
    sources::rules::read,
};

/// How often the measurement is repeated: the median is printed.
const ROUNDS: usize = 5;

/// Measure how long rules take over an event.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many rules on executions; those at hand are taken again under other ids if there are fewer
    #[arg(long, value_delimiter = ',', default_value = "10,100,300")]
    rules: Vec<usize>,
    /// How many events in each of five rounds
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    #[command(flatten)]
    folders: RuleFolders,
}

/// Measures, and prints microseconds an event.
pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<ExitCode> {
    let (files, _) = read(&arguments.folders.folders()?);
    let (documents, _) = Documents::read(&files);
    let mut known = documents;
    known
        .rules
        .retain(|placed| family(&placed.what.logsource) == Ok(LogSource::ProcessCreation));
    ensure!(!known.rules.is_empty(), "there are no rules on executions");
    let mut events = events();
    for count in &arguments.rules {
        let (mut rules, problems) = Rules::of(take(&known, *count));
        ensure!(
            problems.iter().all(|problem| !problem.is_error()),
            "a rule does not load: {problems:?}"
        );
        let found: usize = events.iter_mut().map(|event| rules.judge(event).len()).sum();
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| measure(&mut rules, &mut events, arguments.events))
            .collect();
        rounds.sort_by(f64::total_cmp);
        writeln!(
            out,
            "{count:4} rules: {:.2} µs an event (best {:.2}), {found} matches in {} kinds of events",
            rounds[ROUNDS / 2],
            rounds[0],
            events.len()
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// So many rules, in turn, with all lists and scores.
fn take(known: &Documents, count: usize) -> Documents {
    let again = known.rules.iter().cycle().take(count).enumerate();
    let rules = again.map(|(number, placed)| {
        let mut placed = placed.clone();
        placed.what.id = Some(Uuid::from_u128(number as u128).to_string());
        placed
    });
    Documents {
        rules: rules.collect(),
        lists: known.lists.clone(),
        scores: known.scores.clone(),
        ..Documents::default()
    }
}

fn measure(rules: &mut Rules, events: &mut [Observed], count: usize) -> f64 {
    let start = cpu_time();
    for index in (0..events.len()).cycle().take(count) {
        black_box(rules.judge(black_box(&mut events[index])));
    }
    cpu_time().saturating_sub(start).as_secs_f64() * 1e6 / count as f64
}

/// The processor time of this thread: what else the machine does is left out.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Executions of a node that builds, serves and is looked after, none of which is anybody's business.
fn events() -> Vec<Observed> {
    let root = process("/usr/lib/systemd/systemd", "/sbin/init", None);
    let shell = process(
        "/usr/bin/bash",
        "-bash",
        Some(process("/usr/sbin/sshd", "sshd: ada@pts/1", Some(Arc::clone(&root)))),
    );
    let make = process("/usr/bin/make", "make -j2 all", Some(Arc::clone(&shell)));
    let compiler = "/usr/lib/gcc/x86_64-linux-gnu/12/cc1 -quiet -imultiarch x86_64-linux-gnu -D_FORTIFY_SOURCE=2 -I \
                    include -I build/generated src/parser/lexer.c -quiet -dumpbase lexer.c -dumpbase-ext .c -mtune=generic \
                    -march=x86-64 -g -O2 -Wall -Wextra -o build/ccbyXJ9f.s";
    let cron = process("/usr/sbin/cron", "/usr/sbin/CRON -f", Some(root));
    let commands = [
        ("/usr/bin/ls", "ls --color=auto -la", &shell),
        ("/usr/bin/grep", "grep -rn needle src", &shell),
        ("/usr/bin/git", "git status --short", &shell),
        ("/usr/lib/gcc/x86_64-linux-gnu/12/cc1", compiler, &make),
        (
            "/usr/bin/dash",
            "/bin/sh -c gcc -c -o build/lexer.o src/parser/lexer.c",
            &make,
        ),
        (
            "/usr/bin/dash",
            "/bin/sh -c test -x /usr/sbin/anacron || run-parts /etc/cron.hourly",
            &cron,
        ),
        (
            "/usr/bin/python3.11",
            "/usr/bin/python3 /usr/lib/update-notifier/check.py --quiet",
            &cron,
        ),
        ("/usr/bin/date", "date +%s", &shell),
    ];
    commands
        .into_iter()
        .map(|(exe, line, parent)| observed(process(exe, line, Some(Arc::clone(parent)))))
        .collect()
}

fn process(exe: &str, command_line: &str, parent: Option<Arc<Process>>) -> Arc<Process> {
    let depth = parent.as_ref().map_or(0, |parent| parent.depth + 1);
    let pid = 1000 + u32::from(depth);
    Arc::new(Process {
        key: ProcessKey {
            pid,
            start: u64::from(pid),
        },
        parent,
        execution: Arc::new(Execution {
            exe: exe.into(),
            command_line: command_line.into(),
            directory: "/home/ada/project".into(),
            invoked: exe.into(),
            tty: "pts1".into(),
            seccomp: Seccomp::Disabled,
            pid_in_namespace: pid,
            cgroup: "/user.slice/user-1000.slice/session-1.scope".into(),
            ..Execution::default()
        }),
        container: None,
        escaped_cgroup: false,
        entered: false,
        replaced: None,
        former_exe: None,
        depth,
    })
}

fn observed(process: Arc<Process>) -> Observed {
    let parent = process.parent.as_ref().map_or(process.key, |parent| parent.key);
    let exec = Exec {
        process: process.key,
        parent,
        execution: Arc::clone(&process.execution),
    };
    Observed {
        event: Event {
            time: Timestamp::UNIX_EPOCH,
            startup: false,
            kind: Kind::Exec(Box::new(exec)),
            given: None,
        },
        process: Some(process),
        container: None,
        facts: Facts {
            user: Some("ada".into()),
            ..Facts::default()
        },
    }
}
