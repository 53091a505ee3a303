//! `tocsin status`: how the agent that runs on this node fares.

use std::{
    fmt::{Display, Write as _},
    io::{Read as _, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::{configuration, path_value};
use crate::{
    config::layers::Layers,
    control::status::{Held, Logins, Sink, Status, Stream},
};

/// Show how the running agent fares: sensors, queues, losses, rules, where alerts go
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// The configuration file, which names the socket [default: /etc/tocsin/tocsin.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The agent's control socket [default: /run/tocsin/control.sock]
    #[arg(long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

const EXAMPLES: &str = "\
Each line says ok, warn or off. Exit code 1 if no agent answers. Only root can ask.

Examples:
  tocsin status
  tocsin status --format json | jq .lost";

/// The forms in which it is shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A longer answer is none of an agent's.
const LONGEST: u64 = 4 << 20;

/// Asks and shows.
pub(super) fn run(arguments: &StatusArgs, out: &mut impl Write) -> Result<ExitCode> {
    let mut layers = Layers::new(arguments.config.clone());
    if let Some(socket) = &arguments.socket {
        layers.set("--socket", "control.socket", path_value(socket)?);
    }
    let config = configuration(&layers)?;
    let socket = config
        .control
        .socket
        .context("there is no control socket: control.socket is empty")?;
    let answer = ask(&socket).with_context(|| format!("no agent answers at {}", socket.display()))?;
    match arguments.format {
        Format::Json => writeln!(out, "{answer}")?,
        Format::Text => {
            let status = serde_json::from_str(&answer).context("the agent that runs is of another version")?;
            write!(out, "{}", text(&status))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the agent. Of HTTP only what one page needs is spoken here.
fn ask(socket: &Path) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(LONGEST).read_to_string(&mut answer)?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("it hung up");
    };
    let code = head.split(' ').nth(1).unwrap_or_default();
    anyhow::ensure!(code == "200", "{}", body.trim());
    Ok(body.to_owned())
}

/// The lines so far.
#[derive(Default)]
struct Report(String);

impl Report {
    fn say(&mut self, verdict: &str, what: &str, text: impl Display) {
        // A text takes whatever is written into it.
        _ = writeln!(self.0, "{verdict:<5} {what:<14} {text}");
    }
}

/// The status for people.
fn text(status: &Status) -> String {
    let Status {
        version,
        pid,
        started,
        now,
        stream,
        sinks,
        ..
    } = status;
    let mut report = Report::default();
    let age = age(*started, *now);
    report.say("ok", "agent", format_args!("{version}, process {pid}, for {age}"));
    say_what_is_seen(status, &mut report);
    say_what_is_known(stream, &mut report);
    say_what_is_in_force(stream, *now, &mut report);
    let verdict = good(stream.alerts_lost == 0);
    let alerts = format_args!("{} raised, {} lost", stream.alerts, stream.alerts_lost);
    report.say(verdict, "alerts", alerts);
    for sink in sinks {
        let Sink {
            name,
            delivered,
            lost,
            failures,
            waiting,
            trouble,
        } = sink;
        let text = format_args!("{delivered} delivered, {waiting} waiting, {failures} failures, {lost} lost");
        let reason = trouble
            .as_ref()
            .map_or_else(String::new, |trouble| format!(": {trouble}"));
        let verdict = good(*lost == 0 && trouble.is_none());
        report.say(verdict, name, format_args!("{text}{reason}"));
    }
    report.0
}

/// Sensors and runtimes, and what is lost between them and the stream.
fn say_what_is_seen(status: &Status, report: &mut Report) {
    for sensor in &status.sensors {
        match &sensor.off {
            None => report.say("ok", &sensor.name, "attached"),
            Some(reason) => report.say(
                "off",
                &sensor.name,
                format_args!("{reason}; not seen: {}", sensor.loses),
            ),
        }
    }
    for (name, connected) in &status.stream.runtimes {
        let (verdict, text) = if *connected {
            ("ok", "answers")
        } else {
            ("off", "does not answer")
        };
        report.say(verdict, name, text);
    }
    say_logins(&status.logins, report);
    let total: u64 = status.lost.values().sum();
    let seen = status.stream.events;
    report.say(good(total == 0), "events", format_args!("{seen} seen, {total} lost"));
    for (sensor, lost) in status.lost.iter().filter(|(_, lost)| **lost > 0) {
        report.say("warn", sensor, format_args!("{lost} events lost: the ring was full"));
    }
    if status.broken_records > 0 {
        report.say(
            "warn",
            "records",
            format_args!("{} made no sense", status.broken_records),
        );
    }
    let (queue, capacity, looks) = (status.queue, status.queue_capacity, status.stream.looks);
    report.say(
        "ok",
        "queue",
        format_args!("{queue} of {capacity} batches; {looks} looks open"),
    );
}

/// Nothing on a node where nobody writes logins down.
fn say_logins(logins: &Logins, report: &mut Report) {
    let Logins {
        source,
        lines,
        not_understood,
        trouble,
    } = logins;
    if let Some(trouble) = trouble {
        report.say("off", "logins", format_args!("{trouble}; not seen: who logs in"));
    } else if !source.is_empty() {
        let text = format_args!("{source}: {lines} lines read, {not_understood} not understood");
        report.say("ok", "logins", text);
    }
}

fn say_what_is_known(stream: &Stream, report: &mut Report) {
    let Held {
        now,
        released,
        expired,
        overflowed,
        ..
    } = &stream.held;
    report.say(
        good(*overflowed == 0),
        "held",
        format_args!(
            "{now} wait for their container's facts; so far {released} got them, {expired} did not in time, \
             {overflowed} were too many"
        ),
    );
    let (processes, containers) = (stream.processes, stream.containers);
    report.say(
        "ok",
        "known",
        format_args!("{processes} processes, {containers} containers"),
    );
    let (behaviours, images) = (stream.behaviours, stream.images);
    report.say(
        "ok",
        "baseline",
        format_args!("{behaviours} behaviours of {images} images"),
    );
}

fn say_what_is_in_force(stream: &Stream, now: Timestamp, report: &mut Report) {
    let rules = &stream.rules;
    report.say("ok", "rules", format_args!("{} in force", rules.in_force));
    if let Some(end) = rules.next_expiry {
        report.say("ok", "exception", format_args!("the next one ends at {end:.0}"));
    }
    for ended in &rules.ended {
        report.say("warn", "exception", ended);
    }
    if let Some(reason) = &rules.refused {
        report.say("warn", "rules", format_args!("those on disk are refused: {reason}"));
    }
    for feed in &stream.feeds {
        let name = format!("feed {}", feed.name);
        report.say(good(feed.trouble.is_none()), &name, feed.line(now));
    }
    if let Some(reason) = &stream.configuration_refused {
        report.say(
            "warn",
            "configuration",
            format_args!("the one on disk is refused: {reason}"),
        );
    }
}

fn good(is_good: bool) -> &'static str {
    if is_good { "ok" } else { "warn" }
}

/// How long ago that was, to the second.
fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
