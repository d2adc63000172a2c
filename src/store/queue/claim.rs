//! Which deliveries are attempted next: shared out by account.
//!
//! Invariant: however many deliveries of one account are due, the work of a claim is bounded, and another account's are found.

use super::super::jobs::{self, Claim, JobKey, Kind, Lease};
use super::super::{Store, StoreError, Transaction};
use super::attempts::{self, Due, DueDelivery};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::{AccountId, SubmissionId};
use crate::resources::Owner;
use crate::resources::concurrency::{Destination, DestinationLimits};
use crate::resources::places::Places;
use crate::store::engine::params;
use std::collections::{HashMap, HashSet, VecDeque};

/// Due deliveries of one account that it looks at.
const DELIVERIES: i64 = 250;
/// Due deliveries that it looks at in all.
const LOOK: usize = 20_000;

/// What a claim has found.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The attempts, each with a lease.
    pub due: Vec<Due>,
    /// Accounts with deliveries that are due and found no place.
    pub waiting: usize,
}

impl Store {
    /// Takes the attempts that are due and have a place, to one destination at most as many as it takes.
    pub async fn claim_due(&self, claim: Claim, destinations: DestinationLimits) -> Result<Claimed, StoreError> {
        let (now, lease) = (claim.now, claim.lease.clone());
        // Choosing only reads: what is due and has no place costs the writer nothing.
        let (chosen, waiting) = self.read(move |connection| choose(connection, &claim, destinations.clone())).await?;
        if chosen.is_empty() {
            return Ok(Claimed { due: Vec::new(), waiting });
        }
        let due = self.write(move |connection| take(connection, now, &lease, &chosen)).await?;
        Ok(Claimed { due, waiting })
    }

    /// When the next attempt is due. One that runs is due when its lease ends.
    pub async fn next_attempt_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| jobs::next_due(connection, Kind::Delivery, &Places::all_free(1))).await
    }
}

/// The due deliveries of an account.
pub(super) const CANDIDATES: &str =
    "SELECT submission_id, domain FROM delivery WHERE account_id = ?1 AND ready_at <= ?2 ORDER BY ready_at LIMIT ?3";

type Attempt = (SubmissionId, DomainName);

/// How many more attempts may run to each destination.
struct Rest {
    destinations: DestinationLimits,
    more: HashMap<Destination, usize>,
}

impl Rest {
    fn to(&mut self, domain: &DomainName) -> &mut usize {
        let destination = self.destinations.destination(domain);
        let at_once = self.destinations.at_once(&destination);
        self.more.entry(destination).or_insert(at_once)
    }

    fn take(&mut self, domain: &DomainName) {
        let more = self.to(domain);
        *more = more.saturating_sub(1);
    }
}

/// The attempts to begin, and how many accounts found no place for one.
fn choose(
    connection: &Transaction<'_>,
    claim: &Claim,
    destinations: DestinationLimits,
) -> Result<(Vec<Attempt>, usize), StoreError> {
    let Claim { now, places, running, .. } = claim;
    let now = *now;
    let mut rest = Rest { destinations, more: HashMap::new() };
    for job in running {
        if let JobKey::Delivery(_, domain) = job {
            rest.take(domain);
        }
    }
    let mut line = jobs::line(connection, Kind::Delivery, now, places.clone())?;
    let mut candidates: HashMap<Owner, VecDeque<Attempt>> = HashMap::new();
    let (mut looked, mut chosen, mut waiting) = (0, Vec::new(), 0);
    while let Some(next) = line.next() {
        let Owner::Account(account) = &next.owner else { continue };
        if !candidates.contains_key(&next.owner) {
            if looked >= LOOK {
                continue;
            }
            let (found, rows) = candidates_of(connection, account, now, running)?;
            looked += rows;
            candidates.insert(next.owner.clone(), found);
        }
        let Some(found) = candidates.get_mut(&next.owner) else { continue };
        let Some(at) = found.iter().position(|(_, domain)| *rest.to(domain) > 0) else { continue };
        if !line.take(next) {
            waiting += 1;
        } else if let Some(attempt) = found.remove(at) {
            rest.take(&attempt.1);
            chosen.push(attempt);
        }
    }
    Ok((chosen, waiting))
}

/// The account's attempts that are due and do not run, the longest waiting first; and how many rows were looked at.
fn candidates_of(
    connection: &Transaction<'_>,
    account: &AccountId,
    now: Timestamp,
    running: &HashSet<JobKey>,
) -> Result<(VecDeque<Attempt>, usize), StoreError> {
    let rows: Vec<Attempt> =
        connection.query(CANDIDATES, params![account, now, DELIVERIES], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let looked = rows.len().max(1);
    let mut seen = HashSet::new();
    let runs = |(id, domain): &Attempt| running.contains(&JobKey::Delivery(id.clone(), domain.clone()));
    let fresh = rows.into_iter().filter(|attempt| seen.insert(attempt.clone()) && !runs(attempt));
    Ok((fresh.collect(), looked))
}

fn take(
    connection: &Transaction<'_>,
    now: Timestamp,
    lease: &Lease,
    chosen: &[Attempt],
) -> Result<Vec<Due>, StoreError> {
    let mut claimed = Vec::with_capacity(chosen.len());
    for (id, domain) in chosen {
        let deliveries: Vec<DueDelivery> = connection.query(
            "UPDATE delivery SET lease_until = ?4, lease_owner = ?5
                 WHERE submission_id = ?1 AND domain = ?2 AND ready_at <= ?3
                 RETURNING id, rcpt_to, attempts, next_attempt_at",
            params![id, domain, now, lease.until, lease.runner],
            |row| Ok(DueDelivery { id: row.get(0)?, rcpt_to: row.get(1)?, attempts: row.get(2)?, due_at: row.get(3)? }),
        )?;
        // Dropped since it was chosen, or another runner was faster.
        if let (false, Some(queued)) = (deliveries.is_empty(), attempts::queued(connection, id)?) {
            jobs::served(connection, Kind::Delivery, &queued.account, now)?;
            claimed.push(Due { queued, domain: domain.clone(), deliveries, runner: lease.runner.clone() });
        }
    }
    Ok(claimed)
}
