//! The rows of `mailbox` that contain the messages of a mailbox: its own, and temporarily those of its parts.
//!
//! A COPY or MOVE of many messages collects them in a hidden row of `mailbox`, in batches. One update of that row publishes all
//! of them in the target: the row becomes a part of it. Afterwards they are relocated to the target's own row, again in batches,
//! which clients cannot observe.
//!
//! Invariant: a message is in one row; the UID ranges of a mailbox's rows do not overlap.

use super::batch::{self, BATCH};
use super::hot_rows::HotRow;
use super::{Store, StoreError, Transaction, message_rows, metadata};
use crate::id::{InboxId, MailboxId};
use crate::store::engine::{List, Row, params};
use serde_json::json;
use std::ops::ControlFlow;

/// [`BATCH`] as a parameter.
const LIMIT: i64 = BATCH as i64;

/// A row of `mailbox` that contains messages of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// `message.mailbox_id`.
    pub id: MailboxId,
    /// Added to a stored UID to get the UID in the mailbox.
    pub offset: i64,
    /// Lower stored mod-sequences stand for this one, at which the part was published: a large COPY or MOVE changes no message
    /// when it publishes them.
    pub least_modseq: i64,
}

impl Part {
    /// The UID in the mailbox of a stored UID.
    pub fn shown(self, stored: i64) -> u32 {
        u32::try_from(stored.saturating_add(self.offset)).unwrap_or(u32::MAX)
    }

    /// The stored UID of a UID in the mailbox.
    pub fn stored(self, shown: u32) -> i64 {
        i64::from(shown).saturating_sub(self.offset)
    }

    /// The mod-sequence of a stored one.
    pub fn modseq(self, stored: i64) -> i64 {
        stored.max(self.least_modseq)
    }

    /// Messages have a higher mod-sequence than `modseq` if their stored one is higher than the result.
    pub fn unseen_after(self, modseq: i64) -> i64 {
        if self.least_modseq > modseq { -1 } else { modseq }
    }

    /// The keys in `message` of these UIDs, for [`is_listed`].
    pub fn list(self, shown: &[u32]) -> List {
        shown.iter().map(|uid| json!([self.id, self.stored(*uid)])).collect()
    }
}

/// A condition on rows of `message`: their keys are in the list in parameter `number`. The list has both columns of the key, so
/// that PostgreSQL joins from the list by index, whatever its statistics; with the mailbox as a parameter it may scan the mailbox
/// per item.
pub(super) fn is_listed(transaction: &Transaction<'_>, number: usize) -> String {
    let items = transaction.items(number);
    format!("(mailbox_id, uid) IN (SELECT CAST(value ->> 0 AS BIGINT), CAST(value ->> 1 AS BIGINT) FROM {items})")
}

const OF: &str = "SELECT id, uid_offset, least_modseq FROM mailbox WHERE id = ?1 AND inbox_id = ?2 AND is_hidden = 0
    UNION ALL SELECT p.id, p.uid_offset, p.least_modseq FROM mailbox b JOIN mailbox p ON p.part_of = b.id
              WHERE b.id = ?1 AND b.inbox_id = ?2 AND b.is_hidden = 0";

/// The mailbox's own row first, then its parts; empty if the inbox has no such mailbox.
pub(super) fn of(connection: &Transaction<'_>, inbox: &InboxId, mailbox: MailboxId) -> Result<Vec<Part>, StoreError> {
    let row = |row: &Row<'_>| Ok(Part { id: row.get(0)?, offset: row.get(1)?, least_modseq: row.get(2)? });
    connection.query(OF, params![mailbox, inbox], row)
}

/// The part that contains a message.
pub(super) fn holder(connection: &Transaction<'_>, parts: &[Part], uid: u32) -> Result<Option<Part>, StoreError> {
    for part in parts {
        let sql = "SELECT 1 FROM message WHERE mailbox_id = ?1 AND uid = ?2";
        if connection.exists(sql, params![part.id, part.stored(uid)])? {
            return Ok(Some(*part));
        }
    }
    Ok(None)
}

