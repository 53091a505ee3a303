//! Whom an OpenSSH server lets in: its configuration as it sees it, with what its command line says.
//!
//! What a user's own account allows (a password that is locked, `AllowUsers`) is not looked at.

mod arguments;
mod files;
mod settings;

use std::{path::Path, time::Duration};

use self::{arguments::Arguments, files::Reading, settings::Settings};
use super::{AT_ONCE, Look, Question, inside::Inside, limiter::Limits};
use crate::{
    detect::Ask,
    event::{Event, Kind, Listener, OpensshConfiguration, Process},
    observed::Observed,
};

pub(super) const LOOK: Look = Look {
    ask: Ask::OpensshConfiguration,
    limits: Limits {
        each: (8, Duration::from_mins(1)),
        all: (256, Duration::from_secs(1)),
        at_once: 2,
    },
    concerns: |observed| unanswered(observed).is_some(),
    subject: |observed| Some(observed.process.as_ref()?.key),
    timing: AT_ONCE,
    answer,
    unanswered,
};

/// Where the server looks by itself; distributions that keep `/etc` for their users' own files add the second.
const PLACES: [&str; 2] = ["/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config"];

fn unanswered(observed: &Observed) -> Option<Observed> {
    with(observed, OpensshConfiguration::default())
}

/// The listener with that configuration; `None` of what is no TCP listener, or has one.
fn with(observed: &Observed, configuration: OpensshConfiguration) -> Option<Observed> {
    let asked = listener(observed)?;
    if asked.findings.openssh.is_some() || asked.address.endpoint().is_none() {
        return None;
    }
    let mut found = observed.clone();
    if let Kind::Listen(listener) = &mut found.event.kind {
        listener.findings.openssh = Some(configuration);
    }
    Some(found)
}

fn listener(observed: &Observed) -> Option<&Listener> {
    match &observed.event.kind {
        Kind::Listen(listener) => Some(listener),
        _ => None,
    }
}

/// The listener again, with what was found.
fn answer(question: &Question) -> Vec<Event> {
    let process = question.about.process.as_deref();
    let configuration = process.and_then(examine).unwrap_or_default();
    let found = with(&question.about, configuration);
    found.map(|found| question.again(found)).into_iter().collect()
}

fn examine(process: &Process) -> Option<OpensshConfiguration> {
    let run = &process.execution;
    let arguments = Arguments::of(&run.command_line);
    let inside = Inside::of(process.key);
    let inside = inside.map_err(|error| tracing::debug!(pid = process.key.pid, %error, "configuration not read"));
    configuration(&arguments, Path::new(&*run.directory), &inside.ok()?)
}

/// What arguments and files come to; `None` if a file that may matter cannot be read.
fn configuration(arguments: &Arguments, directory: &Path, inside: &Inside) -> Option<OpensshConfiguration> {
    let mut reading = Reading::new(inside);
    // The first value counts, and these come first.
    for option in &arguments.options {
        reading.settings.say(option);
    }
    match &arguments.file {
        // The second is no file that could be read, and many use it to say the same.
        Some(nothing) if nothing.eq_ignore_ascii_case("none") || nothing == "/dev/null" => Some(()),
        Some(file) => reading.file(&directory.join(file)),
        None => reading.file(PLACES.map(Path::new).into_iter().find(|place| inside.holds(place))?),
    }?;
    Some(reading.settings.verdict())
}

#[cfg(test)]
mod tests;
