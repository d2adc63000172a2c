//! Hourly rate limits: mail submitted by an account or received from a network, claims created by an account.
//! Invariant: amounts charged together are charged completely or not at all. Counts are in memory and reset by a
//! restart.

use crate::clock::Timestamp;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Hourly limits of `N` counters for each key.
#[derive(Debug)]
pub struct Hourly<K, const N: usize> {
    limits: [(&'static str, u32); N],
    spent: Mutex<Book<K, N>>,
}

#[derive(Debug)]
struct Book<K, const N: usize> {
    spent: HashMap<K, Spent<N>>,
    /// Entry count at which expired entries are removed.
    clear_at: usize,
}

#[derive(Debug)]
struct Spent<const N: usize> {
    since: Timestamp,
    amounts: [u32; N],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {limit} {what} per hour has been reached")]
pub struct Exceeded {
    /// The counter that is full.
    pub what: &'static str,
    pub limit: u32,
    /// Time until the hour is over.
    pub retry_after: Duration,
}

impl<K: Eq + Hash, const N: usize> Hourly<K, N> {
    /// Limits, each with the name of what it counts.
    pub fn new(limits: [(&'static str, u32); N]) -> Self {
        Self { limits, spent: Mutex::new(Book { spent: HashMap::new(), clear_at: 0 }) }
    }

    /// Charges a key. Its hour begins with its first charge.
    pub fn charge(&self, key: K, amounts: [usize; N], now: Timestamp) -> Result<(), Exceeded> {
        let mut book = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |spent: &Spent<N>| now.since(spent.since) >= HOUR;
        if book.spent.len() >= book.clear_at {
            book.spent.retain(|_, spent| !over(spent));
            book.clear_at = 64.max(2 * book.spent.len());
        }
        let fresh = || Spent { since: now, amounts: [0; N] };
        let spent = book.spent.entry(key).or_insert_with(fresh);
        if over(spent) {
            *spent = fresh();
        }
        let mut sums = spent.amounts;
        for ((sum, amount), (what, limit)) in sums.iter_mut().zip(amounts).zip(self.limits) {
            *sum = sum.saturating_add(u32::try_from(amount).unwrap_or(u32::MAX));
            if *sum > limit {
                return Err(Exceeded { what, limit, retry_after: HOUR.saturating_sub(now.since(spent.since)) });
            }
        }
        spent.amounts = sums;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::AccountId;

    const LIMITS: [(&str, u32); 2] = [("messages", 2), ("recipients", 5)];

    #[test]
    fn each_account_has_its_own_hour() {
        let (quota, ours, theirs) = (Hourly::new(LIMITS), AccountId::new(), AccountId::new());
        let start = Timestamp::from_millis(0);
        let what = |charged: Result<(), Exceeded>| charged.map_or_else(|exceeded| exceeded.what, |()| "ok");
        assert_eq!(what(quota.charge(&ours, [1, 6], start)), "recipients");
        assert_eq!(what(quota.charge(&ours, [1, 3], start)), "ok");
        assert_eq!(what(quota.charge(&ours, [1, 3], start)), "recipients");
        assert_eq!(what(quota.charge(&ours, [1, 2], start)), "ok");
        assert_eq!(what(quota.charge(&ours, [1, 1], start)), "messages");
        assert_eq!(what(quota.charge(&theirs, [1, 1], start)), "ok");
        let late = start.after(Duration::from_secs(3000));
        let exceeded = quota.charge(&ours, [1, 1], late).unwrap_err();
        assert_eq!(exceeded.retry_after, Duration::from_secs(600));
        assert_eq!(what(quota.charge(&ours, [1, 5], start.after(HOUR))), "ok");
    }

    #[test]
    fn expired_entries_are_removed() {
        let quota = Hourly::new([("messages", 1)]);
        for n in 0..10_000 {
            assert_eq!(quota.charge(n, [1], Timestamp::from_millis(n * 60_000)), Ok(()));
        }
        assert!(quota.spent.lock().unwrap().spent.len() <= 130);
    }
}
