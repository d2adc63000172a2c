//! API requests waiting for a check. Invariant: at most [`WAITS_PER_ACCOUNT`] of an account wait at a time; further
//! ones return at once. A waiting request holds a connection, and behind a proxy all accounts share the connection
//! limit of one address. RFC 7240 §4.3.

use crate::id::AccountId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) const WAITS_PER_ACCOUNT: usize = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<Mutex<HashMap<AccountId, usize>>>);

/// A waiting request, until dropped.
#[derive(Debug)]
pub(super) struct WaitPermit {
    waiting: Waiting,
    account: AccountId,
}

impl Waiting {
    /// A permit, if the account has one left.
    pub(super) fn permit(&self, account: &AccountId) -> Option<WaitPermit> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = waiting.entry(account.clone()).or_default();
        if *here >= WAITS_PER_ACCOUNT {
            return None;
        }
        *here += 1;
        Some(WaitPermit { waiting: self.clone(), account: account.clone() })
    }
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        let mut waiting = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get_mut(&self.account) {
            Some(here) if *here > 1 => *here -= 1,
            _ => {
                waiting.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_limited_by_account_and_returned() {
        let (waiting, ours, theirs) = (Waiting::default(), AccountId::new(), AccountId::new());
        let mut permits: Vec<WaitPermit> = (0..WAITS_PER_ACCOUNT).map(|_| waiting.permit(&ours).unwrap()).collect();
        assert!(waiting.permit(&ours).is_none());
        assert!(waiting.permit(&theirs).is_some());
        permits.pop();
        permits.push(waiting.permit(&ours).unwrap());
        drop(permits);
        assert!(waiting.0.lock().unwrap().is_empty());
    }
}
