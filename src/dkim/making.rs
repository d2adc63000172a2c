//! Key generation: the claims waiting for keys, their order, and waiting for them. Invariant: a claim is listed from
//! before its first key is started until it has all keys or is gone, also after a restart. Accounts alternate, one key
//! each, and so do the claims of an account, so that an account with a thousand new claims delays another by one key.
//! Waiting for a claim's keys is limited to [`KEY_PATIENCE`] and to [`SEATS`] waiters, since a waiter may hold a slot
//! that others need.

use crate::id::{AccountId, DomainId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// How long to wait for a key being generated.
pub(super) const KEY_PATIENCE: Duration = Duration::from_secs(10);
/// Maximum waiters.
const SEATS: usize = 8;

/// Claims waiting for keys; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Making {
    waiting: watch::Sender<HashSet<DomainId>>,
    /// The waiting claims of each account in order, without the current one. An account is listed while its keys are
    /// being generated.
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

    /// Adds a claim. True if the caller has to generate its keys, and those of the account's other claims, until
    /// [`Making::next`] returns `None`.
    pub(super) fn begin(&self, account: &AccountId, domain: DomainId) -> bool {
        if !self.waiting.send_if_modified(|waiting| waiting.insert(domain.clone())) {
            return false;
        }
        let mut queues = self.queues();
        let is_first = !queues.contains_key(account);
        queues.entry(account.clone()).or_default().push_back(domain);
        is_first
    }

    /// The account's next claim; `None` if none is waiting.
    pub(super) fn next(&self, account: &AccountId) -> Option<DomainId> {
        let mut queues = self.queues();
        let next = queues.get_mut(account).and_then(VecDeque::pop_front);
        if next.is_none() {
            queues.remove(account);
        }
        next
    }

    /// Requeues a claim for another key, after the account's other claims.
    pub(super) fn again(&self, account: &AccountId, domain: DomainId) {
        self.queues().entry(account.clone()).or_default().push_back(domain);
    }

    /// Removes a claim that has all its keys or is gone.
    pub(super) fn end(&self, domain: &DomainId) {
        self.waiting.send_if_modified(|waiting| waiting.remove(domain));
    }

    /// Waits, within the limits, until a claim has all its keys; returns whether it does.
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
        // Consistent at every moment.
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
        assert!(making.made(&claim).await, "a claim without key generation");
        assert!(making.begin(&account, claim.clone()));
        assert!(!making.begin(&account, other.clone()) && !making.begin(&account, claim.clone()));
        let waiting = waiter(&making, &claim);
        for wanted in [&claim, &other, &claim, &other] {
            yield_now().await;
            assert!(!waiting.is_finished());
            let permit = making.next(&account).unwrap();
            assert_eq!(permit, *wanted, "claims alternate");
            making.again(&account, permit);
        }
        let last = making.next(&account).unwrap();
        making.end(&last);
        assert!(waiting.await.unwrap());
        assert!(making.made(&claim).await);
        let last = making.next(&account).unwrap();
        making.end(&last);
        assert_eq!(making.next(&account), None);
        assert!(making.begin(&account, claim), "the previous generator has ended");
    }

    #[tokio::test]
    async fn waiting_time_and_waiters_are_limited() {
        let (making, claim) = (Making::new(Duration::ZERO), DomainId::new());
        making.begin(&AccountId::new(), claim.clone());
        assert!(!making.made(&claim).await);

        let making = Making::new(LONG);
        making.begin(&AccountId::new(), claim.clone());
        let waiting: Vec<_> = (0..SEATS).map(|_| waiter(&making, &claim)).collect();
        while making.seats.available_permits() > 0 {
            yield_now().await;
        }
        // With all waiters' slots in use, the next one does not wait.
        assert!(!making.made(&claim).await);
        making.end(&claim);
        for waiter in waiting {
            assert!(waiter.await.unwrap());
        }
        assert_eq!(making.seats.available_permits(), SEATS);
    }
}
