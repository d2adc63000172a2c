//! The table `custom_domain`, and the changes that follow from changes of it.
//!
//! Invariant: only this file creates and removes claims, and changes their status, their return path and when their checks are
//! due. In the same transaction it updates the due times of the account ([`due`]), the identity at Amazon SES
//! ([`ses::claims_changed`]), and the claim's keys ([`keys::remove`]).

use super::domains::{DomainRow, NewDomain};
use super::due::{self, Kind};
use super::jobs::Lease;
use super::{StoreError, Transaction, keys, queue, ses};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId};
use crate::store::engine::{Params, params};
use crate::verification::status::State;
use std::collections::BTreeSet;

/// Updates the due times of an account's checks.
fn checks_changed(c: &Transaction<'_>, account: &AccountId) -> Result<(), StoreError> {
    due::changed(c, Kind::Check, account)?;
    due::changed(c, Kind::RequestedCheck, account)
}

pub(super) fn insert(
    c: &Transaction<'_>,
    id: &DomainId,
    new: &NewDomain,
    contested: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO custom_domain (id, account_id, name, status, dkim_tokens, ownership_secret, window_ends_at,
                   next_check_at, created_at, updated_at, contested_at, client_id)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?11)";
    c.execute(
        sql,
        params![
            id,
            new.account,
            new.name,
            new.state.status,
            new.tokens.join(" "),
            new.ownership.secret(),
            new.state.window_ends_at,
            new.state.next_check_at,
            now,
            contested,
            new.client_id
        ],
    )?;
    due::changed(c, Kind::Check, &new.account)
}

/// Removes a claim and everything that belongs only to it. False if the account has no such claim.
pub(super) fn delete(
    c: &Transaction<'_>,
    account: &AccountId,
    id: &DomainId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "SELECT name, return_path IS NOT NULL, verified_at IS NOT NULL FROM custom_domain
               WHERE id = ?1 AND account_id = ?2";
    let row = |row: &super::engine::Row<'_>| Ok((row.get::<DomainName>(0)?, row.get(1)?, row.get(2)?));
    let Some((name, had_return_path, was_verified)) = c.query_opt(sql, params![id, account], row)? else {
        return Ok(false);
    };
    keys::remove(c, id, was_verified)?;
    c.execute("DELETE FROM custom_domain WHERE id = ?1", params![id])?;
    checks_changed(c, account)?;
    due::changed(c, Kind::Rotation, account)?;
    if had_return_path || !c.exists("SELECT 1 FROM custom_domain WHERE name = ?1", params![name])? {
        ses::claims_changed(c, &name)?;
    }
    queue::wake_held(c, id, now)?;
    Ok(true)
}

/// Sets the state of a claim. `changed` is true if the API shows a difference, which updates `updated_at`.
pub(super) fn set_state(
    c: &Transaction<'_>,
    row: &DomainRow,
    state: &State,
    now: Timestamp,
    changed: bool,
) -> Result<(), StoreError> {
    let sql = "UPDATE custom_domain SET status = ?2, verified_at = ?3, window_ends_at = ?4, check_count = ?5,
                   check_started_at = ?6, next_check_at = ?7, asked_at = CASE WHEN CAST(?7 AS BIGINT) IS NOT NULL THEN asked_at END,
                   takes_mail = ?10,
                   updated_at = CASE WHEN ?8 = 1 THEN ?9 ELSE updated_at END
               WHERE id = ?1";
    c.execute(
        sql,
        params![
            row.id,
            state.status,
            state.verified_at,
            state.window_ends_at,
            state.checks,
            state.check_started_at,
            state.next_check_at,
            changed,
            now,
            state.takes_mail
        ],
    )?;
    if row.return_path.is_some() && row.state.status != state.status {
        ses::claims_changed(c, &row.name)?;
    }
    checks_changed(c, &row.account)?;
    queue::wake_held(c, &row.id, now)
}

/// Records that the owner has requested a check.
pub(super) fn request_check(c: &Transaction<'_>, row: &DomainRow, now: Timestamp) -> Result<(), StoreError> {
    c.execute("UPDATE custom_domain SET asked_at = ?2 WHERE id = ?1", params![row.id, now])?;
    checks_changed(c, &row.account)
}

