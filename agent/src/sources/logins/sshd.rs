//! What sshd writes about attempts to log in.
//!
//! A user's name is whatever a stranger sends, spaces and all: `a from 192.0.2.1 port 22 ssh2` is one. So what follows
//! the name is looked for from the right end of the message, where sshd itself wrote last. Only who was let in has a
//! name that the node gave, while what ends that message (a certificate's id) may be another's: it is read from the left.

use std::net::IpAddr;

use crate::event::{Login, Outcome, reason};

/// Takes the facts of a message. Whether it was understood, of one that ought to be.
pub(super) fn read(message: &str, login: &mut Login) -> bool {
    // Of a connection that nobody is authenticated on, as sshd's unprivileged half says it.
    let message = message.strip_suffix(" [preauth]").unwrap_or(message);
    let message = message.strip_prefix("error: ").unwrap_or(message);
    if let Some(rest) = message.strip_prefix("Accepted ") {
        return accepted(rest, login).is_some();
    }
    if let Some(rest) = message.strip_prefix("Failed ") {
        return failed(rest, login).is_some();
    }
    let invalid = message
        .strip_prefix("Invalid user ")
        .or_else(|| message.strip_prefix("Illegal user "));
    if let Some(rest) = invalid {
        login.reason = reason::INVALID_USER.into();
        login.invalid_user = true;
        return name_from_place(rest, login).is_some();
    }
    if let Some(rest) = message.strip_prefix("maximum authentication attempts exceeded for ") {
        login.reason = reason::TOO_MANY_ATTEMPTS.into();
        return rest
            .strip_suffix(" ssh2")
            .and_then(|rest| name_from_place(without_invalid(rest, login), login))
            .is_some();
    }
    if let Some(rest) = message.strip_prefix("User ")
        && let Some((rest, _)) = rest.rsplit_once(" not allowed because ")
    {
        login.reason = reason::NOT_ALLOWED.into();
        return name_from_place(rest, login).is_some();
    }
    if let Some(rest) = message.strip_prefix("ROOT LOGIN REFUSED FROM ") {
        login.reason = reason::NOT_ALLOWED.into();
        login.user = "root".into();
        return place(rest, login).is_some();
    }
    match ended(message) {
        Some(rest) => given_up(rest, login).is_some(),
        None => true,
    }
}

/// `METHOD for USER from ADDRESS port PORT ssh2[: KEY]`
fn accepted(rest: &str, login: &mut Login) -> Option<()> {
    let (method, rest) = rest.split_once(" for ")?;
    let (user, rest) = rest.split_once(" from ")?;
    let (address, rest) = rest.split_once(" port ")?;
    let (port, rest) = rest.split_once(' ')?;
    put_place(address, port, login)?;
    login.key = key(rest);
    login.method = method.into();
    login.user = user.into();
    login.outcome = Some(Outcome::Success);
    Some(())
}

/// `METHOD for [invalid user ]USER from ADDRESS port PORT ssh2[: KEY]`
fn failed(rest: &str, login: &mut Login) -> Option<()> {
    let (method, rest) = rest.split_once(" for ")?;
    let (rest, key_told) = match rest.strip_suffix(" ssh2") {
        Some(rest) => (rest, ""),
        // Only of keys more is told, none of which a stranger writes.
        None => rest.rsplit_once(" ssh2: ")?,
    };
    name_from_place(without_invalid(rest, login), login)?;
    login.key = key(key_told);
    login.method = method.into();
    login.outcome = Some(Outcome::Failure);
    login.reason = if login.invalid_user {
        reason::INVALID_USER.into()
    } else {
        reason::WRONG_PROOF.into()
    };
    Some(())
}

/// What follows the words by which a connection's end is told.
fn ended(message: &str) -> Option<&str> {
    const WORDS: [&str; 4] = [
        "Connection closed by ",
        "Connection reset by ",
        "Disconnected from ",
        "Disconnecting ",
    ];
    WORDS.iter().find_map(|words| message.strip_prefix(words))
}

/// `authenticating user USER ADDRESS port PORT[: REASON]`, and the same of an invalid one. Whoever never said a name, or
/// was in, has not given up.
fn given_up(rest: &str, login: &mut Login) -> Option<()> {
    let rest = if let Some(rest) = rest.strip_prefix("authenticating user ") {
        rest
    } else if let Some(rest) = rest.strip_prefix("invalid user ") {
        login.invalid_user = true;
        rest
    } else {
        return Some(());
    };
    // That ends in names that a stranger wrote.
    if rest.contains(": Change of username or service not allowed") {
        return Some(());
    }
    let (rest, why) = match rest.strip_suffix(": Too many authentication failures") {
        Some(rest) => (rest, reason::TOO_MANY_ATTEMPTS),
        None => (rest, reason::GIVEN_UP),
    };
    login.reason = why.into();
    let (rest, port) = rest.rsplit_once(" port ")?;
    let (user, address) = rest.rsplit_once(' ')?;
    put_place(address, port, login)?;
    login.user = user.into();
    Some(())
}

fn without_invalid<'a>(rest: &'a str, login: &mut Login) -> &'a str {
    let without = rest
        .strip_prefix("invalid user ")
        .or_else(|| rest.strip_prefix("illegal user "));
    login.invalid_user |= without.is_some();
    without.unwrap_or(rest)
}

/// `USER from ADDRESS[ port PORT]`, the name being all that comes before the last of these words.
fn name_from_place(rest: &str, login: &mut Login) -> Option<()> {
    // An empty name leaves nothing before the word.
    let (user, rest) = match rest.rsplit_once(" from ") {
        Some(parts) => parts,
        None => ("", rest.strip_prefix("from ")?),
    };
    place(rest, login)?;
    login.user = user.into();
    Some(())
}

/// `ADDRESS[ port PORT]`
fn place(text: &str, login: &mut Login) -> Option<()> {
    match text.split_once(" port ") {
        Some((address, port)) => put_place(address, port, login),
        None => put_place(text, "0", login),
    }
}

/// A connection that has ended meanwhile comes from `UNKNOWN`, and one by a name server's word from a name.
fn put_place(address: &str, port: &str, login: &mut Login) -> Option<()> {
    let port: u16 = port.parse().ok()?;
    if address.is_empty() || address.contains(' ') {
        return None;
    }
    let (address, _zone) = address.split_once('%').unwrap_or((address, ""));
    login.source = address.parse().ok().map(|ip: IpAddr| ip.to_canonical());
    login.source_port = (port != 0 && login.source.is_some()).then_some(port);
    Some(())
}

/// The fingerprint in `ssh2: ED25519 SHA256:…`; of a certificate its own, not its authority's.
fn key(told: &str) -> Box<str> {
    let prints = told.split(' ').find(|word| {
        let mut halves = word.splitn(2, ':');
        matches!(halves.next(), Some("SHA256" | "MD5")) && halves.next().is_some()
    });
    prints.unwrap_or_default().into()
}
