//! What is kept for an account's webhooks is bounded.
//!
//! Invariant: `webhook_usage` is the sum of `webhook_event.octets` of the account. What waits for the endpoints has half of the account's
//! limit, shared out by subscription, so that a dead endpoint takes nothing from another; where all of it is more than the limit, the
//! deliveries that ended first are removed.

use super::super::{StoreError, Transaction};
use super::deliveries;
use crate::config;
use crate::events::Cursor;
use crate::id::{AccountId, WebhookId};
use crate::store::engine::params;
use std::collections::BTreeSet;

/// Octets that a delivery counts beside its body: its row with the indexes, and its attempts.
pub(super) const ROWS: i64 = 2048;
/// Ended deliveries that one transaction removes at most.
const BATCH: i64 = 500;

/// Limits of what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Waiting deliveries of a subscription.
    pub waiting: u32,
    /// Octets of an account.
    pub octets: i64,
}

impl From<&config::Limits> for Limits {
    fn from(limits: &config::Limits) -> Self {
        Self { waiting: limits.webhook_deliveries, octets: i64::try_from(limits.webhook_octets).unwrap_or(i64::MAX) }
    }
}

/// What else may wait of a subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    limits: Limits,
    share: i64,
    deliveries: u32,
    octets: i64,
}

/// What waits of a subscription: how many deliveries, with how many octets.
pub(super) const WAITING: &str = "SELECT count(*), CAST(coalesce(sum(octets), 0) AS BIGINT) FROM webhook_delivery
    WHERE webhook_id = ?1 AND state = 'waiting'";

impl Capacity {
    /// Of one of the account's `active` subscriptions.
    pub fn of(c: &Transaction<'_>, webhook: &WebhookId, active: i64, limits: Limits) -> Result<Self, StoreError> {
        let share = limits.octets / 2 / active.max(1);
        c.query_row(WAITING, params![webhook], |row| {
            let (waiting, octets): (u32, i64) = (row.get(0)?, row.get(1)?);
            Ok(Self { limits, share, deliveries: limits.waiting.saturating_sub(waiting), octets: share - octets })
        })
    }

    /// Why there is none, if so. The last delivery may be larger than what is left.
    pub fn fault(&self) -> Option<String> {
        if self.deliveries == 0 {
            let limit = self.limits.waiting;
            return Some(format!("not sent: {limit} deliveries of this subscription were waiting, which is the limit"));
        }
        let share = self.share / 1024;
        let text =
            || format!("not sent: {share} KiB of deliveries of this subscription were waiting, which is the limit");
        (self.octets <= 0).then(text)
    }

    pub fn take(&mut self, octets: i64) {
        self.deliveries = self.deliveries.saturating_sub(1);
        self.octets -= octets;
    }
}

/// Adds to what is kept for the account.
pub(super) fn add(c: &Transaction<'_>, account: &AccountId, octets: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO webhook_usage (account_id, octets) VALUES (?1, ?2)
               ON CONFLICT (account_id) DO UPDATE SET octets = webhook_usage.octets + excluded.octets";
    c.execute(sql, params![account, octets])?;
    Ok(())
}

/// Removes events that have no deliveries any more.
pub(super) fn remove_unused(c: &Transaction<'_>, events: &BTreeSet<(AccountId, Cursor)>) -> Result<(), StoreError> {
    let sql = "DELETE FROM webhook_event WHERE account_id = ?1 AND position = ?2 AND number = ?3 AND NOT EXISTS (
                   SELECT 1 FROM webhook_delivery d WHERE d.account_id = ?1 AND d.position = ?2 AND d.number = ?3)
               RETURNING octets";
    for (account, Cursor { position, number }) in events {
        if let Some(octets) = c.query_opt(sql, params![account, position, number], |row| row.get::<i64>(0))? {
            let sql = "UPDATE webhook_usage SET octets = octets - ?2 WHERE account_id = ?1";
            c.execute(sql, params![account, octets])?;
        }
    }
    Ok(())
}

/// An account's deliveries, those that ended first at the beginning.
pub(super) const OLDEST: &str =
    "SELECT id FROM webhook_delivery WHERE account_id = ?1 AND ended_at IS NOT NULL ORDER BY ended_at LIMIT ?2";

/// Removes deliveries until what is kept is within the limit, those that ended first. Returns their number.
pub(super) fn keep_within(c: &Transaction<'_>, account: &AccountId, limit: i64) -> Result<usize, StoreError> {
    /// Between two looks at what is kept.
    const STEP: i64 = 10;
    let mut removed = 0;
    for _ in 0..BATCH / STEP {
        let sql = "SELECT 1 FROM webhook_usage WHERE account_id = ?1 AND octets > ?2";
        if !c.exists(sql, params![account, limit])? {
            break;
        }
        match deliveries::remove(c, OLDEST, params![account, STEP])? {
            0 => break,
            some => removed += some,
        }
    }
    Ok(removed)
}
