//! Changes of one message by its id, as the API makes them.

use super::MailboxService;
use crate::clock::{Clock, Timestamp};
use crate::id::{InboxId, MessageId};
use crate::store::StoreError;
use crate::store::email_changes::{Deleted, EmailChange, EmailError, Replaced};
use crate::store::version::Versions;
use bytes::Bytes;
use std::time::Duration;

/// Between two looks for records that are not needed any more.
const DAY: Duration = Duration::from_secs(86_400);

impl MailboxService {
    /// Changes the flags, keywords and mailbox of a message.
    pub async fn change_email(&self, inbox: &InboxId, id: &MessageId, change: EmailChange) -> Result<(), EmailError> {
        self.store.email_change(inbox, id, change, self.limits).await
    }

    /// Puts a draft into Drafts, in the place of the one that it replaces. Returns its id, which stays.
    pub async fn put_draft(
        &self,
        inbox: &InboxId,
        replaces: Option<Replaced>,
        raw: Bytes,
    ) -> Result<MessageId, EmailError> {
        self.store.draft_put(inbox, replaces, raw, self.limits).await
    }

    /// Removes a message for good.
    pub async fn remove_email(&self, inbox: &InboxId, id: &MessageId, versions: Versions) -> Result<(), EmailError> {
        self.store.email_remove(inbox, id, versions).await
    }

    /// Removes a message that is to leave later, which it then does not.
    pub async fn cancel_email(&self, inbox: &InboxId, id: &MessageId, versions: Versions) -> Result<(), EmailError> {
        self.store.email_cancel(inbox, id, versions).await
    }

    /// Moves a message to Trash, or removes one that is there.
    pub async fn delete_email(
        &self,
        inbox: &InboxId,
        id: &MessageId,
        versions: Versions,
    ) -> Result<Deleted, EmailError> {
        self.store.email_delete(inbox, id, versions, self.limits).await
    }

    /// Removes what is known of emails that were sent and are in no mailbox any more, from time to time.
    pub async fn keep_removing_sent_records(&self, clock: &Clock) {
        loop {
            let mut from = Some(Timestamp::from_millis(0));
            while let Some(start) = from {
                from = match self.store.sent_emails_remove(start, clock.now()).await {
                    Ok(next) => next,
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(%error, "cannot remove records of old emails; trying again in a day");
                        None
                    }
                };
            }
            tokio::time::sleep(DAY).await;
        }
    }
}
