//! COPY, MOVE, EXPUNGE. RFC 3501 §6.4.3 and §6.4.7, RFC 4315, RFC 6851.

use super::{BAD_NAME, NO_SUCH_MESSAGE, READ_ONLY, over_quota};
use crate::id::MailboxId;
use crate::imap::context::{CommandError, Context};
use crate::imap::names;
use crate::imap::wire::Wire;
use crate::imap::wire::response::{Reply, other, untagged_ok};
use crate::store::StoreError;
use crate::store::transfer::{Copied, TransferError};
use imap_codec::imap_types::core::Vec1;
use imap_codec::imap_types::extensions::uidplus::{UidElement, UidSet};
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::response::Code;
use imap_codec::imap_types::sequence::SequenceSet;
use std::num::NonZeroU32;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    Copy,
    Move,
}

/// COPY, MOVE, and both by UID: all the messages that still exist, or none.
pub async fn transfer(
    context: &mut Context<'_>,
    wire: &mut Wire,
    transfer: Transfer,
    set: &SequenceSet,
    mailbox: &Mailbox<'_>,
    by_uid: bool,
) -> Result<Reply, CommandError> {
    let Some(selected) = &context.selected else { return Ok(Reply::bad(super::NOTHING_SELECTED)) };
    let Ok(uids) = selected.select(set, by_uid) else { return Ok(Reply::bad(NO_SUCH_MESSAGE)) };
    if transfer == Transfer::Move && selected.read_only {
        return Ok(Reply::no(READ_ONLY));
    }
    let Some(name) = names::read(mailbox) else { return Ok(Reply::no(BAD_NAME).code(other("CANNOT"))) };
    let (from, count) = (selected.mailbox, uids.len());
    let (mailboxes, inbox) = (&context.server.mailboxes, &context.login.inbox);
    let transferred = match transfer {
        Transfer::Move => mailboxes.move_to(inbox, from, uids, &name).await,
        Transfer::Copy => mailboxes.copy(inbox, from, uids, &name).await,
    };
    let copied = match transferred {
        Ok(copied) => copied,
        Err(error @ TransferError::NoSuchMailbox) => {
            return Ok(Reply::no(error.to_string()).code(Code::TryCreate));
        }
        Err(TransferError::Full) => return Ok(over_quota()),
        Err(
            error @ (TransferError::TooFarApart | TransferError::TooManyKeywords(_) | TransferError::NotCreated(_)),
        ) => {
            return Ok(Reply::no(error.to_string()).code(other("LIMIT")));
        }
        Err(TransferError::Store(error)) => return Err(error.into()),
    };
    context.has_changed(copied.mailbox);
    context.has_changed(from);
    let Some(code) = copy_uid(&copied) else {
        let all_expunged = count > 0 && !by_uid;
        return Ok(if all_expunged { expunged() } else { Reply::ok("no messages to copy") });
    };
    if transfer == Transfer::Move {
        // RFC 6851 §4.3: before the EXPUNGE responses.
        wire.push(&untagged_ok(Some(code), "moved"));
        return Ok(Reply::completed());
    }
    // Messages that another session has expunged are left out; COPYUID lists those copied (RFC 2180 §4.4).
    Ok(Reply::ok("copied").code(code))
}

/// EXPUNGE, and UID EXPUNGE of some.
pub async fn expunge(context: &mut Context<'_>, set: Option<&SequenceSet>) -> Result<Reply, CommandError> {
    let Some(selected) = &context.selected else { return Ok(Reply::bad(super::NOTHING_SELECTED)) };
    if selected.read_only {
        return Ok(Reply::no(READ_ONLY));
    }
    let uids = match set.map(|set| selected.select(set, true)).transpose() {
        Ok(uids) => uids,
        Err(_) => return Ok(Reply::bad(NO_SUCH_MESSAGE)),
    };
    let mailbox = selected.mailbox;
    expunge_deleted(context, mailbox, uids).await?;
    Ok(Reply::completed())
}

/// Expunges messages that are `\Deleted`: all, or those of `uids`.
pub(super) async fn expunge_deleted(
    context: &Context<'_>,
    mailbox: MailboxId,
    uids: Option<Vec<u32>>,
) -> Result<(), StoreError> {
    let done = context.server.mailboxes.expunge(&context.login.inbox, mailbox, uids).await;
    // Some batches may be done when an error occurs.
    context.has_changed(mailbox);
    done
}

fn expunged() -> Reply {
    Reply::no("these messages have been expunged").code(other("EXPUNGEISSUED"))
}

/// `COPYUID`, both sets in the same order.
fn copy_uid(copied: &Copied) -> Option<Code<'static>> {
    Some(Code::CopyUid {
        uid_validity: NonZeroU32::new(copied.uid_validity)?,
        source: uid_set(copied.uids.iter().map(|(from, _)| *from))?,
        destination: uid_set(copied.uids.iter().map(|(_, to)| *to))?,
    })
}

/// Ascending UIDs as ranges.
fn uid_set(uids: impl Iterator<Item = u32>) -> Option<UidSet> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for uid in uids {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(uid) => *last = uid,
            _ => ranges.push((uid, uid)),
        }
    }
    let element = |(first, last): (u32, u32)| {
        let (first, last) = (NonZeroU32::new(first)?, NonZeroU32::new(last)?);
        Some(if first == last { UidElement::Single(first) } else { UidElement::Range(first, last) })
    };
    Vec1::try_from(ranges.into_iter().filter_map(element).collect::<Vec<_>>()).ok().map(UidSet)
}
