//! Rows of `webhook_delivery`: events for endpoints, and their attempts.
//!
//! Invariant: only this file and [`super::feed`] change rows of `webhook_delivery`, and they update the due time of the account in the
//! same transaction ([`due`]). Only the owner of a lease records an attempt.

use super::super::due::{self, Kind};
use super::super::hot_rows::HotRow;
use super::super::jobs::Lease;
use super::super::{Store, StoreError, Transaction};
use super::capacity::{self, Capacity, Limits};
use super::claim::{self, DueWebhook};
use crate::clock::Timestamp;
use crate::events::Cursor;
use crate::id::{AccountId, RunnerId, WebhookDeliveryId, WebhookId};
use crate::store::engine::{Params, params};
use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

/// Attempts that are kept of a delivery.
const ATTEMPTS_KEPT: u32 = 20;
/// Deliveries made due in one transaction.
const BATCH: usize = 500;
/// An endpoint that has failed for this long, when the last attempt of a delivery fails, is disabled.
pub const FAILING_LIMIT: Duration = Duration::from_secs(5 * 24 * 3600);

/// An attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub at: Timestamp,
    /// Of the endpoint's answer.
    pub status: Option<u16>,
    /// Why there is none.
    pub error: Option<String>,
    pub duration: Duration,
}

/// What follows from an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Delivered,
    Retry(Timestamp),
    /// No other attempt is made.
    Failed,
    /// The endpoint has asked for no more deliveries.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, serde::Serialize, utoipa::ToSchema)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum State {
    Waiting,
    Delivered,
    Failed,
}

impl FromStr for State {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let states = [Self::Waiting, Self::Delivered, Self::Failed];
        states.into_iter().find(|state| state.to_string() == text).ok_or("must be waiting, delivered or failed")
    }
}

/// Which deliveries are made due.
#[derive(Clone, Debug)]
pub enum Which {
    One(WebhookDeliveryId),
    /// Those of events recorded at this time or later.
    Since(Timestamp),
}

#[derive(Debug, thiserror::Error)]
pub enum RedeliverError {
    #[error("there is no such subscription, or no such delivery")]
    NotFound,
    #[error("the subscription is not active")]
    Inactive,
    /// Another redelivery of the account is running, or has just begun.
    #[error("another redelivery is running or has just begun")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Records an attempt. False if the runner has lost the lease.
    pub async fn webhook_settle(
        &self,
        due: &DueWebhook,
        runner: RunnerId,
        attempt: Attempt,
        next: Next,
    ) -> Result<bool, StoreError> {
        let (id, webhook, account) = (due.id.clone(), due.webhook.clone(), due.account.clone());
        let (hot_rows, at) = ([HotRow::Webhooks(account.clone())], attempt.at);
        let settled = self.write_serialized(&hot_rows, move |c| {
            let (state, next_at) = match next {
                Next::Delivered => (State::Delivered, None),
                Next::Retry(at) => (State::Waiting, Some(at)),
                Next::Failed | Next::Gone => (State::Failed, None),
            };
            let ended = next_at.is_none().then_some(attempt.at);
            let sql = "UPDATE webhook_delivery SET attempts = attempts + 1, retries = retries + 1, state = ?3, next_attempt_at = ?4,
                           ended_at = ?5, lease_until = NULL, lease_owner = NULL
                       WHERE id = ?1 AND lease_owner = ?2 RETURNING attempts";
            let values = params![id, runner, state.to_string(), next_at, ended];
            let Some(number) = c.query_opt(sql, values, |row| row.get::<u32>(0))? else {
                return Ok::<_, StoreError>(None);
            };
            log(c, &id, number, &attempt)?;
            due::changed(c, Kind::Webhook, &account)?;
            let failing_since = judge(c, &webhook, attempt.at, next == Next::Delivered)?;
            let reason = match failing_since {
                _ if next == Next::Gone => Some("the endpoint has answered 410 Gone".to_owned()),
                Some(since) if next == Next::Failed && attempt.at.since(since) >= FAILING_LIMIT => {
                    Some(format!("every attempt since {since} has failed"))
                }
                _ => None,
            };
            reason.iter().try_for_each(|reason| super::disable(c, &account, &webhook, reason, attempt.at))?;
            Ok(Some(reason.is_some()))
        });
        let is_disabled = settled.await?;
        if is_disabled == Some(true) {
            self.webhook_end_waiting(&due.account, &due.webhook, at).await?;
        }
        Ok(is_disabled.is_some())
    }

