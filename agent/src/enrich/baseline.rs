//! What the images of this node (and the node itself) normally do: learned for a while, then known; all else is new.
//!
//! Does no I/O: what was learned before comes in as an event, and goes out as a copy that [`crate::sources::baseline`]
//! keeps. Which sightings teach is said by rules (`tocsin: {teaches: …}`), not here.

mod behaviour;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustc_hash::FxHashMap;

use self::behaviour::{behaviour, subject, text};
use super::login::Sights;
use crate::{
    event::{
        LogSource,
        baseline::{Behaviour, Copy, Learned, Order, Sightings, Subject, Tidings},
    },
    observed::Observed,
};

/// Images that are remembered. A node runs some hundred at a time; of those that are gone, the longest unseen one makes
/// room, first among those that never got through their learning: whoever starts many images pushes out his own.
pub const SUBJECTS: usize = 512;

/// Behaviours of one image. Beyond, one that is not known makes room; what is known is never pushed out, so that a flood
/// of new behaviour costs nothing but what is not yet known.
const BEHAVIOURS: usize = 128;

/// Behaviours of all images: at about 300 bytes (900 at worst) some 5 MiB. Beyond, nothing more is recorded, and stays
/// new.
pub const ALL_BEHAVIOURS: usize = 16_384;

/// When something counts as learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learning {
    /// How long an image is watched from its first appearance on.
    pub duration: SignedDuration,
    /// In how many separate minutes a behaviour must have been seen …
    pub minutes: u32,
    /// … or in how many containers.
    pub containers: usize,
}

impl Default for Learning {
    /// Two days: what runs daily is seen in two containers, and an image that is released weekly is watched for most of
    /// its life. Three minutes or two containers: what happened in one place at one moment may be an intruder's.
    fn default() -> Self {
        Self {
            duration: SignedDuration::from_hours(48),
            minutes: 3,
            containers: 2,
        }
    }
}

/// Whether a behaviour is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The image is too young to tell.
    Learning,
    /// It was learned, or approved.
    Known,
    /// The image is past its learning, and this was not learned.
    New,
}

impl State {
    /// As rules see it under `baseline.state`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Known => "known",
            Self::New => "new",
        }
    }
}

/// Whether what was sighted so is usual for a subject at that time.
pub fn state(learning: Learning, subject: &Subject, sightings: Option<&Sightings>, now: Timestamp) -> State {
    let learns = !subject.settled && now.duration_since(subject.first_seen) < learning.duration;
    match sightings {
        Some(sightings) if sightings.known => State::Known,
        _ if learns => State::Learning,
        _ => State::New,
    }
}

/// What the table says of an event's behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Whether it is usual.
    pub state: State,
    /// When it was first seen; `None` if this is the first time.
    pub first_seen: Option<Timestamp>,
    /// What is done.
    pub behaviour: Behaviour,
    subject: Arc<str>,
    container: Box<str>,
}

/// The table.
#[derive(Debug, Default)]
pub struct Baseline {
    learning: Learning,
    subjects: FxHashMap<Arc<str>, Arc<Subject>>,
    behaviours: usize,
    changed: bool,
    /// The names of the orders that were done since the last copy.
    done: Vec<Box<str>>,
    sights: Sights,
}

impl Baseline {
    /// A table that has learned nothing.
    pub fn new(learning: Learning) -> Self {
        Self {
            learning,
            subjects: FxHashMap::default(),
            behaviours: 0,
            changed: false,
            done: Vec::new(),
            sights: Sights::default(),
        }
    }

    /// Who came in from where.
    pub fn sights(&mut self) -> &mut Sights {
        &mut self.sights
    }

    /// Has behaviour count as learned by another measure.
    pub fn set_learning(&mut self, learning: Learning) {
        self.learning = learning;
    }

