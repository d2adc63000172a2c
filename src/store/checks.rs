//! Checks of custom domains: claiming due checks, and recording results.
//!
//! Invariant: the evidence of a check, the new status and the event of a change are written in one transaction, which reads the
//! current status. At most one claim per name is verified: another one becomes verified only in the transaction in which the
//! first one fails, with evidence that the first one's own records are gone.

#[cfg(test)]
mod model;
#[cfg(test)]
mod plans;

use super::domains::{DomainRow, find, find_all};
use super::due::{self, Kind};
use super::history::{write_change, write_check};
use super::hot_rows::HotRow;
use super::jobs::{self, Claim, JobKey, Lease};
use super::ownership::outcome_for;
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

/// The result of a check of a claim.
#[derive(Clone, Debug)]
pub struct Report {
    pub domain: DomainId,
    pub records: Vec<CheckedRecord>,
}

/// The effect of recording a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The change of the claim's status, if any.
    pub change: Option<Change>,
    /// The claim to the same name that failed because this one was verified.
    pub displaced: Option<(AccountId, DomainId)>,
}

#[derive(Debug, thiserror::Error)]
pub enum RequestCheckError {
    #[error("the account has no such domain")]
    NotFound,
    #[error(transparent)]
    TooSoon(#[from] TooSoon),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Leases due checks for the free places: first the requested ones, then at most `scheduled` of the others.
    pub async fn domain_claim_due(&self, claim: Claim, scheduled: usize) -> Result<Vec<DomainRow>, StoreError> {
        let (now, lease) = (claim.now, claim.lease.clone());
        // Choosing is a read, so due checks without a free place do not load the writer.
        let chosen = self.read(move |c| choose(c, &claim, scheduled)).await?;
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let hot_row = [HotRow::Claims(Kind::Check.as_str())];
        self.write_serialized(&hot_row, move |c| take(c, now, &lease, &chosen)).await
    }

    /// Spreads the overdue checks of verified claims evenly over the time that they take at `per_second`. To be called at
    /// startup, when the checks of many domains may be overdue. Interrupted and requested checks, and those of pending claims,
    /// are not delayed. Returns the number of checks that were rescheduled.
    pub async fn domain_spread_overdue(&self, now: Timestamp, per_second: u32) -> Result<usize, StoreError> {
        self.write(move |c| claim_rows::spread(c, now, per_second)).await
    }

    /// When the next check is due, of accounts that have a free place. A running check is due when its lease expires.
    pub async fn domain_next_due(&self, places: Places) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |c| {
            let requested = jobs::next_due(c, Kind::RequestedCheck, &places)?;
            Ok(requested.into_iter().chain(jobs::next_due(c, Kind::Check, &places)?).min())
        })
        .await
    }

    /// Requests a check on behalf of the owner.
    pub async fn domain_request_check(
        &self,
        account: &AccountId,
        id: &DomainId,
        policy: Policy,
        now: Timestamp,
    ) -> Result<DomainRow, RequestCheckError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |c| {
            let found = find(c, "id = ?1 AND account_id = ?2", params![id, account])?;
            let mut row = found.ok_or(RequestCheckError::NotFound)?;
            let (state, change) = row.state.verify_requested(now, &policy)?;
            claim_rows::set_state(c, &row, &state, now, change.is_some())?;
            claim_rows::request_check(c, &row, now)?;
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

    /// The verified claim of another account to the same name.
    pub async fn domain_rival(&self, row: &DomainRow) -> Result<Option<DomainRow>, StoreError> {
        let (name, id) = (row.name.clone(), row.id.clone());
        self.read(move |c| find(c, RIVAL, params![name, id])).await
    }

    /// Records the results for the claim, and for its `rival` if that was checked too. `None` if the claim was deleted, or the
    /// lease has expired and another runner has leased the check.
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

/// Requested checks of an account that are due.
const REQUESTED: &str =
    "SELECT id FROM custom_domain WHERE account_id = ?1 AND asked_ready_at <= ?2 ORDER BY asked_ready_at LIMIT ?3";
/// Scheduled checks of an account that are due.
const DUE: &str = "SELECT id FROM custom_domain WHERE account_id = ?1 AND ready_at <= ?2 ORDER BY ready_at LIMIT ?3";

/// The checks to lease, in order.
fn choose(c: &Transaction<'_>, claim: &Claim, scheduled: usize) -> Result<Vec<(Kind, DomainId)>, StoreError> {
    let (now, key) = (claim.now, |id: &DomainId| JobKey::Check(id.clone()));
    let mut line = jobs::line(c, Kind::RequestedCheck, now, claim.places.clone())?;
    let requested = jobs::choose(&mut line, usize::MAX, |owner| jobs::due_ids(c, REQUESTED, claim, owner, key))?;
    let mut line = jobs::line(c, Kind::Check, now, line.into_places())?;
    let due = jobs::choose(&mut line, scheduled, |owner| jobs::due_ids(c, DUE, claim, owner, key))?;
    let requested = requested.into_iter().map(|id| (Kind::RequestedCheck, id));
    Ok(requested.chain(due.into_iter().map(|id| (Kind::Check, id))).collect())
}

/// Leases those of the checks that are still due.
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
    // Without evidence from this check that the verified claim's own records are gone, this claim stays pending.
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
        // If Amazon SES uses the return path, bounces are sent to SES.
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

/// Publishes that a verified claim became degraded, or recovered.
fn publish_faults(c: &Transaction<'_>, before: &DomainRow, now: &State) -> Result<(), StoreError> {
    let domain_id = before.id.clone();
    match (before.state.degraded_since(), now.degraded_since()) {
        (None, Some(_)) => c.publish(&before.account, Event::DomainDegraded { domain_id }),
        (Some(_), None) => c.publish(&before.account, Event::DomainRecovered { domain_id }),
        (None, None) | (Some(_), Some(_)) => Ok(()),
    }
}

/// Takes the name from the other claims: the verified one, `yielding`, fails with its evidence, and none of them receives mail.
/// Returns the claim that failed.
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

/// Whether the MX record points to this daemon; unchanged without a definite answer.
fn receiving(report: &Report, before: bool) -> bool {
    let mx = report.records.iter().find(|record| record.expected.purpose == Purpose::Mx);
    match mx.map(|record| record.evidence.status) {
        Some(RecordStatus::Valid) => true,
        Some(RecordStatus::Missing | RecordStatus::Mismatch) => false,
        Some(RecordStatus::Unknown | RecordStatus::NotChecked) | None => before,
    }
}

/// Whether the records of the claim's return path are valid; `None` without a return path or a definite answer, or if the return
/// path was changed while the check ran.
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

/// Replaces the evidence of the previous check, including that of records that are not required any more.
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
