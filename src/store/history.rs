//! The history of custom domains: their checks with the evidence, and the changes of status with the cause.
//!
//! Invariant: the result of a check is recorded in the transaction that applies it. The history of a domain is bounded and always
//! has its newest entry. Entries are numbered per domain, so that numbers reveal nothing about other accounts. Equal evidence of
//! several checks is stored once.

mod evidence;
#[cfg(test)]
mod tests;

use super::checks::Report;
use super::{Store, StoreError, Transaction};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::id::{AccountId, DomainId};
use crate::store::engine::params;
use crate::verification::event::EventCause;
use crate::verification::judge::{CheckedRecord, RecordError};
use crate::verification::records::Expected;
use crate::verification::report::DomainRecord;
use crate::verification::status::{Cause, Change, VerifiedStatus};
use evidence::{Parts, compress, decompress, join};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::time::Duration;

/// Retained checks per domain.
const MAX_CHECKS: i64 = 50;
/// Older checks are removed, except the newest.
const MAX_CHECK_AGE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Retained changes of status per domain: those of several years.
const MAX_EVENTS: i64 = 500;

#[derive(Clone, Debug, PartialEq)]
pub struct CheckRow {
    /// Counted per domain, from 1.
    pub number: u32,
    pub at: Timestamp,
    /// The status of the domain after the check.
    pub status: VerifiedStatus,
    /// The records as the API returned them then, a JSON array.
    pub records: Value,
}

/// A change of a domain's status.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Counted per domain, from 1.
    pub number: u32,
    pub at: Timestamp,
    /// `None` when the claim was created.
    pub from: Option<VerifiedStatus>,
    pub to: VerifiedStatus,
    pub cause: EventCause,
    /// The records that caused the change, a JSON array: expected and observed values, and the server.
    pub records: Value,
}

