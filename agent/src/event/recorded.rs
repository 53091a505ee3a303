//! Recorded events: JSON objects with a time, a category, and fields by the names that rules use.

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Event, Kind, LogSource};

/// An event as `tocsin record` writes it: `time` (RFC 3339, or seconds since 1970), `category`, and the fields, flat.
pub fn event_from_json(mut fields: Map<String, Value>) -> Result<Event> {
    let category = fields.remove("category").context("the event has no category")?;
    let category = category.as_str().context("the event's category is no text")?;
    let source = LogSource::by_name(category).with_context(|| format!("no event is of the category {category}"))?;
    let time = timestamp(&fields.remove("time").context("the event has no time")?)?;
    Ok(Event {
        time,
        startup: fields.get("event.startup").and_then(Value::as_bool).unwrap_or_default(),
        kind: Kind::Recorded(source),
        given: Some(Box::new(fields)),
    })
}

/// An event of a line of JSON.
pub fn event_from_line(line: &str) -> Result<Event> {
    let Value::Object(fields) = serde_json::from_str(line).context("not JSON")? else {
        bail!("the line is no JSON object");
    };
    event_from_json(fields)
}

fn timestamp(time: &Value) -> Result<Timestamp> {
    if let Some(text) = time.as_str() {
        return text.parse().with_context(|| format!("{text} is no RFC 3339 time"));
    }
    let seconds = time.as_f64().with_context(|| format!("{time} is no time"))?;
    // What a timestamp can hold ends far beyond any clock, and before the cast could lose anything that matters.
    ensure!(seconds.abs() < 1e11, "{time} is no time in seconds since 1970");
    let nanoseconds = (seconds.fract() * 1e9) as i32;
    Ok(Timestamp::new(seconds.trunc() as i64, nanoseconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<(&str, LogSource), &str>) {
        let event = event_from_line(line);
        let found = event
            .as_ref()
            .map(|event| (event.time.to_string(), event.kind.log_source().unwrap()));
        let found = found.map_err(|error| format!("{error:#}"));
        let expected = expected.map(|(time, source)| (time.to_owned(), source));
        match (found, expected) {
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => assert_eq!(found, expected.map_err(str::to_owned)),
        }
    }

    #[test]
    fn a_line_becomes_an_event_or_says_why_not() {
        let exec = LogSource::ProcessCreation;
        check(
            r#"{"time":"2026-11-24T01:02:03Z","category":"process_creation","Image":"/bin/true"}"#,
            Ok(("2026-11-24T01:02:03Z", exec)),
        );
        check(
            r#"{"time":1.5,"category":"process_creation"}"#,
            Ok(("1970-01-01T00:00:01.5Z", exec)),
        );
        check(
            r#"{"time":86400,"category":"health"}"#,
            Ok(("1970-01-02T00:00:00Z", LogSource::Health)),
        );
        check(
            r#"{"time":1e300,"category":"health"}"#,
            Err("is no time in seconds since 1970"),
        );
        check(
            r#"{"time":"yesterday","category":"health"}"#,
            Err("yesterday is no RFC 3339 time"),
        );
        check(r#"{"time":[],"category":"health"}"#, Err("[] is no time"));
        check(r#"{"category":"health"}"#, Err("the event has no time"));
        check(r#"{"time":1}"#, Err("the event has no category"));
        check(r#"{"time":1,"category":"nap"}"#, Err("no event is of the category nap"));
        check("[1]", Err("no JSON object"));
        check("{", Err("not JSON"));
    }

    #[test]
    fn the_fields_are_kept_and_a_standing_thing_is_known_as_such() {
        let line = r#"{"time":1,"category":"process_creation","event.startup":true,"Image":"/bin/true"}"#;
        let event = event_from_line(line).unwrap();
        assert!(event.startup);
        assert_eq!(event.given.unwrap()["Image"], "/bin/true");
    }
}
