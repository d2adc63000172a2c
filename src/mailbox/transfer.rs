//! COPY, MOVE and RENAME of INBOX: messages into another mailbox of their inbox, all of them or none (RFC 3501 §6.4.7,
//! RFC 6851).
//!
//! A batch of them is one transaction. More are gathered in a hidden row, which one short transaction makes a part of the
//! target: until then no copy is visible, and what moves is still where it was, under its UID.
//!
//! Invariant: an answer is given once all are in the target; a crash before it leaves all of them or none there. A client
//! that goes away changes nothing of that.

use super::MailboxService;
use crate::id::{InboxId, MailboxId};
use crate::store::StoreError;
use crate::store::batch::BATCH;
use crate::store::mailboxes::{INBOX, MailboxError};
use crate::store::transfer::{Copied, Kind, Transfer, TransferError};
use tokio::sync::oneshot;

impl MailboxService {
    /// Copies messages into another mailbox of the inbox: all that are still there, or none.
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

    /// Moves messages into another mailbox of the inbox: all that are still there, or none.
    pub async fn move_to(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uids: Vec<u32>,
        to: &str,
    ) -> Result<Copied, TransferError> {
        self.transfer(self.to(inbox, mailbox, to, Kind::Move), uids).await
    }

    /// Renames a mailbox and those below it. INBOX stays, empty, with what is below it: its messages move to a new mailbox,
    /// where they keep their UIDs (RFC 3501 §6.3.5).
    pub async fn rename(&self, inbox: &InboxId, from: &str, to: &str) -> Result<(), MailboxError> {
        if from != INBOX {
            return self.store.mailbox_rename(inbox, from, to).await;
        }
        let (mailbox, uids) = self.store.mailbox_uids(inbox, INBOX).await?.ok_or(MailboxError::Missing)?;
        // No limit keeps a name from being changed.
        let rename = Transfer { keywords: usize::MAX, ..self.to(inbox, mailbox, to, Kind::Rename) };
        self.transfer(rename, uids).await?;
        Ok(())
    }

    fn to(&self, inbox: &InboxId, from: MailboxId, to: &str, kind: Kind) -> Transfer {
        Transfer { inbox: inbox.clone(), from, to: to.to_owned(), kind, keywords: self.limits.keywords.per_mailbox }
    }

    async fn transfer(&self, transfer: Transfer, uids: Vec<u32>) -> Result<Copied, TransferError> {
        let inbox = transfer.inbox.clone();
        if uids.len() <= BATCH {
            let (store, count) = (self.store.clone(), uids.len());
            return self.batch(&inbox, count, async move { store.transfer_at_once(transfer, uids).await }).await;
        }
        let one_at_a_time = self.long_changes.begin(&inbox).await;
        let (service, (done, answer)) = (self.clone(), oneshot::channel());
        // A task of its own: a client that goes away leaves nothing half done.
        tokio::spawn(async move {
            let _one_at_a_time = one_at_a_time;
            let hidden = match service.store.transfer_begin(&transfer, &uids).await {
                Ok(hidden) => hidden,
                Err(error) => return drop(done.send(Err(error))),
            };
            let result = service.gather_and_publish(transfer, hidden, uids).await;
            // The client may have gone. What follows changes nothing that it could see.
            let _ = done.send(result);
            if let Err(error) = service.finish_hidden(&inbox, hidden).await {
                tracing::warn!(%error, "messages stay in a part of their mailbox until the next start");
            }
        });
        answer.await.map_err(|_| TransferError::Store(StoreError::Closed))?
    }

    /// Gathers the messages in the hidden row, and makes it a part of the target.
    async fn gather_and_publish(
        &self,
        transfer: Transfer,
        hidden: MailboxId,
        uids: Vec<u32>,
    ) -> Result<Copied, TransferError> {
        let mut gathered = Vec::with_capacity(uids.len());
        for batch in uids.chunks(BATCH) {
            let (store, transfer) = (self.store.clone(), transfer.clone());
            let (inbox, batch, before) = (transfer.inbox.clone(), batch.to_vec(), gathered.len());
            let gather = async move { store.transfer_gather(transfer, hidden, before, batch).await };
            gathered.extend(self.batch(&inbox, BATCH, gather).await?);
        }
        self.store.transfer_publish(transfer, hidden, gathered).await
    }
}
