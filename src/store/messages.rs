//! Reading single messages for the API; lists are in [`super::emails`].
//!
//! Invariant: verbs that return octets of a message take the inbox, and do not find messages of other inboxes.

use super::{Store, StoreError, StoredMessage, Transaction, content};
use crate::clock::Timestamp;
use crate::id::{ContentId, InboxId, MailboxId, MessageId, ThreadId};
use crate::message::overview::Overview;
use crate::store::engine::{FromValue, List, Row, ToValue, Unexpected, Value, params};
use serde_json::json;
use std::ops::Range;

/// Octets of a [`HeaderBlock`] at most.
pub(crate) const LONGEST_BLOCK: usize = 64 * 1024;

bitflags::bitflags! {
    /// The system flags of a message (RFC 3501 §2.3.2), except `\Recent`, which depends on the session.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Flags: u8 {
        /// `\Seen`
        const SEEN = 1;
        /// `\Answered`
        const ANSWERED = 2;
        /// `\Flagged`
        const FLAGGED = 4;
        /// `\Deleted`
        const DELETED = 8;
        /// `\Draft`
        const DRAFT = 16;
    }
}

impl Flags {
    pub const NAMED: [(Self, &'static str); 5] = [
        (Self::SEEN, "\\Seen"),
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::DRAFT, "\\Draft"),
    ];

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }
}

impl ToValue for Flags {
    fn to_value(&self) -> Value<'_> {
        Value::Integer(self.bits().into())
    }
}

impl FromValue for Flags {
    fn from_value(value: Value<'_>) -> Result<Self, Unexpected> {
        u8::from_value(value).map(Self::from_bits_retain)
    }
}

/// A message without its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSummary {
    /// Kept when the message moves to another mailbox.
    pub id: MessageId,
    /// The ID of the original if the message is a copy, else its own ID.
    pub email_id: MessageId,
    pub inbox: InboxId,
    /// `None` for a message stored before threads existed, until its thread is assigned.
    pub thread: Option<ThreadId>,
    pub content: ContentId,
    /// The name of the mailbox.
    pub mailbox: String,
    /// The special use of the mailbox (RFC 6154).
    pub special_use: Option<String>,
    pub uid: u32,
    /// System flags.
    pub flags: Flags,
    /// Separated by spaces.
    pub keywords: String,
    pub internal_date: Timestamp,
    /// The last change of flags or mailbox, or of a draft, if any. Each has a later time.
    pub changed_at: Option<Timestamp>,
    /// Octets of header and body.
    pub size: u64,
    /// The envelope sender; empty for `<>` and for messages not received by SMTP.
    pub mail_from: String,
    /// The envelope recipient; empty for messages not received by SMTP.
    pub rcpt_to: String,
}

/// A message with its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headed<H> {
    pub message: MessageSummary,
    pub header: H,
}

/// The first [`LONGEST_BLOCK`] octets of the header block, usually all of it.
pub type HeaderBlock = Vec<u8>;

/// What lists show of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedHeader {
    /// It has no overview, and is still to be parsed.
    Block(HeaderBlock),
    Overview(Box<Overview>),
}

impl ListedHeader {
    /// Octets to be parsed.
    pub fn unparsed(&self) -> usize {
        match self {
            Self::Block(block) => block.len(),
            Self::Overview(_) => 0,
        }
    }
}

impl From<Headed<HeaderBlock>> for Headed<ListedHeader> {
    fn from(Headed { message, header }: Headed<HeaderBlock>) -> Self {
        Self { message, header: ListedHeader::Block(header) }
    }
}

/// A header in the columns of a row.
pub(super) trait HeaderColumns: Sized {
    /// From [`HEADER`] on.
    const COLUMNS: &'static str;
    const JOIN: &'static str;

    fn of(row: &Row<'_>) -> Result<Self, StoreError>;
}

impl HeaderColumns for () {
    const COLUMNS: &'static str = "NULL";
    const JOIN: &'static str = "";

    fn of(_: &Row<'_>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl HeaderColumns for HeaderBlock {
    const COLUMNS: &'static str = "substr(c.header, 1, 65536)";
    const JOIN: &'static str = "";

    fn of(row: &Row<'_>) -> Result<Self, StoreError> {
        row.get(HEADER)
    }
}

impl HeaderColumns for ListedHeader {
    const COLUMNS: &'static str = "CASE WHEN o.content_id IS NULL THEN substr(c.header, 1, 65536) END, o.fields";
    const JOIN: &'static str = "LEFT JOIN overview o ON o.content_id = c.id";

