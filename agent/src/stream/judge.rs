//! The verdict: what the rules say to an event, less the repeats, into the log of alerts.

use std::{sync::Arc, time::Instant};

use jiff::{SignedDuration, Timestamp};

use super::opened::{Judged, Opened};
use crate::{
    alert::{Alert, Level, dedup::Dedup, log::Log, redact::Redactor},
    config::Config,
    control::status,
    detect::{Ask, Match, Rules},
    event::{Kind, Process, baseline::BehaviourKind},
    observed::Observed,
    sources::looks::{self, Asker, Question},
};

/// Roles that rules gave to processes.
pub type Roles = Vec<(Arc<Process>, Arc<str>)>;

/// What rules want to be remembered of an event.
#[derive(Debug, Default)]
pub struct Lessons {
    /// Roles of processes.
    pub roles: Roles,
    /// What the event may teach.
    pub teaches: Option<BehaviourKind>,
}

/// The last stage of a stream.
#[derive(Debug)]
pub struct Judge {
    rules: Rules,
    dedup: Dedup,
    log: Arc<Log>,
    min_level: Level,
    /// Who looks closer where rules ask for it; nobody in a replay.
    looks: Option<Asker>,
    opened: Opened,
    raised: Option<Level>,
    silent: bool,
}

impl Judge {
    /// A judge who reports alerts of at least `min_level`, and repeats within `window` once.
    pub fn new(rules: Rules, window: SignedDuration, log: Arc<Log>, min_level: Level, looks: Option<Asker>) -> Self {
        Self {
            rules,
            dedup: Dedup::new(window),
            log,
            min_level,
            looks,
            opened: Opened::default(),
            raised: None,
            silent: false,
        }
    }

    /// While silent, it raises no alerts and asks nobody: events are there to be learned from.
    pub fn set_silent(&mut self, silent: bool) {
        self.silent = silent;
    }

    /// Judges an event. Gives back what its rules want to be remembered.
    pub fn judge(&mut self, observed: Observed) -> Lessons {
        for alerts in self.opened.overdue_at(observed.event.time) {
            self.send(alerts);
        }
        let mut observed = self.recall_opened(observed);
        let matches = self.rules.judge(&mut observed);
        if matches.is_empty() {
            return Lessons::default();
        }
        let observed = Arc::new(observed);
        let mut lessons = Lessons::default();
        let opened = opened(&observed).map(|socket| (socket, matches.iter().map(|found| found.rule.id).collect()));
        for ask in Ask::ALL {
            if let Some(question) = question(ask, &observed, &matches) {
                lessons.roles.extend(self.ask(ask, question));
            }
        }
        let mut alerts = Vec::with_capacity(matches.len());
        for found in matches.into_iter().filter(|found| found.asks.is_none()) {
            match (&found.rule.role, &observed.process) {
                (Some(role), Some(process)) => lessons.roles.push((Arc::clone(process), Arc::clone(role))),
                (None, _) if found.rule.teaches.is_some() => lessons.teaches = found.rule.teaches,
                (None, _) if found.rule.level >= self.min_level && !self.silent => {
                    alerts.push(Alert::new(found.rule, Arc::clone(&observed), found.matched));
                }
                _ => {}
            }
        }
        match opened {
            Some((socket, rules)) => {
                let judged = Judged { rules, alerts };
                for others in self.opened.hold(socket, judged, observed.event.time, Instant::now()) {
                    self.send(others);
                }
            }
            None => self.send(alerts),
        }
        lessons
    }

    /// Of a connection that has spoken: the rules that matched it before are not to match it once more, but for those
    /// whose alerts have waited for this. Those were raised by the event of its opening, so that event is judged, with
    /// what is said now: who opened it may run another program by now, or none.
    fn recall_opened(&mut self, mut observed: Observed) -> Observed {
        if let Kind::Connection(connection) = &observed.event.kind
            && connection.said.is_some()
        {
            let Judged { rules, alerts } = self.opened.take(connection.socket);
            if let Some(alert) = alerts.first() {
                let mut opening = Observed::clone(&alert.observed);
                opening.event.hear(observed.event);
                observed = opening;
            }
            observed.facts.judged_before = rules;
            observed.facts.rejudged = alerts.iter().map(|alert| alert.rule.id).collect();
        }
        observed
    }

