//! What a session that has a mailbox open reads of it, and what it changes in it.
//!
//! Invariant: every verb asks for the inbox and touches nothing of another's. Each change has a modification number of the
//! mailbox's own count; a session that asks for what is later than the number it has seen misses nothing.

use super::bodies::Piece;
use super::flag_list::FlagList;
use super::messages::Flags;
use super::parts::{self, Part};
use super::turns::Turn;
use super::{Store, StoreError, Transaction, bodies, expunged};
use crate::clock::Timestamp;
use crate::id::{ContentId, InboxId, MailboxId};
use crate::store::engine::{Row, ToValue, params};
use futures_util::{StreamExt, TryStreamExt};
use std::ops::{ControlFlow, Range};

/// Flags of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageFlags {
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
    pub id: MailboxId,
    /// With the UIDs, names its messages for good.
    pub uid_validity: u32,
    /// Messages with these UIDs are `\Recent` to this session.
    pub recent: Range<u32>,
    /// How much of it is in `messages`.
    pub seen: Seen,
    /// Every message, UIDs rising.
    pub messages: FlagList,
}

/// How much of a mailbox a session has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Changes up to this one.
    pub modseq: i64,
    /// Arrivals before this UID: UIDNEXT.
    pub uid_next: u32,
}

/// What happened in a mailbox since.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// What the session has seen with this.
    pub seen: Seen,
    /// Arrivals from this UID on are `\Recent` to the first session that asks for them.
    pub recent_from: u32,
    /// New messages and those with other flags, UIDs rising.
    pub changed: FlagList,
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
    /// Its UID, flags and keywords.
    pub flags: MessageFlags,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// Where its octets are.
    pub content: ContentId,
    /// Octets, header and body.
    pub size: u32,
    /// The header block, with its empty line.
    pub header: Vec<u8>,
    /// The body, but for one of more than [`LARGE_BODY`] octets: [`Store::body_range`] reads that.
    pub body: Vec<u8>,
    /// Octets of the body.
    pub body_size: usize,
    /// The body is damaged, and was not read. The log names it.
    pub is_damaged: bool,
}

/// Octets of a body that is read with its message.
pub const LARGE_BODY: usize = 256 * 1024;

impl Fetched {
    /// Notes that its body could not be read, where that is the body's fault; other errors are returned.
    pub fn note_damage(&mut self, inbox: &InboxId, error: StoreError) -> Result<(), StoreError> {
        if !error.is_damage() {
            return Err(error);
        }
        tracing::error!(%error, %inbox, uid = self.flags.uid, "the body of a message cannot be read");
        self.is_damaged = true;
        Ok(())
    }

    /// Whether its body is too large to have been read with it.
    pub fn lacks_body(&self) -> bool {
        self.body.len() < self.body_size
    }
}

pub(super) fn message_flags(row: &Row<'_>, part: Part) -> Result<MessageFlags, StoreError> {
    Ok(MessageFlags { uid: part.shown(row.get(0)?), flags: row.get(1)?, keywords: row.text(2)?.as_ref().into() })
}

