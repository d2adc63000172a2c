//! Mailboxes of an inbox.
//!
//! Invariant: an inbox has INBOX from its creation on; a mailbox name is never reused with the same UIDVALIDITY (RFC 3501
//! §2.3.1.1); every verb takes the inbox and changes only that. Names are UTF-8, with the hierarchy delimiter `/`; special uses
//! are those of RFC 6154.

use super::inboxes::DELETED;
use super::{Store, StoreError, Transaction, object_ids};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::id::{InboxId, MailboxId};
use crate::store::engine::{Row, params};
use std::collections::BTreeMap;
use unicode_normalization::UnicodeNormalization;

pub const INBOX: &str = "INBOX";

/// The maximum length of a name, in octets of UTF-8.
pub const NAME_OCTETS: usize = 1000;

/// Separates the levels of a name.
pub const DELIMITER: char = '/';

/// Levels of a name at most: LIST shows each of them, whether or not it is a mailbox.
const LEVELS: usize = 50;

/// Octets of a name in NFC are at most these times its octets in another form.
const COMPOSED_FACTOR: usize = 3;

/// A name as the store has it: in NFC (RFC 6855 §3, RFC 9051 §5.1), its levels are not empty, without control characters and
/// wildcards, and INBOX is in capitals. `None` if a mailbox cannot have this name.
pub fn canonical_name(name: &str) -> Option<String> {
    if name.len() > NAME_OCTETS * COMPOSED_FACTOR {
        return None;
    }
    let name: &str = &name.nfc().collect::<String>();
    // RFC 6855 §3: no separators of lines and paragraphs.
    let is_bad = |c: char| c.is_control() || matches!(c, '%' | '*' | '\u{2028}' | '\u{2029}');
    let good = |level: &str| !level.is_empty() && !level.chars().any(is_bad);
    let fits = name.len() <= NAME_OCTETS && name.split(DELIMITER).count() <= LEVELS;
    (fits && name.split(DELIMITER).all(good)).then(|| with_inbox_in_capitals(name))
}

pub fn with_inbox_in_capitals(name: &str) -> String {
    let (first, rest) = name.split_at(name.find(DELIMITER).unwrap_or(name.len()));
    if first.eq_ignore_ascii_case(INBOX) { format!("{INBOX}{rest}") } else { name.to_owned() }
}

/// The standard mailboxes, which every inbox has at its creation. The user may delete them, except INBOX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailboxKind {
    Inbox,
    Drafts,
    Sent,
    Junk,
    Trash,
    Archive,
}

impl MailboxKind {
    pub const ALL: [Self; 6] = [Self::Inbox, Self::Drafts, Self::Sent, Self::Junk, Self::Trash, Self::Archive];

    /// The name at the creation of the inbox.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbox => INBOX,
            Self::Drafts => "Drafts",
            Self::Sent => "Sent",
            Self::Junk => "Junk",
            Self::Trash => "Trash",
            Self::Archive => "Archive",
        }
    }

    /// The special-use attribute (RFC 6154). That of INBOX is not one of the RFC, and is not stored.
    pub const fn special_use(self) -> &'static str {
        match self {
            Self::Inbox => "\\Inbox",
            Self::Drafts => "\\Drafts",
            Self::Sent => "\\Sent",
            Self::Junk => "\\Junk",
            Self::Trash => "\\Trash",
            Self::Archive => "\\Archive",
        }
    }

    /// The kind of a mailbox by its special use, or by its name if it has none.
    pub fn of(name: &str, special_use: Option<&str>) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| special_use.map_or(name == kind.name(), |of| of == kind.special_use()))
    }

    fn stored_use(self) -> Option<&'static str> {
        (self != Self::Inbox).then_some(self.special_use())
    }
}

/// Assigned UIDs, and the mod-sequence of the change.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextUids {
    pub first_uid: u32,
    pub modseq: i64,
}

/// Creates the standard mailboxes of a new inbox.
pub(super) fn create_standard(connection: &Transaction<'_>, inbox: &InboxId) -> Result<(), StoreError> {
    for kind in MailboxKind::ALL {
        insert(connection, inbox, kind.name(), kind.stored_use())?;
        let sql = "INSERT INTO subscription (inbox_id, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        connection.execute(sql, params![inbox, kind.name()])?;
    }
    Ok(())
}

