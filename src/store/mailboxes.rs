//! Mailboxes: the folders of an inbox, as IMAP shows them.
//!
//! Invariant: INBOX is always there once an inbox has a mailbox at all; a name and its UIDVALIDITY together never come
//! back (RFC 3501 §2.3.1.1); every verb asks for the inbox and touches nothing of another's. Names are UTF-8, `/` between
//! levels; special uses are RFC 6154's.

use super::inboxes::DELETED;
use super::{Store, StoreError, parts};
use crate::clock::Timestamp;
use crate::id::InboxId;
use rusqlite::{Connection, OptionalExtension, params};

/// The name of the mailbox that mail arrives in.
pub const INBOX: &str = "INBOX";

/// Octets of a name at most, in UTF-8.
pub const NAME_OCTETS: usize = 1000;

/// Mailboxes of one inbox at most: each costs every LIST.
const MAILBOXES: u32 = 1000;

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
        let sql = "INSERT OR IGNORE INTO subscription (inbox_id, name) VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute(params![inbox, name])?;
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

/// Makes a mailbox whose name is free. In an inbox that has been deleted that fails.
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
    let sql = "INSERT INTO mailbox (inbox_id, name, special_use, uid_validity)
               SELECT id, ?2, ?3, ?4 FROM inbox WHERE id = ?1 AND account_id <> ?5 RETURNING id";
    let values = params![inbox, name, special_use, uid_validity, DELETED];
    Ok(connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?)
}

/// Takes the next `count` UIDs of a mailbox, and its next modification number.
pub(super) fn next_uids(connection: &Connection, mailbox: i64, count: u32) -> Result<NextUids, StoreError> {
    let sql = "UPDATE mailbox SET uid_next = uid_next + ?2, highest_modseq = highest_modseq + 1
               WHERE id = ?1 RETURNING uid_next - ?2, highest_modseq";
    let row = |row: &rusqlite::Row<'_>| Ok(NextUids { first_uid: row.get(0)?, modseq: row.get(1)? });
    Ok(connection.prepare_cached(sql)?.query_row(params![mailbox, count], row)?)
}

/// A mailbox, as LIST shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxName {
    /// Its whole name, `/` between levels.
    pub name: String,
    /// Its special use, with the backslash.
    pub special_use: Option<String>,
}

/// What STATUS tells of a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxStatus {
    /// Messages.
    pub messages: u32,
    /// Messages that the next session will see as `\Recent`.
    pub recent: u32,
    /// Messages without `\Seen`.
    pub unseen: u32,
    /// The next UID.
    pub uid_next: u32,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// The last change.
    pub highest_modseq: i64,
}

/// Why a mailbox was not made, renamed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// The name is taken.
    #[error("a mailbox of this name exists")]
    Exists,
    /// There is no such mailbox.
    #[error("there is no mailbox of this name")]
    Missing,
    /// It has as many as an inbox may have.
    #[error("this inbox has as many mailboxes as one may have")]
    TooMany,
    /// Mail arrives there.
    #[error("INBOX stays")]
    IsInbox,
    /// The name of one below it would be too long.
    #[error("the names of the mailboxes below it would be too long")]
    TooLong,
    /// A mailbox cannot be put below itself.
    #[error("a mailbox cannot be moved below itself")]
    BelowItself,
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for MailboxError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The range of names below `name`: `/` is followed by `0`.
fn below(name: &str) -> (String, String) {
    (format!("{name}/"), format!("{name}0"))
}

impl Store {
    /// Makes the standard mailboxes of an inbox that has none yet.
    pub async fn ensure_mailboxes(&self, inbox: &InboxId) -> Result<(), StoreError> {
        let known = {
            let inbox = inbox.clone();
            self.read(move |connection| Ok::<_, StoreError>(find(connection, &inbox, INBOX)?.is_some())).await?
        };
        if known {
            return Ok(());
        }
        let inbox = inbox.clone();
        self.write(move |connection| ensure_standard(connection, &inbox)).await
    }

