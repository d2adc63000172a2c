//! Which rows hold the messages of a mailbox: its own, and for a while those of its parts.
//!
//! A COPY or MOVE of many messages gathers them in a hidden row of `mailbox`, batch by batch. One update of that row makes
//! all of them appear in the target: from then on it is a part of it. Then they are moved over, again in batches, without a
//! change that anybody sees.
//!
//! Invariant: a message is in one row; the UIDs that a mailbox shows of its rows never overlap.

use super::{StoreError, exists};
use crate::id::{InboxId, MailboxId};
use rusqlite::{Connection, params};

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

/// Hides a mailbox and its parts: their messages are nobody's from now on.
pub(super) fn hide(connection: &Connection, mailbox: MailboxId) -> Result<(), StoreError> {
    let sql =
        "UPDATE mailbox SET is_hidden = 1, part_of = NULL, name = char(1) || hex(randomblob(16)), special_use = NULL
               WHERE id = ?1";
    connection.prepare_cached(sql)?.execute([mailbox])?;
    connection.prepare_cached("UPDATE mailbox SET part_of = NULL WHERE part_of = ?1")?.execute([mailbox])?;
    Ok(())
}
