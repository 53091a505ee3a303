//! What was told of each container and what is yet to be asked: keeps a container's events in order while its facts
//! are on their way, and tells nothing twice.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;

use crate::event::{Container, ContainerAction, ContainerChange, Event, Kind};

/// News of a container.
#[derive(Clone, Debug)]
pub(super) struct Tidings {
    pub(super) told: Told,
    pub(super) time: Timestamp,
    /// What the news themselves say of the container, for when it can no longer be inspected.
    pub(super) said: Container,
}

/// What the runtime told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Create,
    Start,
    Die,
    Destroy,
    /// Its name or its limits changed.
    Update,
    /// It was in the list: of the first connection, or of a later one.
    Standing {
        first: bool,
    },
}

/// What follows from news or from an answer.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// What can be told now.
    pub(super) events: Vec<Event>,
    /// A container that must be inspected; [`Tracker::answered`] wants to hear of it.
    pub(super) ask: Option<String>,
}

/// The containers of one runtime.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    containers: HashMap<String, Tracked>,
}

#[derive(Debug, Default)]
struct Tracked {
    facts: Option<Arc<Container>>,
    /// When the run began that was told of as a start; `None` while it does not run.
    running_since: Option<Box<str>>,
    /// The news whose inspection is on its way, and those that came after.
    waiting: VecDeque<Tidings>,
}

impl Tracker {
    /// Takes in news.
    pub(super) fn told(&mut self, tidings: Tidings) -> Step {
        let id = tidings.said.id.to_string();
        let ended = matches!(tidings.told, Told::Die | Told::Destroy);
        if ended && !self.containers.contains_key(&id) {
            return Step::default();
        }
        let tracked = self.containers.entry(id.clone()).or_default();
        tracked.waiting.push_back(tidings);
        if tracked.waiting.len() > 1 {
            return Step::default();
        }
        self.go_on(id)
    }

    /// Takes in what the inspection of a container gave: `None` if it failed.
    pub(super) fn answered(&mut self, id: &str, facts: Option<Arc<Container>>) -> Step {
        let Some(tracked) = self.containers.get_mut(id) else {
            return Step::default();
        };
        let Some(tidings) = tracked.waiting.pop_front() else {
            return Step::default();
        };
        let told = tracked.answered(&tidings, facts);
        let mut step = self.go_on(id.to_owned());
        step.events.splice(0..0, told);
        step
    }

    /// Takes in that no answer will come any more.
    pub(super) fn abandon(&mut self) -> Vec<Event> {
        let mut unanswered: Vec<String> = Vec::new();
        unanswered.extend(
            self.containers
                .iter()
                .filter(|(_, tracked)| !tracked.waiting.is_empty())
                .map(|(id, _)| id.clone()),
        );
        let mut events = Vec::new();
        while let Some(id) = unanswered.pop() {
            let step = self.answered(&id, None);
            events.extend(step.events);
            unanswered.extend(step.ask);
        }
        events
    }

    /// Takes in that no other containers are left than those.
    pub(super) fn forget_all_but(&mut self, standing: &[Tidings], now: Timestamp) -> Vec<Event> {
        let standing: HashSet<&str> = standing.iter().map(|tidings| &*tidings.said.id).collect();
        let gone = self.containers.extract_if(|id, _| !standing.contains(id.as_str()));
        gone.flat_map(|(_, mut tracked)| {
            let died = tracked
                .running_since
                .take()
                .and_then(|_| tracked.change(ContainerAction::Die, now, false));
            let destroyed = tracked.change(ContainerAction::Destroy, now, false);
            died.into_iter().chain(destroyed)
        })
        .collect()
    }

