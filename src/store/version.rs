//! Versions of rows: the time of the last change, which is later with each one.

use crate::clock::Timestamp;

/// The versions that a change of a row is meant for; by default all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(Option<Vec<Timestamp>>);

impl Versions {
    pub fn of(versions: Vec<Timestamp>) -> Self {
        Self(Some(versions))
    }

    pub(super) fn has(&self, version: Timestamp) -> bool {
        self.0.as_ref().is_none_or(|versions| versions.contains(&version))
    }
}

/// The version after `before`: the current time, or one unit after `before` if the clock has not advanced.
pub(super) fn next(before: Timestamp, now: Timestamp) -> Timestamp {
    now.max(Timestamp::from_millis(before.millis().saturating_add(1)))
}
