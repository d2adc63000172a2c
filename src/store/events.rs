//! The event log: one row per event, written in the transaction that causes it.
//!
//! Invariant: a reader that continues from its cursor gets each retained event once, in the order of the log, even if
//! transactions overlap. The log is ordered by position and number. On SQLite there is one writer, and rows are committed in that
//! order. On PostgreSQL the position is the transaction ID, and a reader gets only rows of transactions before the oldest one
//! that is open, so it never passes a transaction that may still commit. Sessions receive events at once. See
//! docs/decisions/0017-the-event-log.md.

use super::{Store, StoreError, Transaction};
use crate::clock::Timestamp;
use crate::events::{Cursor, Event};
use crate::id::{AccountId, InboxId};
use crate::store::engine::params;
use std::ops::ControlFlow;
use std::time::Duration;

/// Events removed per transaction.
const BATCH: i64 = 500;
/// By how much events may be out of the order of their times: transactions on PostgreSQL overlap.
const OVERLAP: Duration = Duration::from_secs(60);
/// Between two checks for expired events.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// The cursor of a reader that has read up to and including this event.
    pub cursor: Cursor,
    /// Real time.
    pub at: Timestamp,
    pub event: Event,
}

/// Events in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    pub events: Vec<LoggedEvent>,
    /// The cursor to continue from.
    pub next: Cursor,
    /// Events after the reader's cursor were removed, or the cursor is of another log: the reader must reload the current state.
    pub has_gap: bool,
    /// There are no more before the settled end.
    pub is_end: bool,
    /// False if later events are committed that are not before the settled end yet: they are returned a moment later.
    pub is_settled: bool,
}

impl Transaction<'_> {
    /// Records an event of an account, to be published after the commit.
    pub(super) fn publish(&self, account: &AccountId, event: Event) -> Result<(), StoreError> {
        let sql = "INSERT INTO event (position, account_id, inbox_id, kind, data, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (kind, data) = event.to_columns().map_err(not_serializable)?;
        self.execute(sql, params![self.log_position(), account, event.inbox(), kind, data, Timestamp::real()])?;
        self.publish_at_commit(account.clone(), event);
        Ok(())
    }

    /// The same for an event of an inbox; reads its account.
    pub(super) fn publish_of_inbox(&self, inbox: &InboxId, event: Event) -> Result<(), StoreError> {
        let sql = "INSERT INTO event (position, account_id, inbox_id, kind, data, at)
                   SELECT ?1, account_id, id, ?3, ?4, ?5 FROM inbox WHERE id = ?2 RETURNING account_id";
        let (kind, data) = event.to_columns().map_err(not_serializable)?;
        let values = params![self.log_position(), inbox, kind, data, Timestamp::real()];
        let account = self.query_row(sql, values, |row| row.get(0))?;
        self.publish_at_commit(account, event);
        Ok(())
    }
}

fn not_serializable(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt(format!("cannot serialize an event: {error}"))
}

impl Store {
    /// The stable end of the log: a reader that starts here gets all later events.
    pub async fn events_end(&self) -> Result<Cursor, StoreError> {
        self.read(|transaction| transaction.log_end()).await
    }

    /// Up to `limit` events of an account, or of one of its inboxes, after `after`. Skips events of kinds that this version does
    /// not know.
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

    /// Up to `limit` events before `before`, or before the settled end, the newest first. `next` of the page is the cursor of its last
    /// event: the following page is before it.
    pub async fn events_before(
        &self,
        account: &AccountId,
        inbox: Option<&InboxId>,
        before: Option<Cursor>,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        let (account, inbox) = (account.clone(), inbox.cloned());
        self.read(move |transaction| page_before(transaction, &account, inbox.as_ref(), before, limit)).await
    }

