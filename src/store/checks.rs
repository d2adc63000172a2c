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
use super::history::{write_change, write_check};
use super::ownership::outcome_for;
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId};
use crate::verification::judge::{CheckedRecord, RecordStatus, is_gone};
use crate::verification::records::Purpose;
use crate::verification::share::Places;
use crate::verification::status::{Change, Policy, State, TooSoon, VerifiedStatus};
use rusqlite::{Connection, params};
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
    /// The account has no such domain.
    #[error("the account has no such domain")]
    NotFound,
    /// Too soon after the last one.
    #[error(transparent)]
    TooSoon(#[from] TooSoon),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Takes as many claims whose check is due as there are places for, and leases them until `lease_until`: first those
    /// whose owners ask, then at most `scheduled` of the others, the one that waits longest first. An account that has its
    /// share of the places is passed over.
    pub async fn domain_claim_due(
        &self,
        now: Timestamp,
        lease_until: Timestamp,
        mut places: Places,
        scheduled: usize,
    ) -> Result<Vec<DomainRow>, StoreError> {
        self.write(move |c| {
            let sql = "UPDATE custom_domain SET lease_until = ?2, check_started_at = ?3, asked_at = NULL WHERE id = ?1";
            let mut lease = c.prepare_cached(sql)?;
            let (mut begun, mut scheduled) = (Vec::new(), scheduled);
            loop {
                let mut next = first(c, ASKED, now, &places)?;
                if next.is_none() && scheduled > 0 {
                    next = first(c, DUE, now, &places)?;
                    scheduled -= 1;
                }
                let Some(mut row) = next else { return Ok(begun) };
                lease.execute(params![row.id, lease_until, now])?;
                places.take(&row.account);
                row.state.check_started_at = Some(now);
                begun.push(row);
            }
        })
        .await
    }

    /// Spreads verified claims whose check is overdue evenly over the time that so many checks per second take: for the
    /// start after a pause, when a whole fleet may be due. Checks that were cut off or asked for keep their place, and so
    /// do pending claims: somebody waits for them. Answers how many were moved.
    pub async fn domain_spread_overdue(&self, now: Timestamp, per_second: u32) -> Result<usize, StoreError> {
        self.write(move |c| {
            let overdue: i64 = c.prepare_cached(OVERDUE)?.query_row([now], |row| row.get(0))?;
            let span = overdue.saturating_mul(1000) / i64::from(per_second.max(1));
            Ok(c.prepare_cached(SPREAD)?.execute(params![now, span.max(1)])?)
        })
        .await
    }

    /// Gives every lease back: for the start, when no check of this store can be running.
    pub async fn domain_release_leases(&self) -> Result<(), StoreError> {
        self.write(|c| {
            c.prepare_cached("UPDATE custom_domain SET lease_until = NULL WHERE lease_until IS NOT NULL")?
                .execute([])?;
            Ok(())
        })
        .await
    }

    /// When the next check may begin, those that run left out unless their lease lapses, and those of accounts that have
    /// their share of the places.
    pub async fn domain_next_due(&self, places: Places) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |c| {
            let of = |queue: DueQueue| Ok::<_, StoreError>(turn(c, queue.from_now_on, [], &places)?.map(|(_, at)| at));
            Ok(of(ASKED)?.into_iter().chain(of(DUE)?).min())
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
    ) -> Result<(DomainRow, Option<Change>), AskError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |c| {
            let found = find(c, "id = ?1 AND account_id = ?2", params![id, account])?;
            let mut row = found.ok_or(AskError::NotFound)?;
            let (state, change) = row.state.verify_requested(now, &policy)?;
            write_state(c, &row.id, &state, now, change.is_some())?;
            mark_asked(c, &row.id, now)?;
            if let Some(change) = &change {
                write_change(c, &row.id, change, now, &[])?;
                row.updated_at = now;
            }
            row.verify_requested = true;
            row.state = state;
            Ok((row, change))
        })
        .await
    }

    /// The verified claim to the same name that is not this one.
    pub async fn domain_rival(&self, row: &DomainRow) -> Result<Option<DomainRow>, StoreError> {
        let (name, id) = (row.name.clone(), row.id.clone());
        self.read(move |c| find(c, RIVAL, params![name, id])).await
    }

    /// Records what a check found, and of the `rival` that stood in its way. `None` when the claim has been deleted.
    pub async fn domain_record_check(
        &self,
        report: Report,
        rival: Option<Report>,
        policy: Policy,
        now: Timestamp,
        spread: u32,
    ) -> Result<Option<Recorded>, StoreError> {
        self.write(move |c| record(c, &report, rival.as_ref(), &policy, now, spread)).await
    }
}

