//! Exceptions that end by themselves: a Sigma filter says until when by `tocsin: {expires: 2026-12-24}`.
//!
//! What was excepted in a hurry is seldom taken back by hand. The clock is the caller's: the agent and every command ask
//! the wall clock as they load, a replay too, since the question is whether the operator's word still holds.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use rsigma_parser::FilterRule;
use serde::Deserialize;

use super::{
    document::Documents,
    problem::{Problem, Severity},
};

/// The key under which an exception says when it ends.
pub const KEY: &str = "expires";

/// What has ended of a set of exceptions, and what will.
#[derive(Clone, Debug, Default)]
pub struct Expiries {
    /// The exceptions that are no longer in force, each as a note with its place.
    pub ended: Vec<Problem>,
    /// When the next one ends.
    pub next: Option<Timestamp>,
}

impl Documents {
    /// Leaves out the exceptions that have ended at `now`.
    pub fn expire(&mut self, now: Timestamp) -> Expiries {
        let mut expiries = Expiries::default();
        self.filters.retain(|filter| {
            let Ok(Some(end)) = expiry(&filter.what) else {
                return true;
            };
            if end <= now {
                let reason = format!("the exception ended at {end:.0} and is no longer in force");
                expiries.ended.push(filter.place.problem(Severity::Note, KEY, reason));
                return false;
            }
            expiries.next = Some(expiries.next.map_or(end, |next| next.min(end)));
            true
        });
        expiries
    }
}

/// What our custom attribute `tocsin` can say of a filter.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    expires: Option<String>,
}

/// The moment from which a filter is no longer in force, if it says one; a date means the end of that day in UTC.
pub(super) fn expiry(filter: &FilterRule) -> Result<Option<Timestamp>, String> {
    if filter.custom_attributes.contains_key(KEY) {
        return Err(format!("{KEY} has no effect here: write tocsin: {{{KEY}: …}}"));
    }
    let Some(written) = filter.custom_attributes.get("tocsin") else {
        return Ok(None);
    };
    let attributes = yaml_serde::from_value::<Attributes>(written.clone());
    let attributes = attributes.map_err(|error| format!("not an attribute of ours: {error}"))?;
    attributes.expires.as_deref().map(moment).transpose()
}

/// A date, through its last second in UTC, or an RFC 3339 time.
pub fn moment(written: &str) -> Result<Timestamp, String> {
    const DATE: usize = "2026-12-24".len();
    let refused = || format!("{written} is neither a date such as 2026-12-24 nor a time such as 2026-12-24T18:00:00Z");
    if written.len() != DATE {
        return written.parse().map_err(|_| refused());
    }
    let date: Date = written.parse().map_err(|_| refused())?;
    let midnight = date.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC));
    midnight.map(|midnight| midnight.timestamp()).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_or_a_time() {
        let cases = [
            ("2026-12-24", Some("2026-12-25T00:00:00Z")),
            ("2026-12-24T18:00:00Z", Some("2026-12-24T18:00:00Z")),
            ("2026-12-24T18:00:00+01:00", Some("2026-12-24T17:00:00Z")),
            ("2026-12-24T18:00:00", None),
            ("2026-02-30", None),
            ("24.12.2026", None),
            ("soon", None),
            ("", None),
        ];
        for (written, expected) in cases {
            let expected = expected.map(|time| time.parse().unwrap());
            assert_eq!(moment(written).ok(), expected, "{written}");
        }
    }
}
