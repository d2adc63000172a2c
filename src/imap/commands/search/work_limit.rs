//! The limit of work of one search.
//!
//! Invariant: a search ends after a bounded number of octets compared, however many keys it has, and soon after its client
//! has disconnected.

use crate::resources::work::WorkBudget;
use std::sync::atomic::{AtomicU64, Ordering};

/// Octets that one search may compare: one key through a full inbox, fifty through the headers of ten thousand messages.
pub(super) const OCTETS: u64 = if cfg!(test) { 64 << 20 } else { 8 << 30 };
/// The cost of a key that compares no text.
pub(super) const KEY: usize = 8;

/// The octets that a search may still compare. Its batches run one after the other.
#[derive(Debug)]
pub(super) struct WorkLimit(AtomicU64);

impl WorkLimit {
    pub fn new(octets: u64) -> Self {
        Self(AtomicU64::new(octets))
    }

    /// Takes the cost of comparing this many octets; false when that is more than is left, which is then 0.
    fn spend(&self, octets: usize) -> bool {
        let cost = u64::try_from(octets.saturating_add(KEY)).unwrap_or(u64::MAX);
        let rest = self.0.load(Ordering::Relaxed).checked_sub(cost);
        self.0.store(rest.unwrap_or(0), Ordering::Relaxed);
        rest.is_some()
    }

    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// Checked before each comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter<'a> {
    pub limit: &'a WorkLimit,
    pub budget: &'a WorkBudget,
}

impl Meter<'_> {
    /// Whether this many octets may be compared.
    pub fn allows(self, octets: usize) -> bool {
        self.budget.check().is_ok() && self.limit.spend(octets)
    }

    /// Whether no more may be compared.
    pub fn is_over(self) -> bool {
        self.limit.is_spent() || self.budget.check().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_limit_stays_spent() {
        let limit = WorkLimit::new(100);
        assert!(limit.spend(50) && !limit.is_spent());
        assert!(!limit.spend(50) && limit.is_spent());
        assert!(!limit.spend(0));
    }
}
