//! EXPUNGE, and the deletion of mailboxes and inboxes. A deleted mailbox or inbox disappears at once; its messages are removed in
//! batches.

use super::MailboxService;
use crate::id::{AccountId, InboxId, MailboxId};
use crate::resources::uncancelled::uncancelled;
use crate::store::StoreError;
use crate::store::batch;
use crate::store::mailboxes::MailboxError;

impl MailboxService {
    /// Removes `\Deleted` messages in the order of UIDs, or only those of `uids`. A cancelled caller does not stop it; a crash leaves
    /// the later messages.
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
        self.remove_in_batches(inbox, &deleted, |uids| {
            let (store, of) = (self.store.clone(), inbox.clone());
            async move { store.messages_expunge(&of, mailbox, uids).await }
        })
        .await
    }

    /// Removes messages, given by UID and size, in batches that fit a transaction.
    pub(super) async fn remove_in_batches<F>(
        &self,
        inbox: &InboxId,
        mut rest: &[(u32, i64)],
        remove: impl Fn(Vec<u32>) -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch::fitting(rest.iter().map(|(_, octets)| *octets)));
            rest = after;
            self.batch(inbox, batch.len(), remove(batch.iter().map(|(uid, _)| *uid).collect())).await?;
        }
        Ok(())
    }

    /// Deletes a mailbox. Its children stay (RFC 3501 §6.3.4). Its messages are removed after this returns.
    pub async fn delete(&self, inbox: &InboxId, name: &str) -> Result<MailboxId, MailboxError> {
        let deleted = self.store.mailbox_delete(inbox, name).await?;
        let (service, inbox) = (self.clone(), inbox.clone());
        tokio::spawn(async move {
            if let Err(error) = service.finish_deletion(&inbox).await {
                tracing::warn!(%error, %inbox, "cannot remove the messages of a deleted mailbox; trying again in a minute");
            }
        });
        Ok(deleted)
    }

    /// Deletes an inbox with its aliases; its sessions end. False if the account has no such inbox. Its mail is removed after this
    /// returns.
    pub async fn delete_inbox(&self, account: &AccountId, id: &InboxId) -> Result<bool, StoreError> {
        if !self.store.inbox_delete(account, id).await? {
            return Ok(false);
        }
        let (service, inbox) = (self.clone(), id.clone());
        tokio::spawn(async move {
            if let Err(error) = service.remove_inbox(&inbox).await {
                tracing::warn!(%error, %inbox, "cannot remove the mail of a deleted inbox; trying again in a minute");
            }
        });
        Ok(true)
    }
}
