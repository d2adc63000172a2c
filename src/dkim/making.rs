//! The keys in the making: which claims wait for theirs, whose turn it is, and waiting for them.
//!
//! Invariant: a claim is here from before its first key is begun until it has all of them or is gone, also after a restart.
//! Accounts take turns, a key each, and so do the claims of an account: an account with a thousand fresh claims delays another
//! account by one key. Nobody waits for a claim's keys longer than [`KEY_PATIENCE`], and no more than [`SEATS`] at a time:
//! a waiter may hold a place that others could use.

use crate::id::{AccountId, DomainId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// How long a key that is being made is waited for.
pub(super) const KEY_PATIENCE: Duration = Duration::from_secs(10);
/// Who may wait at a time.
const SEATS: usize = 8;

/// The claims that wait for keys; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Making {
    waiting: watch::Sender<HashSet<DomainId>>,
    /// Those of each account in the order of their turns, but for the one whose turn it is. An account is here as long as
    /// somebody makes its keys.
    queues: Arc<Mutex<HashMap<AccountId, VecDeque<DomainId>>>>,
    seats: Arc<Semaphore>,
    time_limit: Duration,
}

impl Making {
    pub(super) fn new(time_limit: Duration) -> Self {
        Self {
            waiting: watch::Sender::default(),
            queues: Arc::default(),
            seats: Arc::new(Semaphore::new(SEATS)),
            time_limit,
        }
    }

    /// A claim waits for keys from now on. True when the caller is to make them, and those of the account's other claims,
    /// until [`Making::next`] answers none.
    pub(super) fn begin(&self, account: &AccountId, domain: DomainId) -> bool {
        if !self.waiting.send_if_modified(|waiting| waiting.insert(domain.clone())) {
            return false;
        }
        let mut queues = self.queues();
        let is_first = !queues.contains_key(account);
        queues.entry(account.clone()).or_default().push_back(domain);
        is_first
    }

    /// The claim of an account whose turn it is. None: nothing of the account waits any more.
    pub(super) fn next(&self, account: &AccountId) -> Option<DomainId> {
        let mut queues = self.queues();
        let next = queues.get_mut(account).and_then(VecDeque::pop_front);
        if next.is_none() {
            queues.remove(account);
        }
        next
    }

    /// The claim waits for one more key: its next turn comes after those of the account's other claims.
    pub(super) fn again(&self, account: &AccountId, domain: DomainId) {
        self.queues().entry(account.clone()).or_default().push_back(domain);
    }

    /// The claim has all its keys, or is gone.
    pub(super) fn end(&self, domain: &DomainId) {
        self.waiting.send_if_modified(|waiting| waiting.remove(domain));
    }

    /// Waits until a claim has all its keys, within the bounds. Whether it has them now.
    pub(super) async fn made(&self, domain: &DomainId) -> bool {
        let mut waiting = self.waiting.subscribe();
        if !waiting.borrow_and_update().contains(domain) {
            return true;
        }
        let Ok(_seat) = self.seats.try_acquire() else { return false };
        let made = waiting.wait_for(|waiting| !waiting.contains(domain));
        matches!(timeout(self.time_limit, made).await, Ok(Ok(_)))
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<AccountId, VecDeque<DomainId>>> {
        // Whole at every moment.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::yield_now;

    const LONG: Duration = Duration::from_secs(3600);

    fn waiter(making: &Making, domain: &DomainId) -> tokio::task::JoinHandle<bool> {
        let (making, domain) = (making.clone(), domain.clone());
        tokio::spawn(async move { making.made(&domain).await })
    }

    #[tokio::test]
    async fn a_claim_has_its_keys_when_the_last_one_is_made_and_others_do_not_matter() {
        let (making, account) = (Making::new(LONG), AccountId::new());
        let (claim, other) = (DomainId::new(), DomainId::new());
        assert!(making.made(&claim).await, "one that nothing is made for");
        assert!(making.begin(&account, claim.clone()));
        assert!(!making.begin(&account, other.clone()) && !making.begin(&account, claim.clone()));
        let waiting = waiter(&making, &claim);
        for wanted in [&claim, &other, &claim, &other] {
            yield_now().await;
            assert!(!waiting.is_finished());
            let permit = making.next(&account).unwrap();
            assert_eq!(permit, *wanted, "claims take turns");
            making.again(&account, permit);
        }
        let last = making.next(&account).unwrap();
        making.end(&last);
        assert!(waiting.await.unwrap());
        assert!(making.made(&claim).await);
        let last = making.next(&account).unwrap();
        making.end(&last);
        assert_eq!(making.next(&account), None);
        assert!(making.begin(&account, claim), "whoever made the keys has gone");
    }

    #[tokio::test]
    async fn patience_and_seats_have_an_end() {
        let (making, claim) = (Making::new(Duration::ZERO), DomainId::new());
        making.begin(&AccountId::new(), claim.clone());
        assert!(!making.made(&claim).await);

        let making = Making::new(LONG);
        making.begin(&AccountId::new(), claim.clone());
        let waiting: Vec<_> = (0..SEATS).map(|_| waiter(&making, &claim)).collect();
        while making.seats.available_permits() > 0 {
            yield_now().await;
        }
        // All seats are taken: whoever comes now goes on as it is.
        assert!(!making.made(&claim).await);
        making.end(&claim);
        for waiter in waiting {
            assert!(waiter.await.unwrap());
        }
        assert_eq!(making.seats.available_permits(), SEATS);
    }
}
