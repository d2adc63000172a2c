//! The table `message`, and the counts derived from it.
//!
//! Invariant: only this file changes the table. In the same transaction it updates the counts of the mailbox (messages, unseen,
//! recent, octets), of its keywords and of the inbox (messages, octets), and the search index ([`search`]), and removes
//! unreferenced contents.

use super::mailboxes;
use super::messages::Flags;
use super::open_mailbox::MessageFlags;
use super::parts::Part;
use super::quota::ROW;
use super::threads::{self, Member};
use super::{StoreError, Transaction, content, search};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::id::{ContentId, InboxId, MailboxId, MessageId, ThreadId};
use crate::message::threading::Threading;
use crate::store::engine::{List, Params, Row, params};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The keyword of messages that a list blocks.
pub(super) const BLOCKED: &str = "blocked";

/// [`ROW`] as a signed number.
const ROW_OCTETS: i64 = ROW as i64;

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub id: MessageId,
    pub inbox: InboxId,
    pub mailbox: MailboxId,
    pub uid: u32,
}

#[derive(Clone, Debug)]
pub(super) struct NewMessage<'a> {
    pub id: MessageId,
    pub inbox: &'a InboxId,
    pub mailbox: MailboxId,
    pub content: ContentId,
    pub flags: Flags,
    /// Separated by spaces.
    pub keywords: &'a str,
    /// `mail_from` and `rcpt_to` are empty for a message that was not delivered; only delivered ones publish `MessageReceived`.
    pub mail_from: &'a str,
    pub rcpt_to: &'a str,
    pub internal_date: Timestamp,
    pub threading: &'a Threading,
}

/// What a message keeps when other octets replace it.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub thread: Option<ThreadId>,
    /// The ID of its first copy, if it is another one.
    pub email_id: Option<MessageId>,
    /// EMAILID, if it is neither of these IDs ([`super::object_ids`]).
    pub object_id: Option<MessageId>,
}

/// Inserts a message into a mailbox with its next UID, and publishes the event.
pub(super) fn insert(transaction: &Transaction<'_>, new: &NewMessage<'_>) -> Result<Delivered, StoreError> {
    insert_again(transaction, new, &Kept::default())
}

/// The same for a message that was removed to be replaced.
pub(super) fn insert_again(
    transaction: &Transaction<'_>,
    new: &NewMessage<'_>,
    kept: &Kept,
) -> Result<Delivered, StoreError> {
    let next = mailboxes::next_uids(transaction, new.mailbox, 1)?;
    let was_sent = !new.mail_from.is_empty() && new.rcpt_to.is_empty();
    let (id, inbox, threading, was_in) = (&new.id, new.inbox, new.threading, kept.thread.as_ref());
    let thread = threads::assign(transaction, &Member { id, inbox, was_sent, threading, was_in })?;
    let sql = "INSERT INTO message (id, inbox_id, mailbox_id, uid, content_id, flags, keywords, internal_date, modseq,
                   mail_from, rcpt_to, thread_id, email_id, object_id, saved_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
               RETURNING uid, flags, keywords, content_id, (SELECT size FROM content WHERE id = content_id)";
    let row = params![
        new.id,
        new.inbox,
        new.mailbox,
        next.first_uid,
        new.content,
        new.flags,
        new.keywords,
        new.internal_date,
        next.modseq,
        new.mail_from,
        new.rcpt_to,
        thread,
        kept.email_id,
        kept.object_id,
        Timestamp::real(),
    ];
    let inserted = transaction.query_row(sql, row, counted)?;
    search::added(transaction, new.inbox, std::slice::from_ref(&new.id))?;
    let mut counts = Counts::of(transaction, new.mailbox)?;
    counts.add(&inserted);
    counts.write(transaction)?;
    counts.write_inbox(transaction, new.inbox)?;
    let (inbox_id, mailbox, message_id, uid) = (new.inbox.clone(), new.mailbox, new.id.clone(), next.first_uid);
    let event = match new.rcpt_to.is_empty() || new.keywords == BLOCKED {
        true => Event::MessageAdded { inbox_id, mailbox, message_id, uid },
        false => Event::MessageReceived { inbox_id, mailbox, message_id, uid },
    };
    transaction.publish_of_inbox(new.inbox, event)?;
    Ok(Delivered { id: new.id.clone(), inbox: new.inbox.clone(), mailbox, uid })
}

/// A message that is copied or moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Going {
    /// Its current part.
    pub part: Part,
    /// Its UID in the mailbox, as opposed to that in the part.
    pub uid: u32,
    /// Its UID in the target row of `mailbox`.
    pub to: u32,
}