/// Those of the messages that exist, UIDs ascending, each with its part.
pub(super) fn holders(
    connection: &Transaction<'_>,
    parts: &[Part],
    uids: &[u32],
) -> Result<Vec<(u32, Part)>, StoreError> {
    let sql = format!("SELECT uid FROM message WHERE {}", is_listed(connection, 1));
    let mut found = Vec::with_capacity(uids.len());
    for part in parts {
        connection.for_each(&sql, params![part.list(uids)], |row| {
            found.push((part.shown(row.get(0)?), *part));
            Ok(ControlFlow::Continue(()))
        })?;
    }
    found.sort_unstable_by_key(|(uid, _)| *uid);
    Ok(found)
}

/// The prefix of the names of hidden rows, which clients cannot use.
pub(super) const HIDDEN_PREFIX: &str = "\u{1}";
/// The SET clause that hides rows of `mailbox`; `?2` is [`HIDDEN_PREFIX`].
pub(super) const HIDDEN: &str =
    "is_hidden = 1, part_of = NULL, special_use = NULL, name = CAST(?2 AS TEXT) || CAST(id AS TEXT)";

/// Inserts a hidden row.
pub(super) fn insert_hidden(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    part_of: Option<MailboxId>,
) -> Result<MailboxId, StoreError> {
    let sql = "INSERT INTO mailbox (inbox_id, name, uid_validity, is_hidden, part_of)
               VALUES (?1, ?2, 0, 1, ?3) RETURNING id";
    connection
        .query_row(sql, params![inbox, format!("{HIDDEN_PREFIX}{}", ulid::Ulid::new()), part_of], |row| row.get(0))
}

/// Hides a mailbox and its parts. Their messages belong to no mailbox from now on.
pub(super) fn hide(connection: &Transaction<'_>, mailbox: MailboxId) -> Result<(), StoreError> {
    connection.execute(&format!("UPDATE mailbox SET {HIDDEN} WHERE id = ?1"), params![mailbox, HIDDEN_PREFIX])?;
    connection.execute("UPDATE mailbox SET part_of = NULL WHERE part_of = ?1", params![mailbox])?;
    metadata::remove_all(connection, mailbox)
}

impl Store {
    /// The hidden rows of an inbox.
    pub async fn hidden_of(&self, inbox: &InboxId) -> Result<Vec<MailboxId>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let sql = "SELECT id FROM mailbox WHERE inbox_id = ?1 AND is_hidden = 1";
            connection.query(sql, params![inbox], |row| row.get(0))
        })
        .await
    }

    /// The hidden rows of all inboxes, the oldest first.
    pub async fn hidden_of_all(&self) -> Result<Vec<(MailboxId, InboxId)>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT id, inbox_id FROM mailbox WHERE is_hidden = 1 ORDER BY id";
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            connection.query(sql, params![], row)
        })
        .await
    }

    /// Relocates a batch of a hidden row's messages to the mailbox that it is a part of, or removes the batch if it belongs to no
    /// mailbox. False once the row was empty and is removed.
    pub async fn hidden_finish_batch(&self, inbox: &InboxId, hidden: MailboxId) -> Result<bool, StoreError> {
        let inbox = inbox.clone();
        let hot_row = [HotRow::Inbox(inbox.clone())];
        self.write_serialized(&hot_row, move |connection| finish_batch(connection, &inbox, hidden)).await
    }
}

fn finish_batch(connection: &Transaction<'_>, inbox: &InboxId, hidden: MailboxId) -> Result<bool, StoreError> {
    let sql = "SELECT part_of, uid_offset, least_modseq FROM mailbox WHERE id = ?1 AND inbox_id = ?2 AND is_hidden = 1";
    let row = |row: &Row<'_>| {
        let part = Part { id: hidden, offset: row.get(1)?, least_modseq: row.get(2)? };
        Ok((row.get::<Option<MailboxId>>(0)?, part))
    };
    let Some((part_of, part)) = connection.query_opt(sql, params![hidden, inbox], row)? else {
        return Ok(false);
    };
    let changed = match part_of {
        Some(mailbox) => message_rows::relocate_first(connection, part, mailbox, LIMIT)?,
        None => remove_batch(connection, inbox, hidden)?,
    };
    if changed == 0 {
        release(connection, hidden, i64::MAX, i64::MAX)?;
        connection.execute("DELETE FROM mailbox WHERE id = ?1", params![hidden])?;
    }
    Ok(changed > 0)
}

