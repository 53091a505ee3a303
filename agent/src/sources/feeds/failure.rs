//! Why a feed was not fetched.

use std::time::Duration;

/// Why, and whether it is worth trying again soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may work in a moment.
    Later(String),
    /// The server asks for patience, and says how much or not.
    Busy(String, Option<Duration>),
    /// It is the same until somebody changes something.
    Refused(String),
}

impl Failure {
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Later(reason) | Self::Busy(reason, _) | Self::Refused(reason) => reason,
        }
    }
}
