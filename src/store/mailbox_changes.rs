//! STORE and EXPUNGE.
//!
//! Invariant: every verb takes the inbox and changes only that. Changed messages get a new mod-sequence and expunged ones a row
//! with it in `expunged`, so that all sessions that have selected the mailbox find the change.

use super::hot_rows::HotRow;
use super::keywords::{self, FlagError, InboxLimits};
use super::message_rows::{self, FlagsOf};
use super::messages::Flags;
use super::open_mailbox::{MessageFlags, message_flags};
use super::parts::Part;
use super::{Store, StoreError, Transaction, expunged, mailboxes, parts};
use crate::events::Event;
use crate::id::{InboxId, MailboxId};
use crate::store::engine::{Row, params};
use std::ops::ControlFlow;

/// The data item of STORE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagChange {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

#[derive(Clone, Debug)]
pub struct FlagUpdate {
    pub change: FlagChange,
    /// System flags.
    pub flags: Flags,
    /// Without duplicates.
    pub keywords: Vec<String>,
}

impl FlagUpdate {
    pub fn add(flags: Flags) -> Self {
        Self { change: FlagChange::Add, flags, keywords: Vec::new() }
    }

    /// The flags after the update.
    pub fn apply(&self, to: &MessageFlags) -> MessageFlags {
        let mut kept: Vec<&str> = to.keywords.split_ascii_whitespace().collect();
        let named = |keyword: &str| self.keywords.iter().any(|k| k.eq_ignore_ascii_case(keyword));
        let flags = match self.change {
            FlagChange::Replace => {
                kept.retain(|keyword| named(keyword));
                self.flags
            }
            FlagChange::Add => to.flags.union(self.flags),
            FlagChange::Remove => to.flags.difference(self.flags),
        };
        // Existing keywords keep their spelling and order: the same ones in another order are no change.
        kept.retain(|keyword| !(self.change == FlagChange::Remove && named(keyword)));
        if self.change != FlagChange::Remove {
            for keyword in &self.keywords {
                if !kept.iter().any(|k| k.eq_ignore_ascii_case(keyword)) {
                    kept.push(keyword);
                }
            }
        }
        MessageFlags { uid: to.uid, flags, keywords: kept.join(" ").into() }
    }
}

fn next_modseq(connection: &Transaction<'_>, mailbox: MailboxId) -> Result<i64, StoreError> {
    Ok(mailboxes::next_uids(connection, mailbox, 0)?.modseq)
}

/// 8 is [`Flags::DELETED`]: the condition is that of the index `message_deleted`.
fn deleted(connection: &Transaction<'_>, inbox: &InboxId, mailbox: MailboxId) -> Result<Vec<(u32, i64)>, StoreError> {
    let mut deleted = Vec::new();
    for part in parts::of(connection, inbox, mailbox)? {
        let sql = "SELECT m.uid, c.size FROM message m JOIN content c ON c.id = m.content_id
                   WHERE m.mailbox_id + 0 = ?1 AND m.flags & 8 = 8 ORDER BY m.uid";
        connection.for_each(sql, params![part.id], |row| {
            deleted.push((part.shown(row.get(0)?), row.get(1)?));
            Ok(ControlFlow::Continue(()))
        })?;
    }
    deleted.sort_unstable();
    Ok(deleted)
}

fn expunge(connection: &Transaction<'_>, inbox: &InboxId, mailbox: MailboxId, uids: &[u32]) -> Result<(), StoreError> {
    let condition = format!("{} AND flags & ?2 <> 0", parts::is_listed(connection, 1));
    remove(connection, inbox, mailbox, |part| {
        message_rows::remove(connection, inbox, part.id, &condition, params![part.list(uids), Flags::DELETED])
    })
}

/// Removes messages of each of a mailbox's rows, and notes and publishes which. `of_part` removes those of one, and returns their UIDs as stored.
pub(super) fn remove(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    mailbox: MailboxId,
    of_part: impl Fn(Part) -> Result<Vec<i64>, StoreError>,
) -> Result<(), StoreError> {
    let mut gone = Vec::new();
    for part in parts::of(connection, inbox, mailbox)? {
        gone.extend(of_part(part)?.into_iter().map(|stored| part.shown(stored)));
    }
    if !gone.is_empty() {
        let modseq = expunged::note(connection, mailbox, gone.iter().copied())?;
        connection.publish_of_inbox(inbox, Event::MessagesRemoved { inbox_id: inbox.clone(), mailbox, modseq })?;
    }
    Ok(())
}

/// Messages whose flags are updated.
pub(super) struct ToFlag<'a> {
    pub inbox: &'a InboxId,
    pub mailbox: MailboxId,
    pub uids: &'a [u32],
    /// Messages with a higher mod-sequence keep their flags.
    pub unchanged_since: Option<i64>,
    /// The keywords that the update may add.
    pub added: &'a [String],
    pub limits: InboxLimits,
}

