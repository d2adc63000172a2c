//! Mailboxes: the folders of an inbox, as IMAP shows them.
//!
//! Invariant: INBOX is always there once an inbox has a mailbox at all; a name and its UIDVALIDITY together never come
//! back (RFC 3501 §2.3.1.1); every verb asks for the inbox and touches nothing of another's. Names are UTF-8, `/` between
//! levels; special uses are RFC 6154's.

use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::id::InboxId;
use rusqlite::{Connection, OptionalExtension, params};

/// The name of the mailbox that mail arrives in.
pub const INBOX: &str = "INBOX";

/// What every inbox has from the start, with the special uses of RFC 6154.
const STANDARD: &[(&str, Option<&str>)] = &[
    (INBOX, None),
    ("Drafts", Some("\\Drafts")),
    ("Sent", Some("\\Sent")),
    ("Junk", Some("\\Junk")),
    ("Trash", Some("\\Trash")),
    ("Archive", Some("\\Archive")),
];

/// UIDs given out, and the modification number of the change they are given out for.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextUids {
    pub first_uid: u32,
    pub modseq: i64,
}

/// Makes the standard mailboxes of an inbox that has none yet.
pub fn ensure_standard(connection: &Connection, inbox: &InboxId) -> Result<(), StoreError> {
    if find(connection, inbox, INBOX)?.is_some() {
        return Ok(());
    }
    for (name, special_use) in STANDARD {
        insert(connection, inbox, name, *special_use)?;
    }
    Ok(())
}

/// The number of a mailbox; it is made when it is missing.
pub(super) fn ensure(connection: &Connection, inbox: &InboxId, name: &str) -> Result<i64, StoreError> {
    if let Some(found) = find(connection, inbox, name)? {
        return Ok(found);
    }
    ensure_standard(connection, inbox)?;
    match find(connection, inbox, name)? {
        Some(found) => Ok(found),
        None => insert(connection, inbox, name, None),
    }
}

/// The number of a mailbox.
pub(super) fn find(connection: &Connection, inbox: &InboxId, name: &str) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT id FROM mailbox WHERE inbox_id = ?1 AND name = ?2";
    Ok(connection.prepare_cached(sql)?.query_row(params![inbox, name], |row| row.get(0)).optional()?)
}

/// Makes a mailbox whose name is free.
pub(super) fn insert(
    connection: &Connection,
    inbox: &InboxId,
    name: &str,
    special_use: Option<&str>,
) -> Result<i64, StoreError> {
    // Seconds, as everybody does, but never one twice: a name that comes back must not look like the one that went.
    let uid_validity: u32 = connection
        .prepare_cached("UPDATE uid_validity SET last = max(last + 1, ?1) RETURNING last")?
        .query_row([Timestamp::real().seconds()], |row| row.get(0))?;
    connection
        .prepare_cached("INSERT INTO mailbox (inbox_id, name, special_use, uid_validity) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![inbox, name, special_use, uid_validity])?;
    Ok(connection.last_insert_rowid())
}

/// Takes the next `count` UIDs of a mailbox, and its next modification number.
pub(super) fn next_uids(connection: &Connection, mailbox: i64, count: u32) -> Result<NextUids, StoreError> {
    let sql = "UPDATE mailbox SET uid_next = uid_next + ?2, highest_modseq = highest_modseq + 1
               WHERE id = ?1 RETURNING uid_next - ?2, highest_modseq";
    let row = |row: &rusqlite::Row<'_>| Ok(NextUids { first_uid: row.get(0)?, modseq: row.get(1)? });
    Ok(connection.prepare_cached(sql)?.query_row(params![mailbox, count], row)?)
}

impl Store {
    /// Makes the standard mailboxes of an inbox that has none yet.
    pub async fn ensure_mailboxes(&self, inbox: &InboxId) -> Result<(), StoreError> {
        let inbox = inbox.clone();
        self.write(move |connection| ensure_standard(connection, &inbox)).await
    }
}