    /// Tells what needs no inspection, up to the news that do.
    fn go_on(&mut self, id: String) -> Step {
        let mut events = Vec::new();
        let Some(tracked) = self.containers.get_mut(&id) else {
            return Step::default();
        };
        while let Some(tidings) = tracked.waiting.front() {
            let (told, time) = (tidings.told, tidings.time);
            match told {
                Told::Create | Told::Start | Told::Update | Told::Standing { .. } => {
                    return Step { events, ask: Some(id) };
                }
                Told::Die => {
                    // After a reconnection the list may have told of the end before the event does.
                    if tracked.running_since.take().is_some() {
                        events.extend(tracked.change(ContainerAction::Die, time, false));
                    }
                }
                Told::Destroy => {
                    events.extend(tracked.change(ContainerAction::Destroy, time, false));
                    self.containers.remove(&id);
                    return Step { events, ask: None };
                }
            }
            tracked.waiting.pop_front();
        }
        Step { events, ask: None }
    }
}

impl Tracked {
    /// Puts the answer into the table and says what it tells.
    fn answered(&mut self, tidings: &Tidings, answer: Option<Arc<Container>>) -> Option<Event> {
        let inspected = answer.is_some();
        let facts = answer
            .or_else(|| self.facts.take())
            .unwrap_or_else(|| Arc::new(tidings.said.clone()));
        let runs = facts.init_pid != 0;
        let started_at = facts.started_at.clone();
        self.facts = Some(facts);
        let (action, startup) = match tidings.told {
            Told::Create => (ContainerAction::Create, false),
            Told::Start if inspected && self.running_since.as_ref() == Some(&started_at) => return None,
            Told::Start => (ContainerAction::Start, false),
            Told::Standing { first } if runs && self.running_since.as_ref() != Some(&started_at) => {
                (ContainerAction::Start, first)
            }
            Told::Standing { .. } if inspected && !runs && self.running_since.take().is_some() => {
                (ContainerAction::Die, false)
            }
            Told::Standing { first } => (ContainerAction::Describe, first),
            Told::Update => (ContainerAction::Describe, false),
            Told::Die | Told::Destroy => return None,
        };
        if action == ContainerAction::Start {
            self.running_since = Some(started_at);
        }
        self.change(action, tidings.time, startup)
    }

    fn change(&self, action: ContainerAction, time: Timestamp, startup: bool) -> Option<Event> {
        let container = Arc::clone(self.facts.as_ref()?);
        Some(event(
            time,
            startup,
            Kind::Container(Box::new(ContainerChange { action, container })),
        ))
    }
}