    /// Takes notice of whoever acts, so that its learning begins, and says whether what it does is usual.
    pub fn recall(&mut self, observed: &Observed) -> Option<Remembered> {
        let behaviour = behaviour(observed);
        // An image's age counts from its first program on, not from the first thing that there is to learn of it.
        if behaviour.is_none() && observed.log_source() != Some(LogSource::ProcessCreation) {
            return None;
        }
        let key = subject(observed)?;
        self.meet(&key, observed);
        let behaviour = behaviour?;
        let (key, subject) = self.subjects.get_key_value(&*key)?;
        let sightings = subject.behaviours.get(&behaviour);
        Some(Remembered {
            state: state(self.learning, subject, sightings, observed.event.time),
            first_seen: sightings.map(|sightings| sightings.first_seen),
            behaviour,
            subject: Arc::clone(key),
            container: text(observed, "container.id")
                .unwrap_or_default()
                .chars()
                .take(12)
                .collect::<String>()
                .into(),
        })
    }

    /// Notes a behaviour. While the image learns, one that `teaches` counts towards what is known.
    pub fn note(&mut self, remembered: &Remembered, time: Timestamp, teaches: bool) {
        let Remembered {
            state,
            first_seen: _,
            behaviour,
            subject,
            container,
        } = remembered;
        let learning = self.learning;
        let Some(subject) = self.subjects.get_mut(subject).map(Arc::make_mut) else {
            return;
        };
        if !subject.behaviours.contains_key(behaviour) && !make_room(subject, &mut self.behaviours) {
            return;
        }
        let sightings = subject.behaviours.entry(behaviour.clone()).or_insert_with(|| {
            self.behaviours += 1;
            Sightings::new(time)
        });
        sightings.last_seen = sightings.last_seen.max(time);
        if teaches && *state == State::Learning {
            sightings.count(time, container, learning);
        }
        self.changed = true;
    }

    /// Takes in what was learned before, or does what an operator ordered.
    pub fn hear(&mut self, tidings: &Tidings) {
        match tidings {
            Tidings::Learned(learned) => self.merge(learned, false),
            Tidings::Order(name, order) => {
                self.obey(order);
                self.done.push(name.clone());
            }
        }
    }

    /// Does what an operator ordered.
    pub fn obey(&mut self, order: &Order) {
        match order {
            Order::Approve { subject, behaviour } => self.approve(subject, behaviour.as_deref()),
            Order::Reset { subject: None } => {
                self.subjects.clear();
                self.sights.clear();
            }
            Order::Reset { subject: Some(subject) } => {
                self.subjects.remove(&**subject);
            }
            Order::Import(learned) => self.merge(learned, true),
        }
        self.behaviours = self.subjects.values().map(|subject| subject.behaviours.len()).sum();
        self.changed = true;
    }

    /// All that was learned; as cheap as one pointer an image and a few words a login.
    pub fn learned(&self) -> Learned {
        let subjects = self.subjects.iter();
        Learned {
            subjects: subjects
                .map(|(key, subject)| (Arc::clone(key), Arc::clone(subject)))
                .collect(),
            logins: self.sights.learned(),
        }
    }

    /// How many images it knows something of, and how many behaviours.
    pub fn size(&self) -> (usize, usize) {
        (self.subjects.len(), self.behaviours)
    }

    /// Whether a copy is worth keeping: something changed since the last.
    pub fn has_changed(&self) -> bool {
        self.changed || self.sights.has_changed() || self.has_obeyed()
    }

    /// Whether an order was done since the last copy.
    pub fn has_obeyed(&self) -> bool {
        !self.done.is_empty()
    }

    /// A copy to keep.
    pub fn copy(&mut self) -> Copy {
        self.changed = false;
        self.sights.set_kept();
        Copy {
            learned: self.learned(),
            done: std::mem::take(&mut self.done),
        }
    }

    /// Notes that somebody is there, for the first time or again.
    fn meet(&mut self, key: &str, observed: &Observed) {
        let time = observed.event.time;
        let Some(subject) = self.subjects.get_mut(key) else {
            self.forget_one_too_many();
            let name = text(observed, "container.image").unwrap_or_default();
            self.subjects.insert(key.into(), Arc::new(Subject::new(&name, time)));
            self.changed = true;
            return;
        };
        // The clock was ahead when it was first met, as before a node knows the time: it would learn until then.
        if time < subject.first_seen {
            let subject = Arc::make_mut(subject);
            (subject.first_seen, subject.last_seen) = (time, time);
            self.changed = true;
        }
        // To the minute: a copy for the keeper must not make every execution copy its subject.
        if time.duration_since(subject.last_seen) >= SignedDuration::from_mins(1) {
            Arc::make_mut(subject).last_seen = time;
        }
    }

