//! The table `due_account`: when the first job of each account and kind is due.
//!
//! Invariant: `due_account.due_at` is the minimum of `ready_at` of the account's jobs of the kind, or NULL if there is none. The
//! files that change rows of jobs (`queue/rows.rs`, `claim_rows.rs`, `rotation.rs`, `webhooks/`) call these functions in the same transaction.

use super::{StoreError, Transaction};
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::store::engine::params;

/// A kind of job in `due_account`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Delivery,
    /// A check requested by the owner of the claim.
    RequestedCheck,
    Check,
    Rotation,
    Webhook,
}

/// The statements of a kind; `$first` selects the minimum of `ready_at` of an account and ends before the account's ID.
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
            Self::Webhook => "webhook",
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
            Self::Webhook => statements!(
                "SELECT min(j.ready_at) FROM webhook_delivery j WHERE j.ready_at IS NOT NULL AND j.account_id = "
            ),
        }
    }
}

/// Jobs of an account were added that are due at `at`.
pub(super) fn added(c: &Transaction<'_>, kind: Kind, account: &AccountId, at: Timestamp) -> Result<(), StoreError> {
    let sql = "INSERT INTO due_account (kind, account_id, due_at) VALUES (?1, ?2, ?3)
               ON CONFLICT (kind, account_id) DO UPDATE SET due_at = excluded.due_at
                   WHERE due_account.due_at IS NULL OR due_account.due_at > excluded.due_at";
    c.execute(sql, params![kind.as_str(), account, at])?;
    Ok(())
}

/// Jobs of an account were rescheduled or removed.
pub(super) fn changed(c: &Transaction<'_>, kind: Kind, account: &AccountId) -> Result<(), StoreError> {
    c.execute(kind.statements().changed, params![kind.as_str(), account])?;
    Ok(())
}

/// A job of an account was leased at `now`.
pub(super) fn served(c: &Transaction<'_>, kind: Kind, account: &AccountId, now: Timestamp) -> Result<(), StoreError> {
    c.execute(kind.statements().served, params![kind.as_str(), account, now])?;
    Ok(())
}

/// Jobs of many accounts were rescheduled.
pub(super) fn all_changed(c: &Transaction<'_>, kind: Kind) -> Result<(), StoreError> {
    c.execute(kind.statements().all_changed, params![kind.as_str()])?;
    Ok(())
}
