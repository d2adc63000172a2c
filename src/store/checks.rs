//! Checks of custom domains: which are due, and what they found.
//!
//! Invariant: a check's evidence, the status that follows from it and the event of a change are one transaction, in which
//! the status is read anew. At most one claim per name is verified: another becomes verified only together with the first
//! one's failure, on the evidence that the first one's own records are gone.

#[cfg(test)]
mod model;
#[cfg(test)]
mod plans;

use super::domains::{DomainRow, find, find_all};
use super::due::{self, Kind};
use super::history::{write_change, write_check};
use super::jobs::{self, Claim, JobKey, Lease};
use super::ownership::outcome_for;
use super::turns::Turn;
use super::{Store, StoreError, Transaction, claim_rows};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::id::{AccountId, DomainId, RunnerId};
use crate::resources::places::Places;
use crate::store::engine::params;
use crate::verification::judge::{CheckedRecord, RecordStatus, is_gone};
use crate::verification::records::Purpose;
use crate::verification::status::{Change, Policy, State, TooSoon, VerifiedStatus};
use serde_json::json;

/// What a check found of a claim.
#[derive(Clone, Debug)]
pub struct Report {
    /// The claim.
    pub domain: DomainId,
    /// Its records, each with what was found of it.
    pub records: Vec<CheckedRecord>,
}

/// What came of recording a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The change of the claim's status, if any.
    pub change: Option<Change>,
    /// The claim that failed because this one took its name over.
    pub displaced: Option<(AccountId, DomainId)>,
}

/// Why a check was not asked for.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the account has no such domain")]
    NotFound,
    /// Too soon after the last one.
    #[error(transparent)]
    TooSoon(#[from] TooSoon),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Takes as many claims whose check is due as there are places for: first those whose owners ask, then at most `scheduled`
    /// of the others.
    pub async fn domain_claim_due(&self, claim: Claim, scheduled: usize) -> Result<Vec<DomainRow>, StoreError> {
        let (now, lease) = (claim.now, claim.lease.clone());
        // Choosing only reads: what is due and has no place costs the writer nothing.
        let chosen = self.read(move |c| choose(c, &claim, scheduled)).await?;
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let turn = [Turn::Claims(Kind::Check.as_str())];
        self.write_in_turn(&turn, move |c| take(c, now, &lease, &chosen)).await
    }

    /// Spreads verified claims whose check is overdue evenly over the time that so many checks per second take: for the
    /// start after a pause, when a whole fleet may be due. Checks that were cut off or asked for keep their place, and so
    /// do pending claims: somebody waits for them. Returns how many were moved.
    pub async fn domain_spread_overdue(&self, now: Timestamp, per_second: u32) -> Result<usize, StoreError> {
        self.write(move |c| claim_rows::spread(c, now, per_second)).await
    }

    /// When the next check may begin, those of accounts left out that have their share of the places. One that runs may begin
    /// again when its lease ends.
    pub async fn domain_next_due(&self, places: Places) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |c| {
            let requested = jobs::next_due(c, Kind::RequestedCheck, &places)?;
            Ok(requested.into_iter().chain(jobs::next_due(c, Kind::Check, &places)?).min())
        })
        .await
    }

    /// The owner asks for a check of a claim of the account.
    pub async fn domain_ask(
        &self,
        account: &AccountId,
        id: &DomainId,
        policy: Policy,
        now: Timestamp,
    ) -> Result<DomainRow, AskError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |c| {
            let found = find(c, "id = ?1 AND account_id = ?2", params![id, account])?;
            let mut row = found.ok_or(AskError::NotFound)?;
            let (state, change) = row.state.verify_requested(now, &policy)?;
            claim_rows::set_state(c, &row, &state, now, change.is_some())?;
            claim_rows::ask(c, &row, now)?;
            if let Some(change) = &change {
                write_change(c, (&row.account, &row.id), change, now, &[])?;
                row.updated_at = now;
            }
            row.verify_requested = true;
            row.state = state;
            Ok(row)
        })
        .await
    }

    /// The verified claim to the same name that is not this one.
    pub async fn domain_rival(&self, row: &DomainRow) -> Result<Option<DomainRow>, StoreError> {
        let (name, id) = (row.name.clone(), row.id.clone());
        self.read(move |c| find(c, RIVAL, params![name, id])).await
    }

    /// Records what the runner's check found, and of the `rival` that stood in its way. `None` when the claim has been deleted, or
    /// the lease ended and another runner has taken the check over.
    pub async fn domain_record_check(
        &self,
        runner: RunnerId,
        report: Report,
        rival: Option<Report>,
        policy: Policy,
        now: Timestamp,
        spread: u32,
    ) -> Result<Option<Recorded>, StoreError> {
        self.write(move |c| {
            let held = "SELECT 1 FROM custom_domain WHERE id = ?1 AND lease_owner = ?2";
            match c.exists(held, params![report.domain, runner])? {
                true => record(c, &report, rival.as_ref(), &policy, now, spread),
                false => Ok(None),
            }
        })
        .await
    }
}

