//! Limits of what is held for long, as requests that wait: in all, and for each account.
//!
//! Invariant: a permit is counted from when it is given until it is dropped.

use crate::id::AccountId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Gives permits. Clones share the counts.
#[derive(Clone, Debug)]
pub struct Permits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    per_account: usize,
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    total: usize,
    /// Without accounts that have none.
    by_account: HashMap<AccountId, usize>,
}

/// One permit, until dropped.
#[derive(Debug)]
pub struct Permit {
    permits: Permits,
    account: AccountId,
}

/// No permit is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonePermitted {
    /// To anyone.
    Total,
    /// To the account.
    Account,
}

impl Permits {
    /// At most `total` at a time, `per_account` of them for one account.
    pub fn new(total: usize, per_account: usize) -> Self {
        Self(Arc::new(Inner { total, per_account, given: Mutex::default() }))
    }

    pub fn take(&self, account: &AccountId) -> Result<Permit, NonePermitted> {
        let mut given = self.0.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.by_account.get(account).is_some_and(|count| *count >= self.0.per_account) {
            return Err(NonePermitted::Account);
        }
        if given.total >= self.0.total {
            return Err(NonePermitted::Total);
        }
        given.total += 1;
        *given.by_account.entry(account.clone()).or_default() += 1;
        Ok(Permit { permits: self.clone(), account: account.clone() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut given = self.permits.0.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.total = given.total.saturating_sub(1);
        match given.by_account.get_mut(&self.account) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                given.by_account.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_limited_in_all_and_by_account_and_are_returned() {
        let (permits, ours, theirs) = (Permits::new(4, 3), AccountId::new(), AccountId::new());
        let mut given: Vec<Permit> = (0..3).map(|_| permits.take(&ours).unwrap()).collect();
        assert_eq!(permits.take(&ours).unwrap_err(), NonePermitted::Account);
        let last = permits.take(&theirs).unwrap();
        assert_eq!(permits.take(&theirs).unwrap_err(), NonePermitted::Total);
        given.pop();
        given.push(permits.take(&ours).unwrap());
        drop((given, last));
        assert!(permits.0.given.lock().unwrap().by_account.is_empty());
        assert_eq!(permits.0.given.lock().unwrap().total, 0);
    }
}
