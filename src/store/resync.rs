//! What has changed in a mailbox since a mod-sequence, for clients that have a copy of it: CONDSTORE and QRESYNC (RFC 7162).
//!
//! Invariant: no change after the mod-sequence is left out. Expunged messages are known by their rows in `expunged`. Once rows
//! after the mod-sequence were removed ([`expunged::forgotten`]), every UID that the client may know and that is not in the
//! mailbox is reported, as RFC 7162 §3.2.5.2 allows: the client then removes nothing that exists.

use super::flag_list::FlagList;
use super::open_mailbox::OpenMailbox;
use super::parts::{self, Part};
use super::uid_ranges::UidRanges;
use super::{Store, StoreError, Transaction, expunged};
use crate::id::{InboxId, MailboxId};
use crate::store::engine::{Row, ToValue, params};
use std::ops::ControlFlow;

/// What a client knows of the mailbox that it selects (RFC 7162 §3.2.5).
#[derive(Clone, Debug)]
pub struct Known {
    pub uid_validity: u32,
    pub modseq: i64,
    /// `None`: all UIDs below UIDNEXT.
    pub uids: Option<UidRanges>,
    /// Some of the sequence numbers that the client knows, each with its UID. They shorten the answer after a long time.
    pub numbered: Vec<(u32, u32)>,
}

/// The changes that a client does not know.
#[derive(Clone, Debug, Default)]
pub struct Resync {
    /// New and changed messages, UIDs ascending.
    pub changed: FlagList,
    /// Their mod-sequences, by the index in `changed`.
    pub modseqs: Vec<i64>,
    /// Expunged UIDs. Some of them may never have existed.
    pub vanished: UidRanges,
}

impl Known {
    /// The changes up to the state of `open`. `None` if the client knows another mailbox of this name.
    pub(super) fn resync(
        &self,
        connection: &Transaction<'_>,
        open: &OpenMailbox,
        parts: &[Part],
    ) -> Result<Option<Resync>, StoreError> {
        if self.uid_validity != open.uid_validity {
            return Ok(None);
        }
        let last = open.seen.uid_next.saturating_sub(1);
        let known = self.uids.as_ref().map_or_else(|| UidRanges::up_to(last), |uids| uids.between(1, last));
        let (changed, modseqs) = changed_since(connection, parts, self.modseq, |uid| known.contains(uid))?;
        let vanished = match self.modseq < expunged::forgotten(connection, open.id)? {
            false => expunged_since(connection, open.id, self.modseq, &known)?,
            true => {
                let unchanged = unchanged_up_to(&open.messages.uids, &self.numbered);
                known.between(unchanged.saturating_add(1), last).without(&open.messages.uids)
            }
        };
        Ok(Some(Resync { changed, modseqs, vanished }))
    }
}

/// The highest UID of `numbered` that still has its sequence number: no message up to it was expunged, since numbers only decrease
/// with an expunge of a lower one. 0 if there is none.
fn unchanged_up_to(uids: &[u32], numbered: &[(u32, u32)]) -> u32 {
    let has_number = |(number, uid): &&(u32, u32)| {
        let index = usize::try_from(*number).ok().and_then(|number| number.checked_sub(1));
        index.and_then(|index| uids.get(index)) == Some(uid)
    };
    numbered.iter().filter(has_number).map(|(_, uid)| *uid).max().unwrap_or(0)
}

/// The messages with higher mod-sequences, UIDs ascending, and their mod-sequences. `wanted` is asked for each UID.
fn changed_since(
    connection: &Transaction<'_>,
    parts: &[Part],
    modseq: i64,
    wanted: impl Fn(u32) -> bool,
) -> Result<(FlagList, Vec<i64>), StoreError> {
    let sql = "SELECT uid, flags, keywords, modseq FROM message WHERE mailbox_id = ?1 AND modseq > ?2 ORDER BY uid";
    changed_of_parts(connection, parts, sql, |part| vec![part.id.row(), part.unseen_after(modseq)], wanted)
}

