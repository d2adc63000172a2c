//! What a session that has a mailbox open reads of it, and what it changes in it.
//!
//! Invariant: every verb asks for the inbox and touches nothing of another's. Each change has a modification number of the
//! mailbox's own count; a session that asks for what is later than the number it has seen misses nothing.

use super::messages::Flags;
use super::{Store, StoreError, expunged};
use crate::clock::Timestamp;
use crate::id::InboxId;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::ops::Range;

/// Flags of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Which message.
    pub uid: u32,
    /// System flags.
    pub flags: Flags,
    /// Keywords, space between.
    pub keywords: Box<str>,
}

/// A mailbox as it was opened.
#[derive(Clone, Debug)]
pub struct OpenMailbox {
    /// Its number in the store.
    pub id: i64,
    /// With the UIDs, names its messages for good.
    pub uid_validity: u32,
    /// The next message gets at least this UID.
    pub uid_next: u32,
    /// Messages from this UID on are `\Recent` to this session.
    pub recent_from: u32,
    /// The last change that is in `messages`.
    pub modseq: i64,
    /// Every message, UIDs rising.
    pub messages: Vec<Marks>,
}

/// What happened in a mailbox since.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The last change that is in here.
    pub modseq: i64,
    /// New messages and those with other flags, UIDs rising.
    pub changed: Vec<Marks>,
    /// UIDs that are gone, rising.
    pub expunged: Vec<u32>,
    /// What has gone is not known any more: `changed` has every message there is, and `expunged` none.
    pub is_whole: bool,
}

/// What is to be read of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Flags and INTERNALDATE.
    Flags,
    /// And the size.
    Size,
    /// And the header block.
    Header,
    /// And the body.
    Body,
}

/// What was read of a message. What was not asked for is empty.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Flags.
    pub marks: Marks,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// Octets, header and body.
    pub size: u32,
    /// The header block, with its empty line.
    pub header: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
}

pub(super) fn marks(row: &Row<'_>) -> rusqlite::Result<Marks> {
    Ok(Marks { uid: row.get(0)?, flags: row.get(1)?, keywords: row.get_ref(2)?.as_str()?.into() })
}

pub(super) fn is_of(connection: &Connection, inbox: &InboxId, mailbox: i64) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM mailbox WHERE id = ?1 AND inbox_id = ?2)";
    Ok(connection.prepare_cached(sql)?.query_row(params![mailbox, inbox], |row| row.get(0))?)
}

