//! COPY, MOVE, and RENAME of INBOX, for the service `mailbox`: in one transaction, or in batches into a hidden row, which
//! [`Store::transfer_publish`] makes a part of the target ([`super::parts`]).

use super::batch::BATCH;
use super::hot_rows::HotRow;
use super::keywords;
use super::long_changes;
use super::mailbox_tree;
use super::mailboxes::{self, MailboxError};
use super::message_rows::{self, Going};
use super::parts::{self, Part};
use super::quota::{self, Quota};
use super::{Store, StoreError, Transaction, expunged};
use crate::events::Event;
use crate::id::{InboxId, MailboxId, RunnerId};
use crate::store::engine::{Row, params};
use std::ops::ControlFlow;

/// A MOVE in batches preserves the gaps between UIDs. It fails if the target's UIDNEXT would exceed this, so that half of the
/// UIDs remain for other messages.
const MAX_UID_NEXT: i64 = u32::MAX as i64 / 2;

/// The result of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The target.
    pub mailbox: MailboxId,
    pub uid_validity: u32,
    /// Source and target UIDs, ascending, without messages that did not exist.
    pub uids: Vec<(u32, u32)>,
}

#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("there is no mailbox with this name")]
    NoSuchMailbox,
    #[error("the inbox is full")]
    Full,
    #[error("a mailbox can have at most {0} different keywords (limits.keywords_per_mailbox)")]
    TooManyKeywords(usize),
    #[error("the gaps between the UIDs of these messages are too large: move {BATCH} at a time")]
    TooFarApart,
    /// The target of a rename could not be created.
    #[error(transparent)]
    NotCreated(MailboxError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TransferError> for MailboxError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Store(error) => Self::Store(error),
            TransferError::NotCreated(error) => error,
            // A rename has a new target, keeps UIDs, and copies nothing.
            other => Self::Store(StoreError::Corrupt(other.to_string())),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Copy {
        quota: Quota,
    },
    Move,
    /// A move to a new mailbox that preserves UIDs.
    Rename,
}

/// A transfer of messages to another mailbox.
#[derive(Clone, Debug)]
pub struct Transfer {
    pub inbox: InboxId,
    pub from: MailboxId,
    /// The name of the target.
    pub to: String,
    pub kind: Kind,
    /// The maximum of different keywords in the target.
    pub keywords: usize,
}

impl Transfer {
    fn publish_added(&self, to: &Transaction<'_>, mailbox: MailboxId, modseq: i64) -> Result<(), StoreError> {
        let inbox_id = self.inbox.clone();
        to.publish_of_inbox(&self.inbox, Event::MessagesAdded { inbox_id, mailbox, modseq })
    }

    fn publish_removed(&self, to: &Transaction<'_>, modseq: i64) -> Result<(), StoreError> {
        let inbox_id = self.inbox.clone();
        to.publish_of_inbox(&self.inbox, Event::MessagesRemoved { inbox_id, mailbox: self.from, modseq })
    }
}

impl Store {
    /// The ID of a mailbox and the UIDs of its messages, ascending. `None` if there is no such mailbox.
    pub async fn mailbox_uids(&self, inbox: &InboxId, name: &str) -> Result<Option<(MailboxId, Vec<u32>)>, StoreError> {
        let (inbox, name) = (inbox.clone(), name.to_owned());
        self.read(move |connection| {
            let Some(id) = mailboxes::find(connection, &inbox, &name)? else { return Ok(None) };
            Ok(Some((id, all_uids(connection, &parts::of(connection, &inbox, id)?)?)))
        })
        .await
    }

    /// Transfers messages in one transaction.
    pub async fn transfer_at_once(&self, transfer: Transfer, uids: Vec<u32>) -> Result<Copied, TransferError> {
        let hot_row = [HotRow::Inbox(transfer.inbox.clone())];
        self.write_serialized(&hot_row, move |transaction| at_once(transaction, &transfer, &uids)).await
    }