    fn of(row: &Row<'_>) -> Result<Self, StoreError> {
        let Some(written) = row.get::<Option<String>>(HEADER + 1)? else { return Ok(Self::Block(row.get(HEADER)?)) };
        let read = Overview::from_written(&written);
        let read = read.map_err(|error| StoreError::Corrupt(format!("overview.fields: {error}")))?;
        Ok(Self::Overview(Box::new(read)))
    }
}

impl MessageSummary {
    /// Later after each change.
    pub fn version(&self) -> Timestamp {
        self.changed_at.unwrap_or(Timestamp::from_millis(0))
    }
}

/// The column after those of a summary.
const HEADER: usize = 15;

fn select<H: HeaderColumns>() -> String {
    let (header, join) = (H::COLUMNS, H::JOIN);
    format!(
        "SELECT m.id, coalesce(m.email_id, m.id), m.inbox_id, b.name, b.special_use, m.uid + p.uid_offset, m.flags,
             m.keywords, m.internal_date, m.changed_at, c.size, m.mail_from, m.rcpt_to, c.id, m.thread_id, {header}
         FROM message m JOIN mailbox p ON p.id = m.mailbox_id
             JOIN mailbox b ON b.id = CASE p.is_hidden WHEN 0 THEN p.id ELSE p.part_of END
             JOIN content c ON c.id = m.content_id {join}"
    )
}

fn headed<H: HeaderColumns>(row: &Row<'_>) -> Result<Headed<H>, StoreError> {
    Ok(Headed { message: summary(row)?, header: H::of(row)? })
}

fn summary(row: &Row<'_>) -> Result<MessageSummary, StoreError> {
    let changed_at: Timestamp = row.get(9)?;
    Ok(MessageSummary {
        id: row.get(0)?,
        email_id: row.get(1)?,
        inbox: row.get(2)?,
        mailbox: row.get(3)?,
        special_use: row.get(4)?,
        uid: row.get(5)?,
        flags: row.get(6)?,
        keywords: row.get(7)?,
        internal_date: row.get(8)?,
        changed_at: (changed_at.millis() != 0).then_some(changed_at),
        size: row.get::<i64>(10)?.unsigned_abs(),
        mail_from: row.get(11)?,
        rcpt_to: row.get(12)?,
        content: row.get(13)?,
        thread: row.get(14)?,
    })
}

/// A message of the inbox.
pub(super) fn find<H: HeaderColumns>(
    c: &Transaction<'_>,
    inbox: &InboxId,
    id: &MessageId,
) -> Result<Option<Headed<H>>, StoreError> {
    let sql = format!("{} WHERE m.inbox_id = ?1 AND m.id = ?2", select::<H>());
    c.query_opt(&sql, params![inbox, id], headed)
}

/// Up to `limit` messages of a row of `mailbox` with this mod-sequence.
pub(super) fn changed_at(
    c: &Transaction<'_>,
    row: MailboxId,
    modseq: i64,
    limit: usize,
) -> Result<Vec<MessageSummary>, StoreError> {
    let sql = format!("{} WHERE m.mailbox_id = ?1 AND m.modseq = ?2 ORDER BY m.uid LIMIT ?3", select::<()>());
    c.query(&sql, params![row, modseq, i64::try_from(limit).unwrap_or(i64::MAX)], summary)
}

/// Those of the messages that exist, the newest first.
pub(super) fn newest_first<H: HeaderColumns>(
    c: &Transaction<'_>,
    ids: &[MessageId],
) -> Result<Vec<Headed<H>>, StoreError> {
    let select = select::<H>();
    let sql = format!("{select} WHERE m.id IN (SELECT value ->> 0 FROM {}) ORDER BY m.id DESC", c.items(1));
    let ids: List = ids.iter().map(|id| json!([id])).collect();
    c.query(&sql, params![ids], headed)
}

fn content_of(connection: &Transaction<'_>, inbox: &InboxId, id: &MessageId) -> Result<Option<ContentId>, StoreError> {
    let sql = "SELECT m.content_id FROM message m JOIN mailbox p ON p.id = m.mailbox_id
               WHERE m.inbox_id = ?1 AND m.id = ?2 AND (p.is_hidden = 0 OR p.part_of IS NOT NULL)";
    connection.query_opt(sql, params![inbox, id], |row| row.get(0))
}

impl Store {
    pub async fn inbox_of_message(&self, id: &MessageId) -> Result<Option<InboxId>, StoreError> {
        let id = id.clone();
        self.read(move |connection| {
            let sql = "SELECT inbox_id FROM message WHERE id = ?1";
            connection.query_opt(sql, params![id], |row| row.get(0))
        })
        .await
    }

    pub async fn message(&self, inbox: &InboxId, id: &MessageId) -> Result<Option<MessageSummary>, StoreError> {
        let (inbox, id) = (inbox.clone(), id.clone());
        self.read(move |c| Ok(find::<()>(c, &inbox, &id)?.map(|found| found.message))).await
    }

