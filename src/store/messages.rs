//! Messages as the API shows them: newest first, one by one, as bytes.
//!
//! Invariant: every verb asks for the inbox; a message of another inbox is no message.

use super::{Store, StoreError, StoredMessage, Transaction, content};
use crate::clock::Timestamp;
use crate::id::{ContentId, InboxId, MessageId};
use crate::store::engine::{FromValue, Row, ToValue, Unexpected, Value, params};
use std::ops::Range;

/// The header octets a summary holds at most: enough for From and Subject, whatever came before them.
const SUMMARY_HEADER: i64 = 64 * 1024;

bitflags::bitflags! {
    /// The system flags of a message (RFC 3501 §2.3.2), but `\Recent`, which is a session's.
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
    /// Each with its name.
    pub const NAMED: [(Self, &'static str); 5] = [
        (Self::SEEN, "\\Seen"),
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::DRAFT, "\\Draft"),
    ];

    /// The names of those that are set.
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

/// A message without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSummary {
    /// Its id; it stays when the message moves to another mailbox.
    pub id: MessageId,
    /// Where its octets are.
    pub content: ContentId,
    /// The mailbox's name.
    pub mailbox: String,
    pub uid: u32,
    /// Its system flags.
    pub flags: Flags,
    /// Its keywords, space between.
    pub keywords: String,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// Octets, header and body.
    pub size: u64,
    /// Envelope sender; empty for `<>` and for what did not come by SMTP.
    pub mail_from: String,
    /// The envelope recipient it came for, where it came by SMTP.
    pub rcpt_to: String,
    /// The beginning of the header block: all of it but for absurd ones.
    pub header: Vec<u8>,
}

const SUMMARY: &str =
    "SELECT m.id, b.name, m.uid + p.uid_offset, m.flags, m.keywords, m.internal_date, c.size, m.mail_from, m.rcpt_to,
        substr(c.header, 1, ?3), c.id
    FROM message m JOIN mailbox p ON p.id = m.mailbox_id
        JOIN mailbox b ON b.id = CASE p.is_hidden WHEN 0 THEN p.id ELSE p.part_of END
        JOIN content c ON c.id = m.content_id";

fn summary(row: &Row<'_>) -> Result<MessageSummary, StoreError> {
    Ok(MessageSummary {
        id: row.get(0)?,
        mailbox: row.get(1)?,
        uid: row.get(2)?,
        flags: row.get(3)?,
        keywords: row.get(4)?,
        internal_date: row.get(5)?,
        size: row.get::<i64>(6)?.unsigned_abs(),
        mail_from: row.get(7)?,
        rcpt_to: row.get(8)?,
        header: row.get(9)?,
        content: row.get(10)?,
    })
}

fn content_of(connection: &Transaction<'_>, inbox: &InboxId, id: &MessageId) -> Result<Option<ContentId>, StoreError> {
    let sql = "SELECT m.content_id FROM message m JOIN mailbox p ON p.id = m.mailbox_id
               WHERE m.inbox_id = ?1 AND m.id = ?2 AND (p.is_hidden = 0 OR p.part_of IS NOT NULL)";
    connection.query_opt(sql, params![inbox, id], |row| row.get(0))
}

impl Store {
    /// Messages of an inbox over all its mailboxes, newest first; `before` is the last id of the page before.
    pub async fn messages(
        &self,
        inbox: &InboxId,
        before: Option<&MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageSummary>, StoreError> {
        // `~` sorts after every id.
        let (inbox, before) = (inbox.clone(), before.map_or("~".to_owned(), ToString::to_string));
        self.read(move |connection| {
            let sql = format!("{SUMMARY} WHERE m.inbox_id = ?1 AND m.id < ?2 ORDER BY m.id DESC LIMIT ?4");
            connection.query(&sql, params![inbox, before, SUMMARY_HEADER, limit], summary)
        })
        .await
    }

    /// One message of an inbox.
    pub async fn message(&self, inbox: &InboxId, id: &MessageId) -> Result<Option<MessageSummary>, StoreError> {
        let (inbox, id) = (inbox.clone(), id.clone());
        self.read(move |connection| {
            let sql = format!("{SUMMARY} WHERE m.inbox_id = ?1 AND m.id = ?2");
            connection.query_opt(&sql, params![inbox, id, SUMMARY_HEADER], summary)
        })
        .await
    }

    /// Some octets of one message of an inbox, fewer at its end, and how many it has in all.
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

    /// The bytes of one message of an inbox.
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
    use crate::store::testing::{inbox, put, store_with_account};

    #[tokio::test]
    async fn newest_first_page_by_page_and_never_another_inbox() {
        let (_dir, store, account) = store_with_account().await;
        let (ours, theirs) = (inbox(&store, &account, "ours").await, inbox(&store, &account, "theirs").await);
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(put(&store, &ours, format!("Subject: {n}\r\n\r\nbody {n}\r\n").as_bytes()).await.id);
            // Ids of one millisecond have no order among each other.
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        ids.reverse();
        let first = store.messages(&ours, None, 3).await.unwrap();
        let rest = store.messages(&ours, first.last().map(|m| &m.id), 3).await.unwrap();
        let listed: Vec<_> = first.iter().chain(&rest).map(|m| m.id.clone()).collect();
        assert_eq!(listed, ids);
        assert_eq!(first[0].header, b"Subject: 4\r\n\r\n");
        assert_eq!((first[0].mailbox.as_str(), first[0].uid, first[0].size), ("INBOX", 5, 22));

        assert_eq!(store.message(&ours, &ids[0]).await.unwrap().as_ref(), first.first());
        let raw = store.message_raw(&ours, &ids[0]).await.unwrap().unwrap().into_bytes();
        assert_eq!(raw, b"Subject: 4\r\n\r\nbody 4\r\n");
        for range in [0..0, 0..5, 3..14, 14..18, 10..20, 13..15, 20..22, 21..99, 22..30, 30..40] {
            let piece = store.message_range(&ours, &ids[0], range.clone()).await.unwrap().unwrap();
            assert_eq!(piece, (22, raw[range.start.min(22)..range.end.min(22)].to_vec()), "{range:?}");
        }
        assert!(store.message_range(&theirs, &ids[0], 0..5).await.unwrap().is_none());
        assert!(store.messages(&theirs, None, 3).await.unwrap().is_empty());
        assert!(store.message(&theirs, &ids[0]).await.unwrap().is_none());
        assert!(store.message_raw(&theirs, &ids[0]).await.unwrap().is_none());
    }
}