/// The same for any query; UIDs ascend in each part.
pub(super) fn changed_of_parts(
    connection: &Transaction<'_>,
    parts: &[Part],
    sql: &str,
    values: impl Fn(Part) -> Vec<i64>,
    wanted: impl Fn(u32) -> bool,
) -> Result<(FlagList, Vec<i64>), StoreError> {
    let (mut changed, mut modseqs) = (FlagList::default(), Vec::new());
    for part in parts {
        let values = values(*part);
        let values: Vec<&dyn ToValue> = values.iter().map(|value| value as &dyn ToValue).collect();
        connection.for_each(sql, &values, |row| {
            let uid = part.shown(row.get(0)?);
            if wanted(uid) {
                changed.push(uid, row.get(1)?, &row.text(2)?);
                modseqs.push((uid, part.modseq(row.get(3)?)));
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    changed.sort();
    if !modseqs.is_sorted_by_key(|(uid, _)| *uid) {
        modseqs.sort_unstable();
    }
    Ok((changed, modseqs.into_iter().map(|(_, modseq)| modseq).collect()))
}

/// Those of the UIDs whose rows in `expunged` have higher mod-sequences.
fn expunged_since(
    connection: &Transaction<'_>,
    mailbox: MailboxId,
    modseq: i64,
    within: &UidRanges,
) -> Result<UidRanges, StoreError> {
    let sql = "SELECT uid FROM expunged WHERE mailbox_id = ?1 AND modseq > ?2 ORDER BY uid";
    let uids: Vec<u32> = connection.query(sql, params![mailbox, modseq], |row| row.get(0))?;
    Ok(uids.into_iter().filter(|uid| within.contains(*uid)).collect())
}

/// The last UID of a mailbox that was assigned. `None` if the mailbox was deleted.
fn last_uid(connection: &Transaction<'_>, inbox: &InboxId, mailbox: MailboxId) -> Result<Option<u32>, StoreError> {
    let sql = "SELECT uid_next - 1 FROM mailbox WHERE id = ?1 AND inbox_id = ?2 AND is_hidden = 0";
    connection.query_opt(sql, params![mailbox, inbox], |row| row.get(0))
}

impl Store {
    /// Opens a mailbox as [`Self::mailbox_open`], with the changes since the state that the client knows, in one snapshot:
    /// `vanished` has no UID that is in `messages`. No changes if the client knows a mailbox with another UIDVALIDITY.
    pub async fn mailbox_resync(
        &self,
        inbox: &InboxId,
        name: &str,
        claim_recent: bool,
        known: Known,
    ) -> Result<Option<(OpenMailbox, Option<Resync>)>, StoreError> {
        self.open_knowing(inbox, name, claim_recent, Some(known)).await
    }

    /// For FETCH with CHANGEDSINCE: those of the messages whose mod-sequence is higher, UIDs ascending, and their mod-sequences. Some
    /// may not be known to the session yet.
    pub async fn messages_changed(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        within: UidRanges,
        since: i64,
    ) -> Result<(FlagList, Vec<i64>), StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let parts = parts::of(connection, &inbox, mailbox)?;
            changed_since(connection, &parts, since, |uid| within.contains(uid))
        })
        .await
    }

    /// For UID FETCH with CHANGEDSINCE and VANISHED: those of the UIDs that were expunged after `since`. Some may never have
    /// existed; some may be of messages that the session has not yet reported as expunged.
    pub async fn messages_vanished(
        &self,
        inbox: &InboxId,
        mailbox: MailboxId,
        within: UidRanges,
        since: i64,
    ) -> Result<UidRanges, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let Some(last) = last_uid(connection, &inbox, mailbox)? else { return Ok(UidRanges::default()) };
            let within = within.between(1, last);
            if since >= expunged::forgotten(connection, mailbox)? {
                return expunged_since(connection, mailbox, since, &within);
            }
            let mut uids = Vec::new();
            for part in parts::of(connection, &inbox, mailbox)? {
                let sql = "SELECT uid FROM message WHERE mailbox_id = ?1 ORDER BY uid";
                let row = |row: &Row<'_>| Ok(part.shown(row.get(0)?));
                uids.extend(connection.query(sql, params![part.id], row)?);
            }
            uids.sort_unstable();
            Ok(within.without(&uids))
        })
        .await
    }
}

#[cfg(test)]
mod tests;
