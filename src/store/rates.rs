//! What was spent of the limits that hold over all daemons, in the table `rate`, which PostgreSQL alone has: on SQLite there is one
//! daemon, and it counts in memory.
//!
//! Invariant: rows whose time is over are removed within minutes, so there are no more than what happens in the longest time.

use super::engine::params;
use super::turns::Turn;
use super::{Store, StoreError, Transaction};
use crate::clock::Timestamp;
use ring::digest::{SHA256, digest};
use std::time::Duration;

/// Rows that one transaction removes.
const FORGOTTEN_AT_ONCE: i64 = 1000;
/// A daemon takes this part of what is left of a limit, so that not each message costs a transaction.
const SHARES: u64 = 16;

/// A limit and whom it limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateKey(Vec<u8>);

impl RateKey {
    /// By the limit's name and an id, an address, a hash.
    pub fn new(limit: &str, whose: &[u8]) -> Self {
        let hash = digest(&SHA256, &[limit.as_bytes(), b"\0", whose].concat());
        Self(hash.as_ref().iter().take(16).copied().collect())
    }

    #[cfg(feature = "cluster")]
    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// What is counted for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    pub amount: u64,
    /// Until when it counts.
    pub ends: Timestamp,
}

/// To be taken of a limit.
#[derive(Clone, Debug)]
pub struct Take {
    pub key: RateKey,
    pub wanted: u32,
    pub limit: u32,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// As much of each as was wanted, or more, until then.
    All { amounts: Vec<u32>, ends: Timestamp },
    /// Nothing: of this one so much is not left until then.
    Nothing { of: usize, ends: Timestamp },
}

/// What a daemon takes where `spent` of a limit is spent; `None` where so much is not left.
fn share(wanted: u64, spent: u64, limit: u64) -> Option<u64> {
    let left = limit.checked_sub(spent).filter(|left| wanted <= *left)?;
    Some(if wanted == 0 { 0 } else { wanted.max(left / SHARES) })
}

fn spent(c: &Transaction<'_>, key: &RateKey, now: Timestamp) -> Result<Option<Spent>, StoreError> {
    let sql = "SELECT spent, ends_at FROM rate WHERE key = ?1 AND ends_at > ?2";
    c.query_opt(sql, params![key.0, now], |row| {
        Ok(Spent { amount: row.get::<i64>(0)?.unsigned_abs(), ends: row.get(1)? })
    })
}

fn spend(c: &Transaction<'_>, key: &RateKey, amount: u64, ends: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    let sql = "INSERT INTO rate (key, spent, ends_at) VALUES (?1, ?2, ?3)
               ON CONFLICT (key) DO UPDATE SET
                   spent = CASE WHEN rate.ends_at > ?4 THEN rate.spent + excluded.spent ELSE excluded.spent END,
                   ends_at = CASE WHEN rate.ends_at > ?4 THEN rate.ends_at ELSE excluded.ends_at END";
    c.execute(sql, params![key.0, amount, ends, now])?;
    Ok(())
}

impl Store {
    /// Takes of several limits at once, of all or of none. The time of a limit begins when it is first taken of.
    pub async fn rates_take(&self, takes: Vec<Take>, now: Timestamp, time: Duration) -> Result<Taken, StoreError> {
        let turns: Vec<Turn> = takes.iter().map(|take| Turn::Rate(take.key.clone())).collect();
        self.write_in_turn(&turns, move |c| {
            let mut ends = now.after(time);
            let mut amounts = Vec::with_capacity(takes.len());
            for (of, Take { key, wanted, limit }) in takes.iter().enumerate() {
                let spent = spent(c, key, now)?.unwrap_or(Spent { amount: 0, ends: now.after(time) });
                ends = ends.min(spent.ends);
                let Some(share) = share(u64::from(*wanted), spent.amount, u64::from(*limit)) else {
                    return Ok(Taken::Nothing { of, ends: spent.ends });
                };
                amounts.push(u32::try_from(share).unwrap_or(u32::MAX));
            }
            for (Take { key, .. }, amount) in takes.iter().zip(&amounts) {
                spend(c, key, u64::from(*amount), now.after(time), now)?;
            }
            Ok(Taken::All { amounts, ends })
        })
        .await
    }

    /// What is counted now for each key.
    pub async fn rates_spent(&self, keys: Vec<RateKey>, now: Timestamp) -> Result<Vec<Option<Spent>>, StoreError> {
        self.read(move |c| keys.iter().map(|key| spent(c, key, now)).collect()).await
    }

    /// Counts one for each key.
    pub async fn rates_count(&self, keys: Vec<RateKey>, now: Timestamp, time: Duration) -> Result<(), StoreError> {
        let turns: Vec<Turn> = keys.iter().cloned().map(Turn::Rate).collect();
        self.write_in_turn(&turns, move |c| keys.iter().try_for_each(|key| spend(c, key, 1, now.after(time), now)))
            .await
    }

    /// Forgets what is counted for a key.
    pub async fn rate_forget(&self, key: RateKey) -> Result<(), StoreError> {
        self.write(move |c| c.execute("DELETE FROM rate WHERE key = ?1", params![key.0]).map(|_| ())).await
    }

    /// Removes rows whose time is over, at most some. Whether there may be more.
    pub async fn rates_remove_ended(&self, now: Timestamp) -> Result<bool, StoreError> {
        let removed = self
            .write(move |c| {
                let sql = "DELETE FROM rate WHERE key IN (SELECT key FROM rate WHERE ends_at <= ?1 LIMIT ?2)";
                c.execute(sql, params![now, FORGOTTEN_AT_ONCE])
            })
            .await?;
        Ok(removed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_of_what_is_left_and_never_more_than_that() {
        assert_eq!(share(1, 0, 1000), Some(62));
        assert_eq!(share(100, 0, 1000), Some(100));
        assert_eq!(share(1, 990, 1000), Some(1));
        assert_eq!((share(10, 990, 1000), share(11, 990, 1000)), (Some(10), None));
        assert_eq!((share(0, 1000, 1000), share(0, 0, 1000), share(1, 1001, 1000)), (Some(0), Some(0), None));
        let (mut spent, mut takes) = (0, 0);
        while let Some(taken) = share(1, spent, 1000) {
            (spent, takes) = (spent + taken, takes + 1);
        }
        assert!(spent == 1000 && takes < 100, "{spent} in {takes}");
    }
}