const RIVAL: &str = "name = ?1 AND id <> ?2 AND status = 'verified'";

/// Where checks of one kind wait.
#[derive(Clone, Copy)]
struct DueQueue {
    /// The accounts with one that may begin, the one that waits longest first.
    accounts: &'static str,
    /// All accounts, in the same order.
    from_now_on: &'static str,
    /// The first claim of an account.
    claim: &'static str,
}

const ASKED: DueQueue = DueQueue {
    accounts: "SELECT account_id, asked_at FROM check_turn WHERE asked_at <= ?1 ORDER BY asked_at",
    from_now_on: "SELECT account_id, asked_at FROM check_turn WHERE asked_at IS NOT NULL ORDER BY asked_at",
    claim: "account_id = ?1 AND asked_ready_at <= ?2 ORDER BY asked_ready_at LIMIT 1",
};
const DUE: DueQueue = DueQueue {
    accounts: "SELECT account_id, due_at FROM check_turn WHERE due_at <= ?1 ORDER BY due_at",
    from_now_on: "SELECT account_id, due_at FROM check_turn WHERE due_at IS NOT NULL ORDER BY due_at",
    claim: "account_id = ?1 AND ready_at <= ?2 ORDER BY ready_at LIMIT 1",
};
const OVERDUE: &str = "SELECT count(*) FROM custom_domain WHERE next_check_at < ?1 AND status = 'verified'
                       AND asked_at IS NULL AND lease_until IS NULL";
const SPREAD: &str = "UPDATE custom_domain SET next_check_at = ?1 + abs(random() % ?2)
                      WHERE next_check_at < ?1 AND status = 'verified' AND asked_at IS NULL AND lease_until IS NULL";

/// The first account there is a place for, and since when its check may begin. Only those that have places are passed over.
fn turn(
    c: &Connection,
    accounts: &str,
    with: impl rusqlite::Params,
    places: &Places,
) -> Result<Option<(AccountId, Timestamp)>, StoreError> {
    let mut statement = c.prepare_cached(accounts)?;
    let mut rows = statement.query(with)?;
    while let Some(row) = rows.next()? {
        let account = row.get(0)?;
        if places.has_for(&account) {
            return Ok(Some((account, row.get(1)?)));
        }
    }
    Ok(None)
}

/// The claim whose turn it is.
fn first(c: &Connection, queue: DueQueue, now: Timestamp, places: &Places) -> Result<Option<DomainRow>, StoreError> {
    let Some((account, _)) = turn(c, queue.accounts, [now], places)? else { return Ok(None) };
    find(c, queue.claim, params![account, now])
}

fn record(
    c: &Connection,
    report: &Report,
    rival: Option<&Report>,
    policy: &Policy,
    now: Timestamp,
    spread: u32,
) -> Result<Option<Recorded>, StoreError> {
    let Some(row) = find(c, "id = ?1", [&report.domain])? else { return Ok(None) };
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
    write_state(c, &row.id, &state, now, change.is_some())?;
    // Asked for while this check ran, another one follows: this one may have looked before the records were mended.
    let sql = "UPDATE custom_domain SET receiving = ?2, last_checked_at = ?3, lease_until = NULL,
                   next_check_at = coalesce(asked_at, next_check_at) WHERE id = ?1";
    c.prepare_cached(sql)?.execute(params![row.id, receiving(report, row.receiving), now])?;
    if let Some(right) = return_path(report, &row) {
        // Where Amazon SES has it, bounces come back to SES.
        let sql = "UPDATE custom_domain SET return_path_ok = ?2
                       AND NOT EXISTS (SELECT 1 FROM ses_identity s WHERE s.name = custom_domain.name) WHERE id = ?1";
        c.prepare_cached(sql)?.execute(params![row.id, right])?;
    }
    if let Some(change) = &change {
        write_change(c, &row.id, change, now, &report.records)?;
    }
    Ok(Some(Recorded { change, displaced }))
}