const RIVAL: &str = "name = ?1 AND id <> ?2 AND status = 'verified'";

/// The claims of an account whose owners ask for a check that may begin, and the others whose check may.
const REQUESTED: &str =
    "SELECT id FROM custom_domain WHERE account_id = ?1 AND asked_ready_at <= ?2 ORDER BY asked_ready_at LIMIT ?3";
const DUE: &str = "SELECT id FROM custom_domain WHERE account_id = ?1 AND ready_at <= ?2 ORDER BY ready_at LIMIT ?3";
/// The claims whose checks begin, in their order.
fn choose(c: &Transaction<'_>, claim: &Claim, scheduled: usize) -> Result<Vec<(Kind, DomainId)>, StoreError> {
    let (now, key) = (claim.now, |id: &DomainId| JobKey::Check(id.clone()));
    let mut line = jobs::line(c, Kind::RequestedCheck, now, claim.places.clone())?;
    let requested = jobs::choose(&mut line, usize::MAX, |owner| jobs::due_ids(c, REQUESTED, claim, owner, key))?;
    let mut line = jobs::line(c, Kind::Check, now, line.into_places())?;
    let due = jobs::choose(&mut line, scheduled, |owner| jobs::due_ids(c, DUE, claim, owner, key))?;
    let requested = requested.into_iter().map(|id| (Kind::RequestedCheck, id));
    Ok(requested.chain(due.into_iter().map(|id| (Kind::Check, id))).collect())
}

/// Leases those of the claims that are still due.
fn take(
    c: &Transaction<'_>,
    now: Timestamp,
    lease: &Lease,
    chosen: &[(Kind, DomainId)],
) -> Result<Vec<DomainRow>, StoreError> {
    let mut taken = Vec::new();
    for (kind, id) in chosen {
        if claim_rows::lease(c, id, now, lease)? {
            let Some(row) = find(c, "id = ?1", params![id])? else { continue };
            due::served(c, *kind, &row.account, now)?;
            taken.push(row);
        }
    }
    Ok(taken)
}

fn record(
    c: &Transaction<'_>,
    report: &Report,
    rival: Option<&Report>,
    policy: &Policy,
    now: Timestamp,
    spread: u32,
) -> Result<Option<Recorded>, StoreError> {
    let Some(row) = find(c, "id = ?1", params![report.domain])? else { return Ok(None) };
    let mut found = outcome_for(&row, report);
    let standing = match row.state.status {
        VerifiedStatus::Pending => find(c, RIVAL, params![row.name, row.id])?,
        VerifiedStatus::Verified | VerifiedStatus::Failed => None,
    };
    // Without fresh evidence that the verified claim's own records are gone, this one waits.
    let gone = |standing: &DomainRow| rival.filter(|r| r.domain == standing.id && is_gone(&r.records));
    let yielding = standing.as_ref().and_then(|standing| gone(standing).map(|evidence| (standing, evidence)));
    found.held_back = standing.is_some() && yielding.is_none();
    let (state, change) = row.state.checked(&found, now, policy, spread);
    let displaced = match &change {
        Some(Change { to: VerifiedStatus::Verified, .. }) => displace(c, &row, yielding, now)?,
        _ => None,
    };
    write_evidence(c, report, &state, now)?;
    write_check(c, report, state.status, now)?;
    claim_rows::set_state(c, &row, &state, now, change.is_some())?;
    claim_rows::end_check(c, &row, receiving(report, row.receiving), now)?;
    if let Some(right) = return_path(report, &row) {
        // Where Amazon SES has it, bounces come back to SES.
        let sql = "UPDATE custom_domain SET return_path_ok = CASE WHEN ?2 = 1
                       AND NOT EXISTS (SELECT 1 FROM ses_identity s WHERE s.name = custom_domain.name) THEN 1 ELSE 0 END WHERE id = ?1";
        c.execute(sql, params![row.id, right])?;
    }
    match &change {
        Some(change) => write_change(c, (&row.account, &row.id), change, now, &report.records)?,
        None => publish_faults(c, &row, &state)?,
    }
    c.publish(&row.account, Event::DomainChecked { domain_id: row.id.clone() })?;
    Ok(Some(Recorded { change, displaced }))
}

