//! Repeats: the first alert of a subject goes out at once, later ones become one update with their count.
//!
//! A subject is a rule's title and the values of a few fields. Which fields, a rule may say itself; else its family
//! does ([`default_subject`]). Two rules of one title grade one finding, so the higher level wins. Time comes in with
//! the events: a recorded stream gives the same alerts again.

use std::{collections::VecDeque, fmt::Write, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use rsigma_eval::EventValue;
use rustc_hash::FxHashMap;

use super::{Activity, Alert};
use crate::{event::LogSource, observed::Observed};

/// How long repeats are counted, unless configured.
pub const DEFAULT_WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// So many subjects are told apart at a time; beyond, the oldest window closes early.
const MAX_SUBJECTS: usize = 10_000;

/// So many bytes may the kept alerts hold ([`Alert::weight`]); beyond, the oldest windows close early.
const MAX_BYTES: usize = 8 << 20;

/// The subjects whose windows are open.
#[derive(Debug)]
pub struct Dedup {
    window: SignedDuration,
    open: FxHashMap<Arc<str>, Window>,
    /// The open windows, the oldest first: all are of one length, so this is also the order in which they end.
    order: VecDeque<(Timestamp, Arc<str>)>,
    bytes: usize,
    /// The latest time seen: sources may be late, the clock does not go back.
    now: Timestamp,
}

/// What is known of one subject.
#[derive(Debug)]
struct Window {
    /// The alert that the next update will be: the latest of the highest level, with the count so far.
    alert: Alert,
    /// The count that was last sent.
    sent: u64,
    weight: usize,
}

impl Dedup {
    /// Counts repeats for `window`; zero passes every alert on.
    pub fn new(window: SignedDuration) -> Self {
        Self {
            window,
            open: FxHashMap::default(),
            order: VecDeque::new(),
            bytes: 0,
            now: Timestamp::MIN,
        }
    }

    /// Counts for another length of time from now on. Gives the updates of the windows that were open.
    pub fn set_window(&mut self, window: SignedDuration) -> Vec<Alert> {
        if window == self.window {
            return Vec::new();
        }
        self.window = window;
        self.finish()
    }

    /// Takes the alerts of one event and gives those that go out now, first the updates of windows that have ended.
    pub fn admit(&mut self, mut of_one_event: Vec<Alert>) -> Vec<Alert> {
        let Some(time) = of_one_event.iter().map(|alert| alert.time).max() else {
            return Vec::new();
        };
        if self.window.is_zero() && of_one_event.len() == 1 {
            return of_one_event;
        }
        of_one_event.sort_by_key(|alert| std::cmp::Reverse(alert.rule.level));
        if self.window.is_zero() {
            return highest_of_each_subject(of_one_event).map(|(_, alert)| alert).collect();
        }
        let mut out = self.due(time);
        for (subject, alert) in highest_of_each_subject(of_one_event) {
            match self.open.get_mut(&*subject) {
                Some(window) => {
                    self.bytes -= window.weight;
                    out.extend(window.repeat(alert));
                    window.weight = window.alert.weight() + subject.len();
                    self.bytes += window.weight;
                }
                None => out.push(self.open_window(subject.into(), alert)),
            }
        }
        self.shrink(&mut out);
        out
    }

    /// The updates of the windows that have ended at `now`.
    pub fn due(&mut self, now: Timestamp) -> Vec<Alert> {
        self.now = self.now.max(now);
        let mut out = Vec::new();
        while self.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.close_oldest(&mut out);
        }
        out
    }

    /// When the next window ends.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.order.front().map(|(deadline, _)| *deadline)
    }

    /// Closes every window: the updates that would be lost with the agent.
    pub fn finish(&mut self) -> Vec<Alert> {
        let mut out = Vec::new();
        while !self.order.is_empty() {
            self.close_oldest(&mut out);
        }
        out
    }

    fn open_window(&mut self, subject: Arc<str>, alert: Alert) -> Alert {
        let weight = alert.weight() + subject.len();
        self.bytes += weight;
        let deadline = self.now.saturating_add(self.window).unwrap_or(Timestamp::MAX);
        self.order.push_back((deadline, Arc::clone(&subject)));
        let window = Window {
            alert: alert.clone(),
            sent: 1,
            weight,
        };
        self.open.insert(subject, window);
        alert
    }

    fn close_oldest(&mut self, out: &mut Vec<Alert>) {
        let oldest = self.order.pop_front();
        let Some(window) = oldest.and_then(|(_, subject)| self.open.remove(&subject)) else {
            return;
        };
        self.bytes -= window.weight;
        if window.alert.count > window.sent {
            out.push(window.alert);
        }
    }

    fn shrink(&mut self, out: &mut Vec<Alert>) {
        while self.order.len() > MAX_SUBJECTS || (self.bytes > MAX_BYTES && self.order.len() > 1) {
            self.close_oldest(out);
        }
    }
}

