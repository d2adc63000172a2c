//! How much work one search may make.
//!
//! Invariant: a search ends after a bounded number of octets compared, however many keys it has, and soon after its client
//! has gone.

use crate::resources::work::WorkBudget;
use std::sync::atomic::{AtomicU64, Ordering};

/// Octets that one search may compare: one key through a full inbox, fifty through the headers of ten thousand messages.
pub(super) const OCTETS: u64 = if cfg!(test) { 64 << 20 } else { 8 << 30 };
/// What a key costs that compares no text.
pub(super) const KEY: usize = 8;

/// What is left of a search's work. Its batches are judged one after the other.
#[derive(Debug)]
pub(super) struct WorkLimit(AtomicU64);

impl WorkLimit {
    /// With so many octets to compare.
    pub fn new(octets: u64) -> Self {
        Self(AtomicU64::new(octets))
    }

    /// Takes what comparing this many octets costs; false when that is more than is left, and then nothing is left.
    fn spend(&self, octets: usize) -> bool {
        let cost = u64::try_from(octets.saturating_add(KEY)).unwrap_or(u64::MAX);
        let rest = self.0.load(Ordering::Relaxed).checked_sub(cost);
        self.0.store(rest.unwrap_or(0), Ordering::Relaxed);
        rest.is_some()
    }

    /// True when nothing is left.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// What a comparison asks before it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter<'a> {
    pub effort: &'a WorkLimit,
    pub budget: &'a WorkBudget,
}

impl Meter<'_> {
    /// Whether so many octets may be compared now.
    pub fn allows(self, octets: usize) -> bool {
        self.budget.check().is_ok() && self.effort.spend(octets)
    }

    /// Whether nothing may be compared any more.
    pub fn is_over(self) -> bool {
        self.effort.is_spent() || self.budget.check().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_stays_spent() {
        let effort = WorkLimit::new(100);
        assert!(effort.spend(50) && !effort.is_spent());
        assert!(!effort.spend(50) && effort.is_spent());
        assert!(!effort.spend(0));
    }
}