impl Store {
    /// Checks with numbers below `before`, the newest first.
    pub async fn domain_checks(
        &self,
        account: &AccountId,
        id: &DomainId,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<CheckRow>, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.read(move |c| {
            let sql = "SELECT h.number, h.at, h.status, f.records, h.times FROM domain_check h
                       JOIN custom_domain d ON d.id = h.domain_id AND d.account_id = ?1
                       JOIN domain_finding f ON f.domain_id = h.domain_id AND f.digest = h.finding
                       WHERE h.domain_id = ?2 AND h.number < ?3 ORDER BY h.number DESC LIMIT ?4";
            let mut checks = Vec::new();
            c.for_each(sql, params![account, id, before.unwrap_or(u32::MAX), limit], |row| {
                let (found, times): (Vec<u8>, Vec<u8>) = (row.get(3)?, row.get(4)?);
                let at = row.get(1)?;
                let records = join(&decompress(&found)?, &decompress(&times)?, at)?;
                checks.push(CheckRow { number: row.get(0)?, at, status: row.get(2)?, records });
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(checks)
        })
        .await
    }

    /// Changes of status with numbers below `before`, the newest first.
    pub async fn domain_events(
        &self,
        account: &AccountId,
        id: &DomainId,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.read(move |c| {
            let sql = "SELECT h.number, h.at, h.from_status, h.to_status, h.cause FROM domain_event h
                       JOIN custom_domain d ON d.id = h.domain_id AND d.account_id = ?1
                       WHERE h.domain_id = ?2 AND h.number < ?3 ORDER BY h.number DESC LIMIT ?4";
            let mut events = Vec::new();
            c.for_each(sql, params![account, id, before.unwrap_or(u32::MAX), limit], |row| {
                let cause: String = row.get(4)?;
                let mut cause: Value = serde_json::from_str(&cause).map_err(corrupt)?;
                events.push(EventRow {
                    number: row.get(0)?,
                    at: row.get(1)?,
                    from: row.get(2)?,
                    to: row.get(3)?,
                    cause: serde_json::from_value(cause.get_mut("cause").map_or(Value::Null, Value::take))
                        .map_err(corrupt)?,
                    records: cause.get_mut("records").map_or_else(|| json!([]), Value::take),
                });
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(events)
        })
        .await
    }
}

fn corrupt(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt(format!("history of a domain: {error}"))
}

/// Records a check, and removes those beyond [`MAX_CHECKS`] and [`MAX_CHECK_AGE`].
pub(super) fn write_check(
    c: &Transaction<'_>,
    report: &Report,
    status: VerifiedStatus,
    now: Timestamp,
) -> Result<(), StoreError> {
    let records: Vec<DomainRecord> =
        report.records.iter().map(|r| DomainRecord::of(&r.expected, Some((&r.evidence, now)))).collect();
    let Parts { digest, found, times } = Parts::of(&records);
    let sql = "SELECT 1 FROM domain_finding WHERE domain_id = ?1 AND digest = ?2";
    if !c.exists(sql, params![report.domain, digest])? {
        let sql = "INSERT INTO domain_finding (domain_id, digest, records) VALUES (?1, ?2, ?3)";
        c.execute(sql, params![report.domain, digest, compress(&found)?])?;
    }
    let sql = "INSERT INTO domain_check (domain_id, number, at, status, finding, times)
               SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5 FROM domain_check WHERE domain_id = ?1";
    c.execute(sql, params![report.domain, now, status, digest, compress(&times)?])?;
    let sql = "WITH newest AS (SELECT max(number) AS number FROM domain_check WHERE domain_id = ?1)
               DELETE FROM domain_check WHERE domain_id = ?1 AND number < (SELECT number FROM newest)
                   AND (number <= (SELECT number FROM newest) - ?2 OR at < ?3)";
    let oldest = Timestamp::from_millis(now.millis().saturating_sub(millis(MAX_CHECK_AGE)));
    if c.execute(sql, params![report.domain, MAX_CHECKS, oldest])? > 0 {
        let sql = "DELETE FROM domain_finding WHERE domain_id = ?1
                       AND digest NOT IN (SELECT finding FROM domain_check WHERE domain_id = ?1)";
        c.execute(sql, params![&report.domain])?;
    }
    Ok(())
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Records the creation of a claim.
pub(super) fn write_created(
    c: &Transaction<'_>,
    id: &DomainId,
    status: VerifiedStatus,
    now: Timestamp,
) -> Result<(), StoreError> {
    write(c, id, None, status, &json!({"cause": EventCause::Created, "records": []}), now)
}

/// Records a change of status with the evidence that caused it, and publishes it.
pub(super) fn write_change(
    c: &Transaction<'_>,
    (account, id): (&AccountId, &DomainId),
    change: &Change,
    now: Timestamp,
    records: &[CheckedRecord],
) -> Result<(), StoreError> {
    let seen = |CheckedRecord { expected, evidence }: &CheckedRecord| {
        json!({
            "purpose": expected.purpose,
            "name": expected.name,
            "record": format!("{} {}", expected.name, expected.record_type),
            "expected": expected.value,
            "status": evidence.status,
            "found": evidence.observed,
            "error": evidence.error.as_ref().map(RecordError::shown),
            "server": evidence.server.map(|server| server.to_string()),
        })
    };
    let of = |wanted: &dyn Fn(&Expected) -> bool| -> Vec<Value> {
        records.iter().filter(|record| wanted(&record.expected)).map(seen).collect()
    };
    let records = match &change.cause {
        Cause::AllRight | Cause::Displaced => of(&|expected| expected.required),
        Cause::WindowOver(record) | Cause::GraceOver(record) => of(&|expected| expected.key() == *record),
        Cause::VerifyRequested => Vec::new(),
    };
    let (cause, from, to) = (EventCause::from(&change.cause), change.from, change.to);
    c.publish(account, Event::DomainStatusChanged { domain_id: id.clone(), from, to, cause })?;
    write(c, id, Some(change.from), change.to, &json!({"cause": cause, "records": records}), now)
}

fn write(
    c: &Transaction<'_>,
    id: &DomainId,
    from: Option<VerifiedStatus>,
    to: VerifiedStatus,
    cause: &Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO domain_event (domain_id, number, at, from_status, to_status, cause)
               SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5 FROM domain_event WHERE domain_id = ?1";
    c.execute(sql, params![id, now, from, to, cause.to_string()])?;
    let sql = "DELETE FROM domain_event WHERE domain_id = ?1
                   AND number <= (SELECT max(number) FROM domain_event WHERE domain_id = ?1) - ?2";
    c.execute(sql, params![id, MAX_EVENTS])?;
    Ok(())
}
