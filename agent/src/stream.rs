//! The stream: one task that carries each event from the entrance to its verdict. It does no I/O, waits for nothing but
//! the next event, and cannot fail, so that recorded input replays to the same alerts.

pub mod entrance;
pub mod judge;
mod opened;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::{error, info};

use self::{
    entrance::Entrance,
    judge::{Judge, Lessons},
};
use crate::{
    alert::Level,
    control::status,
    event::{Event, Health, Kind, baseline::Copy},
    observed::Observed,
    sources::rules::Reloaded,
};

/// Batches that may wait for the stream. Behind a full channel the sources wait, and the kernel's ring fills.
pub const QUEUE: usize = 64;

/// How often windows of repeats are looked at: an update is not urgent.
const UPDATES: Duration = Duration::from_secs(1);

/// What the stream does with an event of which all is known.
pub enum Last {
    /// Rules judge it.
    Judge(Box<Judge>),
    /// It is written down.
    Record(Box<dyn FnMut(&Observed)>),
}

/// The stream and all that it knows.
pub struct Stream {
    entrance: Entrance,
    last: Last,
    passed: u64,
    ready: Vec<Observed>,
    /// Who keeps what was learned; nobody in a replay.
    keeper: Option<mpsc::Sender<Copy>>,
    copies: Duration,
    next_copy: Instant,
    /// Who asks how it fares; nobody in a replay.
    asked: Option<mpsc::Receiver<status::Question>>,
    rules_refused: Option<String>,
    configuration_refused: Option<String>,
    /// Executions that stood before the agent: they are judged after the listeners of the same look, by which rules know
    /// what their ancestors are for.
    standing: Vec<Observed>,
}

impl Stream {
    /// A stream that has seen nothing.
    pub fn new(entrance: Entrance, last: Last) -> Self {
        Self {
            entrance,
            last,
            passed: 0,
            ready: Vec::new(),
            standing: Vec::new(),
            asked: None,
            rules_refused: None,
            configuration_refused: None,
            keeper: None,
            copies: Duration::ZERO,
            next_copy: Instant::now(),
        }
    }

    /// Has what was learned kept by that one, so often at most.
    #[must_use]
    pub fn kept_by(mut self, keeper: mpsc::Sender<Copy>, every: Duration) -> Self {
        self.keeper = Some(keeper);
        self.copies = every;
        self
    }

    /// Has it say how it fares when it is asked.
    #[must_use]
    pub fn asked_by(mut self, asked: mpsc::Receiver<status::Question>) -> Self {
        self.asked = Some(asked);
        self
    }

    /// Only learns of these events: no alert comes of them.
    pub fn learn(&mut self, batch: Vec<Event>) {
        self.set_silent(true);
        self.carry(batch);
        self.set_silent(false);
    }

    fn set_silent(&mut self, silent: bool) {
        if let Last::Judge(judge) = &mut self.last {
            judge.set_silent(silent);
        }
    }

    /// Carries events until every source has ended, and takes up new rules between two events.
    pub async fn run(&mut self, events: &mut mpsc::Receiver<Vec<Event>>, mut rules: mpsc::Receiver<Reloaded>) {
        let mut updates = tokio::time::interval(UPDATES);
        updates.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asked = self.asked.take();
        loop {
            let deadline = self.next_deadline();
            let overdue = tokio::time::sleep_until(deadline.unwrap_or_else(|| Instant::now() + UPDATES).into());
            tokio::select! {
                batch = events.recv() => match batch {
                    Some(batch) => {
                        self.carry(batch);
                        // The sources share this thread: without a turn of theirs, what is held waits in vain.
                        tokio::task::yield_now().await;
                    }
                    None => break,
                },
                Some(reloaded) = rules.recv() => self.take_up(reloaded),
                Some(question) = next_question(&mut asked) => {
                    // Whoever asked may have gone.
                    let _ = question.send(self.status());
                }
                () = overdue, if deadline.is_some() => {
                    // What it waited for may be in the queue.
                    for batch in (0..QUEUE).map_while(|_| events.try_recv().ok()) {
                        self.carry(batch);
                    }
                    self.release_overdue(Instant::now());
                }
                _ = updates.tick() => self.send_updates(),
            }
        }
        self.release_all();
    }

