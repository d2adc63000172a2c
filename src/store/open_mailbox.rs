//! What a session that has a mailbox open reads of it, and what it changes in it.
//!
//! Invariant: every verb asks for the inbox and touches nothing of another's. Each change has a modification number of the
//! mailbox's own count; a session that asks for what is later than the number it has seen misses nothing.

use super::messages::Flags;
use super::{Store, StoreError, mailboxes};
use crate::clock::Timestamp;
use crate::id::{InboxId, MessageId};
use rusqlite::{Connection, OptionalExtension, Row, params};

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

/// What STORE does with flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagChange {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

impl FlagChange {
    /// What becomes of flags and keywords.
    pub fn apply(self, to: &Marks, flags: Flags, keywords: &[String]) -> Marks {
        let mut kept: Vec<&str> = to.keywords.split_ascii_whitespace().collect();
        let named = |keyword: &str| keywords.iter().any(|k| k.eq_ignore_ascii_case(keyword));
        let flags = match self {
            Self::Replace => {
                kept.clear();
                flags
            }
            Self::Add => to.flags.with(flags),
            Self::Remove => to.flags.without(flags),
        };
        // A keyword that is there keeps its spelling.
        kept.retain(|keyword| !(self == Self::Remove && named(keyword)));
        if self != Self::Remove {
            for keyword in keywords {
                if !kept.iter().any(|k| k.eq_ignore_ascii_case(keyword)) {
                    kept.push(keyword);
                }
            }
        }
        Marks { uid: to.uid, flags, keywords: kept.join(" ").into() }
    }
}

/// Messages that now stand in another mailbox too, or instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The other mailbox's number.
    pub mailbox: i64,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// UID here and UID there, rising.
    pub uids: Vec<(u32, u32)>,
}

/// A message that a client puts into a mailbox.
#[derive(Debug)]
pub struct Append {
    /// Its system flags.
    pub flags: Flags,
    /// Its keywords, space between.
    pub keywords: String,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// Header block with its empty line.
    pub header: Vec<u8>,
    /// The rest.
    pub body: Vec<u8>,
}

/// Where it stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The mailbox's number.
    pub mailbox: i64,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// The message's UID.
    pub uid: u32,
}

fn marks(row: &Row<'_>) -> rusqlite::Result<Marks> {
    Ok(Marks { uid: row.get(0)?, flags: row.get(1)?, keywords: row.get_ref(2)?.as_str()?.into() })
}

fn is_of(connection: &Connection, inbox: &InboxId, mailbox: i64) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM mailbox WHERE id = ?1 AND inbox_id = ?2)";
    Ok(connection.prepare_cached(sql)?.query_row(params![mailbox, inbox], |row| row.get(0))?)
}

fn next_modseq(connection: &Connection, mailbox: i64) -> Result<i64, StoreError> {
    Ok(mailboxes::next_uids(connection, mailbox, 0)?.modseq)
}

