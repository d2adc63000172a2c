//! Hourly rate limits: mail submitted by an account or received from a network, claims created by an account.
//! Invariant: amounts charged together are charged completely or not at all. On a store that several daemons share, the counts are
//! there, and hold over all of them: a daemon takes a share of what is left, and what it has not used is lost to the
//! others for that hour. Otherwise they are in memory, and reset by a restart.

use crate::clock::Timestamp;
use crate::store::rates::{RateKey, Take, Taken};
use crate::store::{Store, StoreError};
use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// Between removals of rows whose time is over.
const REMOVE_PAUSE: Duration = Duration::from_secs(60);

/// One limit.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Its key in the configuration's `[limits]`.
    pub key: &'static str,
    /// What it counts.
    pub what: &'static str,
    pub limit: u32,
}

/// Hourly limits of `N` counters for each key.
#[derive(Debug)]
pub struct Hourly<K, const N: usize> {
    limits: [Limit; N],
    /// Where the counts are, if not here.
    shared: Option<Store>,
    left: Mutex<Book<K, N>>,
}

#[derive(Debug)]
struct Book<K, const N: usize> {
    left: HashMap<K, Left<N>>,
    /// Entry count at which expired entries are removed.
    clear_at: usize,
}

/// What may still be charged to a key without asking the store.
#[derive(Clone, Copy, Debug)]
struct Left<const N: usize> {
    ends: Timestamp,
    amounts: [u32; N],
    /// What the store has refused to give, and will until then.
    refused: [u32; N],
}

impl<const N: usize> Left<N> {
    fn new(ends: Timestamp, amounts: [u32; N]) -> Self {
        Self { ends, amounts, refused: [u32::MAX; N] }
    }

    /// What is wanted beyond what is left; the counter that the store has refused as much of.
    fn missing(&self, wanted: [u32; N]) -> Result<[u32; N], usize> {
        let mut missing = wanted;
        for (at, ((missing, left), refused)) in missing.iter_mut().zip(self.amounts).zip(self.refused).enumerate() {
            *missing = missing.saturating_sub(left);
            if *missing >= refused {
                return Err(at);
            }
        }
        Ok(missing)
    }