    /// Carries what is on its way when the agent shall end: what comes until the kernel's events are all `sent`, and what
    /// waits for its container's facts or for an answer, at most that long.
    pub async fn run_out(&mut self, events: &mut mpsc::Receiver<Vec<Event>>, sent: impl Future, most: Duration) {
        let end = Instant::now() + most;
        let mut sent = std::pin::pin!(sent);
        let mut more = true;
        self.judge_standing();
        while (more || self.is_waiting()) && Instant::now() < end {
            let deadline = self.entrance.next_deadline().map_or(end, |next| next.min(end));
            tokio::select! {
                biased;
                Some(batch) = events.recv() => {
                    self.carry(batch);
                    tokio::task::yield_now().await;
                }
                _ = &mut sent, if more => more = false,
                () = tokio::time::sleep_until(deadline.into()) => self.release_overdue(Instant::now()),
            }
        }
        while let Ok(batch) = events.try_recv() {
            self.carry(batch);
        }
        self.release_all();
    }

    /// Carries these events as far as they can go now.
    pub fn carry(&mut self, batch: Vec<Event>) {
        self.passed += batch.len() as u64;
        let now = Instant::now();
        for event in batch {
            if !event.startup && event.kind.log_source().is_some() {
                self.judge_standing();
            }
            self.entrance.admit(event, now, &mut self.ready);
            self.finish_ready();
        }
    }

    /// Ends every window of repeats, with their updates.
    pub fn finish(&mut self) {
        self.judge_standing();
        if let Last::Judge(judge) = &mut self.last {
            judge.finish();
        }
    }

    /// How many events have entered.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// The highest level of an alert so far.
    pub fn raised(&self) -> Option<Level> {
        match &self.last {
            Last::Judge(judge) => judge.raised(),
            Last::Record(_) => None,
        }
    }

    /// Whether something waits for others, for its container's facts, or an answer is outstanding.
    pub fn is_waiting(&self) -> bool {
        let asked = matches!(&self.last, Last::Judge(judge) if judge.outstanding() > 0);
        asked || !self.standing.is_empty() || self.entrance.is_waiting()
    }

    fn take_up(&mut self, reloaded: Reloaded) {
        match (reloaded, &mut self.last) {
            (Reloaded::Rules(rules, problems), Last::Judge(judge)) => {
                info!(
                    rules = rules.iter().count(),
                    problems = problems.len(),
                    "rules loaded anew"
                );
                judge.take_up(*rules);
                self.rules_refused = None;
            }
            (Reloaded::Refused(problems), Last::Judge(_)) => {
                let errors = problems.iter().filter(|problem| problem.is_error());
                let reasons: Vec<_> = errors.map(ToString::to_string).collect();
                error!(
                    "rules not loaded anew, the former ones stay in force: {}",
                    reasons.join("; ")
                );
                self.rules_refused = Some(reasons.join("; "));
                self.report("rules-refused", reasons.join("; "));
            }
            (Reloaded::Settings(config, redactor, changed), Last::Judge(judge)) => {
                if changed.is_empty() {
                    info!("the configuration is in order again");
                } else {
                    info!(settings = changed.join(", "), "configuration loaded anew");
                }
                judge.configure(&config, *redactor);
                self.entrance.baseline().set_learning(config.baseline.measure());
                self.configuration_refused = None;
            }
            (Reloaded::SettingsRefused(problems), Last::Judge(_)) => {
                error!("configuration not loaded anew, the former one stays in force: {problems}");
                self.configuration_refused = Some(problems.to_string());
                self.report("configuration-refused", problems.to_string());
            }
            (_, Last::Record(_)) => {}
        }
    }

