//! What su, sudo and login write, and what PAM's modules write for whoever asks them.

use std::net::IpAddr;

use crate::event::{Login, Outcome, reason};

/// Takes the facts of what sudo writes: `USER : [REASON ; ]TTY=… ; PWD=… ; USER=… ; COMMAND=…`. Who asks is named first,
/// by the node; folder and command are his own words and come last.
pub(super) fn sudo(message: &str, login: &mut Login) -> bool {
    if message.starts_with("pam_") {
        return pam(message, login);
    }
    let Some((user, rest)) = message.trim_start().split_once(" : ") else {
        return true;
    };
    let (why, facts) = match rest.strip_prefix("TTY=") {
        Some(_) => ("", rest),
        None => match rest.split_once(" ; TTY=") {
            Some((why, _)) => (why, &rest[why.len() + " ; ".len()..]),
            // A command that was too long for one line goes on, or nothing was asked for yet.
            None => return !rest.contains("COMMAND="),
        },
    };
    login.user = user.into();
    login.tty = between(facts, "TTY=").into();
    login.directory = between(facts, " ; PWD=").into();
    login.target_user = between(facts, " ; USER=").into();
    if let Some((_, command)) = facts.split_once(" ; COMMAND=") {
        login.command = command.into();
    }
    login.method = "sudo".into();
    // Sudo can be told to name the host, too.
    let why = why
        .split(" ; ")
        .find(|part| !part.starts_with("HOST="))
        .unwrap_or_default();
    login.outcome = Some(if why.is_empty() {
        Outcome::Success
    } else {
        Outcome::Failure
    });
    login.reason = match why {
        "" => "",
        "user NOT in sudoers" => reason::NOT_IN_SUDOERS,
        "a password is required" => reason::PASSWORD_REQUIRED,
        why if why.contains("incorrect password attempt") => reason::WRONG_PROOF,
        _ => reason::NOT_ALLOWED,
    }
    .into();
    true
}

/// What stands between that name and the next one.
fn between<'a>(facts: &'a str, name: &str) -> &'a str {
    let after = facts.split_once(name).map_or("", |(_, after)| after);
    after.split_once(" ; ").map_or(after, |(value, _)| value)
}

/// Takes the facts of what su writes: util-linux's `[FAILED SU ](to USER) USER on TTY`, and shadow's older forms.
pub(super) fn su(message: &str, login: &mut Login) -> bool {
    if message.starts_with("pam_") {
        return pam(message, login);
    }
    let (outcome, rest) = match message
        .strip_prefix("FAILED SU ")
        .or_else(|| message.strip_prefix("FAILED su "))
    {
        Some(rest) => (Outcome::Failure, rest),
        None => (
            Outcome::Success,
            message.strip_prefix("Successful su ").unwrap_or(message),
        ),
    };
    let parts = if let Some(rest) = rest.strip_prefix("(to ") {
        rest.split_once(") ").map(|(target, rest)| {
            let (user, tty) = rest.rsplit_once(" on ").unwrap_or((rest, ""));
            (target, user, tty)
        })
    } else if let Some(rest) = rest.strip_prefix("for ") {
        rest.split_once(" by ").map(|(target, user)| (target, user, ""))
    } else {
        return true;
    };
    let Some((target, user, tty)) = parts else {
        return false;
    };
    login.method = "su".into();
    login.user = user.into();
    login.target_user = target.into();
    login.tty = if tty == "none" { "" } else { tty }.into();
    login.outcome = Some(outcome);
    if outcome == Outcome::Failure {
        login.reason = reason::WRONG_PROOF.into();
    }
    true
}

/// Takes the facts of what login writes: `LOGIN ON TTY BY USER`, `ROOT LOGIN ON TTY`, `FAILED LOGIN (1) on 'TTY' FOR
/// 'USER', …`, each with ` FROM HOST` where there is one.
pub(super) fn console(message: &str, login: &mut Login) -> bool {
    if message.starts_with("pam_") {
        return pam(message, login);
    }
    let (rest, user) = if let Some(rest) = message.strip_prefix("ROOT LOGIN ON ") {
        (rest, "root")
    } else if let Some(rest) = message.strip_prefix("LOGIN ON ") {
        let Some((tty, user)) = rest.split_once(" BY ") else {
            return false;
        };
        (tty, user)
    } else if message.starts_with("FAILED LOGIN ") {
        let Some((place, rest)) = message.split_once(" FOR '") else {
            return false;
        };
        login.outcome = Some(Outcome::Failure);
        login.reason = reason::WRONG_PROOF.into();
        login.user = rest.rsplit_once("', ").map_or(rest, |(user, _)| user).into();
        let tty = place.split('\'').nth(1).unwrap_or_default();
        login.tty = tty.trim_start_matches("/dev/").into();
        return true;
    } else {
        return true;
    };
    login.outcome = Some(Outcome::Success);
    let name = |text: &str| text.split(" FROM ").next().unwrap_or_default().to_owned();
    login.tty = name(rest).into();
    login.user = name(user).into();
    true
}

/// Takes the facts of `MODULE(SERVICE:STEP): authentication failure; … tty=… ruser=… rhost=…  user=…`. The programs above
/// tell the outcome themselves; of others, such as a mail server, this is all there is.
pub(super) fn pam(message: &str, login: &mut Login) -> bool {
    let Some((module, rest)) = message.split_once("): ") else {
        return true;
    };
    let Some((_, service)) = module.split_once('(') else {
        return true;
    };
    let service = service.split(':').next().unwrap_or_default();
    let Some(facts) = rest.strip_prefix("authentication failure; ") else {
        return true;
    };
    // Names that somebody gave stand after `ruser=` and `user=`: what is before the one is read from the left, what is
    // between them from the right.
    let (facts, user) = facts.split_once("  user=").unwrap_or((facts, ""));
    let value = |word: Option<&str>, name: &str| {
        word.and_then(|word| word.strip_prefix(name))
            .unwrap_or_default()
            .to_owned()
    };
    let tty = value(facts.split(' ').find(|word| word.starts_with("tty=")), "tty=");
    let host = value(facts.rsplit(' ').find(|word| word.starts_with("rhost=")), "rhost=");
    login.user = user.into();
    login.tty = tty.trim_start_matches("/dev/").into();
    login.source = host.parse().ok().map(|ip: IpAddr| ip.to_canonical());
    if !matches!(service, "sshd" | "su" | "su-l" | "sudo" | "sudo-i" | "login") {
        login.method = "pam".into();
        login.outcome = Some(Outcome::Failure);
        login.reason = reason::WRONG_PROOF.into();
    }
    true
}