/// The name is now this claim's alone: the verified one that yields fails on the evidence, and whoever took the name's mail
/// takes none. Answers the claim that failed.
fn displace(
    c: &Connection,
    winner: &DomainRow,
    yielding: Option<(&DomainRow, &Report)>,
    now: Timestamp,
) -> Result<Option<(AccountId, DomainId)>, StoreError> {
    for row in find_all(c, "name = ?1 AND id <> ?2 AND takes_mail", params![winner.name, winner.id])? {
        let (state, change) = row.state.displaced();
        let evidence = yielding.filter(|(standing, _)| standing.id == row.id);
        if let Some((_, report)) = evidence {
            write_evidence(c, report, &state, now)?;
            write_check(c, report, state.status, now)?;
        }
        write_state(c, &row.id, &state, now, change.is_some())?;
        if let (Some(change), Some((_, report))) = (&change, evidence) {
            write_change(c, &row.id, change, now, &report.records)?;
        }
    }
    Ok(yielding.map(|(standing, _)| (standing.account.clone(), standing.id.clone())))
}

/// Whether the MX leads here; as before when nobody could say.
fn receiving(report: &Report, before: bool) -> bool {
    let mx = report.records.iter().find(|record| record.expected.purpose == Purpose::Mx);
    match mx.map(|record| record.evidence.status) {
        Some(RecordStatus::Valid) => true,
        Some(RecordStatus::Missing | RecordStatus::Mismatch) => false,
        Some(RecordStatus::Unknown | RecordStatus::NotChecked) | None => before,
    }
}

fn mark_asked(c: &Connection, id: &DomainId, now: Timestamp) -> Result<(), StoreError> {
    c.prepare_cached("UPDATE custom_domain SET asked_at = ?2 WHERE id = ?1")?.execute(params![id, now])?;
    Ok(())
}

/// Whether the claim's return path leads here, SPF and all; nothing where there is none, or nobody could say. It may have
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

fn write_state(c: &Connection, id: &DomainId, state: &State, now: Timestamp, changed: bool) -> Result<(), StoreError> {
    let sql = "UPDATE custom_domain SET status = ?2, verified_at = ?3, window_ends_at = ?4, check_count = ?5,
                   check_started_at = ?6, next_check_at = ?7, asked_at = CASE WHEN ?7 IS NOT NULL THEN asked_at END,
                   takes_mail = ?10,
                   updated_at = CASE WHEN ?8 THEN ?9 ELSE updated_at END
               WHERE id = ?1";
    c.prepare_cached(sql)?.execute(params![
        id,
        state.status,
        state.verified_at,
        state.window_ends_at,
        state.checks,
        state.check_started_at,
        state.next_check_at,
        changed,
        now,
        state.takes_mail
    ])?;
    super::queue::wake_held(c, id, now)?;
    Ok(())
}

/// Puts what a check found in the place of what the one before did: a record that is no longer asked for leaves nothing behind.
fn write_evidence(c: &Connection, report: &Report, state: &State, now: Timestamp) -> Result<(), StoreError> {
    c.prepare_cached("DELETE FROM domain_record WHERE domain_id = ?1")?.execute([&report.domain])?;
    let mut insert = c.prepare_cached(
        "INSERT INTO domain_record (domain_id, purpose, name, status, observed, error, server, checked_at, fault_since,
             fault_count, said, observed_name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for CheckedRecord { expected, evidence } in &report.records {
        let run = state.faults.get(&expected.key());
        insert.execute(params![
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