/// Messages by their part.
fn by_part(messages: &[Going]) -> BTreeMap<MailboxId, Vec<&Going>> {
    let mut parts: BTreeMap<MailboxId, Vec<&Going>> = BTreeMap::new();
    for message in messages {
        parts.entry(message.part.id).or_default().push(message);
    }
    parts
}

/// Fails unless a statement has changed all messages that were read before.
fn check_all(found: usize, wanted: usize) -> Result<(), StoreError> {
    if found == wanted {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!("only {found} of {wanted} messages were found in the mailbox")))
}

// Both engines join from the items to the rows by index: SQLite because it does not flatten a MATERIALIZED expression, PostgreSQL
// as with `parts::is_listed`.

fn copy_sql(items: &str) -> String {
    format!(
        "WITH item AS MATERIALIZED (SELECT CAST(value ->> 0 AS BIGINT) AS from_row,
             CAST(value ->> 1 AS BIGINT) AS from_uid, CAST(value ->> 2 AS BIGINT) AS to_uid, value ->> 3 AS new_id
             FROM {items})
         INSERT INTO message (mailbox_id, uid, flags, keywords, modseq, content_id, internal_date, id, email_id,
             inbox_id, mail_from, rcpt_to, thread_id, object_id, saved_at)
         SELECT ?2, to_uid, flags, keywords, ?3, content_id, internal_date, new_id, coalesce(email_id, id),
             inbox_id, mail_from, rcpt_to, thread_id, object_id, ?4
         FROM item JOIN message ON mailbox_id = from_row AND uid = from_uid {COUNTED}"
    )
}

fn relocate_sql(items: &str) -> String {
    format!(
        "WITH item AS MATERIALIZED (SELECT CAST(value ->> 0 AS BIGINT) AS from_row,
             CAST(value ->> 1 AS BIGINT) AS from_uid, CAST(value ->> 2 AS BIGINT) AS to_uid FROM {items})
         UPDATE message SET mailbox_id = ?2, uid = to_uid, saved_at = ?4,
             modseq = coalesce(CAST(?3 AS BIGINT), CASE WHEN modseq < ?5 THEN ?5 ELSE modseq END),
             changed_at = CASE WHEN changed_at < ?4 THEN ?4 ELSE changed_at + 1 END
         FROM item WHERE mailbox_id = from_row AND uid = from_uid {COUNTED}"
    )
}

fn set_flags_sql(items: &str) -> String {
    format!(
        "WITH item AS MATERIALIZED (SELECT CAST(value ->> 0 AS BIGINT) AS of_row,
             CAST(value ->> 1 AS BIGINT) AS of_uid, CAST(value ->> 2 AS BIGINT) AS new_flags,
             value ->> 3 AS new_keywords FROM {items})
         UPDATE message SET flags = new_flags, keywords = new_keywords, modseq = ?2,
             changed_at = CASE WHEN changed_at < ?3 THEN ?3 ELSE changed_at + 1 END
         FROM item WHERE mailbox_id = of_row AND uid = of_uid"
    )
}

/// Copies messages into a row of `mailbox`. Returns the octets and messages added to the inbox's quota.
pub(super) fn copy(
    transaction: &Transaction<'_>,
    inbox: &InboxId,
    messages: &[Going],
    to: MailboxId,
    modseq: i64,
) -> Result<(i64, i64), StoreError> {
    let (sql, now) = (copy_sql(&transaction.items(1)), Timestamp::real());
    let mut counts = Counts::of(transaction, to)?;
    for (part, messages) in by_part(messages) {
        let ids: Vec<MessageId> = messages.iter().map(|_| MessageId::new()).collect();
        let items = messages.iter().zip(&ids).map(|(m, id)| json!([part, m.part.stored(m.uid), m.to, id]));
        let copies = transaction.query(&sql, params![items.collect::<List>(), to, modseq, now], counted)?;
        check_all(copies.len(), messages.len())?;
        search::added(transaction, inbox, &ids)?;
        copies.iter().for_each(|copy| counts.add(copy));
    }
    counts.write(transaction)?;
    counts.write_inbox(transaction, inbox)?;
    Ok((counts.octets_of_inbox(), counts.messages))
}

