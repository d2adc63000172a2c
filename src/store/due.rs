//! Whose work is due: for each account and kind of work, when its first job is.
//!
//! Invariant: `due_account.due_at` is the first `ready_at` of the account's jobs of the kind, NULL where none waits. The files that change
//! rows of jobs (`queue/rows.rs`, `claim_rows.rs`, `rotation.rs`) say so here, in the same transaction.

use super::{StoreError, Transaction};
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::store::engine::params;

/// A kind of work whose accounts wait in `due_account`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Delivery,
    /// A check that its owner asks for.
    RequestedCheck,
    Check,
    Rotation,
}

/// The statements of a kind, from the query for the first moment, which ends where the account follows.
macro_rules! statements {
    ($first:literal) => {
        Statements {
            changed: concat!(
                "INSERT INTO due_account (kind, account_id, due_at) VALUES (?1, ?2, (",
                $first,
                "?2)) ON CONFLICT (kind, account_id) DO UPDATE SET due_at = excluded.due_at
                 WHERE due_account.due_at IS DISTINCT FROM excluded.due_at"
            ),
            served: concat!(
                "UPDATE due_account SET served_at = ?3, due_at = (",
                $first,
                "?2) WHERE kind = ?1 AND account_id = ?2"
            ),
            all_changed: concat!(
                "UPDATE due_account SET due_at = (",
                $first,
                "due_account.account_id) WHERE kind = ?1"
            ),
        }
    };
}

struct Statements {
    changed: &'static str,
    served: &'static str,
    all_changed: &'static str,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::RequestedCheck => "requested_check",
            Self::Check => "check",
            Self::Rotation => "rotation",
        }
    }

    const fn statements(self) -> Statements {
        match self {
            Self::Delivery => {
                statements!("SELECT min(j.ready_at) FROM delivery j WHERE j.ready_at IS NOT NULL AND j.account_id = ")
            }
            Self::RequestedCheck => statements!(
                "SELECT min(j.asked_ready_at) FROM custom_domain j WHERE j.asked_ready_at IS NOT NULL AND j.account_id = "
            ),
            Self::Check => statements!(
                "SELECT min(j.ready_at) FROM custom_domain j WHERE j.ready_at IS NOT NULL AND j.account_id = "
            ),
            Self::Rotation => statements!("SELECT min(j.ready_at) FROM dkim_rotation j WHERE j.account_id = "),
        }
    }
}

/// Jobs of an account are ready at `at`. Others stay as they were.
pub(super) fn added(c: &Transaction<'_>, kind: Kind, account: &AccountId, at: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO due_account (kind, account_id, due_at) VALUES (?1, ?2, ?3)
               ON CONFLICT (kind, account_id) DO UPDATE SET due_at = excluded.due_at
                   WHERE due_account.due_at IS NULL OR due_account.due_at > excluded.due_at";
    c.execute(sql, params![kind.as_str(), account, at])?;
    Ok(())
}

/// Jobs of an account are ready at another time, or gone.
pub(super) fn changed(c: &Transaction<'_>, kind: Kind, account: &AccountId) -> Result<(), StoreError> {
    c.execute(kind.statements().changed, params![kind.as_str(), account])?;
    Ok(())
}

/// The same, and one of them begins.
pub(super) fn served(c: &Transaction<'_>, kind: Kind, account: &AccountId, now: Timestamp) -> Result<(), StoreError> {
    c.execute(kind.statements().served, params![kind.as_str(), account, now])?;
    Ok(())
}

/// Jobs of many accounts are ready at another time.
pub(super) fn all_changed(c: &Transaction<'_>, kind: Kind) -> Result<(), StoreError> {
    c.execute(kind.statements().all_changed, params![kind.as_str()])?;
    Ok(())
}
