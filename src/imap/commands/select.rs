//! SELECT, EXAMINE, CLOSE, UNSELECT, STATUS. RFC 3501 §6.3.1, §6.3.2, §6.3.10, §6.4.2; RFC 3691.

use super::copy::expunge_deleted;
use super::{BAD_NAME, NO_SUCH_MAILBOX};
use crate::imap::context::{CommandError, Context};
use crate::imap::names;
use crate::imap::selected::SelectedMailbox;
use crate::imap::wire::Wire;
use crate::imap::wire::response::{Reply, other, untagged_ok};
use imap_codec::imap_types::flag::FlagPerm;
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::response::{Code, Data, Response};
use imap_codec::imap_types::status::{StatusDataItem, StatusDataItemName};
use std::num::NonZeroU32;

/// SELECT, or EXAMINE.
pub async fn select(
    context: &mut Context<'_>,
    wire: &mut Wire,
    mailbox: &Mailbox<'_>,
    read_only: bool,
) -> Result<Reply, CommandError> {
    // A SELECT that fails leaves nothing selected (RFC 3501 §6.3.1).
    unselect(context);
    let Some(name) = names::read(mailbox) else { return Ok(Reply::no(BAD_NAME).code(other("CANNOT"))) };
    let inbox = &context.login.inbox;
    let Some(open) = context.server.store.mailbox_open(inbox, &name, !read_only).await? else {
        return Ok(Reply::no(NO_SUCH_MAILBOX).code(other("NONEXISTENT")));
    };
    let (uid_validity, uid_next) = (open.uid_validity, open.seen.uid_next);
    // What has changed since the mailbox was read is sent before the OK.
    context.changed.watch(Some(open.id));
    context.changed.set();
    let selected = SelectedMailbox::new(open, read_only);
    let flags = selected.all_flags();
    wire.push(&Response::Data(Data::Flags(flags.clone())));
    wire.push(&Response::Data(Data::Exists(selected.exists())));
    wire.push(&Response::Data(Data::Recent(selected.recent())));
    if let Some(unseen) = selected.first_unseen().and_then(NonZeroU32::new) {
        wire.push(&untagged_ok(Some(Code::Unseen(unseen)), "first unseen"));
    }
    let mut permanent = Vec::new();
    if !read_only {
        permanent.extend(flags.into_iter().map(FlagPerm::Flag));
        permanent.push(FlagPerm::Asterisk);
    }
    wire.push(&untagged_ok(Some(Code::PermanentFlags(permanent)), "permanent flags"));
    wire.push(&untagged_ok(NonZeroU32::new(uid_next).map(Code::UidNext), "next UID"));
    wire.push(&untagged_ok(NonZeroU32::new(uid_validity).map(Code::UidValidity), "UIDs valid"));
    context.selected = Some(selected);
    Ok(Reply::ok("selected").code(if read_only { Code::ReadOnly } else { Code::ReadWrite }))
}

/// UNSELECT: nothing is expunged.
pub fn unselect(context: &mut Context<'_>) -> Reply {
    context.changed.watch(None);
    context.selected = None;
    Reply::ok("no mailbox selected")
}

/// CLOSE: expunges without EXPUNGE responses.
pub async fn close(context: &mut Context<'_>) -> Result<Reply, CommandError> {
    if let Some(selected) = &context.selected
        && !selected.read_only
    {
        let mailbox = selected.mailbox;
        expunge_deleted(context, mailbox, None).await?;
    }
    Ok(unselect(context))
}

/// STATUS.
pub async fn status(
    context: &mut Context<'_>,
    wire: &mut Wire,
    mailbox: &Mailbox<'_>,
    items: &[StatusDataItemName],
) -> Result<Reply, CommandError> {
    let Some(name) = names::read(mailbox) else { return Ok(Reply::no(BAD_NAME).code(other("CANNOT"))) };
    let Some(status) = context.server.store.mailbox_status(&context.login.inbox, &name).await? else {
        return Ok(Reply::no(NO_SUCH_MAILBOX).code(other("NONEXISTENT")));
    };
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        values.push(match item {
            StatusDataItemName::Messages => StatusDataItem::Messages(status.messages),
            StatusDataItemName::Recent => StatusDataItem::Recent(status.recent),
            StatusDataItemName::Unseen => StatusDataItem::Unseen(status.unseen),
            StatusDataItemName::UidNext => {
                StatusDataItem::UidNext(NonZeroU32::new(status.uid_next).unwrap_or(NonZeroU32::MIN))
            }
            StatusDataItemName::UidValidity => {
                StatusDataItem::UidValidity(NonZeroU32::new(status.uid_validity).unwrap_or(NonZeroU32::MIN))
            }
            _ => {
                return Ok(Reply::bad("unknown STATUS item, use MESSAGES, RECENT, UIDNEXT, UIDVALIDITY or UNSEEN"));
            }
        });
    }
    wire.push(&Response::Data(Data::Status { mailbox: names::write(&name), items: values.into() }));
    Ok(Reply::completed())
}