    /// Begins a transfer in batches: checks the target, reserves the quota for copies, and inserts the hidden row.
    pub async fn transfer_begin(&self, transfer: &Transfer, uids: &[u32]) -> Result<MailboxId, TransferError> {
        let (octets, messages) = match transfer.kind {
            Kind::Copy { .. } => {
                let (inbox, from, uids) = (transfer.inbox.clone(), transfer.from, uids.to_vec());
                self.read(move |connection| size_of(connection, &parts::of(connection, &inbox, from)?, &uids)).await?
            }
            Kind::Move | Kind::Rename => (0, 0),
        };
        let transfer = transfer.clone();
        let hot_row = [HotRow::Inbox(transfer.inbox.clone())];
        self.write_serialized(&hot_row, move |connection| {
            match transfer.kind {
                Kind::Rename => {}
                Kind::Copy { .. } | Kind::Move => {
                    find(connection, &transfer)?;
                }
            }
            let Kind::Copy { quota } = transfer.kind else {
                return Ok(parts::insert_hidden(connection, &transfer.inbox, Some(transfer.from))?);
            };
            if !quota::allows_messages(connection, &transfer.inbox, octets, messages, quota)? {
                return Err(TransferError::Full);
            }
            let hidden = parts::insert_hidden(connection, &transfer.inbox, None)?;
            let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            parts::reserve(connection, hidden, signed(octets), signed(messages))?;
            Ok(hidden)
        })
        .await
    }

    /// Adds a batch to the hidden row, which has `before` messages. Returns the source UID and the UID in the hidden row of each.
    pub async fn transfer_gather(
        &self,
        transfer: Transfer,
        hidden: MailboxId,
        before: usize,
        uids: Vec<u32>,
    ) -> Result<Vec<(u32, u32)>, TransferError> {
        let hot_row = [HotRow::Inbox(transfer.inbox.clone())];
        self.write_serialized(&hot_row, move |transaction| {
            let from = parts::of(transaction, &transfer.inbox, transfer.from)?;
            match transfer.kind {
                Kind::Copy { .. } => {
                    let before = u32::try_from(before).unwrap_or(u32::MAX);
                    gather_copies(transaction, &transfer.inbox, &from, hidden, before, &uids)
                }
                Kind::Move | Kind::Rename => gather(transaction, &from, hidden, &uids),
            }
        })
        .await
    }

    /// Makes the hidden row a part of the target. Fails if `owner` has lost the lease of the inbox's long change; another daemon
    /// then finishes the row.
    pub async fn transfer_publish(
        &self,
        transfer: Transfer,
        hidden: MailboxId,
        gathered: Vec<(u32, u32)>,
        owner: RunnerId,
    ) -> Result<Copied, TransferError> {
        let hot_row = [HotRow::Inbox(transfer.inbox.clone())];
        let published = self.write_serialized(&hot_row, move |transaction| {
            long_changes::check_owner(transaction, &transfer.inbox, &owner)?;
            publish(transaction, &transfer, hidden, &gathered)
        });
        published.await
    }
}

/// Transfers messages in this transaction.
pub(super) fn at_once(
    connection: &Transaction<'_>,
    transfer: &Transfer,
    uids: &[u32],
) -> Result<Copied, TransferError> {
    let from = parts::of(connection, &transfer.inbox, transfer.from)?;
    let target = match transfer.kind {
        Kind::Rename => create_target(connection, transfer)?,
        Kind::Copy { .. } | Kind::Move => find(connection, transfer)?,
    };
    let mut copied = Copied { mailbox: target.id, uid_validity: target.uid_validity, uids: Vec::new() };
    let existing = parts::holders(connection, &from, uids)?;
    if existing.is_empty() {
        return Ok(copied);
    }
    if let Kind::Copy { quota } = transfer.kind {
        let (octets, messages) = size_of(connection, &from, uids)?;
        if !quota::allows_messages(connection, &transfer.inbox, octets, messages, quota)? {
            return Err(TransferError::Full);
        }
    }
    let keywords_before = keywords::count(connection, std::iter::once(target.id))?;
    let count = u32::try_from(existing.len()).unwrap_or(u32::MAX);
    let next =
        mailboxes::next_uids(connection, target.id, if matches!(transfer.kind, Kind::Rename) { 0 } else { count })?;
    let keeps_uids = matches!(transfer.kind, Kind::Rename);
    let numbered = existing.into_iter().zip(next.first_uid..);
    let messages: Vec<Going> =
        numbered.map(|((uid, part), next)| Going { part, uid, to: if keeps_uids { uid } else { next } }).collect();
    match transfer.kind {
        Kind::Copy { .. } => {
            message_rows::copy(connection, &transfer.inbox, &messages, target.id, next.modseq)?;
        }
        Kind::Move | Kind::Rename => message_rows::relocate(connection, &messages, target.id, Some(next.modseq))?,
    }
    copied.uids = messages.iter().map(|message| (message.uid, message.to)).collect();
    let keywords = keywords::count(connection, std::iter::once(target.id))?;
    if keywords > keywords_before.max(transfer.keywords) {
        return Err(TransferError::TooManyKeywords(transfer.keywords));
    }
    transfer.publish_added(connection, target.id, next.modseq)?;
    if !matches!(transfer.kind, Kind::Copy { .. }) {
        let modseq = expunged::note(connection, transfer.from, copied.uids.iter().map(|(uid, _)| *uid))?;
        transfer.publish_removed(connection, modseq)?;
    }
    Ok(copied)
}