    /// How it fares.
    fn status(&mut self) -> status::Stream {
        let mut status = status::Stream {
            events: self.passed,
            configuration_refused: self.configuration_refused.clone(),
            ..status::Stream::default()
        };
        self.entrance.tell(&mut status);
        if let Last::Judge(judge) = &self.last {
            judge.tell(&mut status);
        }
        status.rules.refused.clone_from(&self.rules_refused);
        status
    }

    /// Lets the rules judge something about the agent itself.
    fn report(&mut self, kind: &'static str, detail: String) {
        self.carry(vec![Event {
            time: Timestamp::now(),
            startup: false,
            kind: Kind::Health(Health { kind, detail }),
            given: None,
        }]);
    }

    fn send_updates(&mut self) {
        self.judge_standing();
        if let Last::Judge(judge) = &mut self.last {
            judge.send_updates(Timestamp::now());
        }
        self.send_copy(Instant::now());
    }

    /// Has what was learned kept, if it is time. A keeper that still writes the last copy gets the next one later.
    fn send_copy(&mut self, now: Instant) {
        let baseline = self.entrance.baseline();
        let due = baseline.has_obeyed() || (baseline.has_changed() && now >= self.next_copy);
        if let Some(keeper) = self.keeper.as_ref().filter(|_| due)
            && let Ok(place) = keeper.try_reserve()
        {
            place.send(baseline.copy());
            self.next_copy = now + self.copies;
        }
    }

    /// Has all that was learned kept, and nothing more from then on.
    pub async fn end_keeping(&mut self) {
        if let Some(keeper) = self.keeper.take()
            && self.entrance.baseline().has_changed()
        {
            // A keeper that is gone has said why.
            let _ = keeper.send(self.entrance.baseline().copy()).await;
        }
    }

    /// Lets go on what has waited long enough.
    pub fn release_overdue(&mut self, now: Instant) {
        self.entrance.overdue(now, &mut self.ready);
        self.finish_ready();
        self.judge_standing();
        if let Last::Judge(judge) = &mut self.last {
            judge.release_overdue(now);
        }
    }

    /// When [`Self::release_overdue`] will next have something; `None` while nothing waits.
    fn next_deadline(&self) -> Option<Instant> {
        let of_judge = match &self.last {
            Last::Judge(judge) => judge.next_deadline(),
            Last::Record(_) => None,
        };
        [self.entrance.next_deadline(), of_judge].into_iter().flatten().min()
    }

    /// Lets go on what still waits, of which nobody will tell more.
    fn release_all(&mut self) {
        self.release_overdue(Instant::now() + Duration::from_hours(1));
    }

    fn finish_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for observed in ready.drain(..) {
            let judged = matches!(self.last, Last::Judge(_));
            if judged && observed.event.startup && matches!(observed.event.kind, Kind::Exec(_)) {
                self.standing.push(observed);
            } else {
                self.finish_one(observed);
            }
        }
        // The next event has the room again.
        self.ready = ready;
    }

    fn judge_standing(&mut self) {
        for observed in std::mem::take(&mut self.standing) {
            self.finish_one(observed);
        }
    }

    /// Judges an event with what is known of such behaviour, and learns from it afterwards: nothing is usual because of
    /// itself.
    fn finish_one(&mut self, mut observed: Observed) {
        match &mut self.last {
            Last::Judge(judge) => {
                let time = observed.event.time;
                let remembered = self.entrance.baseline().recall(&observed).map(Arc::new);
                observed.facts.baseline.clone_from(&remembered);
                let Lessons { roles, teaches } = judge.judge(observed);
                for (process, role) in roles {
                    self.entrance.learn_role(&process, &role);
                }
                if let Some(remembered) = remembered {
                    let taught = teaches == Some(remembered.behaviour.kind);
                    self.entrance.baseline().note(&remembered, time, taught);
                }
            }
            Last::Record(record) => record(&observed),
        }
    }
}

/// The next question how the stream fares; `None` at once where nobody can ask.
async fn next_question(asked: &mut Option<mpsc::Receiver<status::Question>>) -> Option<status::Question> {
    match asked {
        Some(asked) => asked.recv().await,
        None => None,
    }
}
