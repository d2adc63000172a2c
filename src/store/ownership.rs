//! The record of ownership: TXT `_inboxlayer.<domain>` with a secret of the claim.
//!
//! Invariant: if claims to a name share tokens, all claims to a name that two accounts have ever claimed require the record. The
//! accounts that have ever claimed a name are stored permanently, also after claims and accounts are deleted.

use super::checks::Report;
use super::domains::{DomainRow, NewDomain};
use super::{StoreError, Transaction};
use crate::clock::Timestamp;
use crate::store::engine::params;
use crate::verification::judge::outcome;
use crate::verification::records::{Purpose, RecordKey};
use crate::verification::status::{Finding, Outcome, State, VerifiedStatus};

/// When a claim requires the record of ownership, and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Never: the tokens are unique to the claim, so its DKIM records prove ownership.
    ByTokens,
    /// If another account claims the name or ever has, because their tokens are the same.
    WhenContested(String),
    /// Always: the tokens may have been in the DNS before the claim.
    Always(String),
}

impl Ownership {
    pub(super) fn secret(&self) -> Option<&str> {
        match self {
            Self::ByTokens => None,
            Self::WhenContested(secret) | Self::Always(secret) => Some(secret),
        }
    }
}

/// Records that the account claims the name. If another account claims it or ever has, all claims to it are contested from now
/// on. Returns since when the new claim is contested, if it is.
pub(super) fn contest(c: &Transaction<'_>, new: &NewDomain, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let sql = "INSERT INTO claimed_name (name, account_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    c.execute(sql, params![new.name, new.account])?;
    let sql = "SELECT 1 FROM claimed_name WHERE name = ?1 AND account_id <> ?2";
    let contested = c.exists(sql, params![new.name, new.account])?;
    if contested {
        let sql = "UPDATE custom_domain SET contested_at = ?2,
                       updated_at = CASE WHEN ownership_secret IS NULL THEN updated_at ELSE ?2 END
                   WHERE name = ?1 AND contested_at IS NULL";
        c.execute(sql, params![new.name, now])?;
    }
    Ok((contested || matches!(new.ownership, Ownership::Always(_))).then_some(now))
}

/// The outcome of a check. A claim that was verified before another account claimed the name keeps its status without the record
/// of ownership; otherwise a new claim could fail it. The missing record counts only against the evidence of a rival's record,
/// and when the claim must be verified again. If the record became required after the check began, its finding is indefinite.
pub(super) fn outcome_for(row: &DomainRow, report: &Report) -> Outcome {
    let mut found = outcome(&report.records);
    let State { status, verified_at, .. } = &row.state;
    let was_verified_before = *status == VerifiedStatus::Verified
        && row.contested_at.is_some_and(|contested| verified_at.is_some_and(|verified| verified <= contested));
    if was_verified_before {
        found.required.retain(|(record, _)| record.purpose != Purpose::Ownership);
    } else if row.ownership_secret.is_some() {
        let ownership = RecordKey::ownership(&row.name);
        if !found.required.iter().any(|(record, _)| *record == ownership) {
            found.required.push((ownership, Finding::Indefinite));
        }
    }
    found
}