/// An event of a live source.
pub(super) fn event(time: Timestamp, startup: bool, kind: Kind) -> Event {
    Event {
        time,
        startup,
        kind,
        given: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Metadata;

    fn tidings(told: Told) -> Tidings {
        let said = Container {
            id: "a".into(),
            name: "said".into(),
            metadata: Metadata::Unavailable,
            ..Container::default()
        };
        Tidings {
            told,
            time: Timestamp::UNIX_EPOCH,
            said,
        }
    }

    /// An inspection's facts: it runs since `started_at`, or does not if that is empty.
    fn facts(started_at: &str) -> Arc<Container> {
        Arc::new(Container {
            id: "a".into(),
            name: "inspected".into(),
            metadata: Metadata::Known,
            started_at: started_at.into(),
            init_pid: u32::from(!started_at.is_empty()),
            ..Container::default()
        })
    }

    /// What happens to a tracker.
    enum Input {
        Told(Told),
        Answer(&'static str),
        NoAnswer,
        Lost,
        Listed(&'static [Told]),
    }
    use Input::{Answer, Listed, Lost, NoAnswer};
    use Told::{Create, Destroy, Die, Standing, Start, Update};

    /// Feeds the inputs; each makes one text: the actions that were told (`*` for start-up, `?` for what only the news
    /// said), and `ask`.
    fn check(inputs: &[(Input, &str)]) {
        let mut tracker = Tracker::default();
        for (number, (input, expected)) in inputs.iter().enumerate() {
            let step = match input {
                Input::Told(told) => tracker.told(tidings(*told)),
                Answer(started_at) => tracker.answered("a", Some(facts(started_at))),
                NoAnswer => tracker.answered("a", None),
                Lost => Step {
                    events: tracker.abandon(),
                    ask: None,
                },
                Listed(standing) => {
                    let standing: Vec<_> = standing.iter().map(|told| tidings(*told)).collect();
                    Step {
                        events: tracker.forget_all_but(&standing, Timestamp::UNIX_EPOCH),
                        ask: None,
                    }
                }
            };
            let mut words: Vec<String> = step.events.iter().map(word).collect();
            words.extend(step.ask.map(|_| "ask".to_owned()));
            assert_eq!(words.join(" "), *expected, "step {number}");
        }
        let left = tracker
            .containers
            .values()
            .filter(|tracked| !tracked.waiting.is_empty())
            .count();
        assert_eq!(left, 0, "something waits for ever");
    }

    fn word(event: &Event) -> String {
        let Kind::Container(change) = &event.kind else {
            panic!("unexpected event {event:?}");
        };
        let startup = if event.startup { "*" } else { "" };
        let said = if &*change.container.name == "said" { "?" } else { "" };
        format!("{}{startup}{said}", change.action.name())
    }

    #[test]
    fn a_container_lives() {
        check(&[
            (Input::Told(Create), "ask"),
            (Answer(""), "create"),
            (Input::Told(Start), "ask"),
            (Answer("10:00"), "start"),
            (Input::Told(Update), "ask"),
            (Answer("10:00"), "describe"),
            (Input::Told(Die), "die"),
            (Input::Told(Start), "ask"),
            (Answer("10:05"), "start"),
            (Input::Told(Die), "die"),
            (Input::Told(Destroy), "destroy"),
            (Input::Told(Destroy), ""),
        ]);
    }

    #[test]
    fn events_keep_their_order_while_facts_are_on_their_way() {
        check(&[
            (Input::Told(Create), "ask"),
            (Input::Told(Start), ""),
            (Input::Told(Die), ""),
            (Answer("10:00"), "create ask"),
            (Input::Told(Destroy), ""),
            (NoAnswer, "start die destroy"),
        ]);
    }

    #[test]
    fn a_container_that_is_gone_is_told_of_with_what_the_news_said() {
        check(&[
            (Input::Told(Create), "ask"),
            (NoAnswer, "create?"),
            (Input::Told(Start), "ask"),
            (Input::Told(Die), ""),
            (Input::Told(Destroy), ""),
            (NoAnswer, "start? die? destroy?"),
        ]);
    }

    #[test]
    fn the_first_list_is_the_start_up_state() {
        check(&[
            (Input::Told(Standing { first: true }), "ask"),
            (Answer("10:00"), "start*"),
            (Input::Told(Start), "ask"),
            (Answer("10:00"), ""),
        ]);
        check(&[
            (Input::Told(Standing { first: true }), "ask"),
            (Answer(""), "describe*"),
        ]);
    }

    #[test]
    fn a_lost_connection_loses_nothing_and_repeats_nothing() {
        const AGAIN: Told = Standing { first: false };
        check(&[
            (Input::Told(Standing { first: true }), "ask"),
            (Answer("10:00"), "start*"),
            (Lost, ""),
            (Listed(&[AGAIN]), ""),
            (Input::Told(AGAIN), "ask"),
            (Answer("10:00"), "describe"),
            (Lost, ""),
            (Listed(&[AGAIN]), ""),
            (Input::Told(AGAIN), "ask"),
            (Answer("11:00"), "start"),
            (Input::Told(Start), "ask"),
            (Answer("11:00"), ""),
            (Lost, ""),
            (Input::Told(AGAIN), "ask"),
            (Input::Told(Die), ""),
            (Answer(""), "die"),
            (Lost, ""),
            (Listed(&[]), "destroy"),
            (Input::Told(Destroy), ""),
        ]);
        check(&[
            (Input::Told(Create), "ask"),
            (Answer(""), "create"),
            (Input::Told(Start), "ask"),
            (Answer("10:00"), "start"),
            (Listed(&[]), "die destroy"),
        ]);
        check(&[
            (Input::Told(Create), "ask"),
            (Input::Told(Start), ""),
            (Lost, "create? start?"),
        ]);
    }
}
