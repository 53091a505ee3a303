//! Why a feed was not fetched.

/// Why, and whether it is worth trying again soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may work in a moment.
    Later(String),
    /// It is the same until somebody changes something.
    Refused(String),
}

impl Failure {
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Later(reason) | Self::Refused(reason) => reason,
        }
    }
}
