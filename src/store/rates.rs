//! Rate limits over all daemons, in the table `rate`. It exists only on PostgreSQL: on SQLite, the one daemon counts in memory.
//!
//! Invariant: expired rows are removed within minutes, so their number is bounded by the events of the longest period.

use super::engine::params;
use super::hot_rows::HotRow;
use super::{Store, StoreError, Transaction};
use crate::clock::Timestamp;
use ring::digest::{SHA256, digest};
use std::time::Duration;

/// Rows removed per transaction.
const BATCH: i64 = 1000;
/// A daemon takes one of this many shares of the remaining amount, so that not every message requires a transaction.
const SHARES: u64 = 16;

/// A limit and its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateKey(Vec<u8>);

impl RateKey {
    /// `subject` is an ID, a network address or a hash.
    pub fn new(limit: &str, subject: &[u8]) -> Self {
        let hash = digest(&SHA256, &[limit.as_bytes(), b"\0", subject].concat());
        Self(hash.as_ref().iter().take(16).copied().collect())
    }

    #[cfg(feature = "cluster")]
    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// The amount counted for a key in the current period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    pub amount: u64,
    /// The end of the period.
    pub ends: Timestamp,
}

/// A request for an amount of a limit.
#[derive(Clone, Debug)]
pub struct Take {
    pub key: RateKey,
    pub wanted: u32,
    pub limit: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// At least the requested amount of each limit, to be used before `ends`.
    All { amounts: Vec<u32>, ends: Timestamp },
    /// Nothing was taken: the limit at index `of` has less than requested left until `ends`.
    Nothing { of: usize, ends: Timestamp },
}

/// The amount to take when `spent` of a limit is spent; `None` if less than `wanted` is left.
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
    /// Takes from all limits or from none. The period of a limit starts with the first amount taken.
    pub async fn rates_take(&self, takes: Vec<Take>, now: Timestamp, period: Duration) -> Result<Taken, StoreError> {
        let hot_rows: Vec<HotRow> = takes.iter().map(|take| HotRow::Rate(take.key.clone())).collect();
        self.write_serialized(&hot_rows, move |c| {
            let mut ends = now.after(period);
            let mut amounts = Vec::with_capacity(takes.len());
            for (of, Take { key, wanted, limit }) in takes.iter().enumerate() {
                let spent = spent(c, key, now)?.unwrap_or(Spent { amount: 0, ends: now.after(period) });
                ends = ends.min(spent.ends);
                let Some(share) = share(u64::from(*wanted), spent.amount, u64::from(*limit)) else {
                    return Ok(Taken::Nothing { of, ends: spent.ends });
                };
                amounts.push(u32::try_from(share).unwrap_or(u32::MAX));
            }
            for (Take { key, .. }, amount) in takes.iter().zip(&amounts) {
                spend(c, key, u64::from(*amount), now.after(period), now)?;
            }
            Ok(Taken::All { amounts, ends })
        })
        .await
    }

    /// The current count of each key.
    pub async fn rates_spent(&self, keys: Vec<RateKey>, now: Timestamp) -> Result<Vec<Option<Spent>>, StoreError> {
        self.read(move |c| keys.iter().map(|key| spent(c, key, now)).collect()).await
    }

    /// Adds one to the count of each key.
    pub async fn rates_count(&self, keys: Vec<RateKey>, now: Timestamp, period: Duration) -> Result<(), StoreError> {
        let hot_rows: Vec<HotRow> = keys.iter().cloned().map(HotRow::Rate).collect();
        self.write_serialized(&hot_rows, move |c| {
            keys.iter().try_for_each(|key| spend(c, key, 1, now.after(period), now))
        })
        .await
    }

    /// Removes the count of a key.
    pub async fn rate_forget(&self, key: RateKey) -> Result<(), StoreError> {
        self.write(move |c| c.execute("DELETE FROM rate WHERE key = ?1", params![key.0]).map(|_| ())).await
    }

    /// Removes a batch of expired rows. False if there are none.
    pub async fn rates_remove_expired(&self, now: Timestamp) -> Result<bool, StoreError> {
        let removed = self
            .write(move |c| {
                let sql = "DELETE FROM rate WHERE key IN (SELECT key FROM rate WHERE ends_at <= ?1 LIMIT ?2)";
                c.execute(sql, params![now, BATCH])
            })
            .await?;
        Ok(removed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_never_exceeds_the_remaining_amount() {
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
