//! Changes of more messages than fit one short transaction.
//!
//! Invariant: they are made in batches of [`BATCH`] messages or [`OCTETS`] octets, one batch at a time over all inboxes, so
//! that any other write waits for one of them at most; an inbox has one long change at a time. What a crash leaves behind in
//! hidden rows ([`super::parts`]) is moved over or removed after the next start.

use super::{Store, StoreError, Transaction, inboxes, lock};
use crate::id::{AccountId, InboxId, MailboxId};
use crate::resources::fair::FairSemaphore;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::OwnedMutexGuard;

/// Messages changed in one transaction: some ten milliseconds.
pub(super) const BATCH: usize = 500;
/// The same for SQL.
const LIMIT: i64 = BATCH as i64;
/// Octets of messages removed in one transaction, but for a message that alone has more.
const OCTETS: i64 = 32 * 1024 * 1024;
/// So few messages are changed without waiting for the long changes of others.
const FEW: usize = 50;

/// What orders long changes.
#[derive(Debug)]
pub(super) struct LongChanges {
    /// The one batch that is under way: accounts take turns.
    turn: FairSemaphore<AccountId>,
    inboxes: Mutex<HashMap<InboxId, Weak<tokio::sync::Mutex<()>>>>,
}

impl LongChanges {
    pub fn new() -> Self {
        Self { turn: FairSemaphore::new(1, 1), inboxes: Mutex::default() }
    }

