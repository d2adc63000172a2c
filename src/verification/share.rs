//! Shares slots for checks between accounts. Invariant: an account gets another slot only while more are free than it
//! holds. So an account without any can get the last one, however many checks of others are due and however slow their
//! name servers are, and a single account gets half of them.

use crate::id::AccountId;
use std::collections::BTreeMap;

/// Free slots, and those in use by account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub free: usize,
    /// Slots held by account; accounts without any are not listed.
    pub taken: BTreeMap<AccountId, usize>,
}

impl Places {
    pub fn all_free(free: usize) -> Self {
        Self { free, taken: BTreeMap::new() }
    }

    /// Whether the account may have another slot.
    pub fn has_for(&self, account: &AccountId) -> bool {
        self.taken.get(account).copied().unwrap_or_default() < self.free
    }

    pub fn take(&mut self, account: &AccountId) {
        self.free = self.free.saturating_sub(1);
        let taken = self.taken.entry(account.clone()).or_default();
        *taken = taken.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every account takes all it can get, in order; returns how many each has.
    fn shared_out(places: &mut Places, accounts: &[AccountId]) -> Vec<usize> {
        for account in accounts {
            while places.has_for(account) {
                places.take(account);
            }
        }
        accounts.iter().map(|account| places.taken.get(account).copied().unwrap_or_default()).collect()
    }

    #[test]
    fn an_account_without_a_slot_always_gets_one() {
        let accounts: Vec<AccountId> = (0..5).map(|_| AccountId::new()).collect();
        assert_eq!(shared_out(&mut Places::all_free(32), &accounts), [16, 8, 4, 2, 1]);
        assert_eq!(shared_out(&mut Places::all_free(1), &accounts), [1, 0, 0, 0, 0]);
        let mut places = Places::all_free(4);
        assert_eq!(shared_out(&mut places, &accounts[..1]), [2]);
        assert_eq!((places.free, places.has_for(&accounts[0]), places.has_for(&accounts[1])), (2, false, true));
    }
}
