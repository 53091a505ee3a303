//! `tocsin doctor`: what this kernel and node offer, what is missing, and what that costs in coverage.

use std::{
    fmt::{self, Write as _},
    fs,
    io::Write as _,
    path::Path,
    process::ExitCode,
    time::Instant,
};

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;

use super::{NodeArgs, configuration, load_rules, to_stdout};
use crate::{
    config::{Config, LoginSource},
    control::status,
    intel::{Intel, settings::Feeds},
    node,
    run::answers,
    sources::{
        feeds::{reach, read},
        kernel::{Kernel, Unattached, btf},
        logins,
        rules::Loaded,
    },
};

/// Tell what this node offers, what is missing, and what that costs
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    node: NodeArgs,
}

const EXAMPLES: &str = "\
Each line says ok, off or none. Exit code 1 if the agent cannot run on this node.

Examples:
  tocsin doctor
  tocsin doctor --docker-socket /run/user/1000/docker.sock";

impl DoctorArgs {
    /// Looks and tells.
    pub(super) fn execute(self) -> Result<ExitCode> {
        let config = configuration(&self.node.layers()?)?;
        let mut report = Report::default();
        report.say("ok", "kernel", kernel_version());
        let sensors = sensors(&config, &mut report);
        runtimes(&config, &mut report);
        say_logins(&config, &mut report);
        rules(&config, &mut report);
        feeds(&config, &mut report);
        memory(&config, &mut report);
        to_stdout(|out| {
            out.write_all(report.0.as_bytes())?;
            sensors.map(|()| ExitCode::SUCCESS)
        })
    }
}

/// The lines so far.
#[derive(Default)]
struct Report(String);

impl Report {
    fn say(&mut self, verdict: &str, what: &str, text: impl fmt::Display) {
        // A text takes whatever is written into it.
        _ = writeln!(self.0, "{verdict:<5} {what:<12} {text}");
    }
}

fn kernel_version() -> String {
    let name = rustix::system::uname();
    format!(
        "{} {}",
        name.release().to_string_lossy(),
        name.machine().to_string_lossy()
    )
}

/// Loads and attaches every sensor for a moment: what a kernel can do is tried, never read off its version.
fn sensors(config: &Config, report: &mut Report) -> Result<()> {
    let kernel = Kernel::load(config).and_then(Unattached::attach).inspect_err(|_| {
        report.say(
            "none",
            "sensors",
            "the agent cannot run here; `replay` and `rules` work",
        );
    })?;
    report.say("ok", "BTF", Path::new(btf::VMLINUX).display());
    report.say(
        "ok",
        "ring",
        format_args!(
            "{} MiB between kernel and agent",
            f64::from(config.ring_size) / f64::from(1 << 20)
        ),
    );
    for state in &kernel.sensors {
        match &state.refused {
            None => report.say("ok", state.sensor.name, "attached"),
            Some(reason) => report.say(
                "off",
                state.sensor.name,
                format_args!("{reason}; not seen: {}", state.sensor.loses),
            ),
        }
    }
    for field in &kernel.missing_fields {
        report.say(
            "none",
            "field",
            format_args!("{field} is not in this kernel's BTF: the facts behind it are missing"),
        );
    }
    Ok(())
}

/// Where logins would be read.
fn say_logins(config: &Config, report: &mut Report) {
    match logins::find(&config.logins) {
        Some(place) => match place.try_it() {
            Ok(()) => report.say("ok", "logins", place),
            Err(error) => report.say("off", "logins", format_args!("{error:#}; not seen: who logs in")),
        },
        None if config.logins.source == LoginSource::Off => {
            report.say("off", "logins", "not read: logins.source is off");
        }
        None => report.say(
            "none",
            "logins",
            "nobody writes them down: there is no journal, and neither /var/log/auth.log nor secure",
        ),
    }
}

fn runtimes(config: &Config, report: &mut Report) {
    let mut any = false;
    for (name, socket) in config.runtimes() {
        let socket = node::socket(socket);
        if answers(&socket) {
            any = true;
            report.say("ok", name, socket.display());
        } else {
            report.say("none", name, format_args!("nobody answers at {}", socket.display()));
        }
    }
    if !any {
        let lost = "containers are known by id, and by name and image where the runtime's files tell; \
                    `Container with a miner image detected` cannot fire";
        report.say("off", "containers", lost);
    }
}

fn rules(config: &Config, report: &mut Report) {
    let Loaded { rules, .. } = load_rules(&config.rules);
    report.say("ok", "rules", format_args!("{} in force", rules.iter().count()));
}

/// Reads each threat feed as the agent would, and asks the server of one that is fetched.
fn feeds(config: &Config, report: &mut Report) {
    for (name, settings) in &config.feed {
        let started = Instant::now();
        let one = Feeds::from([(name.clone(), settings.clone())]);
        for feed in &read(&one, &config.state, &Intel::default()).feeds {
            let now = Timestamp::now();
            let told = status::Feed::of(feed);
            let line = told.line(now);
            let took = started.elapsed().as_millis();
            let server = told.fetched.then(|| reach(name, settings));
            let (is_good, server) = match server {
                None => (true, String::new()),
                Some(Ok(())) => (true, "; its server answers".to_owned()),
                Some(Err(reason)) => (false, format!("; its server: {reason}")),
            };
            let verdict = if is_good && told.trouble.is_none() {
                "ok"
            } else {
                "none"
            };
            report.say(
                verdict,
                &format!("feed {name}"),
                format_args!("{line}; read in {took} ms{server}"),
            );
        }
    }
}

/// What the agent will hold, in the figures of this node.
fn memory(config: &Config, report: &mut Report) {
    let processes = fs::read_dir("/proc").map_or(0, |entries| {
        let is_pid = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        entries.flatten().filter(|entry| is_pid(&entry.file_name())).count()
    });
    let ring = config.ring_size >> 20;
    report.say(
        "ok",
        "memory",
        format_args!("ring {ring} MiB, mapped twice; {processes} processes at about 1 KiB each"),
    );
}