/// The mailbox of a kind: the one with its special use, or else with its name. Created if the user has deleted it.
pub(super) fn of_kind(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    kind: MailboxKind,
) -> Result<MailboxId, StoreError> {
    let (name, special_use) = (kind.name(), kind.special_use());
    let sql = "SELECT id, 1 AS place FROM mailbox WHERE inbox_id = ?1 AND name = ?2 AND special_use = ?3
               UNION ALL SELECT id, 2 FROM mailbox WHERE inbox_id = ?1 AND special_use = ?3 AND is_hidden = 0
               UNION ALL SELECT id, 3 FROM mailbox WHERE inbox_id = ?1 AND name = ?2 ORDER BY place, id LIMIT 1";
    let found = connection.query_opt(sql, params![inbox, name, special_use], |row| row.get(0))?;
    match found {
        Some(found) => Ok(found),
        None => {
            let created = insert(connection, inbox, name, kind.stored_use())?;
            connection.publish_of_inbox(inbox, Event::MailboxesChanged { inbox_id: inbox.clone() })?;
            Ok(created)
        }
    }
}

pub(super) fn find(connection: &Transaction<'_>, inbox: &InboxId, name: &str) -> Result<Option<MailboxId>, StoreError> {
    let sql = "SELECT id FROM mailbox WHERE inbox_id = ?1 AND name = ?2";
    connection.query_opt(sql, params![inbox, name], |row| row.get(0))
}

/// Creates a mailbox whose name must be free. Fails if the inbox was deleted.
pub(super) fn insert(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    name: &str,
    special_use: Option<&str>,
) -> Result<MailboxId, StoreError> {
    let uid_validity = next_uid_validity(connection, inbox)?;
    let sql = "INSERT INTO mailbox (inbox_id, name, special_use, uid_validity) VALUES (?1, ?2, ?3, ?4) RETURNING id";
    connection.query_row(sql, params![inbox, name, special_use, uid_validity], |row| row.get(0))
}

/// The time in seconds, but unique in the account: a mailbox with the name of a deleted one, or of another inbox that an address opens now,
/// must have another UIDVALIDITY. Fails for a deleted inbox.
fn next_uid_validity(connection: &Transaction<'_>, inbox: &InboxId) -> Result<u32, StoreError> {
    let sql = "INSERT INTO last_uid_validity (account_id, last)
                   SELECT i.account_id, CASE WHEN u.last >= ?2 THEN u.last + 1 ELSE ?2 END
                   FROM inbox i CROSS JOIN uid_validity u WHERE i.id = ?1 AND i.account_id <> ?3
               ON CONFLICT (account_id) DO UPDATE SET
                   last = CASE WHEN last_uid_validity.last >= excluded.last THEN last_uid_validity.last + 1 ELSE excluded.last END
               RETURNING last";
    connection.query_row(sql, params![inbox, Timestamp::real().seconds(), DELETED], |row| row.get(0))
}

/// Assigns the next `count` UIDs of a mailbox and its next mod-sequence.
pub(super) fn next_uids(connection: &Transaction<'_>, mailbox: MailboxId, count: u32) -> Result<NextUids, StoreError> {
    let sql = "UPDATE mailbox SET uid_next = uid_next + ?2, highest_modseq = highest_modseq + 1
               WHERE id = ?1 RETURNING uid_next - ?2, highest_modseq";
    let row = |row: &Row<'_>| Ok(NextUids { first_uid: row.get(0)?, modseq: row.get(1)? });
    connection.query_row(sql, params![mailbox, count], row)
}

/// A mailbox in the result of LIST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxName {
    pub name: String,
    /// With the backslash.
    pub special_use: Option<String>,
}

/// A mailbox, and how many messages are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxCounts {
    pub name: MailboxName,
    pub messages: u32,
    pub unseen: u32,
}

