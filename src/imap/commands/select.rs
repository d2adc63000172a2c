//! SELECT, EXAMINE, CLOSE, UNSELECT. RFC 3501 §6.3.1, §6.3.2, §6.4.2; RFC 3691.

use super::copy::expunge_deleted;
use super::{BAD_NAME, NO_SUCH_MAILBOX};
use crate::imap::context::{CommandError, Context};
use crate::imap::selected::SelectedMailbox;
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::values::Mailbox;
use crate::store::object_ids::mailbox_id;

/// SELECT, or EXAMINE.
pub async fn select(
    context: &mut Context<'_>,
    wire: &mut Wire,
    mailbox: &Mailbox,
    read_only: bool,
) -> Result<Reply, CommandError> {
    // A SELECT that fails leaves nothing selected (RFC 3501 §6.3.1).
    unselect(context);
    let Some(name) = context.mailbox_name(mailbox) else { return Ok(Reply::no(BAD_NAME).code(Code::Cannot)) };
    let inbox = &context.login.inbox;
    let Some(open) = context.server.store.mailbox_open(inbox, &name, !read_only).await? else {
        return Ok(Reply::no(NO_SUCH_MAILBOX).code(Code::NonExistent));
    };
    let (uid_validity, uid_next) = (open.uid_validity, open.seen.uid_next);
    // What has changed since the mailbox was read is sent before the OK.
    context.changed.watch(Some(open.id));
    context.changed.set();
    let selected = SelectedMailbox::new(open, read_only);
    let mut writer = wire.writer();
    writer.flags(selected.all_flags());
    writer.counted(selected.exists(), "EXISTS");
    writer.counted(selected.recent(), "RECENT");
    if let Some(unseen) = selected.first_unseen() {
        writer.untagged_ok(Some(&Code::Unseen(unseen)), "first unseen");
    }
    let permanent = if read_only { Vec::new() } else { selected.all_flags().chain(["\\*"]).collect() };
    writer.untagged_ok(Some(&Code::PermanentFlags(permanent)), "permanent flags");
    writer.untagged_ok(Some(&Code::UidNext(uid_next)), "next UID");
    writer.untagged_ok(Some(&Code::UidValidity(uid_validity)), "UIDs valid");
    // RFC 8474 §4.2.
    writer.untagged_ok(Some(&Code::MailboxId(mailbox_id(uid_validity))), "mailbox ID");
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