    /// Lets the alerts of one event go out.
    fn send(&mut self, alerts: Vec<Alert>) {
        self.raised = self.raised.max(alerts.iter().map(|alert| alert.rule.level).max());
        for alert in self.dedup.admit(alerts) {
            self.log.append(alert);
        }
    }

    /// Lets alerts go out whose connections have not spoken in time.
    pub fn release_overdue(&mut self, now: Instant) {
        for alerts in self.opened.overdue(now) {
            self.send(alerts);
        }
    }

    /// When [`Self::release_overdue`] may next have something.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.opened.next_deadline()
    }

    /// Judges by these rules from now on. What correlations have counted goes on.
    pub fn take_up(&mut self, mut rules: Rules) {
        rules.continue_from(&self.rules);
        self.rules = rules;
    }

    /// Reports by these settings from now on.
    pub fn configure(&mut self, config: &Config, redactor: Redactor) {
        self.min_level = config.min_level;
        for alert in self.dedup.set_window(config.dedup) {
            self.log.append(alert);
        }
        self.log.set_redactor(redactor);
    }

    /// Reports the counts of windows that have ended.
    pub fn send_updates(&mut self, now: Timestamp) {
        for alert in self.dedup.due(now) {
            self.log.append(alert);
        }
    }

    /// Reports what waits, and the counts of all windows.
    pub fn finish(&mut self) {
        for alerts in self.opened.finish() {
            self.send(alerts);
        }
        for alert in self.dedup.finish() {
            self.log.append(alert);
        }
    }

    /// Says how it fares.
    pub fn tell(&self, status: &mut status::Stream) {
        let expiries = self.rules.expiries();
        status.rules.in_force = self.rules.iter().count();
        status.rules.ended = expiries.ended.iter().map(ToString::to_string).collect();
        status.rules.next_expiry = expiries.next;
        status.looks = self.outstanding();
        status.alerts = self.log.appended();
        status.alerts_lost = self.log.lost();
    }

    /// The highest level of an alert so far.
    pub fn raised(&self) -> Option<Level> {
        self.raised
    }

    /// Questions that have not been answered.
    pub fn outstanding(&self) -> usize {
        self.looks.as_ref().map_or(0, Asker::outstanding)
    }

    /// Has a closer look taken. Where nobody can look, or whoever can has too much to look at, that may be an answer.
    fn ask(&mut self, ask: Ask, question: Question) -> Roles {
        if self.silent || !looks::concerns(ask, &question.about) {
            return Roles::default();
        }
        let unanswered = looks::unanswered(ask, &question.about);
        let matched = question.matched.clone();
        if self.looks.as_ref().is_some_and(|looks| looks.ask(ask, question)) {
            return Roles::default();
        }
        match unanswered {
            Some(mut unanswered) => {
                unanswered.facts.judged_before = matched;
                self.judge(unanswered).roles
            }
            None => Roles::default(),
        }
    }
}

/// The number of a connection's socket that has yet to say what for.
fn opened(observed: &Observed) -> Option<u64> {
    match &observed.event.kind {
        Kind::Connection(connection) if connection.said.is_none() => {
            Some(connection.socket).filter(|socket| *socket != 0)
        }
        _ => None,
    }
}

/// The question that these rules put about an event; `None` if none of them asks that.
fn question(ask: Ask, about: &Arc<Observed>, matches: &[Match]) -> Option<Question> {
    let mut asking = matches.iter().filter(|found| found.asks == Some(ask)).peekable();
    asking.peek()?;
    let mut texts: Vec<Box<str>> = Vec::new();
    for text in asking.flat_map(|found| &found.rule.texts) {
        if !texts.contains(text) {
            texts.push(text.clone());
        }
    }
    let now = matches.iter().map(|found| found.rule.id);
    Some(Question {
        about: Arc::clone(about),
        matched: about.facts.judged_before.iter().copied().chain(now).collect(),
        texts,
    })
}
