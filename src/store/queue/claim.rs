//! Which deliveries are attempted next: shared out by account.
//!
//! Invariant: however many deliveries of one account are due, the work of a claim is bounded, and another account's are found.

use super::super::due::Kind;
use super::super::jobs::{self, Claim, JobKey, Lease};
use super::super::turns::Turn;
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

/// Due deliveries of one account that it looks at.
const DELIVERIES: i64 = 250;
/// Due deliveries that it looks at in all.
const LOOK: usize = 20_000;
/// How often a claim chooses, where others take what it has chosen.
const ROUNDS: usize = 3;

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
    pub async fn claim_due(&self, mut claim: Claim, destinations: DestinationLimits) -> Result<Claimed, StoreError> {
        let mut claimed = Claimed::default();
        for _ in 0..ROUNDS {
            let (count, taken) = match self.claim_once(&claim, destinations.clone()).await {
                Ok((chosen, waiting, taken)) => {
                    claimed.waiting = waiting;
                    (chosen, taken)
                }
                // What was taken before has its leases, and is begun.
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
            // Otherwise a runner of another daemon was faster: it may have left some.
            if is_all {
                break;
            }
        }
        Ok(claimed)
    }

    /// How many attempts it chose, how many accounts found no place for one, and those of the chosen that it took.
    async fn claim_once(
        &self,
        claim: &Claim,
        destinations: DestinationLimits,
    ) -> Result<(usize, usize, Vec<Due>), StoreError> {
        let (now, lease, request) = (claim.now, claim.lease.clone(), claim.clone());
        // Choosing only reads: what is due and has no place costs the writer nothing.
        let chosen = self.read(move |connection| choose(connection, &request, destinations.clone())).await?;
        let (count, waiting) = (chosen.attempts.len(), chosen.waiting);
        if count == 0 {
            return Ok((0, waiting, Vec::new()));
        }
        let turns = chosen.turns();
        let taken = self.write_in_turn(&turns, move |c| take(c, now, &lease, &chosen.attempts)).await?;
        Ok((count, waiting, taken))
    }

    /// When the next attempt is due. One that runs is due when its lease ends.
    pub async fn next_attempt_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| jobs::next_due(connection, Kind::Delivery, &Places::all_free(1))).await
    }
}

/// The due deliveries of an account.
pub(super) const CANDIDATES: &str =
    "SELECT submission_id, domain FROM delivery WHERE account_id = ?1 AND ready_at <= ?2 ORDER BY ready_at LIMIT ?3";

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

/// What a claim is going to take.
#[derive(Default)]
struct Chosen {
    attempts: Vec<Attempt>,
    /// Whose they are.
    accounts: HashSet<AccountId>,
    /// Accounts that found no place for an attempt.
    waiting: usize,
}

impl Chosen {
    fn turns(&self) -> Vec<Turn> {
        let queues = self.accounts.iter().cloned().map(Turn::Queue);
        queues.chain([Turn::Claims(Kind::Delivery.as_str())]).collect()
    }
}

fn choose(connection: &Transaction<'_>, claim: &Claim, destinations: DestinationLimits) -> Result<Chosen, StoreError> {
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
    let (mut looked, mut chosen) = (0, Chosen::default());
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
        let account = account.clone();
        if !line.take(next) {
            chosen.waiting += 1;
        } else if let Some(attempt) = found.remove(at) {
            rest.take(&attempt.1);
            chosen.accounts.insert(account);
            chosen.attempts.push(attempt);
        }
    }
    Ok(chosen)
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
    for ((id, domain), deliveries) in rows::lease(connection, chosen, now, lease)? {
        if let Some(queued) = attempts::queued(connection, &id)? {
            claimed.push(Due { queued, domain, deliveries, runner: lease.runner.clone() });
        }
    }
    Ok(claimed)
}
