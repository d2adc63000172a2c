//! The keys in the making: which claims still wait for one, and waiting for them.
//!
//! Invariant: a claim is here from before its first key is begun until its last one is stored, also after a restart. Nobody
//! waits longer than their patience, and no more than [`SEATS`] at a time: whoever waits may hold a place that others
//! could use, and a thousand fresh claims have an hour's worth of keys to wait for.

use crate::id::DomainId;
use std::collections::HashMap;
use std::sync::Arc;
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
    /// How many keys each of them waits for.
    wanted: watch::Sender<HashMap<DomainId, usize>>,
    seats: Arc<Semaphore>,
    patience: Duration,
}

impl Making {
    pub(super) fn new(patience: Duration) -> Self {
        Self { wanted: watch::Sender::default(), seats: Arc::new(Semaphore::new(SEATS)), patience }
    }

    /// One more key is to be made for a claim.
    pub(super) fn begin(&self, domain: &DomainId) {
        self.wanted.send_modify(|wanted| *wanted.entry(domain.clone()).or_default() += 1);
    }

    /// One of them is there, or its claim is gone.
    pub(super) fn end(&self, domain: &DomainId) {
        self.wanted.send_modify(|wanted| {
            if let Some(keys) = wanted.get_mut(domain) {
                *keys = keys.saturating_sub(1);
                if *keys == 0 {
                    wanted.remove(domain);
                }
            }
        });
    }

    /// Waits until a claim has all its keys, within the bounds. Whether it has them now.
    pub(super) async fn made(&self, domain: &DomainId) -> bool {
        let mut wanted = self.wanted.subscribe();
        if !wanted.borrow_and_update().contains_key(domain) {
            return true;
        }
        let Ok(_seat) = self.seats.try_acquire() else { return false };
        let made = wanted.wait_for(|wanted| !wanted.contains_key(domain));
        matches!(timeout(self.patience, made).await, Ok(Ok(_)))
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
        let (making, claim, other) = (Making::new(LONG), DomainId::new(), DomainId::new());
        assert!(making.made(&claim).await, "one that nothing is made for");
        for domain in [&claim, &claim, &claim, &other] {
            making.begin(domain);
        }
        let waiting = waiter(&making, &claim);
        for _ in 0..3 {
            yield_now().await;
            assert!(!waiting.is_finished());
            making.end(&claim);
        }
        assert!(waiting.await.unwrap());
        assert!(making.made(&claim).await);
    }

    #[tokio::test]
    async fn patience_and_seats_have_an_end() {
        let (making, claim) = (Making::new(Duration::ZERO), DomainId::new());
        making.begin(&claim);
        assert!(!making.made(&claim).await);

        let making = Making::new(LONG);
        making.begin(&claim);
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