/// Leaves a note of messages that are gone, for sessions that have the mailbox open.
fn note_expunged(connection: &Connection, mailbox: i64, uids: impl Iterator<Item = u32>) -> Result<(), StoreError> {
    let modseq = next_modseq(connection, mailbox)?;
    let sql = "INSERT OR REPLACE INTO expunged (mailbox_id, uid, modseq) VALUES (?1, ?2, ?3)";
    let mut statement = connection.prepare_cached(sql)?;
    for uid in uids {
        statement.execute(params![mailbox, uid, modseq])?;
    }
    Ok(())
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
                let sql = "SELECT uid, flags, keywords FROM message WHERE mailbox_id = ?1 AND modseq > ?2 ORDER BY uid";
                changes.changed =
                    snapshot.prepare_cached(sql)?.query_map([mailbox, since], marks)?.collect::<Result<_, _>>()?;
                let sql = "SELECT uid FROM expunged WHERE mailbox_id = ?1 AND modseq > ?2 ORDER BY uid";
                changes.expunged = snapshot
                    .prepare_cached(sql)?
                    .query_map([mailbox, since], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
            }
            Ok(Some(changes))
        })
        .await
    }

    /// Reads messages, in the order of `uids`, until about `budget` octets are read; answers how many of the UIDs have been
    /// looked for. Those that are gone are left out.
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
            let (mut fetched, mut octets, mut looked_for) = (Vec::new(), 0_usize, 0);
            if !is_of(&snapshot, &inbox, mailbox)? {
                return Ok((fetched, uids.len()));
            }
            let mut statement = snapshot.prepare_cached(match depth {
                Depth::Flags => "SELECT uid, flags, keywords, internal_date FROM message WHERE mailbox_id = ?1 AND uid = ?2",
                Depth::Size => {
                    "SELECT uid, flags, keywords, internal_date, c.size FROM message m JOIN content c ON c.id = m.content_id
                     WHERE mailbox_id = ?1 AND uid = ?2"
                }
                Depth::Header => {
                    "SELECT uid, flags, keywords, internal_date, c.size, c.header
                     FROM message m JOIN content c ON c.id = m.content_id WHERE mailbox_id = ?1 AND uid = ?2"
                }
                Depth::Body => {
                    "SELECT uid, flags, keywords, internal_date, c.size, c.header, b.data
                     FROM message m JOIN content c ON c.id = m.content_id JOIN body b ON b.id = c.body_id
                     WHERE mailbox_id = ?1 AND uid = ?2"
                }
            })?;
            for uid in uids {
                looked_for += 1;
                let row = |row: &Row<'_>| {
                    Ok(Fetched {
                        marks: marks(row)?,
                        internal_date: row.get(3)?,
                        size: if depth >= Depth::Size { row.get(4)? } else { 0 },
                        header: if depth >= Depth::Header { row.get(5)? } else { Vec::new() },
                        body: if depth >= Depth::Body { row.get(6)? } else { Vec::new() },
                    })
                };
                if let Some(message) = statement.query_row(params![mailbox, uid], row).optional()? {
                    octets = octets.saturating_add(100 + message.header.len() + message.body.len());
                    fetched.push(message);
                }
                if octets >= budget {
                    break;
                }
            }
            Ok((fetched, looked_for))
        })
        .await
    }

    /// Changes flags; answers the flags of those of the messages that are still there.
    pub async fn messages_flag(
        &self,
        inbox: &InboxId,
        mailbox: i64,
        uids: Vec<u32>,
        change: FlagChange,
        flags: Flags,
        keywords: Vec<String>,
    ) -> Result<Vec<Marks>, StoreError> {
        let inbox = inbox.clone();
        self.write(move |connection| {
            let mut after = Vec::with_capacity(uids.len());
            if !is_of(connection, &inbox, mailbox)? {
                return Ok(after);
            }
            let mut modseq = None;
            for uid in uids {
                let sql = "SELECT uid, flags, keywords FROM message WHERE mailbox_id = ?1 AND uid = ?2";
                let found = connection.prepare_cached(sql)?.query_row(params![mailbox, uid], marks).optional()?;
                let Some(before) = found else { continue };
                let now = change.apply(&before, flags, &keywords);
                if now != before {
                    let modseq = match modseq {
                        Some(modseq) => modseq,
                        None => *modseq.insert(next_modseq(connection, mailbox)?),
                    };
                    let sql =
                        "UPDATE message SET flags = ?3, keywords = ?4, modseq = ?5 WHERE mailbox_id = ?1 AND uid = ?2";
                    connection.prepare_cached(sql)?.execute(params![mailbox, uid, now.flags, now.keywords, modseq])?;
                }
                after.push(now);
            }
            Ok(after)
        })
        .await
    }

    /// Removes messages that are marked `\Deleted`; only those of `uids`, where they are given. Answers which.
    pub async fn messages_expunge(
        &self,
        inbox: &InboxId,
        mailbox: i64,
        uids: Option<Vec<u32>>,
    ) -> Result<Vec<u32>, StoreError> {
        let inbox = inbox.clone();
        self.write(move |connection| {
            if !is_of(connection, &inbox, mailbox)? {
                return Ok(Vec::new());
            }
            let sql = "SELECT uid FROM message WHERE mailbox_id = ?1 AND flags & ?2 <> 0 ORDER BY uid";
            let mut gone: Vec<u32> = connection
                .prepare_cached(sql)?
                .query_map(params![mailbox, Flags::DELETED], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            if let Some(wanted) = uids {
                gone.retain(|uid| wanted.binary_search(uid).is_ok());
            }
            if !gone.is_empty() {
                let mut statement =
                    connection.prepare_cached("DELETE FROM message WHERE mailbox_id = ?1 AND uid = ?2")?;
                for uid in &gone {
                    statement.execute(params![mailbox, uid])?;
                }
                note_expunged(connection, mailbox, gone.iter().copied())?;
            }
            Ok(gone)
        })
        .await
    }

    /// Copies messages into another mailbox of the inbox, or moves them; all or none (RFC 3501 §6.4.7, RFC 6851). `None`
    /// when there is no such mailbox.
    pub async fn messages_copy(
        &self,
        inbox: &InboxId,
        mailbox: i64,
        uids: Vec<u32>,
        to: &str,
        and_remove: bool,
    ) -> Result<Option<Copied>, StoreError> {
        let (inbox, to) = (inbox.clone(), to.to_owned());
        self.write(move |connection| {
            let sql = "SELECT id, uid_validity FROM mailbox WHERE inbox_id = ?1 AND name = ?2";
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found = connection.prepare_cached(sql)?.query_row(params![inbox, to], row).optional()?;
            let Some((target, uid_validity)) = found else { return Ok(None) };
            let mut copied = Copied { mailbox: target, uid_validity, uids: Vec::new() };
            if !is_of(connection, &inbox, mailbox)? {
                return Ok(Some(copied));
            }
            let sql = "SELECT EXISTS (SELECT 1 FROM message WHERE mailbox_id = ?1 AND uid = ?2)";
            let mut there = Vec::with_capacity(uids.len());
            for uid in uids {
                if connection.prepare_cached(sql)?.query_row(params![mailbox, uid], |row| row.get(0))? {
                    there.push(uid);
                }
            }
            if there.is_empty() {
                return Ok(Some(copied));
            }
            let next = mailboxes::next_uids(connection, target, u32::try_from(there.len()).unwrap_or(u32::MAX))?;
            for (uid, new_uid) in there.into_iter().zip(next.first_uid..) {
                if and_remove {
                    let sql = "UPDATE message SET mailbox_id = ?3, uid = ?4, modseq = ?5 WHERE mailbox_id = ?1 AND uid = ?2";
                    connection.prepare_cached(sql)?.execute(params![mailbox, uid, target, new_uid, next.modseq])?;
                } else {
                    let sql = "INSERT INTO message (mailbox_id, uid, flags, keywords, modseq, content_id, internal_date, id,
                                   inbox_id, mail_from, rcpt_to)
                               SELECT ?3, ?4, flags, keywords, ?5, content_id, internal_date, ?6, inbox_id, mail_from, rcpt_to
                               FROM message WHERE mailbox_id = ?1 AND uid = ?2";
                    let id = MessageId::new();
                    connection.prepare_cached(sql)?.execute(params![mailbox, uid, target, new_uid, next.modseq, id])?;
                }
                copied.uids.push((uid, new_uid));
            }
            if and_remove {
                note_expunged(connection, mailbox, copied.uids.iter().map(|(uid, _)| *uid))?;
            }
            Ok(Some(copied))
        })
        .await
    }

    /// Puts a message into a mailbox; `None` when there is no such mailbox.
    pub async fn message_append(
        &self,
        inbox: &InboxId,
        name: &str,
        append: Append,
    ) -> Result<Option<Appended>, StoreError> {
        let (inbox, name) = (inbox.clone(), name.to_owned());
        self.write(move |connection| {
            let sql = "SELECT id, uid_validity FROM mailbox WHERE inbox_id = ?1 AND name = ?2";
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found = connection.prepare_cached(sql)?.query_row(params![inbox, name], row).optional()?;
            let Some((mailbox, uid_validity)) = found else { return Ok(None) };
            let body_id = super::content::insert_body(connection, &append.body)?;
            let content_id = super::content::insert_content(connection, &append.header, body_id, append.body.len())?;
            let next = mailboxes::next_uids(connection, mailbox, 1)?;
            let sql = "INSERT INTO message (mailbox_id, uid, flags, keywords, modseq, content_id, internal_date, id, inbox_id)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            connection.prepare_cached(sql)?.execute(params![
                mailbox,
                next.first_uid,
                append.flags,
                append.keywords,
                next.modseq,
                content_id,
                append.internal_date,
                MessageId::new(),
                inbox
            ])?;
            Ok(Some(Appended { mailbox, uid_validity, uid: next.first_uid }))
        })
        .await
    }
}
