//! COPY, MOVE and RENAME of INBOX: messages to another mailbox of the inbox, all or none (RFC 3501 §6.4.7, RFC 6851).
//!
//! Up to a batch of messages is one transaction. More are gathered in a hidden mailbox row, which a short transaction then makes part
//! of the target: until then no copy is visible, and messages being moved stay where they were, under their UIDs.
//!
//! Invariant: the response is sent once all are in the target; a crash before that leaves all or none there. A client that disconnects
//! does not change this.

use super::MailboxService;
use crate::id::{InboxId, MailboxId, RunnerId};
use crate::store::StoreError;
use crate::store::batch::BATCH;
use crate::store::mailboxes::{INBOX, MailboxError};
use crate::store::transfer::{Copied, Kind, Transfer, TransferError};
use tokio::sync::oneshot;

impl MailboxService {
    /// Copies those of the messages that still exist: all or none.
    pub async fn copy(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uids: Vec<u32>,
        to: &str,
    ) -> Result<Copied, TransferError> {
        self.store.check_disk()?;
        self.transfer(self.to(inbox, mailbox, to, Kind::Copy { quota: self.limits.quota }), uids).await
    }

    /// Moves those of the messages that still exist: all or none.
    pub async fn move_to(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uids: Vec<u32>,
        to: &str,
    ) -> Result<Copied, TransferError> {
        self.transfer(self.to(inbox, mailbox, to, Kind::Move), uids).await
    }

    /// Renames a mailbox and its children. INBOX and its children stay: its messages move to a new mailbox and keep their UIDs (RFC
    /// 3501 §6.3.5).
    pub async fn rename(&self, inbox: &InboxId, from: &str, to: &str) -> Result<(), MailboxError> {
        if from != INBOX {
            return self.store.mailbox_rename(inbox, from, to).await;
        }
        let (mailbox, uids) = self.store.mailbox_uids(inbox, INBOX).await?.ok_or(MailboxError::Missing)?;
        // A rename is not limited.
        let rename = Transfer { keywords: usize::MAX, ..self.to(inbox, mailbox, to, Kind::Rename) };
        self.transfer(rename, uids).await?;
        Ok(())
    }

    pub(super) fn to(&self, inbox: &InboxId, from: MailboxId, to: &str, kind: Kind) -> Transfer {
        Transfer { inbox: inbox.clone(), from, to: to.to_owned(), kind, keywords: self.limits.keywords.per_mailbox }
    }

    async fn transfer(&self, transfer: Transfer, uids: Vec<u32>) -> Result<Copied, TransferError> {
        let inbox = transfer.inbox.clone();
        if uids.len() <= BATCH {
            let (store, count) = (self.store.clone(), uids.len());
            return self.batch(&inbox, count, async move { store.transfer_at_once(transfer, uids).await }).await;
        }
        let change = self.begin_long_change(&inbox).await?;
        let (service, (done, answer)) = (self.clone(), oneshot::channel());
        // In a separate task, so that a disconnecting client does not stop it halfway.
        tokio::spawn(async move {
            let hidden = match service.store.transfer_begin(&transfer, &uids).await {
                Ok(hidden) => hidden,
                Err(error) => return drop(done.send(Err(error))),
            };
            let result = service.gather_and_publish(transfer, hidden, uids, change.owner()).await;
            // The client may have disconnected. The rest is not visible to it.
            let _ = done.send(result);
            if let Err(error) = service.finish_hidden(&inbox, hidden).await {
                tracing::warn!(%error, "cannot merge a hidden part into its mailbox; trying again in a minute");
            }
        });
        answer.await.map_err(|_| TransferError::Store(StoreError::Closed))?
    }

    /// Gathers the messages in the hidden row, and makes it part of the target.
    async fn gather_and_publish(
        &self,
        transfer: Transfer,
        hidden: MailboxId,
        uids: Vec<u32>,
        owner: &RunnerId,
    ) -> Result<Copied, TransferError> {
        let mut gathered = Vec::with_capacity(uids.len());
        for batch in uids.chunks(BATCH) {
            let (store, transfer) = (self.store.clone(), transfer.clone());
            let (inbox, batch, before) = (transfer.inbox.clone(), batch.to_vec(), gathered.len());
            let gather = async move { store.transfer_gather(transfer, hidden, before, batch).await };
            gathered.extend(self.batch(&inbox, BATCH, gather).await?);
        }
        self.store.transfer_publish(transfer, hidden, gathered, owner.clone()).await
    }
}
