//! Leases of changes of many messages: one at a time per inbox, over all daemons.
//!
//! Invariant: only the owner of an inbox's lease finishes or publishes the hidden rows of the inbox ([`super::parts`]). If a
//! daemon ends unexpectedly, another daemon finishes the rows after the lease has expired.

use super::jobs::Lease;
use super::{Store, StoreError, Transaction};
use crate::clock::Timestamp;
use crate::id::{InboxId, RunnerId};
use crate::store::engine::params;

impl Store {
    /// Takes the lease. False if another owner has it.
    pub async fn long_change_begin(&self, inbox: &InboxId, lease: Lease, now: Timestamp) -> Result<bool, StoreError> {
        let inbox = inbox.clone();
        self.write(move |c| {
            if !c.exists("SELECT 1 FROM inbox WHERE id = ?1", params![inbox])? {
                return Err(StoreError::InboxDeleted(inbox.clone()));
            }
            let sql = "INSERT INTO long_change (inbox_id, lease_owner, lease_until) VALUES (?1, ?2, ?3)
                       ON CONFLICT (inbox_id) DO UPDATE
                           SET lease_owner = excluded.lease_owner, lease_until = excluded.lease_until
                           WHERE long_change.lease_until <= ?4";
            Ok(c.execute(sql, params![inbox, lease.runner, lease.until, now])? > 0)
        })
        .await
    }

    /// Renews the lease if the runner still owns it.
    pub async fn long_change_renew(&self, inbox: &InboxId, lease: Lease) -> Result<(), StoreError> {
        let inbox = inbox.clone();
        self.write(move |c| {
            let sql = "UPDATE long_change SET lease_until = ?3 WHERE inbox_id = ?1 AND lease_owner = ?2";
            c.execute(sql, params![inbox, lease.runner, lease.until])?;
            Ok(())
        })
        .await
    }

    /// Releases the lease if the runner still owns it.
    pub async fn long_change_end(&self, inbox: &InboxId, owner: &RunnerId) -> Result<(), StoreError> {
        let (inbox, owner) = (inbox.clone(), owner.clone());
        self.write(move |c| {
            c.execute("DELETE FROM long_change WHERE inbox_id = ?1 AND lease_owner = ?2", params![inbox, owner])?;
            Ok(())
        })
        .await
    }
}

/// Fails if `owner` has lost the lease of the inbox.
pub(super) fn check_owner(c: &Transaction<'_>, inbox: &InboxId, owner: &RunnerId) -> Result<(), StoreError> {
    let sql = "SELECT 1 FROM long_change WHERE inbox_id = ?1 AND lease_owner = ?2";
    if c.exists(sql, params![inbox, owner])? {
        return Ok(());
    }
    Err(StoreError::Aborted(format!("the change of many messages of {inbox} was taken over by another daemon")))
}
