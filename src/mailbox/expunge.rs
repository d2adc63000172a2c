//! EXPUNGE, and the deletion of mailboxes and inboxes: what is gone is gone at once, and its octets are removed in batches.

use super::MailboxService;
use crate::id::{AccountId, InboxId, MailboxId};
use crate::resources::uncancelled::uncancelled;
use crate::store::StoreError;
use crate::store::batch;
use crate::store::mailboxes::MailboxError;

impl MailboxService {
    /// Removes messages that are marked `\Deleted`, those with low UIDs first; only those of `uids`, where they are given. It
    /// goes on to its end when the caller is cancelled, and a crash leaves the messages after those removed.
    pub async fn expunge(&self, inbox: &InboxId, mailbox: MailboxId, uids: Option<Vec<u32>>) -> Result<(), StoreError> {
        let (service, inbox) = (self.clone(), inbox.clone());
        uncancelled(async move { service.expunge_in_batches(&inbox, mailbox, uids).await }).await
    }

    async fn expunge_in_batches(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uids: Option<Vec<u32>>,
    ) -> Result<(), StoreError> {
        let mut deleted = self.store.messages_deleted(inbox, mailbox).await?;
        if let Some(wanted) = uids {
            deleted.retain(|(uid, _)| wanted.binary_search(uid).is_ok());
        }
        let mut rest = deleted.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch::fitting(rest.iter().map(|(_, octets)| *octets)));
            rest = after;
            let (store, of, uids) = (self.store.clone(), inbox.clone(), batch.iter().map(|(uid, _)| *uid).collect());
            self.batch(inbox, batch.len(), async move { store.messages_expunge(&of, mailbox, uids).await }).await?;
        }
        Ok(())
    }

    /// Deletes a mailbox. Those below it stay (RFC 3501 §6.3.4). Its messages are removed after the answer.
    pub async fn delete(&self, inbox: &InboxId, name: &str) -> Result<MailboxId, MailboxError> {
        let deleted = self.store.mailbox_delete(inbox, name).await?;
        let (service, inbox) = (self.clone(), inbox.clone());
        tokio::spawn(async move {
            if let Err(error) = service.finish_deletion(&inbox).await {
                tracing::warn!(%error, %inbox, "the messages of a deleted mailbox are removed after the next start");
            }
        });
        Ok(deleted)
    }

    /// Deletes an inbox with its aliases; its sessions end. False: the account has none of this id. Its mail is removed
    /// after the answer.
    pub async fn delete_inbox(&self, account: &AccountId, id: &InboxId) -> Result<bool, StoreError> {
        if !self.store.inbox_delete(account, id).await? {
            return Ok(false);
        }
        let (service, inbox) = (self.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(error) = service.remove_inbox(&inbox).await {
                tracing::warn!(%error, %inbox, "the mail of a deleted inbox is removed after the next start");
            }
        });
        Ok(true)
    }
}