/// The data items of STATUS. APPENDLIMIT is `[limits] message_size` for every mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxStatus {
    pub id: MailboxId,
    pub messages: u32,
    /// Messages that are `\Recent` to the next session.
    pub recent: u32,
    pub unseen: u32,
    pub uid_next: u32,
    pub uid_validity: u32,
    /// MAILBOXID (RFC 8474 §4).
    pub object_id: String,
    pub highest_modseq: i64,
    /// Octets of all messages (RFC 8438).
    pub size: u64,
    /// Messages with `\Deleted` (RFC 9051 §6.3.11).
    pub deleted: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    #[error("a mailbox with this name exists")]
    Exists,
    #[error("there is no mailbox with this name")]
    Missing,
    #[error("the inbox has reached the limit of {0} mailboxes: delete some")]
    TooMany(u32),
    #[error("the inbox has reached the limit of {0} subscriptions: unsubscribe from deleted mailboxes")]
    TooManySubscriptions(u32),
    #[error("another mailbox has the special use {0}: delete it, or create this one without")]
    UseTaken(&'static str),
    #[error("INBOX cannot be deleted")]
    IsInbox,
    #[error("the names of the mailboxes below it would be too long")]
    TooLong,
    #[error("a mailbox cannot be moved below itself")]
    BelowItself,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// The mailboxes of an inbox, ordered by name.
    pub async fn mailboxes(&self, inbox: &InboxId) -> Result<Vec<MailboxName>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let sql = "SELECT name, special_use FROM mailbox WHERE inbox_id = ?1 AND is_hidden = 0 ORDER BY name";
            let row = |row: &Row<'_>| Ok(MailboxName { name: row.get(0)?, special_use: row.get(1)? });
            connection.query(sql, params![inbox], row)
        })
        .await
    }

    /// The mailboxes of an inbox with their counts, ordered by name.
    pub async fn mailbox_counts(&self, inbox: &InboxId) -> Result<Vec<MailboxCounts>, StoreError> {
        let all = self.mailbox_statuses(inbox).await?.into_iter();
        Ok(all.map(|(name, MailboxStatus { messages, unseen, .. })| MailboxCounts { name, messages, unseen }).collect())
    }

    /// The mailboxes of an inbox with the data items of STATUS, ordered by name: one query.
    pub async fn mailbox_statuses(&self, inbox: &InboxId) -> Result<Vec<(MailboxName, MailboxStatus)>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let row = |row: &Row<'_>| {
                let name = MailboxName { name: row.get(9)?, special_use: row.get(10)? };
                Ok((name, status(row)?))
            };
            connection.query(STATUSES, params![inbox], row)
        })
        .await
    }

    /// Subscribed names, including those of deleted mailboxes (RFC 3501 §6.3.6).
    pub async fn subscriptions(&self, inbox: &InboxId) -> Result<Vec<String>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let sql = "SELECT name FROM subscription WHERE inbox_id = ?1 ORDER BY name";
            connection.query(sql, params![inbox], |row| row.get(0))
        })
        .await
    }

    pub async fn mailbox_status(&self, inbox: &InboxId, name: &str) -> Result<Option<MailboxStatus>, StoreError> {
        let (inbox, name) = (inbox.clone(), name.to_owned());
        self.read(move |connection| connection.query_opt(STATUS, params![inbox, name], status)).await
    }

    /// The octets of messages with `\Deleted` in each mailbox of an inbox that has some (RFC 9208 §4.1.4).
    pub async fn deleted_octets(&self, inbox: &InboxId) -> Result<BTreeMap<MailboxId, u64>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get::<i64>(1)?.unsigned_abs()));
            Ok(connection.query(DELETED_OCTETS, params![inbox], row)?.into_iter().collect())
        })
        .await
    }
}

/// The columns of [`status`], summed over the parts of a mailbox. The subquery has the condition of the index `message_deleted`.
macro_rules! status_columns {
    () => {
        "sum(p.messages), sum(p.recent), sum(p.unseen), b.uid_next, b.uid_validity, b.highest_modseq, sum(p.size),
         sum((SELECT count(*) FROM message m WHERE m.mailbox_id + 0 = p.id + 0 AND m.flags & 8 = 8)), b.id"
    };
}

const STATUS: &str = concat!(
    "SELECT ",
    status_columns!(),
    " FROM mailbox b JOIN mailbox p ON p.id = b.id OR p.part_of = b.id WHERE b.inbox_id = ?1 AND b.name = ?2 GROUP BY b.id"
);

/// The same of all mailboxes of an inbox.
const STATUSES: &str = concat!(
    "SELECT ",
    status_columns!(),
    ", b.name, b.special_use FROM mailbox b JOIN mailbox p ON p.id = b.id OR p.part_of = b.id
     WHERE b.inbox_id = ?1 AND b.is_hidden = 0 GROUP BY b.id ORDER BY b.name"
);

/// The first condition on `message` is that of the index `message_deleted`.
const DELETED_OCTETS: &str = "SELECT coalesce(p.part_of, p.id), CAST(sum(c.size) AS BIGINT)
    FROM mailbox p JOIN message m ON m.mailbox_id + 0 = p.id + 0 AND m.flags & 8 = 8 JOIN content c ON c.id = m.content_id
    WHERE p.inbox_id = ?1 GROUP BY coalesce(p.part_of, p.id)";

fn status(row: &Row<'_>) -> Result<MailboxStatus, StoreError> {
    let uid_validity = row.get(4)?;
    Ok(MailboxStatus {
        messages: row.get(0)?,
        recent: row.get(1)?,
        unseen: row.get(2)?,
        uid_next: row.get(3)?,
        uid_validity,
        object_id: object_ids::mailbox_id(uid_validity),
        highest_modseq: row.get(5)?,
        size: row.get::<i64>(6)?.unsigned_abs(),
        deleted: row.get(7)?,
        id: row.get(8)?,
    })
}

#[cfg(test)]
mod tests;
