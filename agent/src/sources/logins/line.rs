//! A line of `auth.log` or `secure`: when, by which program, what.

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

/// What a line says, beside its host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// When it was written.
    pub time: Timestamp,
    /// By which program.
    pub program: &'a str,
    /// By which process.
    pub process: Option<u32>,
    /// What.
    pub message: &'a str,
}

/// What is needed to read times without year and zone: the node's zone, and about when such a line was written.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    /// The node's zone.
    pub zone: TimeZone,
    /// No line is from later, but for a clock that was set.
    pub now: Timestamp,
}

/// A program's name is no longer.
const LONGEST_NAME: usize = 64;

/// `TIME HOST PROGRAM[PROCESS]: MESSAGE`, by a time of RFC 3339 or by one without a year (`Nov 29 02:20:53`).
pub(super) fn read<'a>(line: &'a str, clock: &Clock) -> Option<Line<'a>> {
    let (time, rest) = time(line, clock)?;
    let (_host, rest) = rest.split_once(' ')?;
    let (tag, message) = rest.split_once(':')?;
    let (program, process) = match tag.split_once('[') {
        Some((program, process)) => (program, process.strip_suffix(']')?.parse().ok()),
        None => (tag, None),
    };
    let named = !program.is_empty() && program.len() <= LONGEST_NAME && !program.contains(' ');
    named.then(|| Line {
        time,
        program,
        process,
        message: message.trim_start(),
    })
}

fn time<'a>(line: &'a str, clock: &Clock) -> Option<(Timestamp, &'a str)> {
    if line.starts_with(|first: char| first.is_ascii_digit()) {
        let (time, rest) = line.split_once(' ')?;
        return Some((time.parse().ok()?, rest));
    }
    let (time, rest) = line.split_at_checked(15)?;
    Some((in_year(time, clock)?, rest.strip_prefix(' ')?))
}

/// The last such moment that is not after tomorrow.
fn in_year(time: &str, clock: &Clock) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = time.split_ascii_whitespace();
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = i8::try_from(month + 1).ok()?;
    let day: i8 = words.next()?.parse().ok()?;
    let of_day: civil::Time = words.next()?.parse().ok()?;
    let year = clock.now.to_zoned(clock.zone.clone()).year();
    let latest = clock.now.checked_add(SignedDuration::from_hours(24)).ok()?;
    // The last 29 February may be eight years ago.
    (year.saturating_sub(8)..=year).rev().find_map(|year| {
        let date = civil::Date::new(year, month, day).ok()?;
        let zoned = date.to_datetime(of_day).to_zoned(clock.zone.clone()).ok()?;
        (zoned.timestamp() <= latest).then(|| zoned.timestamp())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(&str, &str, Option<u32>, &str)>) {
        let clock = Clock {
            zone: TimeZone::fixed(jiff::tz::offset(1)),
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
        };
        let found = read(line, &clock);
        let found = found.map(|line| (line.time.to_string(), line.program, line.process, line.message));
        let expected = expected.map(|(time, program, process, message)| (time.to_owned(), program, process, message));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn both_forms_of_a_line_are_read() {
        check(
            "2026-01-02T04:04:05.123456+01:00 web sshd[4711]: Server listening on :: port 22.",
            Some((
                "2026-01-02T03:04:05.123456Z",
                "sshd",
                Some(4711),
                "Server listening on :: port 22.",
            )),
        );
        check(
            "Jan  2 04:04:05 web sudo:     bob : TTY=pts/0",
            Some(("2026-01-02T03:04:05Z", "sudo", None, "bob : TTY=pts/0")),
        );
        check(
            "Dec 31 23:59:59 web sshd-session[1]: x",
            Some(("2025-12-31T22:59:59Z", "sshd-session", Some(1), "x")),
        );
        check(
            "Jan  3 04:04:04 web su: x",
            Some(("2026-01-03T03:04:04Z", "su", None, "x")),
        );
        check(
            "Jan  3 04:04:06 web su: x",
            Some(("2025-01-03T03:04:06Z", "su", None, "x")),
        );
        check(
            "Feb 29 00:00:00 web su: x",
            Some(("2024-02-28T23:00:00Z", "su", None, "x")),
        );
    }

    #[test]
    fn what_is_no_line_is_none() {
        let lines = [
            "",
            "Jan  2",
            "Jan  2 04:04:05 web",
            "Jan  2 04:04:05 web kernel",
            "Jan  2 04:04:05 web two words: x",
            "Jan 32 04:04:05 web su: x",
            "Jän  2 04:04:05 web su: x",
            "Jan  2 25:04:05 web su: x",
            "2026-01-02 web su: x",
            "9 web su: x",
            "Jan  2 04:04:05 web su[1: x",
            "Jan  2 04:04:05 web : x",
        ];
        for line in lines {
            check(line, None);
        }
    }
}
