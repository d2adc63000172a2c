//! The event log: a row for each event, in the transaction that makes it true.
//!
//! Invariant: a reader that goes on from its cursor gets each event that is kept once, in one order, however transactions overlap. The log
//! is ordered by position and number. On SQLite there is one writer, and rows are committed in that order. On PostgreSQL the position is
//! the number of the transaction, and a reader gets only rows of transactions before the oldest that is still open: so it never passes one that may
//! still commit. Sessions do not wait for that: they receive events at once. See docs/decisions/0017-the-event-log.md.

use super::{Store, StoreError, Transaction};
use crate::clock::Timestamp;
use crate::events::{Cursor, Event};
use crate::id::{AccountId, InboxId};
use crate::store::engine::params;
use std::ops::ControlFlow;
use std::time::Duration;

/// Events that one transaction removes at most.
const BATCH: i64 = 500;
/// Pause between looks for events that have been kept for long enough.
const PAUSE: Duration = Duration::from_secs(60);

/// An event as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// Just behind it.
    pub cursor: Cursor,
    /// Real time.
    pub at: Timestamp,
    pub event: Event,
}

/// Some events of the log, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    pub events: Vec<LoggedEvent>,
    /// Where to go on.
    pub next: Cursor,
    /// Events between the reader's cursor and these have been removed, or the cursor is of another log: the reader has to look at the
    /// present state.
    pub has_gap: bool,
}

impl Transaction<'_> {
    /// Records an event of an account, and publishes it with the commit.
    pub(super) fn publish(&self, account: &AccountId, event: Event) -> Result<(), StoreError> {
        let sql = "INSERT INTO event (position, account_id, inbox_id, kind, data, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (kind, data) = event.to_columns().map_err(unwritable)?;
        self.execute(sql, params![self.log_position(), account, event.inbox(), kind, data, Timestamp::real()])?;
        self.publish_at_commit(account.clone(), event);
        Ok(())
    }

    /// The same for an event of an inbox, whose account is read.
    pub(super) fn publish_of_inbox(&self, inbox: &InboxId, event: Event) -> Result<(), StoreError> {
        let sql = "INSERT INTO event (position, account_id, inbox_id, kind, data, at)
                   SELECT ?1, account_id, id, ?3, ?4, ?5 FROM inbox WHERE id = ?2 RETURNING account_id";
        let (kind, data) = event.to_columns().map_err(unwritable)?;
        let values = params![self.log_position(), inbox, kind, data, Timestamp::real()];
        let account = self.query_row(sql, values, |row| row.get(0))?;
        self.publish_at_commit(account, event);
        Ok(())
    }
}

fn unwritable(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt(format!("an event cannot be written as JSON: {error}"))
}

impl Store {
    /// The settled end of the log: a reader that begins here gets what comes from now on.
    pub async fn events_end(&self) -> Result<Cursor, StoreError> {
        self.read(|transaction| transaction.log_end()).await
    }

    /// Events of an account, or of one of its inboxes, after `after`: `limit` at most. Of kinds that a later version of the program has
    /// written it knows nothing.
    pub async fn events_after(
        &self,
        account: &AccountId,
        inbox: Option<&InboxId>,
        after: Cursor,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        let (account, inbox) = (account.clone(), inbox.cloned());
        self.read(move |transaction| page(transaction, &account, inbox.as_ref(), after, limit)).await
    }

    /// Removes events that have been kept for `retention`, again and again. Ends when the store is closed.
    pub(crate) async fn keep_events(self, retention: Duration) {
        let mut is_failing = false;
        loop {
            let millis = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
            let before = Timestamp::from_millis(Timestamp::real().millis().saturating_sub(millis));
            match self.events_remove(before).await {
                Ok(true) => {
                    is_failing = false;
                    continue;
                }
                Ok(false) => is_failing = false,
                Err(StoreError::Closed) => return,
                Err(error) => {
                    // Once, however long it goes on.
                    if !is_failing {
                        tracing::error!(%error, "old events cannot be removed, trying again");
                    }
                    is_failing = true;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Removes some of the events from before a time. False when there are no more.
    pub(crate) async fn events_remove(&self, before: Timestamp) -> Result<bool, StoreError> {
        // Only looking costs writers nothing.
        let is_old =
            move |transaction: &Transaction<'_>| Ok(transaction.oldest_events(1)?.iter().any(|(_, at)| *at < before));
        if !self.read::<_, StoreError, _>(is_old).await? {
            return Ok(false);
        }
        self.write(move |transaction| {
            let oldest = transaction.oldest_events(BATCH)?;
            let Some((last, _)) = oldest.iter().take_while(|(_, at)| *at < before).last() else { return Ok(false) };
            transaction.remove_events(*last)?;
            let sql = "UPDATE event_log SET removed_position = ?1, removed_number = ?2";
            transaction.execute(sql, params![last.position, last.number])?;
            Ok(true)
        })
        .await
    }
}

/// After the cursor `?2`, `?3`, up to the position `?4`; in two halves, since SQLite compares no pairs by an index with the rowid.
const OF_ACCOUNT: &str = "SELECT position, number, at, kind, data FROM event
    WHERE account_id = ?1 AND position = ?2 AND number > ?3
    UNION ALL SELECT position, number, at, kind, data FROM event
    WHERE account_id = ?1 AND position > ?2 AND position <= ?4
    ORDER BY position, number LIMIT ?5";
const OF_INBOX: &str = "SELECT position, number, at, kind, data FROM event
    WHERE inbox_id = ?1 AND position = ?2 AND number > ?3 AND account_id = ?6
    UNION ALL SELECT position, number, at, kind, data FROM event
    WHERE inbox_id = ?1 AND position > ?2 AND position <= ?4 AND account_id = ?6
    ORDER BY position, number LIMIT ?5";

fn page(
    transaction: &Transaction<'_>,
    account: &AccountId,
    inbox: Option<&InboxId>,
    after: Cursor,
    limit: u32,
) -> Result<EventPage, StoreError> {
    let end = transaction.log_end()?;
    let removed =
        transaction.query_row("SELECT removed_position, removed_number FROM event_log", params![], |row| {
            Ok(Cursor { position: row.get(0)?, number: row.get(1)? })
        })?;
    // No cursor that this log has given out is behind its end.
    let has_gap = after < removed || after > end;
    let from = if after > end { end } else { after };
    let (mut events, mut last, mut count) = (Vec::new(), from, 0);
    let row = |row: &super::engine::Row<'_>| {
        last = Cursor { position: row.get(0)?, number: row.get(1)? };
        count += 1;
        let (kind, data): (String, String) = (row.get(3)?, row.get(4)?);
        match Event::from_columns(&kind, &data) {
            Ok(event) => events.push(LoggedEvent { cursor: last, at: row.get(2)?, event }),
            Err(error) => tracing::debug!(%error, kind, "an event of an unknown kind is passed over"),
        }
        Ok(ControlFlow::Continue(()))
    };
    let Cursor { position, number } = from;
    match inbox {
        None => {
            let values = params![account, position, number, end.position, limit];
            transaction.for_each(OF_ACCOUNT, values, row)?;
        }
        Some(inbox) => {
            let values = params![inbox, position, number, end.position, limit, account];
            transaction.for_each(OF_INBOX, values, row)?;
        }
    }
    // There are no more up to the end: others' events are passed, so that their removal is no gap.
    let next = if count < limit { end } else { last };
    Ok(EventPage { events, next, has_gap })
}

#[cfg(all(test, feature = "cluster"))]
mod cluster_tests;
#[cfg(test)]
mod tests;
