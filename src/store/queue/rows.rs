//! The table `delivery`: recipients that are not settled.
//!
//! Invariant: only this file changes the table, and it updates the due time of the account in the same transaction ([`due`]).

use super::super::due::{self, Kind};
use super::super::jobs::Lease;
use super::super::{StoreError, Transaction};
use super::attempts::{Deferral, DueDelivery, Ended, Settlement, Wait};
use super::{NewSubmission, RemoteRecipient};
use crate::address::{Address, DomainName};
use crate::clock::Timestamp;
use crate::envelope::{Notify, OriginalRecipient, RecipientParameters};
use crate::id::{AccountId, DeliveryId, DomainId, SubmissionId};
use crate::store::engine::{Params, params};
use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

/// A message, and the domain of the recipients that are attempted together.
pub(super) type Attempt = (SubmissionId, DomainName);

/// Inserts the recipients of a message without duplicates. Returns their number.
pub(super) fn insert(c: &Transaction<'_>, new: &NewSubmission) -> Result<usize, StoreError> {
    let sql = "INSERT INTO delivery (id, submission_id, account_id, rcpt_to, domain, next_attempt_at, notify, original_recipient)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let due_at = new.send_at.unwrap_or(new.now);
    let mut seen = HashSet::new();
    for RemoteRecipient { address, parameters } in new.rcpt_to.iter().filter(|rcpt| seen.insert(&rcpt.address)) {
        let notify = parameters.notify.map(|notify| i64::from(notify.bits()));
        let original = parameters.original.as_ref().map(ToString::to_string);
        let values = params![DeliveryId::new(), new.id, new.account, address, address.domain, due_at, notify, original];
        c.execute(sql, values)?;
    }
    due::added(c, Kind::Delivery, &new.account, due_at)?;
    Ok(seen.len())
}

/// Leases those of the attempts that are still due. Returns each with its recipients.
pub(super) fn lease(
    c: &Transaction<'_>,
    attempts: &[Attempt],
    now: Timestamp,
    lease: &Lease,
) -> Result<Vec<(Attempt, Vec<DueDelivery>)>, StoreError> {
    let sql = "UPDATE delivery SET lease_until = ?4, lease_owner = ?5
               WHERE submission_id = ?1 AND domain = ?2 AND ready_at <= ?3
               RETURNING id, rcpt_to, attempts, next_attempt_at, account_id, notify, original_recipient, delay_reported";
    let mut leased = Vec::with_capacity(attempts.len());
    let mut accounts = BTreeSet::new();
    for (id, domain) in attempts {
        let deliveries = c.query(sql, params![id, domain, now, lease.until, lease.runner], |row| {
            accounts.extend(row.get::<Option<AccountId>>(4)?);
            Ok(DueDelivery {
                id: row.get(0)?,
                rcpt_to: row.get(1)?,
                attempts: row.get(2)?,
                due_at: row.get(3)?,
                parameters: parameters(row.get(5)?, row.get(6)?),
                delay_reported: row.get(7)?,
            })
        })?;
        // Empty if the message was dropped, or another runner has leased it, after it was chosen.
        if !deliveries.is_empty() {
            leased.push(((id.clone(), domain.clone()), deliveries));
        }
    }
    accounts.iter().try_for_each(|account| due::served(c, Kind::Delivery, account, now))?;
    Ok(leased)
}

/// The parameters that were stored by [`insert`].
fn parameters(notify: Option<i64>, original: Option<String>) -> RecipientParameters {
    let notify = notify.and_then(|bits| u8::try_from(bits).ok()).map(Notify::from_bits_truncate);
    RecipientParameters { notify, original: original.and_then(|text| OriginalRecipient::parse(&text)) }
}

/// Renews those of the leases that the runner still owns.
pub(in crate::store) fn renew<'a>(
    c: &Transaction<'_>,
    attempts: impl Iterator<Item = (&'a SubmissionId, &'a DomainName)>,
    Lease { runner, until }: &Lease,
) -> Result<(), StoreError> {
    let sql = "UPDATE delivery SET lease_until = ?2 WHERE lease_owner = ?1 AND submission_id = ?3 AND domain = ?4
               RETURNING account_id";
    let mut accounts = BTreeSet::new();
    for (id, domain) in attempts {
        accounts.extend(accounts_of(c, sql, params![runner, until, id, domain])?);
    }
    changed(c, &accounts)
}

/// Releases all leases, or those of owners from ?1 up to but excluding ?2. Returns the number of recipients that had one.
pub(in crate::store) fn end_leases(c: &Transaction<'_>, of: Params<'_>) -> Result<usize, StoreError> {
    let sql = "UPDATE delivery SET lease_until = NULL, lease_owner = NULL WHERE lease_until IS NOT NULL
                   AND (CAST(?1 AS TEXT) IS NULL OR (lease_owner >= ?1 AND lease_owner < ?2))";
    let ended = c.execute(sql, of)?;
    if ended > 0 {
        due::all_changed(c, Kind::Delivery)?;
    }
    Ok(ended)
}

