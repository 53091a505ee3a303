//! The verdict: what the rules say to an event, less the repeats, into the log of alerts.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use crate::{
    alert::{Alert, Level, dedup::Dedup, log::Log},
    detect::{Ask, Rules},
    event::{Kind, Process},
    observed::Observed,
    sources::docker_probe,
};

/// Roles that rules gave to processes.
pub type Roles = Vec<(Arc<Process>, Arc<str>)>;

/// The last stage of a stream.
#[derive(Debug)]
pub struct Judge {
    rules: Rules,
    dedup: Dedup,
    log: Arc<Log>,
    min_level: Level,
    /// Who looks at listeners; nobody in a replay, or where it is switched off.
    probe: Option<mpsc::Sender<docker_probe::Question>>,
    outstanding: usize,
    raised: Option<Level>,
}

impl Judge {
    /// A judge who reports alerts of at least `min_level`, and repeats within `window` once.
    pub fn new(
        rules: Rules,
        window: SignedDuration,
        log: Arc<Log>,
        min_level: Level,
        probe: Option<mpsc::Sender<docker_probe::Question>>,
    ) -> Self {
        Self {
            rules,
            dedup: Dedup::new(window),
            log,
            min_level,
            probe,
            outstanding: 0,
            raised: None,
        }
    }

    /// Judges an event, and says which roles the rules give its process.
    pub fn judge(&mut self, mut observed: Observed) -> Roles {
        if matches!(&observed.event.kind, Kind::Listen(listener) if listener.finding.is_some()) {
            self.outstanding = self.outstanding.saturating_sub(1);
        }
        let matches = self.rules.judge(&mut observed);
        if matches.is_empty() {
            return Roles::default();
        }
        let observed = Arc::new(observed);
        let mut roles = Roles::default();
        let mut alerts = Vec::with_capacity(matches.len());
        for found in matches {
            match (found.asks, &found.rule.role, &observed.process) {
                (Some(Ask::DockerApiProbe), ..) => roles.extend(self.ask(&observed)),
                (None, Some(role), Some(process)) => roles.push((Arc::clone(process), Arc::clone(role))),
                (None, None, _) if found.rule.level >= self.min_level => {
                    alerts.push(Alert::new(found.rule, Arc::clone(&observed), found.matched));
                }
                (None, ..) => {}
            }
        }
        self.raised = self.raised.max(alerts.iter().map(|alert| alert.rule.level).max());
        for alert in self.dedup.admit(alerts) {
            self.log.append(alert);
        }
        roles
    }

    /// Judges by these rules from now on. What correlations have counted goes on.
    pub fn take_up(&mut self, mut rules: Rules) {
        rules.continue_from(&self.rules);
        self.rules = rules;
    }

    /// Reports the counts of windows that have ended.
    pub fn send_updates(&mut self, now: Timestamp) {
        for alert in self.dedup.due(now) {
            self.log.append(alert);
        }
    }

    /// Reports the counts of all windows.
    pub fn finish(&mut self) {
        for alert in self.dedup.finish() {
            self.log.append(alert);
        }
    }

    /// The highest level of an alert so far.
    pub fn raised(&self) -> Option<Level> {
        self.raised
    }

    /// Questions that have not been answered.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Has a listener looked at. Where nobody can look, or whoever can has too much to look at, that is the answer.
    fn ask(&mut self, observed: &Observed) -> Roles {
        let Kind::Listen(listener) = &observed.event.kind else {
            return Roles::default();
        };
        if listener.finding.is_some() {
            // Whatever a rule says: an answer is not asked about again, or there would be no end to it.
            return Roles::default();
        }
        let question = docker_probe::Question {
            owner: listener.owner,
            address: listener.address,
            startup: observed.event.startup,
        };
        if self
            .probe
            .as_ref()
            .is_some_and(|probe| probe.try_send(question).is_ok())
        {
            self.outstanding += 1;
            return Roles::default();
        }
        let mut unanswered = observed.clone();
        if let Kind::Listen(listener) = &mut unanswered.event.kind {
            listener.finding = Some(docker_probe::UNKNOWN.into());
        }
        if let Some(given) = &mut unanswered.event.given {
            given.insert("listener.finding".into(), docker_probe::UNKNOWN.into());
        }
        self.judge(unanswered)
    }
}
