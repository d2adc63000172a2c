//! Leases of background jobs, and the choice of the next job.
//!
//! Invariant: a job belongs to its runner until the lease expires; the runner renews it while it works. The write that ends a job
//! compares the lease owner in the same transaction, so a runner that has lost the lease writes nothing.

use super::due::Kind;
use super::process::Owners;
use super::{Store, StoreError, Transaction, claim_rows, queue, rotation, search, ses, webhooks};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId, RunnerId, SubmissionId, WebhookDeliveryId, WebhookId};
use crate::resources::Owner;
use crate::resources::places::{Line, Places, Waiting};
use crate::store::engine::{FromValue, params};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;

/// Accounts with due jobs considered per claim, the longest waiting first.
const MAX_ACCOUNTS: i64 = 1000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JobKey {
    /// The attempt of a message to its recipients at a domain.
    Delivery(SubmissionId, DomainName),
    Check(DomainId),
    Rotation(DomainId),
    /// The synchronization of an identity at Amazon SES.
    SesIdentity(DomainName),
    /// An account's mail that is not in the index of searches.
    SearchIndex(AccountId),
    /// Reading the event log for an account with webhooks. It needs no lease.
    WebhookFeed(AccountId),
    Webhook(WebhookId, WebhookDeliveryId),
}

#[derive(Clone, Debug)]
pub struct Lease {
    /// The owner.
    pub runner: RunnerId,
    /// By the clock.
    pub until: Timestamp,
}

/// A request of a runner for due jobs.
#[derive(Clone, Debug)]
pub struct Claim {
    pub now: Timestamp,
    /// The lease of the claimed jobs.
    pub lease: Lease,
    pub places: Places,
    /// Jobs that the runner is running: not claimed again, even if the lease has expired by the clock.
    pub running: HashSet<JobKey>,
}

#[cfg(test)]
impl Claim {
    /// By a new runner, without running jobs.
    pub fn new(now: Timestamp, until: Timestamp, free: usize) -> Self {
        let lease = Lease { runner: RunnerId::new(), until };
        Self { now, lease, places: Places::all_free(free), running: HashSet::new() }
    }
}

pub(super) const ACCOUNTS_DUE: &str =
    "SELECT account_id, CASE WHEN served_at <= ?2 THEN served_at ELSE 0 END, due_at FROM due_account
    WHERE kind = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3";
pub(super) const ACCOUNTS_IN_TIME: &str =
    "SELECT account_id, due_at FROM due_account WHERE kind = ?1 AND due_at IS NOT NULL ORDER BY due_at LIMIT ?2";

/// The accounts with due jobs.
pub(super) fn line(c: &Transaction<'_>, kind: Kind, now: Timestamp, places: Places) -> Result<Line, StoreError> {
    let waiting = c.query(ACCOUNTS_DUE, params![kind.as_str(), now, MAX_ACCOUNTS], |row| {
        Ok(Waiting { owner: Owner::Account(row.get(0)?), served_at: row.get(1)?, due_at: row.get(2)? })
    })?;
    Ok(Line::new(places, waiting))
}

/// Chooses up to `limit` jobs; `due` returns the due jobs of an owner.
pub(super) fn choose<I>(
    line: &mut Line,
    limit: usize,
    mut due: impl FnMut(&Owner) -> Result<VecDeque<I>, StoreError>,
) -> Result<Vec<I>, StoreError> {
    let mut candidates: HashMap<Owner, VecDeque<I>> = HashMap::new();
    let mut chosen = Vec::new();
    while chosen.len() < limit
        && let Some(next) = line.next()
    {
        let found = match candidates.entry(next.owner.clone()) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => place.insert(due(&next.owner)?),
        };
        if !found.is_empty() && line.take(next) {
            chosen.extend(found.pop_front());
        }
    }
    Ok(chosen)
}