    pub async fn message_listed(
        &self,
        inbox: &InboxId,
        id: &MessageId,
    ) -> Result<Option<Headed<ListedHeader>>, StoreError> {
        let (inbox, id) = (inbox.clone(), id.clone());
        self.read(move |c| find(c, &inbox, &id)).await
    }

    pub async fn message_with_header(
        &self,
        inbox: &InboxId,
        id: &MessageId,
    ) -> Result<Option<Headed<HeaderBlock>>, StoreError> {
        let (inbox, id) = (inbox.clone(), id.clone());
        self.read(move |c| find(c, &inbox, &id)).await
    }

    /// The total length of a message, and the octets of `range`, clipped to it.
    pub async fn message_range(
        &self,
        inbox: &InboxId,
        id: &MessageId,
        range: Range<usize>,
    ) -> Result<Option<(usize, Vec<u8>)>, StoreError> {
        let (inbox, id) = (inbox.clone(), id.clone());
        let found = self.read(move |connection| {
            let found = content_of(connection, &inbox, &id)?;
            found.map(|content_id| content::load_range(connection, content_id, range.clone())).transpose()
        });
        match found.await? {
            Some((size, message)) => Ok(Some((size, self.fetch_message(message).await?.into_bytes()))),
            None => Ok(None),
        }
    }

    /// Several messages, each of an inbox, read in one transaction; `None` for those that do not exist.
    pub async fn messages_raw(
        &self,
        wanted: Vec<(InboxId, MessageId)>,
    ) -> Result<Vec<Option<StoredMessage>>, StoreError> {
        let found = self.read(move |connection| {
            let load = |(inbox, id): &(InboxId, MessageId)| {
                let found = content_of(connection, inbox, id)?;
                found.map(|content_id| content::load(connection, content_id)).transpose()
            };
            wanted.iter().map(load).collect::<Result<Vec<_>, StoreError>>()
        });
        let mut messages = Vec::new();
        for found in found.await? {
            messages.push(match found {
                Some(message) => Some(self.fetch_message(message).await?),
                None => None,
            });
        }
        Ok(messages)
    }

    pub async fn message_raw(&self, inbox: &InboxId, id: &MessageId) -> Result<Option<StoredMessage>, StoreError> {
        let (inbox, id) = (inbox.clone(), id.clone());
        let found = self.read(move |connection| {
            let found = content_of(connection, &inbox, &id)?;
            found.map(|content_id| content::load(connection, content_id)).transpose()
        });
        match found.await? {
            Some(message) => self.fetch_message(message).await.map(Some),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Headed, ListedHeader};
    use crate::store::emails::EmailFilter;
    use crate::store::testing::{inbox, put, store_with_account};

    #[tokio::test]
    async fn messages_are_listed_newest_first_and_not_found_in_another_inbox() {
        let (_dir, store, account) = store_with_account().await;
        let (ours, theirs) = (inbox(&store, &account, "ours").await, inbox(&store, &account, "theirs").await);
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(put(&store, &ours, format!("Subject: {n}\r\n\r\nbody {n}\r\n").as_bytes()).await.id);
            // IDs created in the same millisecond are in no defined order.
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        ids.reverse();
        let page = store.emails(vec![ours.clone()], EmailFilter::default(), 10).await.unwrap();
        let first = page.rows;
        assert_eq!(first.iter().map(|m| m.message.id.clone()).collect::<Vec<_>>(), ids);
        let Headed { message, header } = &first[0];
        assert_eq!(*header, ListedHeader::Block(b"Subject: 4\r\n\r\n".to_vec()));
        assert_eq!((message.mailbox.as_str(), message.uid, message.size), ("INBOX", 5, 22));

        assert_eq!(store.message(&ours, &ids[0]).await.unwrap().as_ref(), Some(message));
        let raw = store.message_raw(&ours, &ids[0]).await.unwrap().unwrap().into_bytes();
        assert_eq!(raw, b"Subject: 4\r\n\r\nbody 4\r\n");
        for range in [0..0, 0..5, 3..14, 14..18, 10..20, 13..15, 20..22, 21..99, 22..30, 30..40] {
            let piece = store.message_range(&ours, &ids[0], range.clone()).await.unwrap().unwrap();
            assert_eq!(piece, (22, raw[range.start.min(22)..range.end.min(22)].to_vec()), "{range:?}");
        }
        assert!(store.message_range(&theirs, &ids[0], 0..5).await.unwrap().is_none());
        assert!(store.message(&theirs, &ids[0]).await.unwrap().is_none());
        assert!(store.message_raw(&theirs, &ids[0]).await.unwrap().is_none());
    }
}
