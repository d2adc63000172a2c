//! What a session changes in its open mailbox: flags, and which messages there are.
//!
//! Invariant: every verb asks for the inbox and touches nothing of another's; what changed has a new modification number, and
//! what is gone a note with one, so that every session that has the mailbox open learns of it.

use super::messages::Flags;
use super::open_mailbox::{Marks, is_of, marks};
use super::room::{self, NotStored};
use super::{Store, StoreError, content, expunged, mailboxes};
use crate::clock::Timestamp;
use crate::id::{InboxId, MessageId};
use rusqlite::{Connection, OptionalExtension, Row, params};

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

fn next_modseq(connection: &Connection, mailbox: i64) -> Result<i64, StoreError> {
    Ok(mailboxes::next_uids(connection, mailbox, 0)?.modseq)
}

/// Those of the messages that are there, and their octets together.
fn sizes(connection: &Connection, mailbox: i64, uids: Vec<u32>) -> Result<(Vec<u32>, u64), StoreError> {
    let sql =
        "SELECT c.size FROM message m JOIN content c ON c.id = m.content_id WHERE m.mailbox_id = ?1 AND m.uid = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let (mut there, mut octets) = (Vec::with_capacity(uids.len()), 0_u64);
    for uid in uids {
        if let Some(size) = statement.query_row(params![mailbox, uid], |row| row.get::<_, i64>(0)).optional()? {
            there.push(uid);
            octets = octets.saturating_add(size.unsigned_abs());
        }
    }
    Ok((there, octets))
}

impl Store {
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
                expunged::note(connection, mailbox, gone.iter().copied())?;
            }
            Ok(gone)
        })
        .await
    }

    /// Copies messages into another mailbox of the inbox, or moves them; all or none (RFC 3501 §6.4.7, RFC 6851). `None`
    /// when there is no such mailbox. Copies must have room within `most` octets; none given: the messages move.
    pub async fn messages_copy(
        &self,
        inbox: &InboxId,
        mailbox: i64,
        uids: Vec<u32>,
        to: &str,
        most: Option<u64>,
    ) -> Result<Option<Copied>, NotStored> {
        let and_remove = most.is_none();
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
            let (there, size) = sizes(connection, mailbox, uids)?;
            if there.is_empty() {
                return Ok(Some(copied));
            }
            if let Some(most) = most {
                room::check(connection, std::iter::once(&inbox), size, most)?;
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
                expunged::note(connection, mailbox, copied.uids.iter().map(|(uid, _)| *uid))?;
            }
            Ok(Some(copied))
        })
        .await
    }

    /// Puts a message into a mailbox, if the inbox has room for it within `most` octets; `None` when there is no such mailbox.
    pub async fn message_append(
        &self,
        inbox: &InboxId,
        name: &str,
        append: Append,
        most: u64,
    ) -> Result<Option<Appended>, NotStored> {
        let (inbox, name) = (inbox.clone(), name.to_owned());
        self.write(move |connection| {
            let sql = "SELECT id, uid_validity FROM mailbox WHERE inbox_id = ?1 AND name = ?2";
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let found = connection.prepare_cached(sql)?.query_row(params![inbox, name], row).optional()?;
            let Some((mailbox, uid_validity)) = found else { return Ok(None) };
            room::check(connection, std::iter::once(&inbox), room::octets(&append.header, &append.body), most)?;
            let body_id = content::insert_body(connection, &append.body)?;
            let content_id = content::insert_content(connection, &append.header, body_id, append.body.len())?;
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