/// Moves messages to another row of `mailbox`. They get the mod-sequence `modseq`, or keep theirs. They are saved now (RFC 8514),
/// even those of a large move that is published some batches later.
pub(super) fn relocate(
    transaction: &Transaction<'_>,
    messages: &[Going],
    to: MailboxId,
    modseq: Option<i64>,
) -> Result<(), StoreError> {
    let (sql, now) = (relocate_sql(&transaction.items(1)), Timestamp::real());
    let mut there = Counts::of(transaction, to)?;
    for (part, messages) in by_part(messages) {
        let least_modseq = messages.first().map_or(0, |message| message.part.least_modseq);
        let mut here = Counts::of(transaction, part)?;
        let stored: BTreeMap<i64, i64> = messages.iter().map(|m| (m.to.into(), m.part.stored(m.uid))).collect();
        let items = stored.iter().map(|(new, old)| json!([part, old, new]));
        let moved =
            transaction.query(&sql, params![items.collect::<List>(), to, modseq, now, least_modseq], counted)?;
        check_all(moved.len(), messages.len())?;
        for message in moved {
            there.add(&message);
            let uid = stored.get(&message.uid).copied().unwrap_or(message.uid);
            here.remove(&Counted { uid, ..message });
        }
        here.write(transaction)?;
    }
    there.write(transaction)
}

/// Moves up to `limit` messages of a part with the lowest UIDs to another row of `mailbox`, under the UIDs and mod-sequences that
/// they have in the mailbox. Returns their number.
pub(super) fn relocate_first(
    transaction: &Transaction<'_>,
    Part { id: from, offset, least_modseq }: Part,
    to: MailboxId,
    limit: i64,
) -> Result<usize, StoreError> {
    let sql = "UPDATE message SET mailbox_id = ?2, uid = uid + ?3,
                   modseq = CASE WHEN modseq < ?5 THEN ?5 ELSE modseq END WHERE (mailbox_id, uid) IN
                   (SELECT mailbox_id, uid FROM message WHERE mailbox_id = ?1 ORDER BY uid LIMIT ?4)
               RETURNING uid, flags, keywords, content_id, (SELECT size FROM content WHERE id = content_id)";
    let (mut here, mut there) = (Counts::of(transaction, from)?, Counts::of(transaction, to)?);
    let moved = transaction.query(sql, params![from, to, offset, limit, least_modseq], counted)?;
    let count = moved.len();
    for message in moved {
        there.add(&message);
        here.remove(&Counted { uid: message.uid.saturating_sub(offset), ..message });
    }
    here.write(transaction)?;
    there.write(transaction)?;
    Ok(count)
}

/// Flags of a message before and after a change.
pub(super) struct FlagsOf {
    pub before: MessageFlags,
    pub now: MessageFlags,
}

pub(super) fn set_flags(
    transaction: &Transaction<'_>,
    inbox: &InboxId,
    part: Part,
    changes: &[FlagsOf],
    modseq: i64,
) -> Result<(), StoreError> {
    let sql = set_flags_sql(&transaction.items(1));
    let items = changes
        .iter()
        .map(|FlagsOf { now, .. }| json!([part.id, part.stored(now.uid), now.flags.bits(), now.keywords]));
    check_all(transaction.execute(&sql, params![items.collect::<List>(), modseq, Timestamp::real()])?, changes.len())?;
    let is_unseen = |flags: &MessageFlags| i64::from(!flags.flags.contains(Flags::SEEN));
    let mut counts = Counts::empty(part.id);
    for FlagsOf { before, now } in changes {
        counts.unseen += is_unseen(now) - is_unseen(before);
        counts.count_keywords(&now.keywords, 1);
        counts.count_keywords(&before.keywords, -1);
    }
    counts.write(transaction)?;
    counts.write_inbox(transaction, inbox)
}

/// Removes the messages that match `condition`, which must all be in `row`. Returns their stored UIDs.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    inbox: &InboxId,
    row: MailboxId,
    condition: &str,
    values: Params<'_>,
) -> Result<Vec<i64>, StoreError> {
    let (mut threads, mut ids) = (BTreeSet::new(), Vec::new());
    let sql = format!("DELETE FROM message WHERE {condition} {COUNTED}, thread_id, id");
    let removed = transaction.query(&sql, values, |row| {
        threads.extend(row.get::<Option<ThreadId>>(5)?);
        ids.push(row.get(6)?);
        counted(row)
    })?;
    if removed.is_empty() {
        return Ok(Vec::new());
    }
    let mut counts = Counts::of(transaction, row)?;
    removed.iter().for_each(|message| counts.remove(message));
    counts.write(transaction)?;
    counts.write_inbox(transaction, inbox)?;
    threads::remove_empty(transaction, threads)?;
    search::removed(transaction, inbox, &ids)?;
    content::remove_unreferenced(transaction, removed.iter().map(|message| message.content))?;
    Ok(removed.into_iter().map(|message| message.uid).collect())
}

/// Sets the time of the last change of a message.
pub(super) fn set_changed(transaction: &Transaction<'_>, id: &MessageId, at: Timestamp) -> Result<(), StoreError> {
    transaction.execute("UPDATE message SET changed_at = ?2 WHERE id = ?1", params![id, at])?;
    Ok(())
}