impl Window {
    /// Counts a repeat; news is what grades the subject higher than before.
    fn repeat(&mut self, alert: Alert) -> Option<Alert> {
        let before = self.alert.rule.level;
        let known = &mut self.alert;
        known.activity = Activity::Update;
        known.count += 1;
        known.time = known.time.max(alert.time);
        if alert.rule.level >= before {
            known.rule = alert.rule;
            known.observed = alert.observed;
            known.matched = alert.matched;
        }
        let news = known.rule.level > before;
        news.then(|| {
            self.sent = self.alert.count;
            self.alert.clone()
        })
    }
}

/// One event is one occurrence, however many rules of one title match it. The alerts come with the highest first.
fn highest_of_each_subject(alerts: Vec<Alert>) -> impl Iterator<Item = (String, Alert)> {
    let mut seen: Vec<String> = Vec::new();
    alerts.into_iter().filter_map(move |alert| {
        let subject = subject(&alert);
        (!seen.contains(&subject)).then(|| {
            seen.push(subject.clone());
            (subject, alert)
        })
    })
}

/// What the alert is about, as one text: the title, then the values of the fields that tell subjects apart.
fn subject(alert: &Alert) -> String {
    let mut subject = String::with_capacity(160);
    subject.push_str(&alert.rule.title);
    let own = alert.rule.subject.iter().map(String::as_str);
    let by_family = default_subject(alert.rule.log_source).iter().copied();
    let by_family = by_family.filter(|_| alert.rule.subject.is_empty());
    for name in own.chain(by_family) {
        subject.push('\0');
        push_value(&mut subject, name, &alert.observed);
    }
    subject
}

/// The fields that tell subjects apart where a rule does not say. Ids that differ at every occurrence (a pid, a
/// client's port) are not among them; on the host itself `container.id` is absent and so the same.
fn default_subject(family: LogSource) -> &'static [&'static str] {
    match family {
        LogSource::ProcessCreation => &["container.id", "Image", "process.script", "process.uid"],
        LogSource::NetworkConnection => &[
            "container.id",
            "Image",
            "Initiated",
            "DestinationIp",
            "DestinationPort",
            "SourceIp",
        ],
        LogSource::NetworkListen => &[
            "container.id",
            "process.network_namespace",
            "SourceIp",
            "SourcePort",
            "listener.path",
        ],
        LogSource::DnsQuery => &["container.id", "Image", "QueryName"],
        LogSource::Memory => &[
            "container.id",
            "Image",
            "memory.finding",
            "memory.mapping",
            "memory.path",
            "memory.hidden_pid",
        ],
        LogSource::Container => &["container.id"],
        LogSource::Sshd | LogSource::Sudo | LogSource::Auth => {
            &["login.service", "SourceIp", "User", "login.target_user"]
        }
        LogSource::Webserver => &["c-ip", "cs-host", "cs-uri-stem"],
        LogSource::Health => &["health.kind", "health.detail"],
    }
}

/// Of health's one-line details the digits are left out: `lost 12 events` and `lost 15 events` are one subject.
fn push_value(subject: &mut String, name: &str, observed: &Observed) {
    match observed.field(name) {
        Some(EventValue::Str(text)) if name == "health.detail" => {
            subject.extend(text.chars().filter(|character| !character.is_ascii_digit()));
        }
        Some(EventValue::Str(text)) => subject.push_str(&text),
        Some(EventValue::Int(number)) => _ = write!(subject, "{number}"),
        Some(EventValue::Bool(flag)) => _ = write!(subject, "{flag}"),
        Some(value) => _ = write!(subject, "{}", value.to_json()),
        None => {}
    }
}

#[cfg(test)]
mod tests;
