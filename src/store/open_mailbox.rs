//! SELECT, FETCH, and the synchronization of sessions.
//!
//! Invariant: every verb takes the inbox and reads only that. Each change gets the next mod-sequence of its mailbox, so a session
//! that asks for changes after the last mod-sequence it has seen misses none.

use super::bodies::Piece;
use super::flag_list::FlagList;
use super::hot_rows::HotRow;
use super::messages::Flags;
use super::parts::{self, Part};
use super::resync::{Known, Resync, changed_of_parts};
use super::{Store, StoreError, Transaction, bodies, expunged};
use crate::clock::Timestamp;
use crate::id::{ContentId, InboxId, MailboxId};
use crate::store::engine::{Row, params};
use futures_util::{StreamExt, TryStreamExt};
use std::ops::{ControlFlow, Range};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageFlags {
    pub uid: u32,
    /// System flags.
    pub flags: Flags,
    /// Separated by spaces.
    pub keywords: Box<str>,
}

/// A selected mailbox.
#[derive(Clone, Debug)]
pub struct OpenMailbox {
    pub id: MailboxId,
    pub uid_validity: u32,
    /// Messages with these UIDs are `\Recent` to this session.
    pub recent: Range<u32>,
    /// The state of `messages`.
    pub seen: Seen,
    /// All messages, UIDs ascending.
    pub messages: FlagList,
}

/// The state of a mailbox that a session has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The highest mod-sequence.
    pub modseq: i64,
    /// UIDNEXT.
    pub uid_next: u32,
}

/// The changes of a mailbox since a state.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The state after these changes.
    pub seen: Seen,
    /// New messages from this UID on are `\Recent` to the first session that claims them.
    pub recent_from: u32,
    /// New and changed messages, UIDs ascending.
    pub changed: FlagList,
    /// Their mod-sequences, by the index in `changed`.
    pub modseqs: Vec<i64>,
    /// Expunged UIDs, ascending.
    pub expunged: Vec<u32>,
    /// The rows of expunged messages were removed: `changed` has all messages, and `expunged` is empty.
    pub is_whole: bool,
}

/// The columns to read of messages; each variant includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Flags, mod-sequence, INTERNALDATE and SAVEDATE.
    Flags,
    Size,
    Header,
    Body,
}

/// A fetched message. Fields that were not requested are empty.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub flags: MessageFlags,
    pub modseq: i64,
    pub internal_date: Timestamp,
    /// When the message was put into this mailbox: SAVEDATE (RFC 8514). `None` for messages of before this was stored.
    pub saved_at: Option<Timestamp>,
    pub content: ContentId,
    /// Octets of header and body.
    pub size: u32,
    /// The header block, with the empty line.
    pub header: Vec<u8>,
    /// Empty if larger than [`LARGE_BODY`]; use [`Store::body_range`] then.
    pub body: Vec<u8>,
    pub body_size: usize,
    /// The body is damaged and was not read. The error is in the log.
    pub is_damaged: bool,
}

/// A larger body is not read with its message. In octets.
pub const LARGE_BODY: usize = 256 * 1024;

impl Fetched {
    /// Marks the message as damaged if `error` says that; returns other errors.
    pub fn note_damage(&mut self, inbox: &InboxId, error: StoreError) -> Result<(), StoreError> {
        if !error.is_damage() {
            return Err(error);
        }
        tracing::error!(%error, %inbox, uid = self.flags.uid, "cannot read the body of a message");
        self.is_damaged = true;
        Ok(())
    }

    /// True if the body was not read because it is larger than [`LARGE_BODY`].
    pub fn lacks_body(&self) -> bool {
        self.body.len() < self.body_size
    }
}

pub(super) fn message_flags(row: &Row<'_>, part: Part) -> Result<MessageFlags, StoreError> {
    Ok(MessageFlags { uid: part.shown(row.get(0)?), flags: row.get(1)?, keywords: row.text(2)?.as_ref().into() })
}

