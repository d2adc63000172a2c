//! Ends the waiting deliveries that a subscription no longer gets, in batches, so that others write in between.

use super::super::hot_rows::HotRow;
use super::super::{Store, StoreError};
use super::deliveries::{self, WANTED};
use crate::clock::Timestamp;
use crate::id::{AccountId, WebhookDeliveryId, WebhookId};
use crate::store::engine::params;

/// Deliveries that end in one transaction.
const BATCH: usize = 500;

impl Store {
    /// Ends those that were waiting when a subscription was deactivated, deleted or got other types: no attempt follows, and one that is
    /// running is not recorded.
    pub(crate) async fn webhook_end_waiting(
        &self,
        account: &AccountId,
        webhook: &WebhookId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (of, owner) = (webhook.clone(), account.clone());
        let unwanted: Vec<WebhookDeliveryId> = self
            .read(move |c| {
                let sql = format!(
                    "SELECT d.id FROM webhook_delivery d
                     WHERE d.webhook_id = ?1 AND d.account_id = ?2 AND d.state = 'waiting' AND NOT {WANTED}"
                );
                c.query(&sql, params![of, owner], |row| row.get(0))
            })
            .await?;
        let hot_rows = [HotRow::Webhooks(account.clone())];
        for batch in unwanted.chunks(BATCH) {
            let (account, batch) = (account.clone(), batch.to_vec());
            self.write_serialized(&hot_rows, move |c| deliveries::end(c, &account, &batch, now)).await?;
        }
        Ok(())
    }

    /// Inactive subscriptions with waiting deliveries: a daemon has died before it ended them.
    pub(super) async fn webhooks_left(&self) -> Result<Vec<(AccountId, WebhookId)>, StoreError> {
        self.read(|c| {
            let sql = "SELECT s.account_id, s.id FROM webhook_subscription s WHERE s.is_active = 0
                           AND EXISTS (SELECT 1 FROM webhook_delivery d WHERE d.webhook_id = s.id AND d.state = 'waiting')";
            c.query(sql, params![], |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .await
    }
}