/// Copies a batch to the hidden row, which has `before` messages. Returns source and target UIDs.
fn gather_copies(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    from: &[Part],
    hidden: MailboxId,
    before: u32,
    uids: &[u32],
) -> Result<Vec<(u32, u32)>, TransferError> {
    let numbered = parts::holders(connection, from, uids)?.into_iter().zip(before.saturating_add(1)..);
    let messages: Vec<Going> = numbered.map(|((uid, part), to)| Going { part, uid, to }).collect();
    let (octets, count) = message_rows::copy(connection, inbox, &messages, hidden, 1)?;
    parts::release(connection, hidden, octets, count)?;
    Ok(messages.iter().map(|message| (message.uid, message.to)).collect())
}

/// Relocates a batch to the hidden row, which is a part of the source mailbox: UIDs are preserved.
fn gather(
    connection: &Transaction<'_>,
    from: &[Part],
    hidden: MailboxId,
    uids: &[u32],
) -> Result<Vec<(u32, u32)>, TransferError> {
    let existing = parts::holders(connection, from, uids)?;
    let messages: Vec<Going> = existing.into_iter().map(|(uid, part)| Going { part, uid, to: uid }).collect();
    message_rows::relocate(connection, &messages, hidden, None)?;
    Ok(messages.iter().map(|message| (message.uid, message.to)).collect())
}

/// Makes the hidden row a part of the target: in one transaction, its messages appear in the target, and moved ones leave the
/// source.
fn publish(
    connection: &Transaction<'_>,
    transfer: &Transfer,
    hidden: MailboxId,
    gathered: &[(u32, u32)],
) -> Result<Copied, TransferError> {
    let target = match transfer.kind {
        Kind::Rename => create_target(connection, transfer)?,
        Kind::Copy { .. } | Kind::Move => find(connection, transfer)?,
    };
    let mut copied = Copied { mailbox: target.id, uid_validity: target.uid_validity, uids: Vec::new() };
    let is_copy = matches!(transfer.kind, Kind::Copy { .. });
    let sql = "SELECT part_of FROM mailbox WHERE id = ?1";
    let part_of: Option<MailboxId> = connection.query_row(sql, params![hidden], |row| row.get(0))?;
    if !is_copy && part_of != Some(transfer.from) {
        // The source mailbox was deleted with its messages.
        return Ok(copied);
    }
    let (Some((_, first)), Some((_, last))) = (gathered.first(), gathered.last()) else { return Ok(copied) };
    let there = parts::of(connection, &transfer.inbox, target.id)?;
    let before = keywords::count(connection, there.iter().map(|part| part.id))?;
    let after = keywords::count(connection, there.iter().map(|part| part.id).chain([hidden]))?;
    if after > before.max(transfer.keywords) {
        return Err(TransferError::TooManyKeywords(transfer.keywords));
    }
    let (first, span) = (i64::from(*first), last.saturating_sub(*first).saturating_add(1));
    let offset = if matches!(transfer.kind, Kind::Rename) {
        0
    } else {
        if !is_copy && i64::from(target.uid_next).saturating_add(i64::from(span)) > MAX_UID_NEXT {
            return Err(TransferError::TooFarApart);
        }
        i64::from(mailboxes::next_uids(connection, target.id, span)?.first_uid) - first
    };
    // Higher than the mod-sequences of the transferred messages.
    let sql = "UPDATE mailbox SET highest_modseq = 1 +
                   (SELECT max(highest_modseq) FROM mailbox WHERE id IN (?1, ?2)) WHERE id = ?1 RETURNING highest_modseq";
    let modseq: i64 = connection.query_row(sql, params![target.id, transfer.from], |row| row.get(0))?;
    // With new UIDs, all messages are recent.
    let sql = "UPDATE mailbox SET part_of = ?2, uid_offset = ?3, least_modseq = ?5,
                   recent = CASE WHEN ?4 = 1 THEN recent ELSE messages END WHERE id = ?1";
    let keeps_uids = matches!(transfer.kind, Kind::Rename);
    connection.execute(sql, params![hidden, target.id, offset, keeps_uids, modseq])?;
    transfer.publish_added(connection, target.id, modseq)?;
    if !is_copy {
        let modseq = expunged::note_many(connection, transfer.from)?;
        transfer.publish_removed(connection, modseq)?;
    }
    let target_uid = |uid: u32| u32::try_from(i64::from(uid).saturating_add(offset)).unwrap_or(u32::MAX);
    copied.uids = gathered.iter().map(|(source, uid)| (*source, target_uid(*uid))).collect();
    Ok(copied)
}