/// Removes a batch of messages of a row, or if there are none, of its rows in `expunged`. Returns their number.
fn remove_batch(connection: &Transaction<'_>, inbox: &InboxId, hidden: MailboxId) -> Result<usize, StoreError> {
    let sql = "SELECT m.uid, c.size FROM message m JOIN content c ON c.id = m.content_id
               WHERE m.mailbox_id = ?1 ORDER BY m.uid LIMIT ?2";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let found: Vec<(i64, i64)> = connection.query(sql, params![hidden, LIMIT], row)?;
    let count = batch::fitting(found.iter().map(|(_, size)| *size));
    match found.get(..count).unwrap_or_default().last() {
        Some((last, _)) => {
            Ok(message_rows::remove(connection, inbox, hidden, "mailbox_id = ?1 AND uid <= ?2", params![hidden, last])?
                .len())
        }
        None => {
            let sql = "DELETE FROM expunged WHERE mailbox_id = ?1 AND uid IN
                           (SELECT uid FROM expunged WHERE mailbox_id = ?1 LIMIT ?2)";
            Ok(connection.execute(sql, params![hidden, LIMIT])?)
        }
    }
}

/// Reserves quota of an inbox for copies that will be made.
pub(super) fn reserve(
    connection: &Transaction<'_>,
    hidden: MailboxId,
    octets: i64,
    messages: i64,
) -> Result<(), StoreError> {
    let sql =
        "UPDATE mailbox SET held = held + ?2, held_messages = held_messages + ?3 WHERE id = ?1 RETURNING inbox_id";
    let values = params![hidden, octets, messages];
    let inbox: InboxId = connection.query_row(sql, values, |row| row.get(0))?;
    let sql = "UPDATE inbox SET size = size + ?2, messages = messages + ?3 WHERE id = ?1";
    connection.execute(sql, params![inbox, octets, messages])?;
    Ok(())
}

/// Releases up to this much of the reserved quota: the copies are counted now, or will not be made.
pub(super) fn release(
    connection: &Transaction<'_>,
    hidden: MailboxId,
    octets: i64,
    messages: i64,
) -> Result<(), StoreError> {
    let sql = "SELECT held, held_messages FROM mailbox WHERE id = ?1";
    let row = |row: &Row<'_>| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?));
    let reserved = connection.query_row(sql, params![hidden], row)?;
    let (octets, messages) = (reserved.0.min(octets), reserved.1.min(messages));
    if (octets, messages) == (0, 0) { Ok(()) } else { reserve(connection, hidden, -octets, -messages) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{inbox, sqlite_only, store_with_account};
    use rusqlite::StatementStatus;
    use rusqlite::config::DbConfig;

    #[tokio::test]
    async fn statements_are_not_prepared_again_for_other_values() {
        sqlite_only("counts the preparations of statements");
        let (_dir, store, account) = store_with_account().await;
        let inbox = inbox(&store, &account, "one").await;
        let prepared_again = move |transaction: &Transaction<'_>| {
            for mailbox in 1..5 {
                of(transaction, &inbox, MailboxId::new(mailbox)).unwrap();
            }
            transaction.sqlite().prepare_cached(OF).unwrap().get_status(StatementStatus::RePrepare)
        };
        let on_each = move |transaction: &Transaction<'_>| {
            let as_opened = prepared_again(transaction);
            transaction.sqlite().flush_prepared_statement_cache();
            transaction.sqlite().set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, false).unwrap();
            Ok::<_, StoreError>((as_opened, prepared_again(transaction)))
        };
        for (as_opened, without) in [store.read(on_each.clone()).await.unwrap(), store.write(on_each).await.unwrap()] {
            assert_eq!(as_opened, 0);
            assert!(without > 0, "the statement is not affected by the setting");
        }
    }
}