    fn forget_one_too_many(&mut self) {
        if self.subjects.len() < SUBJECTS {
            return;
        }
        let is_worth = |subject: &Subject| {
            (
                subject.settled || subject.behaviours.values().any(|sightings| sightings.known),
                subject.last_seen,
            )
        };
        let least = self.subjects.iter().min_by_key(|(_, subject)| is_worth(subject));
        if let Some(key) = least.map(|(key, _)| Arc::clone(key))
            && let Some(subject) = self.subjects.remove(&key)
        {
            self.behaviours -= subject.behaviours.len();
        }
    }

    fn approve(&mut self, subject: &str, id: Option<&str>) {
        let Some(subject) = self.subjects.get_mut(subject).map(Arc::make_mut) else {
            return;
        };
        subject.settled |= id.is_none();
        for (behaviour, sightings) in &mut subject.behaviours {
            sightings.known |= id.is_none_or(|id| behaviour.id() == id);
        }
    }

    /// Adds what was learned elsewhere or before. Of what another node saw, only what it knows counts: its sightings are
    /// not this node's.
    fn merge(&mut self, learned: &Learned, only_known: bool) {
        self.sights.merge(&learned.logins);
        for (key, theirs) in &learned.subjects {
            if !self.subjects.contains_key(key) {
                self.forget_one_too_many();
            }
            let ours = self.subjects.entry(Arc::clone(key)).or_insert_with(|| {
                Arc::new(Subject {
                    behaviours: FxHashMap::default(),
                    ..(**theirs).clone()
                })
            });
            let ours = Arc::make_mut(ours);
            ours.settled |= theirs.settled;
            ours.first_seen = ours.first_seen.min(theirs.first_seen);
            ours.last_seen = ours.last_seen.max(theirs.last_seen);
            for (behaviour, sightings) in &theirs.behaviours {
                if only_known && !sightings.known {
                    continue;
                }
                if let Some(own) = ours.behaviours.get_mut(behaviour) {
                    own.known |= sightings.known;
                } else if make_room(ours, &mut self.behaviours) {
                    ours.behaviours.insert(behaviour.clone(), sightings.clone());
                    self.behaviours += 1;
                }
            }
        }
    }
}

impl Subject {
    fn new(name: &str, time: Timestamp) -> Self {
        Self {
            name: name.into(),
            first_seen: time,
            last_seen: time,
            settled: false,
            behaviours: FxHashMap::default(),
        }
    }
}

impl Sightings {
    fn new(time: Timestamp) -> Self {
        Self {
            first_seen: time,
            last_seen: time,
            minutes: 0,
            last_minute: 0,
            containers: Vec::new(),
            known: false,
        }
    }

    fn count(&mut self, time: Timestamp, container: &str, learning: Learning) {
        let minute = time.as_second().div_euclid(60);
        if self.minutes == 0 || minute != self.last_minute {
            self.minutes = self.minutes.saturating_add(1);
            self.last_minute = minute;
        }
        let seen_here = self.containers.iter().any(|seen| **seen == *container);
        if !container.is_empty() && !seen_here && self.containers.len() < learning.containers {
            self.containers.push(container.into());
        }
        self.known = self.minutes >= learning.minutes || self.containers.len() >= learning.containers;
    }
}

/// Whether one more behaviour of that subject can be recorded; what is not known makes room, the longest unseen first.
fn make_room(subject: &mut Subject, all: &mut usize) -> bool {
    if subject.behaviours.len() < BEHAVIOURS && *all < ALL_BEHAVIOURS {
        return true;
    }
    let unknown = subject.behaviours.iter().filter(|(_, sightings)| !sightings.known);
    let oldest = unknown
        .min_by_key(|(_, sightings)| sightings.last_seen)
        .map(|(behaviour, _)| behaviour.clone());
    let Some(oldest) = oldest else {
        return false;
    };
    subject.behaviours.remove(&oldest);
    *all -= 1;
    true
}

/// Something learned, for tests of whatever keeps it.
#[cfg(test)]
pub(crate) fn sample() -> Learned {
    tests::learned()
}
