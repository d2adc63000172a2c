//! Messages in Trash and Junk that have expired.

use super::mailboxes::MailboxKind;
use super::{Store, StoreError, Transaction, mailbox_changes, message_rows, parts};
use crate::clock::Timestamp;
use crate::config::Retention;
use crate::id::{InboxId, MailboxId, MessageId};
use crate::store::engine::{Row, params};
use crate::store::hot_rows::HotRow;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Days until messages of an inbox expire in Trash and in Junk: `None` for the configured default, 0 for never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnRetention {
    pub trash_days: Option<u16>,
    pub junk_days: Option<u16>,
}

/// A mailbox whose messages expire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    pub inbox: InboxId,
    pub mailbox: MailboxId,
    days: u16,
}

impl Expiring {
    /// Messages that arrived in the mailbox before this time are expired at `now`.
    pub fn before(&self, now: Timestamp) -> Timestamp {
        let kept = DAY * u32::from(self.days);
        Timestamp::from_millis(now.millis().saturating_sub(i64::try_from(kept.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// A condition on rows of `message`: neither added, moved nor changed since `?2`; `?3` is the first message ID of that time.
const IS_EXPIRED: &str = "changed_at < ?2 AND message.id < ?3";

fn expired(
    connection: &Transaction<'_>,
    Expiring { inbox, mailbox, .. }: &Expiring,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<(u32, i64)>, StoreError> {
    let sql = format!(
        "SELECT uid, (SELECT size FROM content WHERE id = content_id) FROM message WHERE mailbox_id = ?1 AND {IS_EXPIRED}
         ORDER BY uid LIMIT ?4"
    );
    let mut found = Vec::new();
    for part in parts::of(connection, inbox, *mailbox)? {
        let values = params![part.id, before, MessageId::first_at(before), limit];
        found.extend(connection.query(&sql, values, |row| Ok((part.shown(row.get(0)?), row.get(1)?)))?);
    }
    Ok(found)
}

impl Store {
    /// Up to `limit` mailboxes after `after` that are Trash or Junk and have messages that expire.
    pub async fn mailboxes_with_retention(
        &self,
        after: MailboxId,
        default: Retention,
        limit: u32,
    ) -> Result<Vec<Expiring>, StoreError> {
        let (trash, junk) = (MailboxKind::Trash, MailboxKind::Junk);
        self.read(move |connection| {
            let sql = "WITH found AS (
                           SELECT b.id, b.inbox_id, CASE coalesce(b.special_use, b.name)
                               WHEN ?2 THEN coalesce(i.trash_days, ?6) WHEN ?3 THEN coalesce(i.trash_days, ?6)
                               ELSE coalesce(i.junk_days, ?7) END AS days
                           FROM mailbox b JOIN inbox i ON i.id = b.inbox_id
                           WHERE b.id > ?1 AND b.is_hidden = 0
                           AND (b.messages > 0 OR EXISTS (SELECT 1 FROM mailbox p WHERE p.part_of = b.id))
                           AND (b.special_use IN (?2, ?4) OR (b.special_use IS NULL AND b.name IN (?3, ?5))))
                       SELECT id, inbox_id, days FROM found WHERE days > 0 ORDER BY id LIMIT ?8";
            let values = params![
                after,
                trash.special_use(),
                trash.name(),
                junk.special_use(),
                junk.name(),
                default.trash_days,
                default.junk_days,
                limit,
            ];
            connection.query(sql, values, |row: &Row<'_>| {
                Ok(Expiring { mailbox: row.get(0)?, inbox: row.get(1)?, days: row.get(2)? })
            })
        })
        .await
    }

    /// UIDs and sizes of expired messages, up to `limit` from each part of the mailbox.
    pub async fn messages_expired(
        &self,
        mailbox: &Expiring,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(u32, i64)>, StoreError> {
        let mailbox = mailbox.clone();
        self.read(move |connection| expired(connection, &mailbox, before, limit)).await
    }

    /// Removes those of the messages that are still in the mailbox and still expired.
    pub async fn messages_remove_expired(
        &self,
        Expiring { inbox, mailbox, .. }: Expiring,
        before: Timestamp,
        uids: Vec<u32>,
    ) -> Result<(), StoreError> {
        let hot_row = [HotRow::Inbox(inbox.clone())];
        self.write_serialized(&hot_row, move |connection| {
            let condition = format!("{} AND {IS_EXPIRED}", parts::is_listed(connection, 1));
            let first = MessageId::first_at(before);
            mailbox_changes::remove(connection, &inbox, mailbox, |part| {
                message_rows::remove(connection, &inbox, part.id, &condition, params![part.list(&uids), before, first])
            })
        })
        .await
    }
}