struct Target {
    id: MailboxId,
    uid_validity: u32,
    uid_next: u32,
}

fn find(connection: &Transaction<'_>, transfer: &Transfer) -> Result<Target, TransferError> {
    let sql = "SELECT id, uid_validity, uid_next FROM mailbox WHERE inbox_id = ?1 AND name = ?2";
    let row = |row: &Row<'_>| Ok(Target { id: row.get(0)?, uid_validity: row.get(1)?, uid_next: row.get(2)? });
    let found = connection.query_opt(sql, params![transfer.inbox, transfer.to], row)?;
    found.ok_or(TransferError::NoSuchMailbox)
}

/// Creates the target of a rename, with UIDNEXT of the source.
fn create_target(connection: &Transaction<'_>, transfer: &Transfer) -> Result<Target, TransferError> {
    if mailboxes::find(connection, &transfer.inbox, &transfer.to)?.is_some() {
        return Err(TransferError::NotCreated(MailboxError::Exists));
    }
    let created = mailbox_tree::create(connection, &transfer.inbox, &transfer.to).map_err(TransferError::NotCreated)?;
    let sql = "UPDATE mailbox SET (uid_next, recent_from) = (SELECT uid_next, recent_from FROM mailbox WHERE id = ?2)
               WHERE id = ?1";
    connection.execute(sql, params![created, transfer.from])?;
    find(connection, transfer)
}

fn all_uids(connection: &Transaction<'_>, of: &[Part]) -> Result<Vec<u32>, StoreError> {
    let mut uids = Vec::new();
    for part in of {
        connection.for_each("SELECT uid FROM message WHERE mailbox_id = ?1", params![part.id], |row| {
            uids.push(part.shown(row.get(0)?));
            Ok(ControlFlow::Continue(()))
        })?;
    }
    uids.sort_unstable();
    Ok(uids)
}

/// The octets counted for copies of those of the messages that exist, and their number.
fn size_of(connection: &Transaction<'_>, from: &[Part], uids: &[u32]) -> Result<(u64, u64), StoreError> {
    let sql = format!(
        "SELECT count(*), coalesce(sum(c.size + octet_length(m.keywords)), 0)
         FROM message m JOIN content c ON c.id = m.content_id WHERE {}",
        parts::is_listed(connection, 1)
    );
    let (mut octets, mut messages) = (0_u64, 0_u64);
    for (uids, part) in uids.chunks(BATCH).flat_map(|uids| from.iter().map(move |part| (uids, part))) {
        let row = |row: &Row<'_>| Ok((row.get::<i64>(0)?.unsigned_abs(), row.get::<i64>(1)?.unsigned_abs()));
        let (count, size) = connection.query_row(&sql, params![part.list(uids)], row)?;
        messages += count;
        octets = octets.saturating_add(size).saturating_add(quota::ROW.saturating_mul(count));
    }
    Ok((octets, messages))
}
