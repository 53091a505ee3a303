//! From what a program wrote to the facts in it.

use super::{elevation, sshd};
use crate::event::Login;

/// Of a longer message only the beginning is kept: log daemons cut at 8 KiB themselves.
const LONGEST: usize = 8 << 10;

/// So many repetitions at most are believed of one line.
const MOST_TIMES: u32 = 10_000;

/// Whose lines say nothing of logins but their own sessions', one a minute on many nodes.
const OTHERS: [&str; 5] = ["CRON", "cron", "crond", "anacron", "atd"];

/// A message with what is understood of it, and whether it was as such a program's should be. `None` of a program that
/// says nothing of logins.
pub(super) fn read(program: &str, process: Option<u32>, message: &str) -> Option<(Login, bool)> {
    if OTHERS.contains(&program) {
        return None;
    }
    let message = &message[..message.floor_char_boundary(LONGEST)];
    let (times, message) = repeated(message);
    let mut login = Login {
        program: program.into(),
        process,
        message: message.into(),
        times,
        ..Login::default()
    };
    let understood = match login.service().to_owned().as_str() {
        "sshd" if message.starts_with("pam_") => elevation::pam(message, &mut login),
        "sshd" => sshd::read(message, &mut login),
        "sudo" => elevation::sudo(message, &mut login),
        "su" => elevation::su(message, &mut login),
        "login" => elevation::console(message, &mut login),
        _ => elevation::pam(message, &mut login),
    };
    Some((login, understood))
}

/// What rsyslog makes of repetitions, if it is told to: `message repeated 3 times: [ MESSAGE]`.
fn repeated(message: &str) -> (u32, &str) {
    let counted = message.strip_prefix("message repeated ").and_then(|rest| {
        let (times, rest) = rest.split_once(" times: [")?;
        let times: u32 = times.parse().ok()?;
        Some((times.clamp(1, MOST_TIMES), rest.strip_suffix(']')?.trim_start()))
    });
    counted.unwrap_or((1, message))
}

#[cfg(test)]
mod tests;
