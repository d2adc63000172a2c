//! Removes ended deliveries and deleted subscriptions, in batches.

use super::super::{Store, StoreError, Transaction};
use super::{capacity, deliveries};
use crate::clock::Timestamp;
use crate::events::Cursor;
use crate::id::WebhookId;
use crate::store::engine::params;
use std::time::Duration;

/// How long an event is kept with its deliveries, so that they can be made again. That does not prolong it, but while a delivery waits.
pub const KEPT: Duration = Duration::from_secs(4 * 24 * 3600);
/// Between two looks for what is to be removed.
const INTERVAL: Duration = Duration::from_secs(60);
/// Rows removed per transaction.
const BATCH: i64 = 500;

pub(super) const ENDED: &str = "SELECT d.id FROM webhook_event e JOIN webhook_delivery d
        ON d.account_id = e.account_id AND d.position = e.position AND d.number = e.number
    WHERE e.created_at <= ?1 AND d.ended_at IS NOT NULL ORDER BY e.created_at LIMIT ?2";
const OF_DELETED: &str = "SELECT id FROM webhook_delivery WHERE webhook_id = ?1 AND ended_at IS NOT NULL LIMIT ?2";
/// Events without deliveries: those of deleted accounts.
const UNUSED: &str = "SELECT e.account_id, e.position, e.number FROM webhook_event e
    WHERE e.created_at <= ?1 AND NOT EXISTS (SELECT 1 FROM webhook_delivery d
        WHERE d.account_id = e.account_id AND d.position = e.position AND d.number = e.number)
    ORDER BY e.created_at LIMIT ?2";
const DELETED: &str = "SELECT id FROM webhook_subscription WHERE deleted_at IS NOT NULL LIMIT 1";

impl Store {
    /// Removes what is no longer needed until the store is closed.
    pub(crate) async fn run_webhook_expiry(self, now: impl Fn() -> Timestamp) {
        loop {
            match self.webhook_remove(now()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "cannot remove old webhook deliveries, retrying in a minute"),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Removes a batch. False if there is nothing to remove.
    pub(crate) async fn webhook_remove(&self, now: Timestamp) -> Result<bool, StoreError> {
        let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp::from_millis(now.millis().saturating_sub(kept));
        // Checked in a read first, so that it does not delay writers.
        let is_due = move |c: &Transaction<'_>| {
            Ok(c.exists(ENDED, params![before, 1])?
                || c.exists(UNUSED, params![before, 1])?
                || c.exists(DELETED, params![])?)
        };
        for (account, id) in self.webhooks_left().await? {
            self.webhook_end_waiting(&account, &id, now).await?;
        }
        if !self.read::<_, StoreError, _>(is_due).await? {
            return Ok(false);
        }
        self.write(move |c| {
            deliveries::remove(c, ENDED, params![before, BATCH])?;
            if let Some(id) = c.query_opt(DELETED, params![], |row| row.get::<WebhookId>(0))?
                && deliveries::remove(c, OF_DELETED, params![id, BATCH])? == 0
            {
                let sql = "DELETE FROM webhook_subscription WHERE id = ?1
                               AND NOT EXISTS (SELECT 1 FROM webhook_delivery d WHERE d.webhook_id = ?1)";
                c.execute(sql, params![id])?;
            }
            let unused = c.query(UNUSED, params![before, BATCH], |row| {
                Ok((row.get(0)?, Cursor { position: row.get(1)?, number: row.get(2)? }))
            })?;
            capacity::remove_unused(c, &unused.into_iter().collect())?;
            Ok(true)
        })
        .await
    }
}
