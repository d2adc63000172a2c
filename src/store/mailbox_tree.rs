//! CREATE, DELETE, RENAME and SUBSCRIBE.
//!
//! Invariant: every verb takes the inbox and changes only that.

use super::hot_rows::HotRow;
use super::mailboxes::{INBOX, MailboxError, MailboxKind, NAME_OCTETS, find, insert};
use super::{Store, StoreError, Transaction, parts};
use crate::events::Event;
use crate::id::{InboxId, MailboxId};
use crate::store::engine::params;

/// Mailboxes per inbox; LIST takes time linear in their number.
const MAX_MAILBOXES: u32 = 1000;
/// Subscriptions per inbox. The limit is higher because subscriptions remain when mailboxes are deleted.
const MAX_SUBSCRIPTIONS: u32 = 2 * MAX_MAILBOXES;

/// The range of the names below `name`; the end is exclusive (`0` is the character after `/`).
fn below(name: &str) -> (String, String) {
    (format!("{name}/"), format!("{name}0"))
}

impl Store {
    /// Subscribes to an existing mailbox, or, with `subscribe` false, unsubscribes.
    pub async fn mailbox_subscribe(&self, inbox: &InboxId, name: &str, subscribe: bool) -> Result<(), MailboxError> {
        let (hot_row, inbox, name) = ([HotRow::Inbox(inbox.clone())], inbox.clone(), name.to_owned());
        self.write_serialized(&hot_row, move |connection| {
            if !subscribe {
                let sql = "DELETE FROM subscription WHERE inbox_id = ?1 AND name = ?2";
                if connection.execute(sql, params![inbox, name])? > 0 {
                    publish(connection, &inbox)?;
                }
                return Ok(());
            }
            if find(connection, &inbox, &name)?.is_none() {
                return Err(MailboxError::Missing);
            }
            let sql = "INSERT INTO subscription (inbox_id, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            let is_new = connection.execute(sql, params![inbox, name])? == 1;
            let sql = "SELECT count(*) FROM subscription WHERE inbox_id = ?1";
            let count: u32 = connection.query_row(sql, params![&inbox], |row| row.get(0))?;
            if is_new && count > MAX_SUBSCRIPTIONS {
                return Err(MailboxError::TooManySubscriptions(MAX_SUBSCRIPTIONS));
            }
            if is_new {
                publish(connection, &inbox)?;
            }
            Ok(())
        })
        .await
    }

    /// Creates a mailbox, and missing ones above it in the hierarchy. Its special use, if any, must be that of no other mailbox of the
    /// inbox (RFC 6154 §3 leaves that to the server). Returns UIDVALIDITY.
    pub async fn mailbox_create(
        &self,
        inbox: &InboxId,
        name: &str,
        special_use: Option<MailboxKind>,
    ) -> Result<u32, MailboxError> {
        let (hot_row, inbox, name) = ([HotRow::Inbox(inbox.clone())], inbox.clone(), name.to_owned());
        self.write_serialized(&hot_row, move |connection| {
            if find(connection, &inbox, &name)?.is_some() {
                return Err(MailboxError::Exists);
            }
            let created = create(connection, &inbox, &name)?;
            if let Some(kind) = special_use {
                set_use(connection, &inbox, created, kind)?;
            }
            let sql = "SELECT uid_validity FROM mailbox WHERE id = ?1";
            Ok(connection.query_row(sql, params![created], |row| row.get(0))?)
        })
        .await
    }

    /// Deletes a mailbox by hiding its row; its messages are removed later. Mailboxes below it are kept (RFC 3501 §6.3.4).
    pub async fn mailbox_delete(&self, inbox: &InboxId, name: &str) -> Result<MailboxId, MailboxError> {
        let (hot_row, inbox, name) = ([HotRow::Inbox(inbox.clone())], inbox.clone(), name.to_owned());
        self.write_serialized(&hot_row, move |transaction| {
            if name == INBOX {
                return Err(MailboxError::IsInbox);
            }
            let id = find(transaction, &inbox, &name)?.ok_or(MailboxError::Missing)?;
            parts::hide(transaction, id)?;
            let event = Event::MailboxDeleted { inbox_id: inbox.clone(), mailbox: id };
            transaction.publish_of_inbox(&inbox, event)?;
            Ok(id)
        })
        .await
    }

