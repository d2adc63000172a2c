//! What changed a claim's status, in one stable word.
//!
//! Invariant: a word, once published, keeps its meaning. No word tells of another account's claim.

use super::status::Cause;
use serde::{Deserialize, Serialize};

/// The cause of a change of status, as it stands in JSON and in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventCause {
    /// The domain was claimed.
    Created,
    /// Every required record was right.
    AllRight,
    /// The window was over, and a record was not right.
    WindowOver,
    /// So was the time of grace.
    GraceOver,
    /// The owner asked for a new verification.
    VerifyRequested,
    /// The claim's own records are gone.
    RecordsGone,
}

impl EventCause {
    /// As it stands in JSON and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::AllRight => "all_right",
            Self::WindowOver => "window_over",
            Self::GraceOver => "grace_over",
            Self::VerifyRequested => "asked",
            Self::RecordsGone => "records_gone",
        }
    }
}

impl From<&Cause> for EventCause {
    fn from(cause: &Cause) -> Self {
        match cause {
            Cause::AllRight => Self::AllRight,
            Cause::WindowOver(_) => Self::WindowOver,
            Cause::GraceOver(_) => Self::GraceOver,
            Cause::VerifyRequested => Self::VerifyRequested,
            // Nobody learns of another account's claim: what its owner sees is that the records are gone.
            Cause::Displaced => Self::RecordsGone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_the_same_word_everywhere() {
        use EventCause::{AllRight, Created, GraceOver, RecordsGone, VerifyRequested, WindowOver};
        for cause in [Created, AllRight, WindowOver, GraceOver, VerifyRequested, RecordsGone] {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
            assert_eq!(serde_json::from_value::<EventCause>(cause.as_str().into()).unwrap(), cause);
        }
    }
}