    /// Waits until no other long change of the inbox is under way.
    async fn begin(&self, inbox: &InboxId) -> OwnedMutexGuard<()> {
        let of_inbox = {
            let mut inboxes = lock(&self.inboxes);
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

impl Store {
    /// Waits until no other long change of the inbox is under way, and keeps others from beginning.
    pub(super) async fn begin_long_change(&self, inbox: &InboxId) -> OwnedMutexGuard<()> {
        self.inner.long_changes.begin(inbox).await
    }

    /// Runs a transaction that changes so many messages of an inbox. Of those with more than a few there is one at a time, and
    /// accounts take turns.
    pub(super) async fn change_batch<T, E, F>(&self, inbox: &InboxId, messages: usize, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        if messages <= FEW {
            return self.change(work).await;
        }
        let of = inbox.clone();
        let account = self
            .read(move |connection| {
                let sql = "SELECT account_id FROM inbox WHERE id = ?1";
                Ok::<_, StoreError>(connection.prepare_cached(sql)?.query_row([of], |row| row.get(0))?)
            })
            .await?;
        let turn = self.inner.long_changes.turn.acquire(account).await.ok_or(StoreError::Closed)?;
        // The turn goes with the answer: it ends when the batch is committed, also when nobody waits for it.
        self.change(move |transaction| work(transaction).map(|done| (done, turn))).await.map(|(done, _)| done)
    }

    /// Moves the messages of a part over to its mailbox, or removes those that are nobody's; then the hidden row.
    pub(super) async fn finish_hidden(&self, inbox: &InboxId, hidden: MailboxId) -> Result<(), StoreError> {
        while self.change_batch(inbox, BATCH, move |connection| finish_batch(connection, hidden)).await? {}
        Ok(())
    }

    /// Removes the messages of the inbox's mailboxes that were deleted.
    pub(super) async fn finish_deletion(&self, inbox: &InboxId) -> Result<(), StoreError> {
        let _one_at_a_time = self.begin_long_change(inbox).await;
        let of = inbox.clone();
        let hidden: Vec<MailboxId> = self
            .read(move |connection| {
                let sql = "SELECT id FROM mailbox WHERE inbox_id = ?1 AND is_hidden = 1";
                let mut statement = connection.prepare_cached(sql)?;
                let ids = statement.query_map([of], |row| row.get(0))?;
                Ok::<_, StoreError>(ids.collect::<Result<_, _>>()?)
            })
            .await?;
        for hidden in hidden {
            self.finish_hidden(inbox, hidden).await?;
        }
        Ok(())
    }

    /// Finishes what a crash has left behind.
    pub async fn finish_long_changes(&self) -> Result<(), StoreError> {
        let left: Vec<(MailboxId, InboxId)> = self
            .read(|connection| {
                let sql = "SELECT id, inbox_id FROM mailbox WHERE is_hidden = 1 ORDER BY id";
                let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
                Ok::<_, StoreError>(connection.prepare_cached(sql)?.query_map([], row)?.collect::<Result<_, _>>()?)
            })
            .await?;
        if !left.is_empty() {
            tracing::info!(changes = left.len(), "finishing changes of mailboxes that were interrupted");
        }
        for (hidden, inbox) in left {
            let _one_at_a_time = self.begin_long_change(&inbox).await;
            self.finish_hidden(&inbox, hidden).await?;
        }
        for inbox in self.deleted_inboxes().await? {
            self.inbox_remove(&inbox).await?;
        }
        Ok(())
    }

    /// The inboxes that are deleted and not yet removed.
    async fn deleted_inboxes(&self) -> Result<Vec<InboxId>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT id FROM inbox WHERE account_id = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let ids = statement.query_map([inboxes::DELETED], |row| row.get(0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Removes a deleted inbox: its messages in batches, then its row.
    pub(super) async fn inbox_remove(&self, inbox: &InboxId) -> Result<(), StoreError> {
        self.finish_deletion(inbox).await?;
        let inbox = inbox.clone();
        self.write(move |connection| {
            let sql = "DELETE FROM inbox WHERE id = ?1 AND account_id = ?2";
            connection.prepare_cached(sql)?.execute(params![inbox, inboxes::DELETED])?;
            Ok(())
        })
        .await
    }
}

/// A batch of [`Store::finish_hidden`]; false once nothing is left, and the row is gone.
fn finish_batch(connection: &Connection, hidden: MailboxId) -> Result<bool, StoreError> {
    let sql = "SELECT part_of, uid_offset FROM mailbox WHERE id = ?1 AND is_hidden = 1";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Option<MailboxId>>(0)?, row.get::<_, i64>(1)?));
    let Some((part_of, offset)) = connection.prepare_cached(sql)?.query_row([hidden], row).optional()? else {
        return Ok(false);
    };
    let changed = match part_of {
        Some(mailbox) => {
            let sql = "UPDATE message SET mailbox_id = ?2, uid = uid + ?3 WHERE mailbox_id = ?1 AND uid IN
                           (SELECT uid FROM message WHERE mailbox_id = ?1 ORDER BY uid LIMIT ?4)";
            connection.prepare_cached(sql)?.execute(params![hidden, mailbox, offset, LIMIT])?
        }
        None => remove_batch(connection, hidden)?,
    };
    if changed == 0 {
        release(connection, hidden, i64::MAX, i64::MAX)?;
        connection.prepare_cached("DELETE FROM mailbox WHERE id = ?1")?.execute([hidden])?;
    }
    Ok(changed > 0)
}

/// Removes some messages of a row, or some of its notes; answers how many.
fn remove_batch(connection: &Connection, hidden: MailboxId) -> Result<usize, StoreError> {
    let sql = "SELECT m.uid, c.size FROM message m JOIN content c ON c.id = m.content_id
               WHERE m.mailbox_id = ?1 ORDER BY m.uid LIMIT ?2";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let found: Vec<(i64, i64)> =
        connection.prepare_cached(sql)?.query_map(params![hidden, LIMIT], row)?.collect::<Result<_, _>>()?;
    let count = batch_of_octets(found.iter().map(|(_, size)| *size));
    match found.get(..count).unwrap_or_default().last() {
        Some((last, _)) => {
            let sql = "DELETE FROM message WHERE mailbox_id = ?1 AND uid <= ?2";
            Ok(connection.prepare_cached(sql)?.execute(params![hidden, last])?)
        }
        None => {
            let sql = "DELETE FROM expunged WHERE mailbox_id = ?1 AND uid IN
                           (SELECT uid FROM expunged WHERE mailbox_id = ?1 LIMIT ?2)";
            Ok(connection.prepare_cached(sql)?.execute(params![hidden, LIMIT])?)
        }
    }
}

/// How many messages of these sizes, in this order, are removed in one transaction.
pub(super) fn batch_of_octets(sizes: impl Iterator<Item = i64>) -> usize {
    let (mut count, mut octets) = (0, 0_i64);
    for size in sizes.take(BATCH) {
        count += 1;
        octets = octets.saturating_add(size);
        if octets >= OCTETS {
            break;
        }
    }
    count
}

/// Counts octets and messages for an inbox that its copies will have, before they are made.
pub(super) fn hold(connection: &Connection, hidden: MailboxId, octets: i64, messages: i64) -> Result<(), StoreError> {
    let sql =
        "UPDATE mailbox SET held = held + ?2, held_messages = held_messages + ?3 WHERE id = ?1 RETURNING inbox_id";
    let values = params![hidden, octets, messages];
    let inbox: InboxId = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    let sql = "UPDATE inbox SET size = size + ?2, messages = messages + ?3 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![inbox, octets, messages])?;
    Ok(())
}

/// Gives back what was counted so: now it is counted with the copies, or there will be none.
pub(super) fn release(
    connection: &Connection,
    hidden: MailboxId,
    octets: i64,
    messages: i64,
) -> Result<(), StoreError> {
    let sql = "SELECT -min(held, ?2), -min(held_messages, ?3) FROM mailbox WHERE id = ?1";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (octets, messages) = connection.prepare_cached(sql)?.query_row(params![hidden, octets, messages], row)?;
    if (octets, messages) == (0, 0) { Ok(()) } else { hold(connection, hidden, octets, messages) }
}

#[cfg(test)]
mod tests;