/// Flags of the messages of all parts, UIDs ascending.
fn flags_of_parts(connection: &Transaction<'_>, parts: &[Part], sql: &str) -> Result<FlagList, StoreError> {
    let mut all = FlagList::default();
    for part in parts {
        connection.for_each(sql, params![part.id], |row| {
            all.push(part.shown(row.get(0)?), row.get(1)?, &row.text(2)?);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    all.sort();
    Ok(all)
}

impl Store {
    /// Opens a mailbox. `claim_recent` is true for SELECT and false for EXAMINE (RFC 3501 §2.3.2).
    pub async fn mailbox_open(
        &self,
        inbox: &InboxId,
        name: &str,
        claim_recent: bool,
    ) -> Result<Option<OpenMailbox>, StoreError> {
        Ok(self.open_knowing(inbox, name, claim_recent, None).await?.map(|(open, _)| open))
    }

    pub(super) async fn open_knowing(
        &self,
        inbox: &InboxId,
        name: &str,
        claim_recent: bool,
        known: Option<Known>,
    ) -> Result<Option<(OpenMailbox, Option<Resync>)>, StoreError> {
        let (of, name) = (inbox.clone(), name.to_owned());
        let opened = self.read(move |connection| {
            let sql = "SELECT id, uid_validity, uid_next, highest_modseq, recent_from FROM mailbox
                       WHERE inbox_id = ?1 AND name = ?2";
            let row = |row: &Row<'_>| {
                let seen = Seen { uid_next: row.get(2)?, modseq: row.get(3)? };
                let recent = row.get(4)?..seen.uid_next;
                Ok(OpenMailbox {
                    id: row.get(0)?,
                    uid_validity: row.get(1)?,
                    recent,
                    seen,
                    messages: FlagList::default(),
                })
            };
            let found = connection.query_opt(sql, params![of, name], row)?;
            let Some(mut open) = found else { return Ok(None) };
            let sql = "SELECT uid, flags, keywords FROM message WHERE mailbox_id = ?1 ORDER BY uid";
            let parts = parts::of(connection, &of, open.id)?;
            open.messages = flags_of_parts(connection, &parts, sql)?;
            let resync = match &known {
                Some(known) => known.resync(connection, &open, &parts)?,
                None => None,
            };
            Ok::<_, StoreError>(Some((open, resync)))
        });
        let Some((mut open, resync)) = opened.await? else { return Ok(None) };
        if claim_recent && !open.recent.is_empty() {
            open.recent = self.claim_recent(inbox, open.id, open.seen.uid_next).await;
        }
        Ok(Some((open, resync)))
    }

    /// Claims `\Recent` for one session on messages with UIDs below `before`. Returns those that no session had claimed. If the
    /// write fails, for example because the disk is full, logs the error and returns an empty range, so that the mailbox can
    /// still be read.
    pub async fn claim_recent(&self, inbox: &InboxId, mailbox: MailboxId, before: u32) -> Range<u32> {
        let of = inbox.clone();
        let hot_row = [HotRow::Inbox(inbox.clone())];
        let claimed = self.write_serialized(&hot_row, move |connection| {
            let sql = "SELECT recent_from FROM mailbox WHERE id = ?1 AND inbox_id = ?2";
            let from = connection.query_opt(sql, params![mailbox, of], |row| row.get(0))?;
            let sql = "UPDATE mailbox SET recent_from = ?3 WHERE id = ?1 AND inbox_id = ?2 AND recent_from < ?3";
            if connection.execute(sql, params![mailbox, of, before])? > 0 {
                // Counts only messages that arrived after the session has read the mailbox: few.
                let sql = "UPDATE mailbox SET recent = (SELECT count(*) FROM message
                               WHERE mailbox_id = mailbox.id AND uid >= ?2 - mailbox.uid_offset)
                           WHERE id = ?1 OR part_of = ?1";
                connection.execute(sql, params![mailbox, before])?;
            }
            Ok::<_, StoreError>(from.unwrap_or(before)..before)
        });
        claimed.await.unwrap_or_else(|error| {
            tracing::warn!(%error, %inbox, "cannot record which messages are \\Recent");
            before..before
        })
    }

    /// The changes since a state. `None` if the mailbox was deleted.
    pub async fn mailbox_changes(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        since: Seen,
    ) -> Result<Option<Changes>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let sql = "SELECT highest_modseq, uid_next, recent_from FROM mailbox
                       WHERE id = ?1 AND inbox_id = ?2 AND is_hidden = 0";
            let row = |row: &Row<'_>| Ok((Seen { modseq: row.get(0)?, uid_next: row.get(1)? }, row.get(2)?));
            let found = connection.query_opt(sql, params![mailbox, inbox], row)?;
            let Some((seen, recent_from)) = found else { return Ok(None) };
            let mut changes = Changes { seen, recent_from, ..Changes::default() };
            if seen != since {
                changes.is_whole = since.modseq < expunged::forgotten(connection, mailbox)?;
                let modseq = if changes.is_whole { -1 } else { since.modseq };
                let parts = parts::of(connection, &inbox, mailbox)?;
                // Daemons of older versions give messages of a large COPY or MOVE old mod-sequences: they are found by their UIDs.
                let sql = "SELECT uid, flags, keywords, modseq FROM message WHERE mailbox_id = ?1 AND modseq > ?2
                           UNION ALL SELECT uid, flags, keywords, modseq FROM message
                               WHERE mailbox_id = ?1 AND uid >= ?3 AND modseq <= ?2 ORDER BY uid";
                let values = |part: Part| vec![part.id.row(), part.unseen_after(modseq), part.stored(since.uid_next)];
                (changes.changed, changes.modseqs) = changed_of_parts(connection, &parts, sql, values, |_| true)?;
                let sql = "SELECT uid FROM expunged WHERE mailbox_id = ?1 AND modseq > ?2 ORDER BY uid";
                if !changes.is_whole {
                    changes.expunged = connection.query(sql, params![mailbox, since.modseq], |row| row.get(0))?;
                }
            }
            Ok(Some(changes))
        })
        .await
    }

    /// Reads messages, `uids` ascending, until about `budget` octets are read. Returns them, without those that do not exist, and
    /// the number of UIDs that were processed.
    pub async fn messages_fetch(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uids: Vec<u32>,
        depth: Depth,
        budget: usize,
    ) -> Result<(Vec<Fetched>, usize), StoreError> {
        let (inbox, of) = (inbox.clone(), inbox.clone());
        let found = self.read(move |connection| {
            let (mut fetched, mut octets) = (Vec::new(), 0_usize);
            let parts = parts::of(connection, &inbox, mailbox)?;
            // With several parts, UIDs are read one by one to keep their order.
            let gap = if parts.len() > 1 { 0 } else { MAX_UID_GAP };
            for (run, part) in uids
                .chunk_by(|a, b| b.saturating_sub(*a) <= gap)
                .flat_map(|run| parts.iter().map(move |part| (run, *part)))
            {
                let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
                let (mut from, last, mut limit) = (part.stored(*first), part.stored(*last), depth.first_rows());
                loop {
                    let (mut full_at, mut rows, first) = (None, 0, from);
                    connection.for_each(depth.sql(), params![part.id, first, last, limit], |row| {
                        rows += 1;
                        from = row.get::<i64>(0)?.saturating_add(1);
                        let Ok(at) = uids.binary_search(&part.shown(row.get(0)?)) else {
                            return Ok(ControlFlow::Continue(()));
                        };
                        let (message, body) = depth.read(row, part)?;
                        octets = octets.saturating_add(100 + message.header.len() + message.body_size);
                        fetched.push((message, body));
                        full_at = (octets >= budget).then_some(at);
                        Ok(if full_at.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                    })?;
                    if let Some(at) = full_at {
                        return Ok((fetched, at + 1));
                    }
                    if rows < limit {
                        break;
                    }
                    limit = limit.saturating_mul(4);
                }
            }
            Ok::<_, StoreError>((fetched, uids.len()))
        });
        let (found, processed) = found.await?;
        let of = &of;
        let with_body = |(mut message, body): (Fetched, Option<Piece>)| async move {
            match body.map(|body| self.fetch_body(body)) {
                None => {}
                Some(body) => match body.await {
                    Ok(body) => message.body = body,
                    Err(error) => message.note_damage(of, error)?,
                },
            }
            Ok::<_, StoreError>(message)
        };
        let fetched =
            futures_util::stream::iter(found).map(with_body).buffered(CONCURRENT_OBJECTS).try_collect().await?;
        Ok((fetched, processed))
    }

    /// A range of the body of a message, clipped to it. `None` if the message does not exist.
    pub async fn body_range(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uid: u32,
        range: Range<usize>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let inbox = inbox.clone();
        let found = self.read(move |connection| {
            let parts = parts::of(connection, &inbox, mailbox)?;
            let Some(part) = parts::holder(connection, &parts, uid)? else { return Ok::<_, StoreError>(None) };
            let sql = "SELECT c.body_id FROM message m JOIN content c ON c.id = m.content_id
                       WHERE m.mailbox_id = ?1 AND m.uid = ?2";
            let body = connection.query_row(sql, params![part.id, part.stored(uid)], |row| row.get(0))?;
            Ok(Some(bodies::read(connection, body, range.clone())?.1))
        });
        match found.await? {
            Some(piece) => self.fetch_body(piece).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Bodies read concurrently from the object store.
const CONCURRENT_OBJECTS: usize = 8;

/// UIDs with larger gaps are read by separate queries: skipping a few rows costs less than a query.
const MAX_UID_GAP: u32 = 8;

impl Depth {
    /// The LIMIT of the first query; each further one is four times as high. Rows that a server has sent after the budget is used
    /// up are wasted.
    fn first_rows(self) -> i64 {
        if self >= Self::Header { 64 } else { i64::from(u32::MAX) }
    }

    /// The query for a range of UIDs.
    fn sql(self) -> &'static str {
        match self {
            Self::Flags => {
                "SELECT uid, flags, keywords, internal_date, content_id, modseq, saved_at FROM message
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid LIMIT ?4"
            }
            Self::Size => {
                "SELECT uid, flags, keywords, internal_date, content_id, modseq, saved_at, c.size FROM message m JOIN content c ON c.id = m.content_id
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid LIMIT ?4"
            }
            Self::Header => {
                "SELECT uid, flags, keywords, internal_date, content_id, modseq, saved_at, c.size, c.header
                 FROM message m JOIN content c ON c.id = m.content_id
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid LIMIT ?4"
            }
            Self::Body => {
                // 262144 is LARGE_BODY.
                "SELECT uid, flags, keywords, internal_date, content_id, modseq, saved_at, c.size, c.header, n.hash, n.size, n.stored_size, n.object,
                        CASE WHEN c.size - length(c.header) > 262144 THEN NULL ELSE b.data END
                 FROM message m JOIN content c ON c.id = m.content_id JOIN body b ON b.id = c.body_id
                     LEFT JOIN body_name n ON n.body_id = c.body_id
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid LIMIT ?4"
            }
        }
    }

    /// The message, and its body if that was requested and is not larger than [`LARGE_BODY`].
    fn read(self, row: &Row<'_>, part: Part) -> Result<(Fetched, Option<Piece>), StoreError> {
        let mut message = Fetched {
            flags: message_flags(row, part)?,
            modseq: part.modseq(row.get(5)?),
            internal_date: row.get(3)?,
            saved_at: row.get(6)?,
            content: row.get(4)?,
            size: if self >= Self::Size { row.get(7)? } else { 0 },
            header: if self >= Self::Header { row.get(8)? } else { Vec::new() },
            body: Vec::new(),
            body_size: 0,
            is_damaged: false,
        };
        if self < Self::Body {
            return Ok((message, None));
        }
        message.body_size = usize::try_from(message.size).unwrap_or(usize::MAX).saturating_sub(message.header.len());
        let body = match row.get::<Option<Vec<u8>>>(13)? {
            Some(data) => Some(bodies::whole(row, 9, data)?),
            None => None,
        };
        Ok((message, body))
    }
}

#[cfg(test)]
mod tests;
