//! How much work one search may make.
//!
//! Invariant: a search ends after a bounded number of octets compared, however many keys it has, and at once when its
//! session does: threads that compare outlive the client that asked, and there are only so many of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// Octets that one search may compare: one key through a full inbox, fifty through the headers of ten thousand messages.
pub(super) const OCTETS: u64 = if cfg!(test) { 64 << 20 } else { 8 << 30 };
/// What a key costs that compares no text.
const KEY: usize = 8;

/// Batches that are compared at once, over all sessions: the threads are everybody's.
pub(super) static AT_ONCE: Semaphore = Semaphore::const_new(4);

/// What is left of a search's work.
#[derive(Debug)]
pub(super) struct Effort(AtomicU64);

impl Effort {
    /// With so many octets to compare.
    pub fn new(octets: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(octets)))
    }

    /// Takes what comparing this many octets costs; false when that is more than is left, and then nothing is left.
    pub fn spend(&self, octets: usize) -> bool {
        let cost = u64::try_from(octets.saturating_add(KEY)).unwrap_or(u64::MAX);
        let left = self.0.load(Ordering::Relaxed);
        // One thread at a time spends it; the session only ends it.
        let Some(rest) = left.checked_sub(cost) else {
            self.end();
            return false;
        };
        self.0.compare_exchange(left, rest, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// True when nothing is left.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Ends the work when the session that ordered it lets go, be it that it was cut off.
#[derive(Debug)]
pub(super) struct Leash(pub Arc<Effort>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_stays_spent() {
        let effort = Effort::new(100);
        assert!(effort.spend(50) && !effort.is_spent());
        assert!(!effort.spend(50) && effort.is_spent());
        assert!(!effort.spend(0));
        let effort = Effort::new(100);
        drop(Leash(Arc::clone(&effort)));
        assert!(effort.is_spent() && !effort.spend(0));
    }
}
