//! COPY, MOVE, EXPUNGE. RFC 3501 §6.4.3 and §6.4.7, RFC 4315, RFC 6851.

use super::{BAD_NAME, NO_SUCH_MESSAGE, READ_ONLY, over_quota};
use crate::id::MailboxId;
use crate::imap::context::{CommandError, Context};
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::command::Transfer;
use crate::imap::wire::response::Reply;
use crate::imap::wire::values::SequenceSet;
use crate::store::StoreError;
use crate::store::transfer::TransferError;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Copy,
    Move,
}

/// COPY, MOVE, and both by UID: all the messages that still exist, or none.
pub async fn transfer(
    context: &mut Context<'_>,
    wire: &mut Wire,
    kind: Kind,
    Transfer { set, mailbox, by_uid }: Transfer,
) -> Result<Reply, CommandError> {
    let Some(selected) = &context.selected else { return Ok(Reply::bad(super::NOTHING_SELECTED)) };
    let Ok(uids) = selected.select(&set, by_uid) else { return Ok(Reply::bad(NO_SUCH_MESSAGE)) };
    if kind == Kind::Move && selected.read_only {
        return Ok(Reply::no(READ_ONLY));
    }
    let Some(name) = context.mailbox_name(&mailbox) else { return Ok(Reply::no(BAD_NAME).code(Code::Cannot)) };
    let (from, count) = (selected.mailbox, uids.len());
    let (mailboxes, inbox) = (&context.server.mailboxes, &context.login.inbox);
    let transferred = match kind {
        Kind::Move => mailboxes.move_to(inbox, from, uids, &name).await,
        Kind::Copy => mailboxes.copy(inbox, from, uids, &name).await,
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
            return Ok(Reply::no(error.to_string()).code(Code::Limit));
        }
        Err(TransferError::Store(error)) => return Err(error.into()),
    };
    context.has_changed(copied.mailbox);
    context.has_changed(from);
    if copied.uids.is_empty() {
        let all_expunged = count > 0 && !by_uid;
        return Ok(if all_expunged { expunged() } else { Reply::ok("no messages to copy") });
    }
    let code = Code::CopyUid { uid_validity: copied.uid_validity, uids: copied.uids };
    if kind == Kind::Move {
        // RFC 6851 §4.3: before the EXPUNGE responses.
        wire.writer().untagged_ok(Some(&code), "moved");
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
    Reply::no("these messages have been expunged").code(Code::ExpungeIssued)
}