/// Flags of messages of all parts, UIDs rising.
fn all_marks(
    connection: &Transaction<'_>,
    parts: &[Part],
    sql: &str,
    values: impl Fn(Part) -> Vec<i64>,
) -> Result<FlagList, StoreError> {
    let mut all = FlagList::default();
    for part in parts {
        let values = values(*part);
        let values: Vec<&dyn ToValue> = values.iter().map(|value| value as &dyn ToValue).collect();
        connection.for_each(sql, &values, |row| {
            all.push(part.shown(row.get(0)?), row.get(1)?, &row.text(2)?);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    all.sort();
    Ok(all)
}

impl Store {
    /// Opens a mailbox. With `claim_recent` its recent messages are this session's, and no other's (RFC 3501 §2.3.2).
    pub async fn mailbox_open(
        &self,
        inbox: &InboxId,
        name: &str,
        claim_recent: bool,
    ) -> Result<Option<OpenMailbox>, StoreError> {
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
            open.messages =
                all_marks(connection, &parts::of(connection, &of, open.id)?, sql, |part| vec![part.id.row()])?;
            Ok::<_, StoreError>(Some(open))
        });
        let Some(mut open) = opened.await? else { return Ok(None) };
        if claim_recent && !open.recent.is_empty() {
            open.recent = self.claim_recent(inbox, open.id, open.seen.uid_next).await;
        }
        Ok(Some(open))
    }

    /// Claims `\Recent` on the messages before this UID for one session. Returns those that no session had claimed: none
    /// where nothing can be written, as on a full disk, where mailboxes can still be read.
    pub async fn claim_recent(&self, inbox: &InboxId, mailbox: MailboxId, before: u32) -> Range<u32> {
        let of = inbox.clone();
        let turn = [Turn::Inbox(inbox.clone())];
        let claimed = self.write_in_turn(&turn, move |connection| {
            let sql = "SELECT recent_from FROM mailbox WHERE id = ?1 AND inbox_id = ?2";
            let from = connection.query_opt(sql, params![mailbox, of], |row| row.get(0))?;
            let sql = "UPDATE mailbox SET recent_from = ?3 WHERE id = ?1 AND inbox_id = ?2 AND recent_from < ?3";
            if connection.execute(sql, params![mailbox, of, before])? > 0 {
                // Those that came after the session looked: few.
                let sql = "UPDATE mailbox SET recent = (SELECT count(*) FROM message
                               WHERE mailbox_id = mailbox.id AND uid >= ?2 - mailbox.uid_offset)
                           WHERE id = ?1 OR part_of = ?1";
                connection.execute(sql, params![mailbox, before])?;
            }
            Ok::<_, StoreError>(from.unwrap_or(before)..before)
        });
        claimed.await.unwrap_or_else(|error| {
            tracing::warn!(%error, %inbox, "which messages are \\Recent was not recorded");
            before..before
        })
    }

    /// What happened since; `None` when the mailbox is gone.
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
                // Messages that were copied or moved by the thousand arrive with older modification numbers.
                let sql = "SELECT uid, flags, keywords FROM message WHERE mailbox_id = ?1 AND modseq > ?2
                           UNION ALL SELECT uid, flags, keywords FROM message WHERE mailbox_id = ?1 AND uid >= ?3 AND modseq <= ?2
                           ORDER BY uid";
                let values = |part: Part| vec![part.id.row(), modseq, part.stored(since.uid_next)];
                changes.changed = all_marks(connection, &parts, sql, values)?;
                let sql = "SELECT uid FROM expunged WHERE mailbox_id = ?1 AND modseq > ?2 ORDER BY uid";
                if !changes.is_whole {
                    changes.expunged = connection.query(sql, params![mailbox, since.modseq], |row| row.get(0))?;
                }
            }
            Ok(Some(changes))
        })
        .await
    }

    /// Reads messages, `uids` rising, until about `budget` octets are read; returns them and how many of the UIDs
    /// have been looked up. Expunged messages are left out.
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
            // Of several parts they are looked up one by one, so that they come in order.
            let gap = if parts.len() > 1 { 0 } else { GAP };
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
        let (found, looked_for) = found.await?;
        let of = &of;
        let whole = |(mut message, body): (Fetched, Option<Piece>)| async move {
            match body.map(|body| self.fetch_body(body)) {
                None => {}
                Some(body) => match body.await {
                    Ok(body) => message.body = body,
                    Err(error) => message.note_damage(of, error)?,
                },
            }
            Ok::<_, StoreError>(message)
        };
        let fetched = futures_util::stream::iter(found).map(whole).buffered(OBJECTS_AT_ONCE).try_collect().await?;
        Ok((fetched, looked_for))
    }

    /// Some octets of a message's body; fewer at its end, `None` when the message is gone. The rest of the body is not
    /// brought into memory.
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

/// Bodies that are read from the object store at a time.
const OBJECTS_AT_ONCE: usize = 8;

/// UIDs that lie no further apart are read in one go: passing by a few rows is cheaper than looking for the next.
const GAP: u32 = 8;

impl Depth {
    /// Rows of the first answer; each further one is four times as long. What is left of an answer when the budget is full, a server has sent for
    /// nothing.
    fn first_rows(self) -> i64 {
        if self >= Self::Header { 64 } else { i64::from(u32::MAX) }
    }

    /// Reads the messages of a range of UIDs.
    fn sql(self) -> &'static str {
        match self {
            Self::Flags => {
                "SELECT uid, flags, keywords, internal_date, content_id FROM message
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid LIMIT ?4"
            }
            Self::Size => {
                "SELECT uid, flags, keywords, internal_date, content_id, c.size FROM message m JOIN content c ON c.id = m.content_id
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid LIMIT ?4"
            }
            Self::Header => {
                "SELECT uid, flags, keywords, internal_date, content_id, c.size, c.header
                 FROM message m JOIN content c ON c.id = m.content_id
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid LIMIT ?4"
            }
            Self::Body => {
                // 262144 is LARGE_BODY.
                "SELECT uid, flags, keywords, internal_date, content_id, c.size, c.header, n.hash, n.size, n.stored_size, n.object,
                        CASE WHEN c.size - length(c.header) > 262144 THEN NULL ELSE b.data END
                 FROM message m JOIN content c ON c.id = m.content_id JOIN body b ON b.id = c.body_id
                     LEFT JOIN body_name n ON n.body_id = c.body_id
                 WHERE mailbox_id = ?1 AND uid BETWEEN ?2 AND ?3 ORDER BY uid LIMIT ?4"
            }
        }
    }

    /// What was read, and its body, if that was asked for and is not large.
    fn read(self, row: &Row<'_>, part: Part) -> Result<(Fetched, Option<Piece>), StoreError> {
        let mut message = Fetched {
            flags: message_flags(row, part)?,
            internal_date: row.get(3)?,
            content: row.get(4)?,
            size: if self >= Self::Size { row.get(5)? } else { 0 },
            header: if self >= Self::Header { row.get(6)? } else { Vec::new() },
            body: Vec::new(),
            body_size: 0,
            is_damaged: false,
        };
        if self < Self::Body {
            return Ok((message, None));
        }
        message.body_size = usize::try_from(message.size).unwrap_or(usize::MAX).saturating_sub(message.header.len());
        let body = match row.get::<Option<Vec<u8>>>(11)? {
            Some(data) => Some(bodies::whole(row, 7, data)?),
            None => None,
        };
        Ok((message, body))
    }
}