/// The due jobs of an account that the runner is not running. `sql` selects the IDs of up to ?3 jobs of account ?1 that are due
/// at ?2.
pub(super) fn due_ids<I: FromValue>(
    c: &Transaction<'_>,
    sql: &str,
    claim: &Claim,
    owner: &Owner,
    key: impl Fn(&I) -> JobKey,
) -> Result<VecDeque<I>, StoreError> {
    let Owner::Account(account) = owner else { return Ok(VecDeque::new()) };
    let limit = i64::try_from(claim.running.len().saturating_add(claim.places.free)).unwrap_or(i64::MAX);
    let found = c.query(sql, params![account, claim.now, limit], |row| row.get(0))?;
    Ok(found.into_iter().filter(|id| !claim.running.contains(&key(id))).collect())
}

/// When the first job for which a place is free is due. A running job is due when its lease expires.
pub(super) fn next_due(c: &Transaction<'_>, kind: Kind, places: &Places) -> Result<Option<Timestamp>, StoreError> {
    if places.free == 0 {
        return Ok(None);
    }
    let mut next = None;
    // Among these accounts is one without a place, which gets the free one.
    let limit = i64::try_from(places.taken.len()).unwrap_or(i64::MAX).saturating_add(1);
    c.for_each(ACCOUNTS_IN_TIME, params![kind.as_str(), limit], |row| {
        if !places.has_for(&Owner::Account(row.get(0)?)) {
            return Ok(ControlFlow::Continue(()));
        }
        next = row.get(1)?;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(next)
}

/// Releases all leases, or those of a process that has ended. The caller must know that no process works on these jobs. Returns
/// the number of leases.
pub(super) fn end_leases(c: &Transaction<'_>, of: Option<&Owners>) -> Result<usize, StoreError> {
    let (first, end) = of.map(Owners::bounds).unzip();
    let of = params![first, end];
    let sql = "DELETE FROM long_change WHERE CAST(?1 AS TEXT) IS NULL OR (lease_owner >= ?1 AND lease_owner < ?2)";
    let ended = c.execute(sql, of)?;
    let jobs = queue::end_leases(c, of)? + claim_rows::end_leases(c, of)?;
    let others = rotation::end_leases(c, of)? + ses::end_leases(c, of)? + search::end_leases(c, of)?;
    Ok(ended + jobs + others + webhooks::deliveries::end_leases(c, of)?)
}

impl Store {
    /// Ends the lease of jobs that do not run any more, and wakes the runners of other daemons.
    pub async fn hand_back(&self, ended: Lease, jobs: Vec<JobKey>) -> Result<(), StoreError> {
        self.renew_leases(ended, jobs).await?;
        self.inner.engine.notify_of_work();
        Ok(())
    }

    /// Renews, in one write, those of the leases that the runner still owns.
    pub async fn renew_leases(&self, lease: Lease, jobs: Vec<JobKey>) -> Result<(), StoreError> {
        self.write(move |c| {
            let deliveries = jobs.iter().filter_map(|job| match job {
                JobKey::Delivery(id, domain) => Some((id, domain)),
                _ => None,
            });
            queue::renew(c, deliveries, &lease)?;
            let checks = jobs.iter().filter_map(|job| if let JobKey::Check(id) = job { Some(id) } else { None });
            claim_rows::renew(c, checks, &lease)?;
            let rotations = jobs.iter().filter_map(|job| if let JobKey::Rotation(id) = job { Some(id) } else { None });
            rotation::renew(c, rotations, &lease)?;
            let names =
                jobs.iter().filter_map(|job| if let JobKey::SesIdentity(name) = job { Some(name) } else { None });
            ses::renew(c, names, &lease)?;
            let accounts =
                jobs.iter().filter_map(|job| if let JobKey::SearchIndex(id) = job { Some(id) } else { None });
            search::renew(c, accounts, &lease)?;
            let sent = jobs.iter().filter_map(|job| if let JobKey::Webhook(_, id) = job { Some(id) } else { None });
            webhooks::deliveries::renew(c, sent, &lease)
        })
        .await
    }
}
