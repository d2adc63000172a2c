//! How the places for checks are shared out between accounts.
//!
//! Invariant: an account gets another place only while more are free than it has. So one that has none gets the last one,
//! however many checks of others are due and however slow their name servers are; and one alone gets half of them.

use crate::id::AccountId;
use std::collections::BTreeMap;

/// The places for checks, and who has how many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// How many are free.
    pub free: usize,
    /// How many each account has; those that have none are left out.
    pub taken: BTreeMap<AccountId, usize>,
}

impl Places {
    /// So many, all of them free.
    pub fn all_free(free: usize) -> Self {
        Self { free, taken: BTreeMap::new() }
    }

    /// Whether there is one more for this account.
    pub fn has_for(&self, account: &AccountId) -> bool {
        self.taken.get(account).copied().unwrap_or_default() < self.free
    }

    /// The account takes one.
    pub fn take(&mut self, account: &AccountId) {
        self.free = self.free.saturating_sub(1);
        let taken = self.taken.entry(account.clone()).or_default();
        *taken = taken.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every account takes as many as it gets, one after another; how many each has then.
    fn shared_out(places: &mut Places, accounts: &[AccountId]) -> Vec<usize> {
        for account in accounts {
            while places.has_for(account) {
                places.take(account);
            }
        }
        accounts.iter().map(|account| places.taken.get(account).copied().unwrap_or_default()).collect()
    }

    #[test]
    fn there_is_always_one_for_who_has_none() {
        let accounts: Vec<AccountId> = (0..5).map(|_| AccountId::new()).collect();
        assert_eq!(shared_out(&mut Places::all_free(32), &accounts), [16, 8, 4, 2, 1]);
        assert_eq!(shared_out(&mut Places::all_free(1), &accounts), [1, 0, 0, 0, 0]);
        let mut places = Places::all_free(4);
        assert_eq!(shared_out(&mut places, &accounts[..1]), [2]);
        assert_eq!((places.free, places.has_for(&accounts[0]), places.has_for(&accounts[1])), (2, false, true));
    }
}