    /// Makes ended deliveries of events that the subscription has now due, with all their attempts ahead, as many as may wait. How long
    /// they are kept stays the same. Returns how many, and whether some were left.
    pub async fn webhook_redeliver(
        &self,
        account: &AccountId,
        webhook: &WebhookId,
        which: Which,
        limits: Limits,
        now: Timestamp,
    ) -> Result<(usize, bool), RedeliverError> {
        let (account, webhook) = (account.clone(), webhook.clone());
        // Read first, so that a look through many does not delay writers.
        let (types, ended) = {
            let (account, webhook) = (account.clone(), webhook.clone());
            self.read(move |c| ended(c, &account, &webhook, &which, limits.waiting)).await?
        };
        let (hot_rows, mut seen, mut count) = ([HotRow::Webhooks(account.clone())], 0, 0);
        for batch in ended.chunks(BATCH) {
            let (account, webhook, types, batch) = (account.clone(), webhook.clone(), types.clone(), batch.to_vec());
            let (size, again) =
                (batch.len(), move |c: &Transaction<'_>| make_due(c, &account, &webhook, &types, &batch, limits, now));
            let (looked_at, made) = self.write_serialized(&hot_rows, again).await?;
            (seen, count) = (seen + looked_at, count + made);
            if looked_at < size {
                break;
            }
        }
        Ok((count, seen < ended.len()))
    }
}

/// Makes ended deliveries due, as many as there is room for; none if the subscription's types have changed since they were chosen. Returns how many
/// there was room for, and how many were ended.
fn make_due(
    c: &Transaction<'_>,
    account: &AccountId,
    webhook: &WebhookId,
    types: &str,
    batch: &[WebhookDeliveryId],
    limits: Limits,
    now: Timestamp,
) -> Result<(usize, usize), RedeliverError> {
    if active_types(c, account, webhook)? != types {
        return Ok((0, 0));
    }
    let sql = "SELECT count(*) FROM webhook_subscription WHERE account_id = ?1 AND is_active = 1";
    let active: u32 = c.query_row(sql, params![account], |row| row.get(0))?;
    let mut capacity = Capacity::of(c, webhook, active.into(), limits)?;
    // Without an attempt it would be among the first attempts.
    let sql = "UPDATE webhook_delivery SET state = 'waiting', retries = 0, next_attempt_at = ?3, ended_at = NULL,
                   attempts = CASE attempts WHEN 0 THEN 1 ELSE attempts END
               WHERE id = ?1 AND webhook_id = ?2 AND state <> 'waiting' RETURNING octets";
    let (mut looked_at, mut made) = (0, 0);
    for id in batch {
        if capacity.fault().is_some() {
            break;
        }
        looked_at += 1;
        if let Some(octets) = c.query_opt(sql, params![id, webhook, now], |row| row.get(0))? {
            capacity.take(octets);
            made += 1;
        }
    }
    due::changed(c, Kind::Webhook, account)?;
    Ok((looked_at, made))
}

/// The types that an active subscription has.
fn active_types(c: &Transaction<'_>, account: &AccountId, webhook: &WebhookId) -> Result<String, RedeliverError> {
    let found = super::get(c, account, webhook)?.ok_or(RedeliverError::NotFound)?;
    if found.is_active { Ok(super::types_text(&found.events)) } else { Err(RedeliverError::Inactive) }
}

/// The subscription's types, and the ended deliveries that are chosen: one more than `limit` where there are more.
fn ended(
    c: &Transaction<'_>,
    account: &AccountId,
    webhook: &WebhookId,
    which: &Which,
    limit: u32,
) -> Result<(String, Vec<WebhookDeliveryId>), RedeliverError> {
    let types = active_types(c, account, webhook)?;
    let found = match which {
        Which::One(id) => {
            let sql = "SELECT 1 FROM webhook_delivery WHERE webhook_id = ?1 AND id = ?2";
            if !c.exists(sql, params![webhook, id])? {
                return Err(RedeliverError::NotFound);
            }
            let sql = format!("{ENDED} AND d.id = ?3");
            c.query(&sql, params![webhook, &types, id], |row| row.get(0))
        }
        Which::Since(since) => {
            let sql = format!("{ENDED} AND e.created_at >= ?3 ORDER BY d.position, d.number LIMIT ?4");
            c.query(&sql, params![webhook, &types, since, limit.saturating_add(1)], |row| row.get(0))
        }
    };
    Ok((types, found?))
}

/// Ended deliveries of the subscription ?1 whose types are among those of the text ?2.
const ENDED: &str = "SELECT d.id FROM webhook_delivery d JOIN webhook_event e
        ON e.account_id = d.account_id AND e.position = d.position AND e.number = d.number
    WHERE d.webhook_id = ?1 AND d.state <> 'waiting' AND ' ' || CAST(?2 AS TEXT) || ' ' LIKE '% ' || e.type || ' %'";

/// When the endpoint began to fail, after this attempt.
fn judge(
    c: &Transaction<'_>,
    webhook: &WebhookId,
    at: Timestamp,
    is_success: bool,
) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT failing_since FROM webhook_subscription WHERE id = ?1";
    let before: Option<Timestamp> = c.query_opt(sql, params![webhook], |row| row.get(0))?.flatten();
    let after = if is_success { None } else { before.or(Some(at)) };
    if before != after {
        let sql = "UPDATE webhook_subscription SET failing_since = ?2 WHERE id = ?1";
        c.execute(sql, params![webhook, after])?;
    }
    Ok(after)
}

