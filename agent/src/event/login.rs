//! A line that sshd, su, sudo or another who lets people in wrote about it.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;

use super::LogSource;

/// What was written, and what of it was understood. A text that the line does not tell is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The program's name in the log.
    pub program: Box<str>,
    /// Its process id.
    pub process: Option<u32>,
    /// What it wrote.
    pub message: Box<str>,
    /// What came of the attempt, of a line that tells that.
    pub outcome: Option<Outcome>,
    /// Why nothing came of it: [`reason`]'s names.
    pub reason: Box<str>,
    /// By what somebody proved to be who he says: `password`, `publickey`, `keyboard-interactive/pam`…
    pub method: Box<str>,
    /// The fingerprint of the key.
    pub key: Box<str>,
    /// Who logs in, or asks for another's rights.
    pub user: Box<str>,
    /// No user of that name may log in.
    pub invalid_user: bool,
    /// Whose rights are asked for.
    pub target_user: Box<str>,
    /// From where.
    pub source: Option<IpAddr>,
    /// From which port.
    pub source_port: Option<u16>,
    /// At which terminal.
    pub tty: Box<str>,
    /// In which folder.
    pub directory: Box<str>,
    /// What shall be run with the other's rights.
    pub command: Box<str>,
    /// So often the same was written, if a log daemon counted instead of repeating it.
    pub times: u32,
    /// What is remembered of the address and the user.
    pub remembered: Option<Arc<Remembered>>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody is in.
    Success,
    /// Nobody is.
    Failure,
}

impl Outcome {
    /// As rules see it under `login.outcome`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// What is remembered of an address, and of an address and a user, before a line was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Attempts from the address that came to nothing in the last hour, but for those of users who came in since.
    pub failures: u32,
    /// The same of its network.
    pub network_failures: u32,
    /// Under so many names.
    pub failed_users: u32,
    /// When that user first came in from the address; `None` if that was never seen.
    pub first_seen: Option<Timestamp>,
    /// The same of its network.
    pub network_first_seen: Option<Timestamp>,
}

/// Why an attempt came to nothing, as rules see it under `login.reason`.
pub mod reason {
    /// The proof was wrong: password, key…
    pub const WRONG_PROOF: &str = "wrong-proof";
    /// No user of that name may log in.
    pub const INVALID_USER: &str = "invalid-user";
    /// The user exists and may not log in so, or not from there.
    pub const NOT_ALLOWED: &str = "not-allowed";
    /// Too many attempts in one connection.
    pub const TOO_MANY_ATTEMPTS: &str = "too-many-attempts";
    /// The connection ended before anybody was in.
    pub const GIVEN_UP: &str = "given-up";
    /// Sudo's configuration does not know the user.
    pub const NOT_IN_SUDOERS: &str = "not-in-sudoers";
    /// Nobody could be asked for a password.
    pub const PASSWORD_REQUIRED: &str = "password-required";
}

impl Login {
    /// The family whose rules judge it: sshd and sudo have one each in Sigma.
    pub fn log_source(&self) -> LogSource {
        match self.service() {
            "sshd" => LogSource::Sshd,
            "sudo" => LogSource::Sudo,
            _ => LogSource::Auth,
        }
    }

    /// The service, under one name whichever of its programs wrote.
    pub fn service(&self) -> &str {
        match &*self.program {
            // OpenSSH runs a program a session from 9.8 on, and one before it is authenticated from 10.0 on.
            "sshd-session" | "sshd-auth" => "sshd",
            program => program,
        }
    }
}
