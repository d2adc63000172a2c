//! Custom domains: claims of accounts to names.
//!
//! Invariant: at most one verified claim per name (an index of the schema holds it too); a status changes together with
//! its event and its evidence, or not at all.

use super::{Store, StoreError};
use crate::id::{DomainId, InboxId};
use crate::identity::Claim;
use rusqlite::{OptionalExtension, Row};

const CLAIM: &str = "d.id, d.name, d.status, d.on_unverified";

fn claim(row: &Row<'_>) -> rusqlite::Result<Claim> {
    Ok(Claim { id: row.get(0)?, name: row.get(1)?, status: row.get(2)?, on_unverified: row.get(3)? })
}

impl Store {
    /// What the outbound From needs to know of a claim, read now. `None` when it has been deleted.
    pub async fn claim_for_identity(&self, id: &DomainId) -> Result<Option<Claim>, StoreError> {
        let id = id.clone();
        self.read(move |connection| {
            let sql = format!("SELECT {CLAIM} FROM custom_domain d WHERE d.id = ?1");
            Ok(connection.prepare_cached(&sql)?.query_row([id], claim).optional()?)
        })
        .await
    }

    /// The default domain of an inbox, or else of its account, whatever its status.
    pub async fn default_claim(&self, inbox: &InboxId) -> Result<Option<Claim>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let sql = format!(
                "SELECT {CLAIM} FROM inbox i JOIN custom_domain d ON d.account_id = i.account_id
                     AND (d.id = i.default_domain_id OR (i.default_domain_id IS NULL AND d.is_default = 1))
                 WHERE i.id = ?1"
            );
            Ok(connection.prepare_cached(&sql)?.query_row([inbox], claim).optional()?)
        })
        .await
    }
}
