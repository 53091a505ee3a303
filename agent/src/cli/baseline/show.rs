//! What was learned, for people and for programs.

use std::io::Write;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::{
    enrich::baseline::{Learning, state},
    event::baseline::{Behaviour, BehaviourKind, Learned, Sightings, Subject},
    sinks::visible::visible,
};

/// A paragraph an image, a line a behaviour. Whoever names an image or a program chose the name.
pub(super) fn text(learned: &Learned, learning: Learning, now: Timestamp, out: &mut impl Write) -> Result<()> {
    if learned.subjects.is_empty() {
        writeln!(out, "nothing was learned yet")?;
    }
    for (number, (key, subject)) in learned.subjects.iter().enumerate() {
        let gap = if number > 0 { "\n" } else { "" };
        let name = if subject.name.is_empty() { "" } else { "  " };
        let whose = format!("{}{name}{key}", subject.name);
        writeln!(out, "{gap}{}  {}", visible(&whose), age(subject, learning, now))?;
        for (behaviour, sightings) in sorted(subject) {
            let state = state(learning, subject, Some(sightings), now).name();
            let (id, seen) = (behaviour.id(), seen(sightings));
            writeln!(
                out,
                "  {id}  {state:8}  {:14}  {}  ({seen})",
                behaviour.kind.name(),
                visible(&what(behaviour))
            )?;
        }
    }
    Ok(())
}

/// One object.
pub(super) fn json(learned: &Learned, learning: Learning, now: Timestamp, out: &mut impl Write) -> Result<()> {
    #[derive(Serialize)]
    struct Shown<'a> {
        id: String,
        state: &'static str,
        #[serde(flatten)]
        behaviour: &'a Behaviour,
        #[serde(flatten)]
        sightings: &'a Sightings,
    }
    let subjects = learned.subjects.iter().map(|(key, subject)| {
        let behaviours = sorted(subject).into_iter().map(|(behaviour, sightings)| Shown {
            id: behaviour.id(),
            state: state(learning, subject, Some(sightings), now).name(),
            behaviour,
            sightings,
        });
        json!({
            "subject": key,
            "image": subject.name,
            "first_seen": subject.first_seen,
            "last_seen": subject.last_seen,
            "learns_until": ends(subject, learning),
            "behaviours": behaviours.collect::<Vec<_>>(),
        })
    });
    let shown = json!({ "subjects": subjects.collect::<Vec<_>>() });
    serde_json::to_writer_pretty(&mut *out, &shown)?;
    Ok(writeln!(out)?)
}

fn sorted(subject: &Subject) -> Vec<(&Behaviour, &Sightings)> {
    let mut behaviours: Vec<_> = subject.behaviours.iter().collect();
    behaviours.sort_unstable_by_key(|(behaviour, _)| *behaviour);
    behaviours
}

/// When the learning of an image ends or ended.
fn ends(subject: &Subject, learning: Learning) -> Timestamp {
    if subject.settled {
        return subject.first_seen;
    }
    subject
        .first_seen
        .saturating_add(learning.duration)
        .unwrap_or(Timestamp::MAX)
}

fn age(subject: &Subject, learning: Learning, now: Timestamp) -> String {
    let ends = ends(subject, learning);
    match subject.settled {
        true => "approved".into(),
        false if now < ends => format!("learns until {ends}"),
        false => format!("learned since {ends}"),
    }
}

fn what(behaviour: &Behaviour) -> String {
    let Behaviour {
        kind,
        program,
        origin,
        worker,
        destination,
        arguments,
    } = behaviour;
    let origin = if &**origin == "image" {
        String::new()
    } else {
        format!(" [{origin}]")
    };
    let gap = if arguments.is_empty() { "" } else { " " };
    let does = format!("{program}{origin}{gap}{arguments}");
    match kind {
        BehaviourKind::KubernetesApi => format!("{does} → {destination}"),
        BehaviourKind::Child => format!("{worker} runs {does}"),
        BehaviourKind::Drift => does,
    }
}

fn seen(sightings: &Sightings) -> String {
    let (minutes, containers) = (sightings.minutes, sightings.containers.len());
    format!(
        "last seen {}; counted in {minutes} minutes, {containers} containers",
        sightings.last_seen
    )
}
