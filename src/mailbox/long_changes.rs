//! Changes of more messages than fit one short transaction.
//!
//! Invariant: they are made in batches ([`BATCH`]), one batch at a time over all inboxes, in turns by account, so that any other write
//! waits for at most one batch; an inbox has one long change at a time, on whichever daemon. Hidden rows left by a crash are completed
//! or removed by a daemon that runs, once the lease of the change has ended.

use super::MailboxService;
use crate::clock::Timestamp;
use crate::id::{AccountId, InboxId, MailboxId, RunnerId};
use crate::jobs::{LEASE, RENEW_PAUSE};
use crate::resources::Owner;
use crate::resources::fair::FairSemaphore;
use crate::resources::uncancelled::uncancelled;
use crate::store::batch::BATCH;
use crate::store::jobs::Lease;
use crate::store::{Store, StoreError};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;
use tokio::task::AbortHandle;

/// Up to this many messages are changed without waiting for long changes.
const FEW: usize = 50;
/// Between looks whether another daemon's change has ended: the first, which doubles, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Between looks for interrupted changes.
const FINISH_PAUSE: Duration = Duration::from_secs(60);

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

    /// Held by the long change of an inbox, of this daemon.
    fn of_inbox(&self, inbox: &InboxId) -> Arc<tokio::sync::Mutex<()>> {
        let mut inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = inboxes.get(inbox).and_then(Weak::upgrade) {
            return found;
        }
        inboxes.retain(|_, held| held.strong_count() > 0);
        let new = Arc::new(tokio::sync::Mutex::new(()));
        inboxes.insert(inbox.clone(), Arc::downgrade(&new));
        new
    }
}

/// The long change of an inbox that is under way: no other one begins, on no daemon, until this is dropped. Its lease in the store
/// is renewed meanwhile.
pub(super) struct LongChange {
    store: Store,
    inbox: InboxId,
    owner: RunnerId,
    runtime: Handle,
    renewing: Option<AbortHandle>,
    here: Option<OwnedMutexGuard<()>>,
}

impl LongChange {
    fn new(store: &Store, inbox: &InboxId, here: OwnedMutexGuard<()>) -> Self {
        let (store, inbox, owner) = (store.for_owner(Owner::System), inbox.clone(), store.lease_owner());
        Self { store, inbox, owner, runtime: Handle::current(), renewing: None, here: Some(here) }
    }

    /// The owner of the lease.
    pub fn owner(&self) -> &RunnerId {
        &self.owner
    }

    fn lease(&self, now: Timestamp) -> Lease {
        Lease { runner: self.owner.clone(), until: now.after(LEASE) }
    }

    /// Takes the lease. False while another daemon has it.
    async fn try_begin(&mut self) -> Result<bool, StoreError> {
        let now = Timestamp::real();
        if !self.store.long_change_begin(&self.inbox, self.lease(now), now).await? {
            return Ok(false);
        }
        let (store, inbox, owner) = (self.store.clone(), self.inbox.clone(), self.owner.clone());
        let renewing = self.runtime.spawn(async move {
            loop {
                tokio::time::sleep(RENEW_PAUSE).await;
                let lease = Lease { runner: owner.clone(), until: Timestamp::real().after(LEASE) };
                if let Err(error) = store.long_change_renew(&inbox, lease).await {
                    tracing::error!(%error, %inbox, "cannot renew the lease of a change of many messages");
                }
            }
        });
        self.renewing = Some(renewing.abort_handle());
        Ok(true)
    }
}

impl Drop for LongChange {
    fn drop(&mut self) {
        if let Some(renewing) = self.renewing.take() {
            renewing.abort();
        }
        let (store, inbox, owner, here) =
            (self.store.clone(), self.inbox.clone(), self.owner.clone(), self.here.take());
        self.runtime.spawn(async move {
            // Until then, other changes of this daemon wait here, not in the store.
            let _here = here;
            match store.long_change_end(&inbox, &owner).await {
                Ok(()) | Err(StoreError::Closed) => {}
                Err(error) => {
                    tracing::warn!(%error, %inbox, "cannot end the lease of a change of many messages; it ends by itself");
                }
            }
        });
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
            let (store, of) = (self.store.clone(), inbox.clone());
            if !self.batch(inbox, BATCH, async move { store.hidden_finish_batch(&of, hidden).await }).await? {
                return Ok(());
            }
        }
    }

    /// Waits for other long changes of the inbox, and begins one.
    pub(super) async fn begin_long_change(&self, inbox: &InboxId) -> Result<LongChange, StoreError> {
        let here = self.long_changes.of_inbox(inbox).lock_owned().await;
        let mut change = LongChange::new(&self.store, inbox, here);
        let mut pause = FIRST_PAUSE;
        while !change.try_begin().await? {
            tokio::time::sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        Ok(change)
    }

    /// Begins one if there is no other, here or on another daemon.
    async fn try_long_change(&self, inbox: &InboxId) -> Result<Option<LongChange>, StoreError> {
        let Ok(here) = self.long_changes.of_inbox(inbox).try_lock_owned() else { return Ok(None) };
        let mut change = LongChange::new(&self.store, inbox, here);
        Ok(change.try_begin().await?.then_some(change))
    }

    /// Removes the messages of the inbox's deleted mailboxes.
    pub(crate) async fn finish_deletion(&self, inbox: &InboxId) -> Result<(), StoreError> {
        match self.begin_long_change(inbox).await {
            Ok(change) => self.finish_hidden_of(inbox, &change).await,
            // With them.
            Err(StoreError::InboxDeleted(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn finish_hidden_of(&self, inbox: &InboxId, _change: &LongChange) -> Result<(), StoreError> {
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

    /// Completes what a daemon has begun and does not work on any more: it ended, or the store failed.
    pub async fn finish_long_changes(&self) -> Result<(), StoreError> {
        let deleted = self.store.deleted_inboxes().await?;
        let left: BTreeSet<InboxId> = self.store.hidden_of_all().await?.into_iter().map(|(_, inbox)| inbox).collect();
        for inbox in left.into_iter().chain(deleted.iter().cloned()).collect::<BTreeSet<_>>() {
            let change = match self.try_long_change(&inbox).await {
                Ok(Some(change)) => change,
                // Somebody works on it, or has just completed it.
                Ok(None) | Err(StoreError::InboxDeleted(_)) => continue,
                Err(error) => return Err(error),
            };
            tracing::info!(%inbox, "completing an interrupted change of many messages");
            self.finish_hidden_of(&inbox, &change).await?;
            if deleted.contains(&inbox) {
                self.store.deleted_inbox_remove(&inbox).await?;
            }
        }
        Ok(())
    }

    /// Completes interrupted changes, now and from time to time.
    pub async fn keep_finishing_long_changes(&self) {
        loop {
            match self.finish_long_changes().await {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "cannot complete interrupted mailbox changes; trying again in a minute")
                }
            }
            tokio::time::sleep(FINISH_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests;