/// Removes settled recipients and reschedules the deferred ones. Returns the address of each, in this order; `None` if it was
/// dropped.
pub(super) fn settle(c: &Transaction<'_>, settlement: &Settlement) -> Result<Vec<Option<Address>>, StoreError> {
    let mut accounts: BTreeSet<AccountId> = BTreeSet::new();
    let mut recipients = Vec::with_capacity(settlement.done.len() + settlement.deferred.len());
    let mut change = |sql: &str, values: Params<'_>| {
        let found = c.query_opt(sql, values, |row| Ok((row.get(0)?, row.get::<Option<AccountId>>(1)?)))?;
        let (recipient, account) = found.unzip();
        accounts.extend(account.flatten());
        recipients.push(recipient);
        Ok::<_, StoreError>(())
    };
    for Ended { delivery, .. } in &settlement.done {
        change("DELETE FROM delivery WHERE id = ?1 RETURNING rcpt_to, account_id", params![delivery])?;
    }
    // What was put on hold meanwhile stays so. If the domain has changed since the attempt read it, its wake-up came before this
    // update: the message is due at once.
    let sql = "UPDATE delivery SET attempts = attempts + ?6, lease_until = NULL, lease_owner = NULL, last_reply = ?4, last_mx = ?5,
             delay_reported = CASE WHEN ?8 = 1 THEN 1 ELSE delay_reported END,
             last_attempt_at = CASE WHEN ?6 = 1 THEN ?3 ELSE last_attempt_at END,
             next_attempt_at = CASE WHEN next_attempt_at IS NULL THEN NULL WHEN ?7 = 1 AND EXISTS (
                 SELECT 1 FROM submission s WHERE s.id = delivery.submission_id AND CASE s.state
                     WHEN 'held' THEN NOT EXISTS (SELECT 1 FROM custom_domain d WHERE d.id = s.domain_id
                         AND d.status = 'pending' AND d.on_unverified = 'hold')
                     ELSE s.is_unsigned = 1 AND EXISTS (SELECT 1 FROM dkim_key k WHERE k.domain_id = s.domain_id
                         AND k.role = 'signing') END) THEN ?3 ELSE ?2 END
         WHERE id = ?1 RETURNING rcpt_to, account_id";
    for Deferral { delivery, next, reply, mx, wait, delay_reported } in &settlement.deferred {
        let (is_attempt, for_domain) = (*wait == Wait::Attempt, *wait == Wait::Domain);
        change(sql, params![delivery, next, settlement.at, reply, mx, is_attempt, for_domain, delay_reported])?;
    }
    changed(c, &accounts)?;
    Ok(recipients)
}

pub(super) fn remove(c: &Transaction<'_>, submission: &SubmissionId) -> Result<(), StoreError> {
    let sql = "DELETE FROM delivery WHERE submission_id = ?1 RETURNING account_id";
    changed(c, &accounts_of(c, sql, params![submission])?)
}

/// Makes the recipients of a message due now that are not on hold. False if there are none.
pub(super) fn retry(c: &Transaction<'_>, submission: &SubmissionId, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "UPDATE delivery SET next_attempt_at = ?2 WHERE submission_id = ?1 AND next_attempt_at IS NOT NULL
               RETURNING account_id";
    let accounts = accounts_of(c, sql, params![submission, now])?;
    changed(c, &accounts)?;
    Ok(!accounts.is_empty())
}

/// Makes deliveries due at their times; without one, puts them on hold.
pub(super) fn reschedule(c: &Transaction<'_>, all: &[(DeliveryId, Option<Timestamp>)]) -> Result<(), StoreError> {
    let sql = "UPDATE delivery SET next_attempt_at = ?2 WHERE id = ?1 RETURNING account_id";
    let mut accounts = BTreeSet::new();
    for (id, at) in all {
        accounts.extend(accounts_of(c, sql, params![id, at])?);
    }
    changed(c, &accounts)
}

pub(super) fn remove_each<'a>(
    c: &Transaction<'_>,
    all: impl Iterator<Item = &'a DeliveryId>,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM delivery WHERE id = ?1 RETURNING account_id";
    let mut accounts = BTreeSet::new();
    for id in all {
        accounts.extend(accounts_of(c, sql, params![id])?);
    }
    changed(c, &accounts)
}

/// Makes unsigned messages of a domain due, because its key is available.
pub(in crate::store) fn wake_unsigned(
    c: &Transaction<'_>,
    domain: &DomainId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE delivery SET next_attempt_at = ?2 WHERE next_attempt_at > ?2
                   AND submission_id IN (SELECT id FROM submission WHERE domain_id = ?1 AND is_unsigned = 1)
               RETURNING account_id";
    changed(c, &accounts_of(c, sql, params![domain, now])?)
}

/// Makes held messages of a domain due, because its status or `on_unverified` was changed, or it was deleted.
pub(in crate::store) fn wake_held(c: &Transaction<'_>, domain: &DomainId, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE delivery SET next_attempt_at = ?2 WHERE next_attempt_at > ?2
                   AND submission_id IN (SELECT id FROM submission WHERE domain_id = ?1 AND state = 'held')
               RETURNING account_id";
    changed(c, &accounts_of(c, sql, params![domain, now])?)
}

/// Runs a statement with `RETURNING account_id` and returns the accounts.
fn accounts_of(c: &Transaction<'_>, sql: &str, values: Params<'_>) -> Result<BTreeSet<AccountId>, StoreError> {
    let mut accounts = BTreeSet::new();
    c.for_each(sql, values, |row| {
        accounts.extend(row.get::<Option<AccountId>>(0)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(accounts)
}

fn changed(c: &Transaction<'_>, accounts: &BTreeSet<AccountId>) -> Result<(), StoreError> {
    accounts.iter().try_for_each(|account| due::changed(c, Kind::Delivery, account))
}
