//! The cause of a status change, as a stable code. Invariant: a published code keeps its meaning. No code reveals
//! another account's claim.

use super::status::Cause;
use serde::{Deserialize, Serialize};

/// The cause of a status change, as in JSON and in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventCause {
    Created,
    /// Every required record was valid.
    AllRight,
    /// The window was over, and a record was invalid.
    WindowOver,
    /// The grace period was over, and a record was invalid.
    GraceOver,
    /// The owner asked for a new verification.
    #[serde(rename = "asked")]
    VerifyRequested,
    /// The claim's own records are missing.
    RecordsGone,
}

impl From<&Cause> for EventCause {
    fn from(cause: &Cause) -> Self {
        match cause {
            Cause::AllRight => Self::AllRight,
            Cause::WindowOver(_) => Self::WindowOver,
            Cause::GraceOver(_) => Self::GraceOver,
            Cause::VerifyRequested => Self::VerifyRequested,
            // Never reveal another account's claim: the owner sees that the records are missing.
            Cause::Displaced => Self::RecordsGone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_are_stored_and_published() {
        use EventCause::{AllRight, Created, GraceOver, RecordsGone, VerifyRequested, WindowOver};
        for (cause, word) in [
            (Created, "created"),
            (AllRight, "all_right"),
            (WindowOver, "window_over"),
            (GraceOver, "grace_over"),
            (VerifyRequested, "asked"),
            (RecordsGone, "records_gone"),
        ] {
            assert_eq!(serde_json::to_value(cause).unwrap(), word);
            assert_eq!(serde_json::from_value::<EventCause>(word.into()).unwrap(), cause);
        }
    }
}