/// Sets the thread of a message that has none.
pub(super) fn set_thread(transaction: &Transaction<'_>, id: &MessageId, thread: &ThreadId) -> Result<(), StoreError> {
    transaction.execute("UPDATE message SET thread_id = ?2 WHERE id = ?1", params![id, thread])?;
    Ok(())
}

/// Returns the columns of [`counted`].
const COUNTED: &str = "RETURNING uid, flags, keywords, content_id, (SELECT size FROM content WHERE id = content_id)";

/// The columns of a message that affect counts.
struct Counted {
    /// The stored UID.
    uid: i64,
    flags: Flags,
    keywords: String,
    content: ContentId,
    /// The size of the content.
    octets: i64,
}

fn counted(row: &Row<'_>) -> Result<Counted, StoreError> {
    Ok(Counted {
        uid: row.get(0)?,
        flags: row.get(1)?,
        keywords: row.get(2)?,
        content: row.get(3)?,
        octets: row.get(4)?,
    })
}

/// Changes of the counts of a row of `mailbox`.
struct Counts {
    row: MailboxId,
    /// The first stored UID that is recent.
    recent_from: i64,
    messages: i64,
    unseen: i64,
    recent: i64,
    octets: i64,
    keyword_octets: i64,
    /// By keyword in lower case.
    keywords: BTreeMap<String, i64>,
}

impl Counts {
    fn empty(row: MailboxId) -> Self {
        let keywords = BTreeMap::new();
        Self { row, recent_from: 0, messages: 0, unseen: 0, recent: 0, octets: 0, keyword_octets: 0, keywords }
    }

    fn of(transaction: &Transaction<'_>, row: MailboxId) -> Result<Self, StoreError> {
        let sql = "SELECT coalesce(b.recent_from, p.recent_from) - p.uid_offset
                   FROM mailbox p LEFT JOIN mailbox b ON b.id = p.part_of WHERE p.id = ?1";
        let recent_from = transaction.query_row(sql, params![row], |row| row.get(0))?;
        Ok(Self { recent_from, ..Self::empty(row) })
    }

    fn add(&mut self, message: &Counted) {
        self.count(message, 1);
    }

    fn remove(&mut self, message: &Counted) {
        self.count(message, -1);
    }

    fn count(&mut self, message: &Counted, sign: i64) {
        self.messages += sign;
        self.unseen += if message.flags.contains(Flags::SEEN) { 0 } else { sign };
        self.recent += if message.uid >= self.recent_from { sign } else { 0 };
        self.octets = self.octets.saturating_add(sign * message.octets);
        self.count_keywords(&message.keywords, sign);
    }

    fn count_keywords(&mut self, keywords: &str, sign: i64) {
        self.keyword_octets += sign * i64::try_from(keywords.len()).unwrap_or(i64::MAX);
        for keyword in keywords.split_ascii_whitespace() {
            *self.keywords.entry(keyword.to_ascii_lowercase()).or_default() += sign;
        }
    }

    fn octets_of_inbox(&self) -> i64 {
        self.octets.saturating_add(self.keyword_octets).saturating_add(self.messages.saturating_mul(ROW_OCTETS))
    }

    fn write(&self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        let Self { row, messages, unseen, recent, octets, .. } = self;
        if (*messages, *unseen, *recent, *octets) != (0, 0, 0, 0) {
            let sql = "UPDATE mailbox SET messages = messages + ?2, unseen = unseen + ?3, recent = recent + ?4,
                           size = size + ?5 WHERE id = ?1";
            transaction.execute(sql, params![row, messages, unseen, recent, octets])?;
        }
        for (keyword, count) in self.keywords.iter().filter(|(_, count)| **count != 0) {
            let sql = "INSERT INTO mailbox_keyword (mailbox_id, keyword, messages) VALUES (?1, ?2, ?3)
                       ON CONFLICT (mailbox_id, keyword)
                       DO UPDATE SET messages = mailbox_keyword.messages + excluded.messages";
            transaction.execute(sql, params![row, keyword, count])?;
        }
        if self.keywords.values().any(|count| *count < 0) {
            transaction.execute("DELETE FROM mailbox_keyword WHERE mailbox_id = ?1 AND messages < 1", params![row])?;
        }
        Ok(())
    }

    fn write_inbox(&self, transaction: &Transaction<'_>, inbox: &InboxId) -> Result<(), StoreError> {
        let (octets, messages) = (self.octets_of_inbox(), self.messages);
        if (octets, messages) != (0, 0) {
            let sql = "UPDATE inbox SET size = size + ?2, messages = messages + ?3 WHERE id = ?1";
            transaction.execute(sql, params![inbox, octets, messages])?;
        }
        Ok(())
    }
}