    /// A cursor before the first event of an account, or of one of its inboxes, at or after `time`, and at most `limit` events before
    /// the end.
    pub async fn events_since(
        &self,
        account: &AccountId,
        inbox: Option<&InboxId>,
        time: Timestamp,
        limit: u32,
    ) -> Result<Cursor, StoreError> {
        let (account, inbox) = (account.clone(), inbox.cloned());
        self.read(move |transaction| {
            let sql = if inbox.is_some() { LAST_OF_INBOX } else { LAST_OF_ACCOUNT };
            let mut cursor = transaction.log_end()?;
            transaction.for_each(sql, params![account, limit, inbox], |row| {
                let (number, at): (i64, Timestamp) = (row.get(1)?, row.get(2)?);
                if at >= time {
                    cursor = cursor.min(Cursor { position: row.get(0)?, number: number.saturating_sub(1) });
                }
                let is_before = at.after(OVERLAP) < time;
                Ok(if is_before { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            Ok(cursor)
        })
        .await
    }

    /// Removes events older than `retention` until the store is closed.
    pub(crate) async fn run_event_expiry(self, retention: Duration) {
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
                    // Logged once per outage.
                    if !is_failing {
                        tracing::error!(%error, "cannot remove old events, retrying");
                    }
                    is_failing = true;
                }
            }
            tokio::time::sleep(EXPIRY_INTERVAL).await;
        }
    }

    /// Removes a batch of events from before a time. False if there are none.
    pub(crate) async fn events_remove(&self, before: Timestamp) -> Result<bool, StoreError> {
        // Checked in a read first, so that it does not delay writers.
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

/// Events after the cursor `?2`, `?3`, up to the position `?4`. In two halves, since SQLite does not use an index with the rowid
/// for a row value comparison.
const OF_ACCOUNT: &str = "SELECT position, number, at, kind, data FROM event
    WHERE account_id = ?1 AND position = ?2 AND number > ?3
    UNION ALL SELECT position, number, at, kind, data FROM event
    WHERE account_id = ?1 AND position > ?2 AND position <= ?4
    ORDER BY position, number LIMIT ?5";
/// The newest first.
const LAST_OF_ACCOUNT: &str =
    "SELECT position, number, at FROM event WHERE account_id = ?1 AND CAST(?3 AS TEXT) IS NULL
    ORDER BY position DESC, number DESC LIMIT ?2";
const LAST_OF_INBOX: &str = "SELECT position, number, at FROM event WHERE inbox_id = ?3 AND account_id = ?1
    ORDER BY position DESC, number DESC LIMIT ?2";
/// One that is visible after the position `?2`, of the account `?1`, and of the inbox `?3` if that is not null.
const UNSETTLED: &str = "SELECT 1 FROM event
    WHERE account_id = ?1 AND position > ?2 AND (CAST(?3 AS TEXT) IS NULL OR inbox_id = ?3) LIMIT 1";
const OF_INBOX: &str = "SELECT position, number, at, kind, data FROM event
    WHERE inbox_id = ?1 AND position = ?2 AND number > ?3 AND account_id = ?6
    UNION ALL SELECT position, number, at, kind, data FROM event
    WHERE inbox_id = ?1 AND position > ?2 AND position <= ?4 AND account_id = ?6
    ORDER BY position, number LIMIT ?5";

/// Events before the cursor `?2`, `?3`, the newest first; in two halves like [`OF_ACCOUNT`].
const BEFORE_OF_ACCOUNT: &str = "SELECT position, number, at, kind, data FROM event
    WHERE account_id = ?1 AND position = ?2 AND number < ?3
    UNION ALL SELECT position, number, at, kind, data FROM event
    WHERE account_id = ?1 AND position < ?2
    ORDER BY position DESC, number DESC LIMIT ?4";
const BEFORE_OF_INBOX: &str = "SELECT position, number, at, kind, data FROM event
    WHERE inbox_id = ?5 AND position = ?2 AND number < ?3 AND account_id = ?1
    UNION ALL SELECT position, number, at, kind, data FROM event
    WHERE inbox_id = ?5 AND position < ?2 AND account_id = ?1
    ORDER BY position DESC, number DESC LIMIT ?4";

pub(super) fn page(
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
    // This log has never returned a cursor after its end.
    let has_gap = after < removed || after > end;
    let from = if after > end { end } else { after };
    let Cursor { position, number } = from;
    let (events, last, count) = match inbox {
        None => read(transaction, OF_ACCOUNT, params![account, position, number, end.position, limit], from)?,
        Some(inbox) => {
            let values = params![inbox, position, number, end.position, limit, account];
            read(transaction, OF_INBOX, values, from)?
        }
    };
    // No more events up to the end: the cursor passes events of other accounts, so that their removal is not a gap.
    let is_end = count < limit;
    let next = if is_end { end } else { last };
    let is_settled = !transaction.exists(UNSETTLED, params![account, end.position, inbox])?;
    Ok(EventPage { events, next, has_gap, is_end, is_settled })
}

fn page_before(
    transaction: &Transaction<'_>,
    account: &AccountId,
    inbox: Option<&InboxId>,
    before: Option<Cursor>,
    limit: u32,
) -> Result<EventPage, StoreError> {
    let Cursor { position, number } = transaction.log_end()?;
    // What is committed after the settled end may still be preceded by other events.
    let end = Cursor { position, number: number.saturating_add(1) };
    let from = before.map_or(end, |before| before.min(end));
    let (events, next, count) = match inbox {
        None => read(transaction, BEFORE_OF_ACCOUNT, params![account, from.position, from.number, limit], from)?,
        Some(inbox) => {
            let values = params![account, from.position, from.number, limit, inbox];
            read(transaction, BEFORE_OF_INBOX, values, from)?
        }
    };
    Ok(EventPage { events, next, has_gap: false, is_end: count < limit, is_settled: true })
}

/// The events of a query, the cursor of its last row (`from` if it has none), and how many rows it has.
fn read(
    transaction: &Transaction<'_>,
    sql: &str,
    values: &[&dyn super::engine::ToValue],
    from: Cursor,
) -> Result<(Vec<LoggedEvent>, Cursor, u32), StoreError> {
    let (mut events, mut last, mut count) = (Vec::new(), from, 0);
    transaction.for_each(sql, values, |row| {
        last = Cursor { position: row.get(0)?, number: row.get(1)? };
        count += 1;
        let (kind, data): (String, String) = (row.get(3)?, row.get(4)?);
        match Event::from_columns(&kind, &data) {
            Ok(event) => events.push(LoggedEvent { cursor: last, at: row.get(2)?, event }),
            Err(error) => tracing::debug!(%error, kind, "skipping an event of an unknown kind"),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((events, last, count))
}

#[cfg(all(test, feature = "cluster"))]
mod cluster_tests;
#[cfg(test)]
mod tests;