    /// The mailboxes of an inbox, by name.
    pub async fn mailboxes(&self, inbox: &InboxId) -> Result<Vec<MailboxName>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let sql = "SELECT name, special_use FROM mailbox WHERE inbox_id = ?1 AND is_hidden = 0 ORDER BY name";
            let row = |row: &rusqlite::Row<'_>| Ok(MailboxName { name: row.get(0)?, special_use: row.get(1)? });
            Ok(connection.prepare_cached(sql)?.query_map([inbox], row)?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The names an inbox has subscribed to, whether there is a mailbox of that name or not (RFC 3501 §6.3.6).
    pub async fn subscriptions(&self, inbox: &InboxId) -> Result<Vec<String>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let sql = "SELECT name FROM subscription WHERE inbox_id = ?1 ORDER BY name";
            Ok(connection.prepare_cached(sql)?.query_map([inbox], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Subscribes to a mailbox that exists, or ends a subscription.
    pub async fn subscribe(&self, inbox: &InboxId, name: &str, wanted: bool) -> Result<(), MailboxError> {
        let (inbox, name) = (inbox.clone(), name.to_owned());
        self.write(move |connection| {
            if !wanted {
                let sql = "DELETE FROM subscription WHERE inbox_id = ?1 AND name = ?2";
                connection.prepare_cached(sql)?.execute(params![inbox, name])?;
                return Ok(());
            }
            if find(connection, &inbox, &name)?.is_none() {
                return Err(MailboxError::Missing);
            }
            // They outlive their mailboxes, so that the limit of those does not limit them.
            let sql = "SELECT count(*) FROM subscription WHERE inbox_id = ?1";
            let count: u32 = connection.prepare_cached(sql)?.query_row([&inbox], |row| row.get(0))?;
            if count >= 2 * MAILBOXES {
                return Err(MailboxError::TooMany);
            }
            let sql = "INSERT OR IGNORE INTO subscription (inbox_id, name) VALUES (?1, ?2)";
            connection.prepare_cached(sql)?.execute(params![inbox, name])?;
            Ok(())
        })
        .await
    }

    /// Makes a mailbox, and those above it that are missing.
    pub async fn mailbox_create(&self, inbox: &InboxId, name: &str) -> Result<(), MailboxError> {
        let (inbox, name) = (inbox.clone(), name.to_owned());
        self.write(move |connection| {
            if find(connection, &inbox, &name)?.is_some() {
                return Err(MailboxError::Exists);
            }
            create(connection, &inbox, &name)?;
            Ok(())
        })
        .await
    }

    /// Deletes a mailbox with its messages. Those below it stay (RFC 3501 §6.3.4). Answers its number once the mailbox is
    /// gone; its messages are removed in batches after that.
    pub async fn mailbox_delete(&self, inbox: &InboxId, name: &str) -> Result<i64, MailboxError> {
        let (of, name) = (inbox.clone(), name.to_owned());
        let hide = self.write(move |connection| {
            if name == INBOX {
                return Err(MailboxError::IsInbox);
            }
            let id = find(connection, &of, &name)?.ok_or(MailboxError::Missing)?;
            parts::hide(connection, id)?;
            Ok(id)
        });
        let id = hide.await?;
        let (store, inbox) = (self.clone(), inbox.clone());
        tokio::spawn(async move {
            if let Err(error) = store.finish_deletion(&inbox).await {
                tracing::warn!(%error, %inbox, "the messages of a deleted mailbox are removed after the next start");
            }
        });
        Ok(id)
    }

    /// Renames a mailbox and those below it. INBOX is another matter: its messages go to the new mailbox, and it stays,
    /// empty, with what is below it (RFC 3501 §6.3.5). Answers the number of the mailbox that changed.
    pub async fn mailbox_rename(&self, inbox: &InboxId, from: &str, to: &str) -> Result<i64, MailboxError> {
        let (inbox, from, to) = (inbox.clone(), from.to_owned(), to.to_owned());
        if from == INBOX {
            let of = inbox.clone();
            let id = self.read(move |connection| find(connection, &of, INBOX)).await?.ok_or(MailboxError::Missing)?;
            self.messages_rename(&inbox, id, &to).await?;
            return Ok(id);
        }
        self.write(move |connection| {
            if find(connection, &inbox, &to)?.is_some() {
                return Err(MailboxError::Exists);
            }
            let id = find(connection, &inbox, &from)?;
            let (first, end) = below(&from);
            if to.starts_with(&first) {
                return Err(MailboxError::BelowItself);
            }
            // The names are checked before: no half of them moves.
            let length = i64::try_from(from.chars().count()).unwrap_or(i64::MAX);
            let sql = "SELECT EXISTS (SELECT 1 FROM mailbox a JOIN mailbox b
                           ON b.inbox_id = a.inbox_id AND b.name = ?4 || substr(a.name, ?5 + 1)
                       WHERE a.inbox_id = ?1 AND a.name >= ?2 AND a.name < ?3)";
            if connection.prepare_cached(sql)?.query_row(params![inbox, first, end, to, length], |row| row.get(0))? {
                return Err(MailboxError::Exists);
            }
            let sql = "SELECT coalesce(max(octet_length(name)), 0) FROM mailbox
                       WHERE inbox_id = ?1 AND name >= ?2 AND name < ?3";
            let longest: usize = connection
                .prepare_cached(sql)?
                .query_row(params![inbox, first, end], |row| row.get::<_, i64>(0))?
                .unsigned_abs()
                .try_into()
                .unwrap_or(usize::MAX);
            if longest.saturating_sub(from.len()).saturating_add(to.len()) > NAME_OCTETS {
                return Err(MailboxError::TooLong);
            }
            create_above(connection, &inbox, &to)?;
            let sql = "UPDATE mailbox SET name = ?4 || substr(name, ?5 + 1)
                       WHERE inbox_id = ?1 AND (name = ?6 OR (name >= ?2 AND name < ?3))";
            let renamed = connection.prepare_cached(sql)?.execute(params![inbox, first, end, to, length, from])?;
            if renamed == 0 { Err(MailboxError::Missing) } else { Ok(id.unwrap_or_default()) }
        })
        .await
    }

    /// What STATUS tells.
    pub async fn mailbox_status(&self, inbox: &InboxId, name: &str) -> Result<Option<MailboxStatus>, StoreError> {
        let (inbox, name) = (inbox.clone(), name.to_owned());
        self.read(move |connection| {
            let row = |row: &rusqlite::Row<'_>| {
                Ok(MailboxStatus {
                    messages: row.get(0)?,
                    recent: row.get(1)?,
                    unseen: row.get(2)?,
                    uid_next: row.get(3)?,
                    uid_validity: row.get(4)?,
                    highest_modseq: row.get(5)?,
                })
            };
            Ok(connection.prepare_cached(STATUS)?.query_row(params![inbox, name], row).optional()?)
        })
        .await
    }
}

/// Makes a mailbox whose name is free, and those above it that are missing (RFC 3501 §6.3.3). Answers its number.
pub(super) fn create(connection: &Connection, inbox: &InboxId, name: &str) -> Result<i64, MailboxError> {
    create_above(connection, inbox, name)?;
    check_count(connection, inbox)?;
    Ok(insert(connection, inbox, name, None)?)
}

/// Makes the mailboxes above a name that are missing.
fn create_above(connection: &Connection, inbox: &InboxId, name: &str) -> Result<(), MailboxError> {
    for above in name.match_indices('/').filter_map(|(at, _)| name.get(..at)) {
        if find(connection, inbox, above)?.is_none() {
            check_count(connection, inbox)?;
            insert(connection, inbox, above, None)?;
        }
    }
    Ok(())
}

/// What is counted with every change of a message, of a mailbox and its parts.
const STATUS: &str =
    "SELECT sum(p.messages), sum(p.recent), sum(p.unseen), b.uid_next, b.uid_validity, b.highest_modseq
    FROM mailbox b JOIN mailbox p ON p.id = b.id OR p.part_of = b.id
    WHERE b.inbox_id = ?1 AND b.name = ?2 GROUP BY b.id";

/// Whether an inbox takes one more mailbox.
fn check_count(connection: &Connection, inbox: &InboxId) -> Result<(), MailboxError> {
    let sql = "SELECT count(*) FROM mailbox WHERE inbox_id = ?1 AND is_hidden = 0";
    let count: u32 = connection.prepare_cached(sql)?.query_row([inbox], |row| row.get(0))?;
    if count < MAILBOXES { Ok(()) } else { Err(MailboxError::TooMany) }
}

#[cfg(test)]
mod tests;