fn log(c: &Transaction<'_>, id: &WebhookDeliveryId, number: u32, attempt: &Attempt) -> Result<(), StoreError> {
    let Attempt { at, status, error, duration } = attempt;
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let sql =
        "INSERT INTO webhook_attempt (delivery_id, number, at, status, error, millis) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    c.execute(sql, params![id, number, at, status, error, millis])?;
    if number > ATTEMPTS_KEPT {
        let sql = "DELETE FROM webhook_attempt WHERE delivery_id = ?1 AND number <= ?2";
        c.execute(sql, params![id, number - ATTEMPTS_KEPT])?;
    }
    Ok(())
}

/// The subscription of a delivery `d` is active and has the type of its event.
pub(super) const WANTED: &str =
    "EXISTS (SELECT 1 FROM webhook_subscription s JOIN webhook_event e ON e.account_id = s.account_id
        WHERE s.id = d.webhook_id AND s.is_active = 1 AND e.position = d.position AND e.number = d.number
            AND ' ' || s.events || ' ' LIKE '% ' || e.type || ' %')";

/// Ends those of the deliveries that are still waiting and unwanted.
pub(super) fn end(
    c: &Transaction<'_>,
    account: &AccountId,
    deliveries: &[WebhookDeliveryId],
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = format!(
        "UPDATE webhook_delivery AS d
         SET state = 'failed', next_attempt_at = NULL, ended_at = ?2, lease_until = NULL, lease_owner = NULL
         WHERE d.id = ?1 AND d.state = 'waiting' AND NOT {WANTED}"
    );
    for id in deliveries {
        c.execute(&sql, params![id, now])?;
    }
    due::changed(c, Kind::Webhook, account)
}

/// Removes rows of deliveries chosen by `sql`, which have ended, and events that have no others. Returns how many deliveries.
pub(super) fn remove(c: &Transaction<'_>, chosen: &str, values: Params<'_>) -> Result<usize, StoreError> {
    let sql = format!("DELETE FROM webhook_delivery WHERE id IN ({chosen}) RETURNING account_id, position, number");
    let removed = c.query(&sql, values, |row| {
        Ok((row.get::<AccountId>(0)?, Cursor { position: row.get(1)?, number: row.get(2)? }))
    })?;
    let count = removed.len();
    capacity::remove_unused(c, &removed.into_iter().collect())?;
    Ok(count)
}

/// Leases those of the deliveries that are still due.
pub(super) fn lease(
    c: &Transaction<'_>,
    now: Timestamp,
    lease: &Lease,
    chosen: &[WebhookDeliveryId],
) -> Result<Vec<DueWebhook>, StoreError> {
    let sql = "UPDATE webhook_delivery SET lease_until = ?2, lease_owner = ?3
               WHERE id = ?1 AND ready_at <= ?4 AND NOT EXISTS (SELECT 1 FROM webhook_delivery o
                   WHERE o.webhook_id = webhook_delivery.webhook_id AND o.lease_until > ?4 AND o.lease_owner <> ?3)";
    let (mut taken, mut accounts) = (Vec::with_capacity(chosen.len()), BTreeSet::new());
    for id in chosen {
        if c.execute(sql, params![id, lease.until, lease.runner, now])? == 1 {
            let due = claim::due(c, id, now)?;
            accounts.insert(due.account.clone());
            taken.push(due);
        }
    }
    accounts.iter().try_for_each(|account| due::served(c, Kind::Webhook, account, now))?;
    Ok(taken)
}

/// Renews those of the leases that the runner still owns.
pub(in crate::store) fn renew<'a>(
    c: &Transaction<'_>,
    deliveries: impl Iterator<Item = &'a WebhookDeliveryId>,
    Lease { runner, until }: &Lease,
) -> Result<(), StoreError> {
    let sql = "UPDATE webhook_delivery SET lease_until = ?2 WHERE lease_owner = ?1 AND id = ?3 RETURNING account_id";
    let mut accounts: BTreeSet<AccountId> = BTreeSet::new();
    for id in deliveries {
        accounts.extend(c.query_opt(sql, params![runner, until, id], |row| row.get::<AccountId>(0))?);
    }
    accounts.iter().try_for_each(|account| due::changed(c, Kind::Webhook, account))
}

/// Releases all leases, or those of owners from ?1 up to but excluding ?2. Returns their number.
pub(in crate::store) fn end_leases(c: &Transaction<'_>, of: Params<'_>) -> Result<usize, StoreError> {
    let sql = "UPDATE webhook_delivery SET lease_until = NULL, lease_owner = NULL WHERE lease_until IS NOT NULL
                   AND (CAST(?1 AS TEXT) IS NULL OR (lease_owner >= ?1 AND lease_owner < ?2))";
    let ended = c.execute(sql, of)?;
    if ended > 0 {
        due::all_changed(c, Kind::Webhook)?;
    }
    Ok(ended)
}
