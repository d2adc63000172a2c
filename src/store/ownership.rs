//! Whether a claim has to show whose it is: the record of ownership, TXT `_inboxlayer.<domain>` with a secret of the claim.
//!
//! Invariant: where claims to one name have tokens in common, a name that two accounts have ever claimed asks it of each of
//! its claims. Who has ever claimed a name is kept for good, the claims and the accounts deleted or not.

use super::checks::Report;
use super::domains::{DomainRow, NewDomain};
use super::{StoreError, Transaction};
use crate::clock::Timestamp;
use crate::store::engine::params;
use crate::verification::judge::outcome;
use crate::verification::records::{Purpose, RecordKey};
use crate::verification::status::{Finding, Outcome, State, VerifiedStatus};

/// When a claim is asked for its record of ownership, and the secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Never: the tokens of every claim are its own, which is proof enough whose records they are.
    ByTokens,
    /// When another account claims the name or ever has: their tokens are the same.
    WhenContested(String),
    /// In any case: its tokens may have been in the DNS before it.
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

/// Notes that the account claims the name. Where another one does or ever has, every claim to it is contested from now
/// on: then this one is as well.
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

/// What a check means for a claim now. A claim that was verified before anybody else claimed its name keeps
/// its status without the record: a newcomer must not cost it that. That the record is missing counts when the newcomer's
/// own is in the DNS, and when the claim has to be verified again. What is asked for only since the check began it has
/// not seen.
pub(super) fn outcome_for(row: &DomainRow, report: &Report) -> Outcome {
    let mut found = outcome(&report.records);
    let State { status, verified_at, .. } = &row.state;
    let proved_before = *status == VerifiedStatus::Verified
        && row.contested_at.is_some_and(|contested| verified_at.is_some_and(|verified| verified <= contested));
    if proved_before {
        found.required.retain(|(record, _)| record.purpose != Purpose::Ownership);
    } else if row.ownership_secret.is_some() {
        let ownership = RecordKey::ownership(&row.name);
        if !found.required.iter().any(|(record, _)| *record == ownership) {
            found.required.push((ownership, Finding::Indefinite));
        }
    }
    found
}
