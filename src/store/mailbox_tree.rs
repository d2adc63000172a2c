//! CREATE, DELETE, RENAME and SUBSCRIBE.
//!
//! Invariant: every verb asks for the inbox and touches nothing of another's.

use super::mailboxes::{INBOX, MailboxError, NAME_OCTETS, find, insert};
use super::turns::Turn;
use super::{Store, Transaction, parts};
use crate::events::Event;
use crate::id::{InboxId, MailboxId};
use crate::store::engine::params;

/// Mailboxes of one inbox at most: each costs every LIST.
const MAILBOXES: u32 = 1000;
/// Subscriptions of one inbox at most: they outlive their mailboxes, so there are more than of those.
const SUBSCRIPTIONS: u32 = 2 * MAILBOXES;

/// The range of names below `name`: `/` is followed by `0`.
fn below(name: &str) -> (String, String) {
    (format!("{name}/"), format!("{name}0"))
}

impl Store {
    /// Subscribes to a mailbox that exists, or ends a subscription.
    pub async fn mailbox_subscribe(&self, inbox: &InboxId, name: &str, wanted: bool) -> Result<(), MailboxError> {
        let (turn, inbox, name) = ([Turn::Inbox(inbox.clone())], inbox.clone(), name.to_owned());
        self.write_in_turn(&turn, move |connection| {
            if !wanted {
                let sql = "DELETE FROM subscription WHERE inbox_id = ?1 AND name = ?2";
                connection.execute(sql, params![inbox, name])?;
                return Ok(());
            }
            if find(connection, &inbox, &name)?.is_none() {
                return Err(MailboxError::Missing);
            }
            let sql = "INSERT INTO subscription (inbox_id, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            let is_new = connection.execute(sql, params![inbox, name])? == 1;
            let sql = "SELECT count(*) FROM subscription WHERE inbox_id = ?1";
            let count: u32 = connection.query_row(sql, params![&inbox], |row| row.get(0))?;
            if is_new && count > SUBSCRIPTIONS {
                return Err(MailboxError::TooManySubscriptions(SUBSCRIPTIONS));
            }
            Ok(())
        })
        .await
    }

    /// Makes a mailbox, and those above it that are missing.
    pub async fn mailbox_create(&self, inbox: &InboxId, name: &str) -> Result<(), MailboxError> {
        let (turn, inbox, name) = ([Turn::Inbox(inbox.clone())], inbox.clone(), name.to_owned());
        self.write_in_turn(&turn, move |connection| {
            if find(connection, &inbox, &name)?.is_some() {
                return Err(MailboxError::Exists);
            }
            create(connection, &inbox, &name)?;
            Ok(())
        })
        .await
    }

    /// Hides a mailbox: it is gone, and its messages belong to no mailbox. Those below it stay (RFC 3501 §6.3.4).
    pub async fn mailbox_delete(&self, inbox: &InboxId, name: &str) -> Result<MailboxId, MailboxError> {
        let (turn, inbox, name) = ([Turn::Inbox(inbox.clone())], inbox.clone(), name.to_owned());
        self.write_in_turn(&turn, move |transaction| {
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
        let (turn, inbox, from, to) = ([Turn::Inbox(inbox.clone())], inbox.clone(), from.to_owned(), to.to_owned());
        self.write_in_turn(&turn, move |connection| {
            if find(connection, &inbox, &to)?.is_some() {
                return Err(MailboxError::Exists);
            }
            let (first, end) = below(&from);
            if to.starts_with(&first) {
                return Err(MailboxError::BelowItself);
            }
            // The names are checked before: no half of them moves.
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
            if renamed == 0 { Err(MailboxError::Missing) } else { Ok(()) }
        })
        .await
    }
}

/// Makes a mailbox whose name is free, and those above it that are missing (RFC 3501 §6.3.3).
pub(super) fn create(connection: &Transaction<'_>, inbox: &InboxId, name: &str) -> Result<MailboxId, MailboxError> {
    create_above(connection, inbox, name)?;
    check_count(connection, inbox)?;
    Ok(insert(connection, inbox, name, None)?)
}

/// Makes the mailboxes above a name that are missing.
fn create_above(connection: &Transaction<'_>, inbox: &InboxId, name: &str) -> Result<(), MailboxError> {
    for above in name.match_indices('/').filter_map(|(at, _)| name.get(..at)) {
        if find(connection, inbox, above)?.is_none() {
            check_count(connection, inbox)?;
            insert(connection, inbox, above, None)?;
        }
    }
    Ok(())
}

/// Whether an inbox takes one more mailbox.
fn check_count(connection: &Transaction<'_>, inbox: &InboxId) -> Result<(), MailboxError> {
    let sql = "SELECT count(*) FROM mailbox WHERE inbox_id = ?1 AND is_hidden = 0";
    let count: u32 = connection.query_row(sql, params![inbox], |row| row.get(0))?;
    if count < MAILBOXES { Ok(()) } else { Err(MailboxError::TooMany(MAILBOXES)) }
}
