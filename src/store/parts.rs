//! Which rows hold the messages of a mailbox: its own, and for a while those of its parts.
//!
//! A COPY or MOVE of many messages gathers them in a hidden row of `mailbox`, batch by batch. One update of that row makes
//! all of them appear in the target: from then on it is a part of it. Then they are moved over, again in batches, without a
//! change that anybody sees.
//!
//! Invariant: a message is in one row; the UIDs that a mailbox shows of its rows never overlap.

use super::batch::{self, BATCH};
use super::{Store, StoreError, exists};
use crate::id::{InboxId, MailboxId};
use rusqlite::{Connection, OptionalExtension, params};

/// [`BATCH`] for SQL.
const LIMIT: i64 = BATCH as i64;

/// A row that holds messages of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its number: `message.mailbox_id`.
    pub id: MailboxId,
    /// What is added to a UID as it is stored.
    offset: i64,
}

impl Part {
    /// The UID that clients see.
    pub fn shown(self, stored: i64) -> u32 {
        u32::try_from(stored.saturating_add(self.offset)).unwrap_or(u32::MAX)
    }

    /// The UID of the row.
    pub fn stored(self, shown: u32) -> i64 {
        i64::from(shown).saturating_sub(self.offset)
    }
}

/// The mailbox's own row first, then its parts; none when the inbox has no such mailbox.
pub(super) fn of(connection: &Connection, inbox: &InboxId, mailbox: MailboxId) -> Result<Vec<Part>, StoreError> {
    let sql = "SELECT id, uid_offset FROM mailbox WHERE id = ?1 AND inbox_id = ?2 AND is_hidden = 0
               UNION ALL SELECT p.id, p.uid_offset FROM mailbox b JOIN mailbox p ON p.part_of = b.id
                         WHERE b.id = ?1 AND b.inbox_id = ?2 AND b.is_hidden = 0";
    let row = |row: &rusqlite::Row<'_>| Ok(Part { id: row.get(0)?, offset: row.get(1)? });
    Ok(connection.prepare_cached(sql)?.query_map(params![mailbox, inbox], row)?.collect::<Result<_, _>>()?)
}

/// The one that has the message.
pub(super) fn holder(connection: &Connection, parts: &[Part], uid: u32) -> Result<Option<Part>, StoreError> {
    for part in parts {
        let sql = "SELECT 1 FROM message WHERE mailbox_id = ?1 AND uid = ?2";
        if exists(connection, sql, params![part.id, part.stored(uid)])? {
            return Ok(Some(*part));
        }
    }
    Ok(None)
}

/// Makes a hidden row.
pub(super) fn insert_hidden(
    connection: &Connection,
    inbox: &InboxId,
    part_of: Option<MailboxId>,
) -> Result<MailboxId, StoreError> {
    let sql = "INSERT INTO mailbox (inbox_id, name, uid_validity, is_hidden, part_of)
               VALUES (?1, char(1) || hex(randomblob(16)), 0, 1, ?2)";
    connection.prepare_cached(sql)?.execute(params![inbox, part_of])?;
    Ok(MailboxId::new(connection.last_insert_rowid()))
}

/// Hides a mailbox and its parts: their messages belong to no mailbox from now on.
pub(super) fn hide(connection: &Connection, mailbox: MailboxId) -> Result<(), StoreError> {
    let sql =
        "UPDATE mailbox SET is_hidden = 1, part_of = NULL, name = char(1) || hex(randomblob(16)), special_use = NULL
               WHERE id = ?1";
    connection.prepare_cached(sql)?.execute([mailbox])?;
    connection.prepare_cached("UPDATE mailbox SET part_of = NULL WHERE part_of = ?1")?.execute([mailbox])?;
    Ok(())
}

impl Store {
    /// The hidden rows of an inbox.
    pub async fn hidden_of(&self, inbox: &InboxId) -> Result<Vec<MailboxId>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let sql = "SELECT id FROM mailbox WHERE inbox_id = ?1 AND is_hidden = 1";
            Ok(connection.prepare_cached(sql)?.query_map([inbox], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The hidden rows of all inboxes, the oldest first.
    pub async fn hidden_of_all(&self) -> Result<Vec<(MailboxId, InboxId)>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT id, inbox_id FROM mailbox WHERE is_hidden = 1 ORDER BY id";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            Ok(connection.prepare_cached(sql)?.query_map([], row)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Moves a batch of a hidden row's messages over to the mailbox it is a part of, or removes it where it belongs to no mailbox. False
    /// once nothing is left, and the row is gone.
    pub async fn hidden_finish_batch(&self, hidden: MailboxId) -> Result<bool, StoreError> {
        self.write(move |connection| finish_batch(connection, hidden)).await
    }
}

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
    let count = batch::fitting(found.iter().map(|(_, size)| *size));
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