/// A verified claim has its first fault of a required record, or none any more.
fn publish_faults(c: &Transaction<'_>, before: &DomainRow, now: &State) -> Result<(), StoreError> {
    let domain_id = before.id.clone();
    match (before.state.degraded_since(), now.degraded_since()) {
        (None, Some(_)) => c.publish(&before.account, Event::DomainDegraded { domain_id }),
        (Some(_), None) => c.publish(&before.account, Event::DomainRecovered { domain_id }),
        (None, None) | (Some(_), Some(_)) => Ok(()),
    }
}

/// The name is now this claim's alone: the verified one that yields fails on the evidence, and the claim that received its mail
/// takes none. Returns the claim that failed.
fn displace(
    c: &Transaction<'_>,
    winner: &DomainRow,
    yielding: Option<(&DomainRow, &Report)>,
    now: Timestamp,
) -> Result<Option<(AccountId, DomainId)>, StoreError> {
    for row in find_all(c, "name = ?1 AND id <> ?2 AND takes_mail = 1", params![winner.name, winner.id])? {
        let (state, change) = row.state.displaced();
        let evidence = yielding.filter(|(standing, _)| standing.id == row.id);
        if let Some((_, report)) = evidence {
            write_evidence(c, report, &state, now)?;
            write_check(c, report, state.status, now)?;
        }
        claim_rows::set_state(c, &row, &state, now, change.is_some())?;
        if let (Some(change), Some((_, report))) = (&change, evidence) {
            write_change(c, (&row.account, &row.id), change, now, &report.records)?;
        }
    }
    Ok(yielding.map(|(standing, _)| (standing.account.clone(), standing.id.clone())))
}

/// Whether the MX leads here; unchanged without a definite answer.
fn receiving(report: &Report, before: bool) -> bool {
    let mx = report.records.iter().find(|record| record.expected.purpose == Purpose::Mx);
    match mx.map(|record| record.evidence.status) {
        Some(RecordStatus::Valid) => true,
        Some(RecordStatus::Missing | RecordStatus::Mismatch) => false,
        Some(RecordStatus::Unknown | RecordStatus::NotChecked) | None => before,
    }
}

/// Whether the claim's return path leads here, SPF and all; nothing where there is none, or no definite answer. It may have
/// become another one while the check ran.
fn return_path(report: &Report, row: &DomainRow) -> Option<bool> {
    let name = format!("{}.{}", row.return_path.as_ref()?, row.name);
    let is_its = |r: &&CheckedRecord| r.expected.purpose.is_return_path() && r.expected.name == name;
    let statuses: Vec<RecordStatus> = report.records.iter().filter(is_its).map(|r| r.evidence.status).collect();
    let unknown = |status: &RecordStatus| matches!(status, RecordStatus::Unknown | RecordStatus::NotChecked);
    match statuses.as_slice() {
        [] => None,
        all if all.iter().all(|status| *status == RecordStatus::Valid) => Some(true),
        all if all.iter().any(|status| !unknown(status) && *status != RecordStatus::Valid) => Some(false),
        _ => None,
    }
}

/// Puts what a check found in the place of what the one before did: a record that is no longer asked for leaves nothing behind.
fn write_evidence(c: &Transaction<'_>, report: &Report, state: &State, now: Timestamp) -> Result<(), StoreError> {
    c.execute("DELETE FROM domain_record WHERE domain_id = ?1", params![&report.domain])?;
    for CheckedRecord { expected, evidence } in &report.records {
        let run = state.faults.get(&expected.key());
        c.execute("INSERT INTO domain_record (domain_id, purpose, name, status, observed, error, server, checked_at, fault_since,
             fault_count, said, observed_name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)", params![
            report.domain,
            expected.purpose,
            expected.name,
            evidence.status,
            json!(evidence.observed).to_string(),
            evidence.error.as_ref().map(|error| json!(error).to_string()),
            evidence.server.map(|server| server.to_string()),
            now,
            run.map(|run| run.since),
            run.map_or(0, |run| run.count),
            json!(evidence.answers).to_string(),
            evidence.observed_name
        ])?;
    }
    Ok(())
}