impl Store {
    /// Opens a mailbox. With `claim_recent` its recent messages are this session's, and no other's (RFC 3501 §2.3.2).
    pub async fn mailbox_open(
        &self,
        inbox: &InboxId,
        name: &str,
        claim_recent: bool,
    ) -> Result<Option<OpenMailbox>, StoreError> {
        let (inbox, name) = (inbox.clone(), name.to_owned());
        let Some((id, recent_from, nothing_recent)) = self
            .read({
                let (inbox, name) = (inbox.clone(), name.clone());
                move |connection| {
                    let sql = "SELECT id, recent_from, recent_from >= uid_next FROM mailbox WHERE inbox_id = ?1 AND name = ?2";
                    let row = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get::<_, bool>(2)?));
                    Ok::<_, StoreError>(connection.prepare_cached(sql)?.query_row(params![inbox, name], row).optional()?)
                }
            })
            .await?
        else {
            return Ok(None);
        };
        // Mostly nothing is recent, and then nothing is written.
        let recent_from =
            if claim_recent && !nothing_recent { self.claim_recent(&inbox, id).await? } else { recent_from };
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let sql = "SELECT uid_validity, uid_next, highest_modseq FROM mailbox WHERE id = ?1 AND inbox_id = ?2";
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let Some((uid_validity, uid_next, modseq)) =
                snapshot.prepare_cached(sql)?.query_row(params![id, inbox], row).optional()?
            else {
                return Ok(None);
            };
            let sql = "SELECT uid, flags, keywords FROM message WHERE mailbox_id = ?1 ORDER BY uid";
            let messages = snapshot.prepare_cached(sql)?.query_map([id], marks)?.collect::<Result<_, _>>()?;
            Ok(Some(OpenMailbox { id, uid_validity, uid_next, recent_from, modseq, messages }))
        })
        .await
    }

    /// Makes all messages of a mailbox un-recent to later sessions; answers from which UID on they had been.
    pub async fn claim_recent(&self, inbox: &InboxId, mailbox: i64) -> Result<u32, StoreError> {
        let inbox = inbox.clone();
        self.write(move |connection| {
            let sql = "SELECT recent_from FROM mailbox WHERE id = ?1 AND inbox_id = ?2";
            let from =
                connection.prepare_cached(sql)?.query_row(params![mailbox, inbox], |row| row.get(0)).optional()?;
            let sql =
                "UPDATE mailbox SET recent_from = uid_next WHERE id = ?1 AND inbox_id = ?2 AND recent_from < uid_next";
            connection.prepare_cached(sql)?.execute(params![mailbox, inbox])?;
            Ok(from.unwrap_or(u32::MAX))
        })
        .await
    }

    /// What happened after the change `since`; `None` when the mailbox is gone.
    pub async fn mailbox_changes(
        &self,
        inbox: &InboxId,
        mailbox: i64,
        since: i64,
    ) -> Result<Option<Changes>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let sql = "SELECT highest_modseq FROM mailbox WHERE id = ?1 AND inbox_id = ?2";
            let found =
                snapshot.prepare_cached(sql)?.query_row(params![mailbox, inbox], |row| row.get(0)).optional()?;
            let Some(modseq) = found else { return Ok(None) };
            let mut changes = Changes { modseq, ..Changes::default() };
            if modseq > since {
                changes.is_whole = since < expunged::forgotten(&snapshot, mailbox)?;
                let since = if changes.is_whole { -1 } else { since };
                let sql = "SELECT uid, flags, keywords FROM message WHERE mailbox_id = ?1 AND modseq > ?2 ORDER BY uid";
                changes.changed =
                    snapshot.prepare_cached(sql)?.query_map([mailbox, since], marks)?.collect::<Result<_, _>>()?;
                let sql = "SELECT uid FROM expunged WHERE mailbox_id = ?1 AND modseq > ?2 ORDER BY uid";
                if !changes.is_whole {
                    changes.expunged = snapshot
                        .prepare_cached(sql)?
                        .query_map([mailbox, since], |row| row.get(0))?
                        .collect::<Result<_, _>>()?;
                }
            }
            Ok(Some(changes))
        })
        .await
    }

    /// Reads messages, `uids` rising, until about `budget` octets are read; answers how many of the UIDs have been looked for.
    /// Those that are gone are left out.
    pub async fn messages_fetch(
        &self,
        inbox: &InboxId,
        mailbox: i64,
        uids: Vec<u32>,
        depth: Depth,
        budget: usize,
    ) -> Result<(Vec<Fetched>, usize), StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let (mut fetched, mut octets) = (Vec::new(), 0_usize);
            if !is_of(&snapshot, &inbox, mailbox)? {
                return Ok((fetched, uids.len()));
            }
            let mut statement = snapshot.prepare_cached(depth.sql())?;
            for run in uids.chunk_by(|a, b| b.saturating_sub(*a) <= GAP) {
                let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
                let mut rows = statement.query(params![mailbox, first, last])?;
                while let Some(row) = rows.next()? {
                    let uid = row.get(0)?;
                    let Ok(at) = uids.binary_search(&uid) else { continue };
                    let message = depth.read(row)?;
                    octets = octets.saturating_add(100 + message.header.len() + message.body.len());
                    fetched.push(message);
                    if octets >= budget {
                        return Ok((fetched, at + 1));
                    }
                }
            }
            Ok((fetched, uids.len()))
        })
        .await
    }

    /// Some octets of a message's body; fewer at its end, `None` when the message is gone. The rest of the body is not
    /// brought into memory.
    pub async fn body_range(
        &self,
        inbox: &InboxId,
        mailbox: i64,
        uid: u32,
        range: Range<usize>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let sql = "SELECT c.body_id FROM message m JOIN content c ON c.id = m.content_id
                       WHERE m.mailbox_id = ?1 AND m.uid = ?2 AND m.inbox_id = ?3";
            let found =
                snapshot.prepare_cached(sql)?.query_row(params![mailbox, uid, inbox], |row| row.get(0)).optional()?;
            let Some(body) = found else { return Ok(None) };
            let blob = snapshot.blob_open(rusqlite::MAIN_DB, "body", "data", body, true)?;
            let end = range.end.min(blob.len());
            let start = range.start.min(end);
            let mut octets = vec![0; end - start];
            blob.read_at_exact(&mut octets, start)?;
            Ok(Some(octets))
        })
        .await
    }
}

/// UIDs that lie no further apart are read in one go: passing by a few rows is cheaper than looking for the next.
const GAP: u32 = 8;

impl Depth {
    /// Reads the messages of a range of UIDs.
    fn sql(self) -> &'static str {
        match self {
            Self::Flags => {
                "SELECT uid, flags, keywords, internal_date FROM message
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
            }
            Self::Size => {
                "SELECT uid, flags, keywords, internal_date, c.size FROM message m JOIN content c ON c.id = m.content_id
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
            }
            Self::Header => {
                "SELECT uid, flags, keywords, internal_date, c.size, c.header
                 FROM message m JOIN content c ON c.id = m.content_id
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
            }
            Self::Body => {
                "SELECT uid, flags, keywords, internal_date, c.size, c.header, b.data
                 FROM message m JOIN content c ON c.id = m.content_id JOIN body b ON b.id = c.body_id
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid"
            }
        }
    }

    fn read(self, row: &Row<'_>) -> rusqlite::Result<Fetched> {
        Ok(Fetched {
            marks: marks(row)?,
            internal_date: row.get(3)?,
            size: if self >= Self::Size { row.get(4)? } else { 0 },
            header: if self >= Self::Header { row.get(5)? } else { Vec::new() },
            body: if self >= Self::Body { row.get(6)? } else { Vec::new() },
        })
    }
}
