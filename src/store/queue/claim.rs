//! Which deliveries are attempted next: shared out by account.
//!
//! Invariant: an account gets another attempt only while more places are free than it has. Of those that may, the one with
//! the fewest is next, and among equals the one that has waited longest for an attempt, however old the mail of the others.
//! However many deliveries of one account are due, the work of a claim is bounded, and another account's are found.

use super::super::{Store, StoreError};
use super::attempts::{self, Due, DueDelivery};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::id::{AccountId, SubmissionId};
use crate::resources::concurrency::{Destination, DestinationLimits};
use crate::verification::share::Places;
use rusqlite::{Connection, params};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};

/// Accounts with due deliveries that one claim looks at, the longest waiting first.
const ACCOUNTS: i64 = 1000;
/// Due deliveries of one account that it looks at.
const DELIVERIES: i64 = 250;
/// Due deliveries that it looks at in all.
const LOOK: usize = 20_000;

/// Attempts under way, which a claim leaves alone whatever the clock says of their leases.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Each message and domain.
    pub attempts: HashSet<(SubmissionId, DomainName)>,
    /// The places for attempts, and how many of them each account has.
    pub places: Places,
    /// How many may run at once to one destination.
    pub destinations: DestinationLimits,
}

/// What a claim has found.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The attempts, each with a lease.
    pub due: Vec<Due>,
    /// Accounts with deliveries that are due and found no place.
    pub waiting: usize,
}

impl Store {
    /// Takes the attempts that are due and have a place, each with a lease until `lease_until`.
    pub async fn claim_due(
        &self,
        now: Timestamp,
        lease_until: Timestamp,
        in_flight: InFlight,
    ) -> Result<Claimed, StoreError> {
        // Choosing only reads: what is due and has no place costs the writer nothing.
        let (chosen, waiting) = self.read(move |connection| choose(connection, now, in_flight)).await?;
        if chosen.is_empty() {
            return Ok(Claimed { due: Vec::new(), waiting });
        }
        let due = self.write(move |connection| claim(connection, now, lease_until, chosen)).await?;
        Ok(Claimed { due, waiting })
    }

    /// When the next attempt is due that nobody has taken.
    pub async fn next_attempt_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| Ok(connection.prepare_cached(NEXT_DUE)?.query_row([], |row| row.get(0))?)).await
    }
}

pub(super) const NEXT_DUE: &str = "SELECT min(due_at) FROM delivery_turn WHERE due_at IS NOT NULL";
/// The accounts with due deliveries, and when each was served last.
pub(super) const TURNS: &str = "SELECT account_id, iif(served_at <= ?1, served_at, 0) FROM delivery_turn WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2";
/// The due deliveries of one.
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
fn choose(connection: &Connection, now: Timestamp, in_flight: InFlight) -> Result<(Vec<Attempt>, usize), StoreError> {
    let InFlight { attempts, mut places, destinations } = in_flight;
    let mut rest = Rest { destinations, more: HashMap::new() };
    for (_, domain) in &attempts {
        rest.take(domain);
    }
    let held = |places: &Places, account: &AccountId| places.taken.get(account).copied().unwrap_or_default();
    let mut turns: BinaryHeap<Reverse<(usize, Timestamp, AccountId)>> = connection
        .prepare_cached(TURNS)?
        .query_map(params![now, ACCOUNTS], |row| Ok((row.get(0)?, row.get(1)?)))?
        .map(|row| row.map(|(account, served)| Reverse((held(&places, &account), served, account))))
        .collect::<Result<_, _>>()?;
    let mut candidates: HashMap<AccountId, VecDeque<Attempt>> = HashMap::new();
    let (mut looked, mut chosen, mut waiting) = (0, Vec::new(), 0);
    while let Some(Reverse((_, served, account))) = turns.pop() {
        if !candidates.contains_key(&account) {
            if looked >= LOOK {
                continue;
            }
            let (found, rows) = candidates_of(connection, &account, now, &attempts)?;
            looked += rows;
            candidates.insert(account.clone(), found);
        }
        let Some(found) = candidates.get_mut(&account) else { continue };
        let Some(at) = found.iter().position(|(_, domain)| *rest.to(domain) > 0) else { continue };
        if !places.has_for(&account) {
            waiting += 1;
            continue;
        }
        let Some(attempt) = found.remove(at) else { continue };
        places.take(&account);
        rest.take(&attempt.1);
        chosen.push(attempt);
        turns.push(Reverse((held(&places, &account), served, account)));
    }
    Ok((chosen, waiting))
}

/// The account's attempts that are due and do not run, the longest waiting first; and how many rows were looked at.
fn candidates_of(
    connection: &Connection,
    account: &AccountId,
    now: Timestamp,
    running: &HashSet<Attempt>,
) -> Result<(VecDeque<Attempt>, usize), StoreError> {
    let rows: Vec<Attempt> = connection
        .prepare_cached(CANDIDATES)?
        .query_map(params![account, now, DELIVERIES], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let looked = rows.len().max(1);
    let mut seen = HashSet::new();
    let fresh = rows.into_iter().filter(|attempt| !running.contains(attempt) && seen.insert(attempt.clone()));
    Ok((fresh.collect(), looked))
}

fn claim(
    connection: &Connection,
    now: Timestamp,
    lease_until: Timestamp,
    chosen: Vec<Attempt>,
) -> Result<Vec<Due>, StoreError> {
    let mut claimed = Vec::with_capacity(chosen.len());
    for (id, domain) in chosen {
        let deliveries: Vec<DueDelivery> = connection
            .prepare_cached(
                "UPDATE delivery SET lease_until = ?4 WHERE submission_id = ?1 AND domain = ?2 AND ready_at <= ?3
                 RETURNING id, rcpt_to, attempts, next_attempt_at",
            )?
            .query_map(params![id, domain, now, lease_until], |row| {
                Ok(DueDelivery { id: row.get(0)?, rcpt_to: row.get(1)?, attempts: row.get(2)?, due_at: row.get(3)? })
            })?
            .collect::<Result<_, _>>()?;
        // Dropped since it was chosen.
        if let (false, Some(queued)) = (deliveries.is_empty(), attempts::queued(connection, &id)?) {
            let sql = "UPDATE delivery_turn SET served_at = ?2 WHERE account_id = ?1";
            connection.prepare_cached(sql)?.execute(params![queued.account, now])?;
            claimed.push(Due { queued, domain, deliveries });
        }
    }
    Ok(claimed)
}
