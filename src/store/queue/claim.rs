//! Claims due deliveries, fairly between accounts.
//!
//! Invariant: the work of a claim is bounded, and a backlog of one account does not delay the deliveries of another.

use super::super::due::Kind;
use super::super::hot_rows::HotRow;
use super::super::jobs::{self, Claim, JobKey, Lease};
use super::super::{Store, StoreError, Transaction};
use super::attempts::{self, Due};
use super::rows::{self, Attempt};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::resources::Owner;
use crate::resources::concurrency::{Destination, DestinationLimits};
use crate::resources::places::Places;
use crate::store::engine::params;
use std::collections::{HashMap, HashSet, VecDeque};

/// Due deliveries considered per account and claim.
const MAX_PER_ACCOUNT: i64 = 250;
/// Due deliveries considered per claim.
const MAX_CONSIDERED: usize = 20_000;
/// Tries of a claim if other runners take the chosen attempts first.
const MAX_ROUNDS: usize = 3;

/// The result of a claim.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The leased attempts.
    pub due: Vec<Due>,
    /// The number of accounts with due deliveries for which no place was free.
    pub waiting: usize,
}

impl Store {
    /// Leases due attempts for the free places, within the concurrency limits of destinations.
    pub async fn claim_due(&self, mut claim: Claim, destinations: DestinationLimits) -> Result<Claimed, StoreError> {
        let mut claimed = Claimed::default();
        for _ in 0..MAX_ROUNDS {
            let (count, taken) = match self.claim_once(&claim, destinations.clone()).await {
                Ok((chosen, waiting, taken)) => {
                    claimed.waiting = waiting;
                    (chosen, taken)
                }
                // The attempts of earlier rounds are leased and must be returned.
                Err(error) if !claimed.due.is_empty() => {
                    tracing::warn!(%error, "cannot claim more due deliveries");
                    break;
                }
                Err(error) => return Err(error),
            };
            for due in &taken {
                claim.running.insert(JobKey::Delivery(due.queued.id.clone(), due.domain.clone()));
                claim.places.take(&Owner::Account(due.queued.account.clone()));
            }
            let is_all = taken.len() == count;
            claimed.due.extend(taken);
            // Otherwise another daemon's runner has leased some of the chosen; there may be more due ones.
            if is_all {
                break;
            }
        }
        Ok(claimed)
    }

    /// Returns the number of chosen attempts, the number of accounts without a free place, and the attempts that were leased.
    async fn claim_once(
        &self,
        claim: &Claim,
        destinations: DestinationLimits,
    ) -> Result<(usize, usize, Vec<Due>), StoreError> {
        let (now, lease, request) = (claim.now, claim.lease.clone(), claim.clone());
        // Choosing is a read, so due deliveries without a free place do not load the writer.
        let chosen = self.read(move |connection| choose(connection, &request, destinations.clone())).await?;
        let (count, waiting) = (chosen.attempts.len(), chosen.waiting);
        if count == 0 {
            return Ok((0, waiting, Vec::new()));
        }
        let hot_rows = chosen.hot_rows();
        let taken = self.write_serialized(&hot_rows, move |c| take(c, now, &lease, &chosen.attempts)).await?;
        Ok((count, waiting, taken))
    }

    /// When the next attempt is due; a running one is due when its lease expires.
    pub async fn next_attempt_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| jobs::next_due(connection, Kind::Delivery, &Places::all_free(1))).await
    }
}

/// Due deliveries of an account, the longest waiting first.
pub(super) const CANDIDATES: &str =
    "SELECT submission_id, domain FROM delivery WHERE account_id = ?1 AND ready_at <= ?2 ORDER BY ready_at LIMIT ?3";

/// The number of further attempts that may run to each destination.
struct DestinationSlots {
    destinations: DestinationLimits,
    free: HashMap<Destination, usize>,
}

impl DestinationSlots {
    fn free(&mut self, domain: &DomainName) -> &mut usize {
        let destination = self.destinations.destination(domain);
        let at_once = self.destinations.at_once(&destination);
        self.free.entry(destination).or_insert(at_once)
    }

    fn take(&mut self, domain: &DomainName) {
        let free = self.free(domain);
        *free = free.saturating_sub(1);
    }
}

/// The attempts that a claim is going to lease.
#[derive(Default)]
struct Chosen {
    attempts: Vec<Attempt>,
    accounts: HashSet<AccountId>,
    /// The number of accounts for which no place was free.
    waiting: usize,
}

impl Chosen {
    fn hot_rows(&self) -> Vec<HotRow> {
        let queues = self.accounts.iter().cloned().map(HotRow::Queue);
        queues.chain([HotRow::Claims(Kind::Delivery.as_str())]).collect()
    }
}

fn choose(connection: &Transaction<'_>, claim: &Claim, destinations: DestinationLimits) -> Result<Chosen, StoreError> {
    let Claim { now, places, running, .. } = claim;
    let now = *now;
    let mut slots = DestinationSlots { destinations, free: HashMap::new() };
    for job in running {
        if let JobKey::Delivery(_, domain) = job {
            slots.take(domain);
        }
    }
    let mut line = jobs::line(connection, Kind::Delivery, now, places.clone())?;
    let mut candidates: HashMap<Owner, VecDeque<Attempt>> = HashMap::new();
    let (mut considered, mut chosen) = (0, Chosen::default());
    while let Some(next) = line.next() {
        let Owner::Account(account) = &next.owner else { continue };
        if !candidates.contains_key(&next.owner) {
            if considered >= MAX_CONSIDERED {
                continue;
            }
            let (found, rows) = candidates_of(connection, account, now, running)?;
            considered += rows;
            candidates.insert(next.owner.clone(), found);
        }
        let Some(found) = candidates.get_mut(&next.owner) else { continue };
        let Some(at) = found.iter().position(|(_, domain)| *slots.free(domain) > 0) else { continue };
        let account = account.clone();
        if !line.take(next) {
            chosen.waiting += 1;
        } else if let Some(attempt) = found.remove(at) {
            slots.take(&attempt.1);
            chosen.accounts.insert(account);
            chosen.attempts.push(attempt);
        }
    }
    Ok(chosen)
}

/// The account's due attempts that are not running, the longest waiting first; and the number of rows read.
fn candidates_of(
    connection: &Transaction<'_>,
    account: &AccountId,
    now: Timestamp,
    running: &HashSet<JobKey>,
) -> Result<(VecDeque<Attempt>, usize), StoreError> {
    let rows: Vec<Attempt> =
        connection.query(CANDIDATES, params![account, now, MAX_PER_ACCOUNT], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let considered = rows.len().max(1);
    let mut seen = HashSet::new();
    let is_running = |(id, domain): &Attempt| running.contains(&JobKey::Delivery(id.clone(), domain.clone()));
    let candidates = rows.into_iter().filter(|attempt| seen.insert(attempt.clone()) && !is_running(attempt));
    Ok((candidates.collect(), considered))
}

fn take(
    connection: &Transaction<'_>,
    now: Timestamp,
    lease: &Lease,
    chosen: &[Attempt],
) -> Result<Vec<Due>, StoreError> {
    let mut claimed = Vec::with_capacity(chosen.len());
    for ((id, domain), deliveries) in rows::lease(connection, chosen, now, lease)? {
        if let Some(queued) = attempts::queued(connection, &id)? {
            claimed.push(Due { queued, domain, deliveries, runner: lease.runner.clone() });
        }
    }
    Ok(claimed)
}
