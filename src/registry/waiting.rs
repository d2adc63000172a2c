//! Who waits for a check that they asked for.
//!
//! Invariant: of one account at most [`SEATS`] wait at a time; whoever comes then is answered at once. Who waits holds a
//! connection of the API, and behind a proxy all accounts share the connections of one address. RFC 7240 §4.3.

use crate::id::AccountId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Of one account.
pub(super) const SEATS: usize = 8;

/// Those who wait; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<Mutex<HashMap<AccountId, usize>>>);

/// Somebody waits, until this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    waiting: Waiting,
    account: AccountId,
}

impl Waiting {
    /// A seat, where the account has one left.
    pub(super) fn seat(&self, account: &AccountId) -> Option<Seat> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = waiting.entry(account.clone()).or_default();
        if *here >= SEATS {
            return None;
        }
        *here += 1;
        Some(Seat { waiting: self.clone(), account: account.clone() })
    }
}

impl Drop for Seat {
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
    fn an_account_has_its_seats_and_leaves_none_behind() {
        let (waiting, ours, theirs) = (Waiting::default(), AccountId::new(), AccountId::new());
        let mut seats: Vec<Seat> = (0..SEATS).map(|_| waiting.seat(&ours).unwrap()).collect();
        assert!(waiting.seat(&ours).is_none());
        assert!(waiting.seat(&theirs).is_some());
        seats.pop();
        seats.push(waiting.seat(&ours).unwrap());
        drop(seats);
        assert!(waiting.0.lock().unwrap().is_empty());
    }
}
