//! Changes of more messages than fit one short transaction.
//!
//! Invariant: they are made in batches ([`BATCH`]), one batch at a time over all inboxes, in turns by account, so that any other write
//! waits for at most one batch; an inbox has one long change at a time. Hidden rows left by a crash are completed or removed after
//! the next start.

use super::MailboxService;
use crate::id::{AccountId, InboxId, MailboxId};
use crate::resources::fair::FairSemaphore;
use crate::resources::uncancelled::uncancelled;
use crate::store::StoreError;
use crate::store::batch::BATCH;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::OwnedMutexGuard;

/// Up to this many messages are changed without waiting for long changes.
const FEW: usize = 50;

/// The order of long changes; one per store.
#[derive(Debug)]
pub(super) struct LongChanges {
    /// Held by the running batch: accounts take turns.
    turn: FairSemaphore<AccountId>,
    inboxes: Mutex<HashMap<InboxId, Weak<tokio::sync::Mutex<()>>>>,
}

impl LongChanges {
    pub fn new() -> Self {
        Self { turn: FairSemaphore::new(1, 1), inboxes: Mutex::default() }
    }

    /// Waits for other long changes of the inbox, and blocks new ones.
    pub async fn begin(&self, inbox: &InboxId) -> OwnedMutexGuard<()> {
        let of_inbox = {
            let mut inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
            match inboxes.get(inbox).and_then(Weak::upgrade) {
                Some(found) => found,
                None => {
                    inboxes.retain(|_, held| held.strong_count() > 0);
                    let new = Arc::new(tokio::sync::Mutex::new(()));
                    inboxes.insert(inbox.clone(), Arc::downgrade(&new));
                    new
                }
            }
        };
        of_inbox.lock_owned().await
    }
}

impl MailboxService {
    /// Runs a verb of the store that changes `count` messages of an inbox in one transaction. Those with more than a few run one at a
    /// time, and accounts take turns.
    pub(super) async fn batch<T, E>(
        &self,
        inbox: &InboxId,
        messages: usize,
        verb: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        if messages <= FEW {
            return verb.await;
        }
        let account = self.store.inbox_account(inbox).await?;
        let turn = self.long_changes.turn.acquire(account).await.ok_or(StoreError::Closed)?;
        // The turn ends with the commit, also when the caller is cancelled meanwhile.
        uncancelled(async move {
            let _turn = turn;
            verb.await
        })
        .await
    }

    /// Moves the messages of a hidden part to its mailbox, or removes them if it has none; then removes the part.
    pub(super) async fn finish_hidden(&self, inbox: &InboxId, hidden: MailboxId) -> Result<(), StoreError> {
        loop {
            let store = self.store.clone();
            if !self.batch(inbox, BATCH, async move { store.hidden_finish_batch(hidden).await }).await? {
                return Ok(());
            }
        }
    }

    /// Removes the messages of the inbox's deleted mailboxes.
    pub(crate) async fn finish_deletion(&self, inbox: &InboxId) -> Result<(), StoreError> {
        let _one_at_a_time = self.long_changes.begin(inbox).await;
        for hidden in self.store.hidden_of(inbox).await? {
            self.finish_hidden(inbox, hidden).await?;
        }
        Ok(())
    }

    /// Removes a deleted inbox: its messages in batches, then its row.
    pub(crate) async fn remove_inbox(&self, inbox: &InboxId) -> Result<(), StoreError> {
        self.finish_deletion(inbox).await?;
        self.store.deleted_inbox_remove(inbox).await
    }

    /// At start: completes changes that a crash interrupted.
    pub async fn finish_long_changes(&self) -> Result<(), StoreError> {
        let left = self.store.hidden_of_all().await?;
        if !left.is_empty() {
            tracing::info!(changes = left.len(), "completing interrupted mailbox changes");
        }
        for (hidden, inbox) in left {
            let _one_at_a_time = self.long_changes.begin(&inbox).await;
            self.finish_hidden(&inbox, hidden).await?;
        }
        for inbox in self.store.deleted_inboxes().await? {
            self.remove_inbox(&inbox).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