    /// Renames a mailbox other than INBOX, and those below it.
    pub async fn mailbox_rename(&self, inbox: &InboxId, from: &str, to: &str) -> Result<(), MailboxError> {
        let (hot_row, inbox, from, to) =
            ([HotRow::Inbox(inbox.clone())], inbox.clone(), from.to_owned(), to.to_owned());
        self.write_serialized(&hot_row, move |connection| {
            if find(connection, &inbox, &to)?.is_some() {
                return Err(MailboxError::Exists);
            }
            let (first, end) = below(&from);
            if to.starts_with(&first) {
                return Err(MailboxError::BelowItself);
            }
            // All new names are checked before any mailbox is renamed.
            let length = i64::try_from(from.chars().count()).unwrap_or(i64::MAX);
            let sql = "SELECT EXISTS (SELECT 1 FROM mailbox a JOIN mailbox b
                           ON b.inbox_id = a.inbox_id AND b.name = ?4 || substr(a.name, ?5 + 1)
                       WHERE a.inbox_id = ?1 AND a.name >= ?2 AND a.name < ?3)";
            if connection.query_row(sql, params![inbox, first, end, to, length], |row| row.get(0))? {
                return Err(MailboxError::Exists);
            }
            let sql = "SELECT coalesce(max(octet_length(name)), 0) FROM mailbox
                       WHERE inbox_id = ?1 AND name >= ?2 AND name < ?3";
            let longest: usize = connection
                .query_row(sql, params![inbox, first, end], |row| row.get::<i64>(0))?
                .unsigned_abs()
                .try_into()
                .unwrap_or(usize::MAX);
            if longest.saturating_sub(from.len()).saturating_add(to.len()) > NAME_OCTETS {
                return Err(MailboxError::TooLong);
            }
            create_above(connection, &inbox, &to)?;
            let sql = "UPDATE mailbox SET name = ?4 || substr(name, ?5 + 1)
                       WHERE inbox_id = ?1 AND (name = ?6 OR (name >= ?2 AND name < ?3))";
            let renamed = connection.execute(sql, params![inbox, first, end, to, length, from])?;
            if renamed == 0 {
                return Err(MailboxError::Missing);
            }
            Ok(publish(connection, &inbox)?)
        })
        .await
    }
}

/// Creates a mailbox whose name must be free, and missing ones above it (RFC 3501 §6.3.3).
pub(super) fn create(connection: &Transaction<'_>, inbox: &InboxId, name: &str) -> Result<MailboxId, MailboxError> {
    create_above(connection, inbox, name)?;
    check_count(connection, inbox)?;
    let created = insert(connection, inbox, name, None)?;
    publish(connection, inbox)?;
    Ok(created)
}

fn publish(connection: &Transaction<'_>, inbox: &InboxId) -> Result<(), StoreError> {
    connection.publish_of_inbox(inbox, Event::MailboxesChanged { inbox_id: inbox.clone() })
}

/// Gives a mailbox a special use that no other one has. INBOX has its own always.
fn set_use(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    mailbox: MailboxId,
    kind: MailboxKind,
) -> Result<(), MailboxError> {
    let sql = "SELECT 1 FROM mailbox WHERE inbox_id = ?1 AND special_use = ?2 AND is_hidden = 0";
    if kind == MailboxKind::Inbox || connection.exists(sql, params![inbox, kind.special_use()])? {
        return Err(MailboxError::UseTaken(kind.special_use()));
    }
    connection.execute("UPDATE mailbox SET special_use = ?2 WHERE id = ?1", params![mailbox, kind.special_use()])?;
    Ok(())
}

fn create_above(connection: &Transaction<'_>, inbox: &InboxId, name: &str) -> Result<(), MailboxError> {
    for above in name.match_indices('/').filter_map(|(at, _)| name.get(..at)) {
        if find(connection, inbox, above)?.is_none() {
            check_count(connection, inbox)?;
            insert(connection, inbox, above, None)?;
        }
    }
    Ok(())
}

/// Fails if the inbox has the maximum of mailboxes.
fn check_count(connection: &Transaction<'_>, inbox: &InboxId) -> Result<(), MailboxError> {
    let sql = "SELECT count(*) FROM mailbox WHERE inbox_id = ?1 AND is_hidden = 0";
    let count: u32 = connection.query_row(sql, params![inbox], |row| row.get(0))?;
    if count < MAX_MAILBOXES { Ok(()) } else { Err(MailboxError::TooMany(MAX_MAILBOXES)) }
}