/// Ends a check, after [`set_state`]. If a check was requested meanwhile, it is due at once: this one may have missed the owner's
/// changes.
pub(super) fn end_check(
    c: &Transaction<'_>,
    row: &DomainRow,
    receiving: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE custom_domain SET receiving = ?2, last_checked_at = ?3, lease_until = NULL, lease_owner = NULL,
                   next_check_at = coalesce(asked_at, next_check_at) WHERE id = ?1";
    c.execute(sql, params![row.id, receiving, now])?;
    checks_changed(c, &row.account)
}

/// Sets the return path. A new one is not used until a check has found its records valid; the evidence of the previous one is
/// removed.
pub(super) fn set_return_path(
    c: &Transaction<'_>,
    id: &DomainId,
    name: &DomainName,
    label: Option<&str>,
) -> Result<(), StoreError> {
    let sql = "UPDATE custom_domain SET return_path = ?2, return_path_ok = 0 WHERE id = ?1 AND return_path IS DISTINCT FROM ?2";
    if c.execute(sql, params![id, label])? == 0 {
        return Ok(());
    }
    let sql = "DELETE FROM domain_record WHERE domain_id = ?1 AND purpose IN ('return_path', 'return_path_spf')";
    c.execute(sql, params![id])?;
    ses::claims_changed(c, name)
}

/// Leases the check of a claim. False if it is not due.
pub(super) fn lease(c: &Transaction<'_>, id: &DomainId, now: Timestamp, lease: &Lease) -> Result<bool, StoreError> {
    let sql = "UPDATE custom_domain SET lease_until = ?2, lease_owner = ?3, check_started_at = ?4, asked_at = NULL
               WHERE id = ?1 AND coalesce(asked_ready_at, ready_at) <= ?4 RETURNING account_id";
    let account = c.query_opt(sql, params![id, lease.until, lease.runner, now], |row| row.get(0))?;
    account.map(|account| checks_changed(c, &account)).transpose().map(|leased| leased.is_some())
}

/// Renews those of the leases that the runner still owns.
pub(super) fn renew<'a>(
    c: &Transaction<'_>,
    claims: impl Iterator<Item = &'a DomainId>,
    Lease { runner, until }: &Lease,
) -> Result<(), StoreError> {
    let sql = "UPDATE custom_domain SET lease_until = ?2 WHERE lease_owner = ?1 AND id = ?3 RETURNING account_id";
    let mut accounts: BTreeSet<AccountId> = BTreeSet::new();
    for id in claims {
        accounts.extend(c.query_opt(sql, params![runner, until, id], |row| row.get(0))?);
    }
    accounts.iter().try_for_each(|account| checks_changed(c, account))
}

/// Releases all leases, or those of owners from ?1 up to but excluding ?2. Returns their number.
pub(super) fn end_leases(c: &Transaction<'_>, of: Params<'_>) -> Result<usize, StoreError> {
    // 0 rather than NULL marks an interrupted check, which is not delayed by [`spread`].
    let sql = "UPDATE custom_domain SET lease_until = 0, lease_owner = NULL WHERE lease_until > 0
                   AND (CAST(?1 AS TEXT) IS NULL OR (lease_owner >= ?1 AND lease_owner < ?2))";
    let ended = c.execute(sql, of)?;
    if ended > 0 {
        due::all_changed(c, Kind::Check)?;
        due::all_changed(c, Kind::RequestedCheck)?;
    }
    Ok(ended)
}

pub(super) const OVERDUE: &str = "SELECT count(*) FROM custom_domain WHERE next_check_at < ?1 AND status = 'verified'
                                  AND asked_at IS NULL AND lease_until IS NULL";
pub(super) const SPREAD: &str = "UPDATE custom_domain SET next_check_at = ?1 + spread.pause FROM (
                          SELECT id, (row_number() OVER (ORDER BY next_check_at, id) - 1) * ?2 / count(*) OVER () AS pause
                          FROM custom_domain
                          WHERE next_check_at < ?1 AND status = 'verified' AND asked_at IS NULL AND lease_until IS NULL) spread
                      WHERE custom_domain.id = spread.id";

/// Reschedules overdue checks of verified claims at a constant rate. Returns their number.
pub(super) fn spread(c: &Transaction<'_>, now: Timestamp, per_second: u32) -> Result<usize, StoreError> {
    let overdue: i64 = c.query_row(OVERDUE, params![now], |row| row.get(0))?;
    let span = overdue.saturating_mul(1000) / i64::from(per_second.max(1));
    let moved = c.execute(SPREAD, params![now, span.max(1)])?;
    if moved > 0 {
        due::all_changed(c, Kind::Check)?;
    }
    Ok(moved)
}