    /// Takes from each: all or none.
    fn take(&mut self, wanted: [u32; N]) -> Result<(), usize> {
        let mut rest = self.amounts;
        for (at, (rest, wanted)) in rest.iter_mut().zip(wanted).enumerate() {
            *rest = rest.checked_sub(wanted).ok_or(at)?;
        }
        self.amounts = rest;
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {limit} {what} per hour has been reached")]
pub struct Exceeded {
    /// What the counter counts that is full.
    pub what: &'static str,
    pub limit: u32,
    /// Time until the hour is over.
    pub retry_after: Duration,
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its key in `[limits]`.
    pub key: &'static str,
    pub limit: u32,
    pub window: Duration,
    /// `None` where several daemons share the count.
    pub left: Option<u32>,
    pub resets_in: Duration,
}

impl<K: Eq + Hash + Clone + Display, const N: usize> Hourly<K, N> {
    /// What is left of each limit.
    pub fn quotas(&self, key: &K, now: Timestamp) -> [Quota; N] {
        let mut book = self.book(now);
        let left = book.left.get_mut(key).filter(|left| now < left.ends).map(|left| *left);
        let left = left.unwrap_or_else(|| Left::new(now.after(HOUR), self.limits.map(|limit| limit.limit)));
        let resets_in = left.ends.since(now);
        let mut amounts = left.amounts.into_iter();
        self.limits.map(|Limit { key, limit, .. }| {
            let left = amounts.next().filter(|_| self.shared.is_none());
            Quota { key, limit, window: HOUR, left, resets_in }
        })
    }

    pub fn new(limits: [Limit; N], store: &Store) -> Self {
        let left = Mutex::new(Book { left: HashMap::new(), clear_at: 0 });
        Self { limits, shared: store.is_shared().then(|| store.clone()), left }
    }

    /// Charges a key. Its hour begins with its first charge.
    pub async fn charge<E>(&self, key: K, amounts: [usize; N], now: Timestamp) -> Result<(), E>
    where
        E: From<Exceeded> + From<StoreError>,
    {
        let wanted = amounts.map(|amount| u32::try_from(amount).unwrap_or(u32::MAX));
        match &self.shared {
            None => Ok(self.charge_here(key, wanted, now)?),
            Some(store) => self.charge_there(store, key, wanted, now).await,
        }
    }

    fn charge_here(&self, key: K, wanted: [u32; N], now: Timestamp) -> Result<(), Exceeded> {
        let mut book = self.book(now);
        let fresh = Left::new(now.after(HOUR), self.limits.map(|limit| limit.limit));
        let left = book.left.entry(key).or_insert(fresh);
        if left.ends <= now {
            *left = fresh;
        }
        left.take(wanted).map_err(|of| self.exceeded(of, left.ends, now))
    }

    async fn charge_there<E>(&self, store: &Store, key: K, wanted: [u32; N], now: Timestamp) -> Result<(), E>
    where
        E: From<Exceeded> + From<StoreError>,
    {
        // What is left here is out of the book meanwhile, so that no other charge counts on it.
        let (held, missing) = {
            let mut book = self.book(now);
            match book.left.get_mut(&key).filter(|left| now < left.ends) {
                Some(left) => {
                    if left.take(wanted).is_ok() {
                        return Ok(());
                    }
                    let missing = left.missing(wanted).map_err(|of| self.exceeded(of, left.ends, now))?;
                    (std::mem::replace(&mut left.amounts, [0; N]), missing)
                }
                None => ([0; N], wanted),
            }
        };
        let takes = self.limits.iter().zip(missing).map(|(limit, wanted)| Take {
            key: RateKey::new(limit.key, key.to_string().as_bytes()),
            wanted,
            limit: limit.limit,
        });
        let taken = store.rates_take(takes.collect(), now, HOUR).await;
        let mut refused = [u32::MAX; N];
        let (rest, ends, result) = match taken {
            Ok(Taken::All { amounts, ends }) => {
                let mut rest = held;
                for ((rest, amount), wanted) in rest.iter_mut().zip(amounts).zip(wanted) {
                    *rest = rest.saturating_add(amount).saturating_sub(wanted);
                }
                (rest, ends, Ok(()))
            }
            Ok(Taken::Nothing { of, ends }) => {
                for (refused, missing) in refused.iter_mut().zip(missing).skip(of).take(1) {
                    *refused = missing;
                }
                (held, ends, Err(self.exceeded(of, ends, now).into()))
            }
            Err(error) => (held, now.after(HOUR), Err(error.into())),
        };
        let mut book = self.book(now);
        let fresh = Left::new(ends, [0; N]);
        let left = book.left.entry(key).or_insert(fresh);
        if left.ends <= now {
            *left = fresh;
        }
        left.ends = left.ends.min(ends);
        for (left, rest) in left.amounts.iter_mut().zip(rest) {
            *left = left.saturating_add(rest);
        }
        for (left, refused) in left.refused.iter_mut().zip(refused) {
            *left = refused.min(*left);
        }
        result
    }

    fn exceeded(&self, of: usize, ends: Timestamp, now: Timestamp) -> Exceeded {
        let (what, limit) = self.limits.get(of).map_or(("", 0), |limit| (limit.what, limit.limit));
        Exceeded { what, limit, retry_after: ends.since(now) }
    }

    fn book(&self, now: Timestamp) -> MutexGuard<'_, Book<K, N>> {
        let mut book = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if book.left.len() >= book.clear_at {
            book.left.retain(|_, left| now < left.ends);
            book.clear_at = 64.max(2 * book.left.len());
        }
        book
    }
}

/// Removes what is not counted any more from a store that several daemons share, from time to time.
pub async fn keep_removing_ended(store: Store, now: impl Fn() -> Timestamp) {
    while store.is_shared() {
        tokio::time::sleep(REMOVE_PAUSE).await;
        loop {
            match store.rates_remove_expired(now()).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot remove counts of limits whose time is over; trying again in a minute");
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AccountId;
    use crate::store::testing::store_with_account;

    const LIMITS: [Limit; 2] = [
        Limit { key: "messages_per_hour", what: "messages", limit: 2 },
        Limit { key: "recipients_per_hour", what: "recipients", limit: 5 },
    ];

    #[derive(Debug, PartialEq, Eq, thiserror::Error)]
    enum Error {
        #[error(transparent)]
        Exceeded(#[from] Exceeded),
        #[error("{0}")]
        Store(String),
    }

    impl From<StoreError> for Error {
        fn from(error: StoreError) -> Self {
            Self::Store(error.to_string())
        }
    }

    async fn charged(
        rate: &Hourly<AccountId, 2>,
        key: &AccountId,
        amounts: [usize; 2],
        now: Timestamp,
    ) -> &'static str {
        match rate.charge(key.clone(), amounts, now).await {
            Ok(()) => "ok",
            Err(Error::Exceeded(exceeded)) => exceeded.what,
            Err(Error::Store(error)) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn each_account_has_its_own_hour() {
        let (_dir, store, ours) = store_with_account().await;
        let (rate, theirs) = (Hourly::new(LIMITS, &store), AccountId::new());
        let start = Timestamp::real();
        for (amounts, expected) in [([1, 6], "recipients"), ([1, 3], "ok"), ([1, 3], "recipients"), ([1, 2], "ok")] {
            assert_eq!(charged(&rate, &ours, amounts, start).await, expected, "{amounts:?}");
        }
        assert_eq!(charged(&rate, &ours, [1, 1], start).await, "messages");
        assert_eq!(charged(&rate, &theirs, [1, 1], start).await, "ok");
        let late = start.after(Duration::from_secs(3000));
        let Err(Error::Exceeded(exceeded)) = rate.charge::<Error>(ours.clone(), [1, 1], late).await else { panic!() };
        assert_eq!(exceeded.retry_after, Duration::from_secs(600));
        assert_eq!(charged(&rate, &ours, [1, 5], start.after(HOUR)).await, "ok");
    }

    #[tokio::test]
    async fn expired_entries_are_removed() {
        let (_dir, store, _) = store_with_account().await;
        let rate = Hourly::new([Limit { key: "messages_per_hour", what: "messages", limit: 1 }], &store);
        let count = if store.is_shared() { 500 } else { 10_000 };
        for n in 0..count {
            assert_eq!(rate.charge::<Error>(n, [1], Timestamp::from_millis(n * 60_000)).await, Ok(()));
        }
        assert!(rate.left.lock().unwrap().left.len() <= 130);
        if store.is_shared() {
            assert!(store.rates_remove_expired(Timestamp::from_millis(count * 60_000)).await.unwrap());
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn daemons_that_share_a_store_share_the_limit() {
        let (_dir, store, account) = store_with_account().await;
        if !store.is_shared() {
            return;
        }
        let limits = [
            Limit { key: "messages_per_hour", what: "messages", limit: 300 },
            Limit { key: "recipients_per_hour", what: "recipients", limit: 1000 },
        ];
        let now = Timestamp::real();
        let daemons = [0; 3].map(|_| std::sync::Arc::new(Hourly::new(limits, &store)));
        // At once, by several sessions of each, until each of them is refused.
        let sessions = (0..12).map(|n| {
            let (rate, account) = (std::sync::Arc::clone(&daemons[n % 3]), account.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while charged(&rate, &account, [1, 2], now).await == "ok" {
                    count += 1;
                }
                count
            })
        });
        let mut sum = 0;
        for session in sessions.collect::<Vec<_>>() {
            sum += session.await.unwrap();
        }
        assert!((290..=300).contains(&sum), "{sum}");
    }
}