/// Messages after an update of flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flagged {
    /// Their flags and mod-sequences, UIDs ascending.
    pub messages: Vec<(MessageFlags, i64)>,
    /// UIDs of those that were not updated, because they have changed (RFC 7162 §3.1.3), ascending.
    pub changed: Vec<u32>,
}

/// Updates the flags of those of the messages that exist.
pub(super) fn flag(
    connection: &Transaction<'_>,
    to_flag: &ToFlag<'_>,
    update: impl Fn(&MessageFlags) -> MessageFlags,
) -> Result<Flagged, FlagError> {
    let ToFlag { inbox, mailbox, uids, unchanged_since, added, limits: InboxLimits { quota, keywords: limits, .. } } =
        *to_flag;
    let mut after = Flagged { messages: Vec::with_capacity(uids.len()), changed: Vec::new() };
    let parts = parts::of(connection, inbox, mailbox)?;
    let adds = !added.is_empty() && !uids.is_empty();
    let size_before = keywords::inbox_size(connection, inbox)?;
    if adds {
        keywords::check(connection, &parts, added, limits)?;
    }
    let mut modseq = None;
    for part in parts {
        let mut changes = Vec::new();
        for (before, last) in flags_of(connection, part, uids)? {
            if unchanged_since.is_some_and(|unchanged_since| last > unchanged_since) {
                after.changed.push(before.uid);
                continue;
            }
            let now = update(&before);
            if now == before {
                after.messages.push((now, last));
                continue;
            }
            let count = |message: &MessageFlags| message.keywords.split_ascii_whitespace().count();
            if count(&now) > limits.per_message.max(count(&before)) {
                return Err(FlagError::TooManyOfMessage(limits.per_message));
            }
            let modseq = match modseq {
                Some(modseq) => modseq,
                None => *modseq.insert(next_modseq(connection, mailbox)?),
            };
            after.messages.push((now.clone(), modseq));
            changes.push(FlagsOf { before, now });
        }
        if let Some(modseq) = modseq.filter(|_| !changes.is_empty()) {
            message_rows::set_flags(connection, inbox, part, &changes, modseq)?;
        }
    }
    if let Some(modseq) = modseq {
        let event = Event::FlagsChanged { inbox_id: inbox.clone(), mailbox, modseq };
        connection.publish_of_inbox(inbox, event)?;
    }
    after.messages.sort_unstable_by_key(|(message, _)| message.uid);
    after.changed.sort_unstable();
    if adds && keywords::inbox_size(connection, inbox)? > quota.octets.max(size_before) {
        return Err(FlagError::Full);
    }
    Ok(after)
}

/// Flags and mod-sequences of those of the messages that are in the part.
fn flags_of(connection: &Transaction<'_>, part: Part, uids: &[u32]) -> Result<Vec<(MessageFlags, i64)>, StoreError> {
    let sql = format!("SELECT uid, flags, keywords, modseq FROM message WHERE {}", parts::is_listed(connection, 1));
    let row = |row: &Row<'_>| Ok((message_flags(row, part)?, part.modseq(row.get(3)?)));
    connection.query(&sql, params![part.list(uids)], row)
}

impl Store {
    /// Updates the flags of those of the messages that exist and, with `unchanged_since`, have no higher mod-sequence.
    pub async fn messages_flag(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uids: Vec<u32>,
        unchanged_since: Option<i64>,
        update: FlagUpdate,
        limits: InboxLimits,
    ) -> Result<Flagged, FlagError> {
        let of = inbox.clone();
        self.write_serialized(&[HotRow::Inbox(inbox.clone())], move |connection| {
            let added: &[String] = if update.change == FlagChange::Remove { &[] } else { &update.keywords };
            let to_flag = ToFlag { inbox: &of, mailbox, uids: &uids, unchanged_since, added, limits };
            flag(connection, &to_flag, |before| update.apply(before))
        })
        .await
    }

    /// Messages with `\Deleted`, UIDs ascending, each with its size in octets.
    pub async fn messages_deleted(&self, inbox: &InboxId, mailbox: MailboxId) -> Result<Vec<(u32, i64)>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| deleted(connection, &inbox, mailbox)).await
    }

    /// Removes those of the messages that exist and have `\Deleted`.
    pub async fn messages_expunge(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        uids: Vec<u32>,
    ) -> Result<(), StoreError> {
        let inbox = inbox.clone();
        let hot_row = [HotRow::Inbox(inbox.clone())];
        self.write_serialized(&hot_row, move |transaction| expunge(transaction, &inbox, mailbox, &uids)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_keywords_in_another_order_are_no_change() {
        let before = MessageFlags { uid: 1, flags: Flags::SEEN, keywords: "$Later Work".into() };
        let after = |keywords: &[&str]| {
            let keywords = keywords.iter().map(|&keyword| keyword.to_owned()).collect();
            FlagUpdate { change: FlagChange::Replace, flags: Flags::SEEN, keywords }.apply(&before)
        };
        assert_eq!(after(&["WORK", "$Later"]), before);
        assert_eq!(&*after(&["new", "work"]).keywords, "Work new");
        assert_eq!(&*after(&[]).keywords, "");
    }
}
