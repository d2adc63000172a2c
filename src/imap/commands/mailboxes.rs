//! NAMESPACE, CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE. RFC 3501 §6.3; RFC 2342, RFC 6154 (CREATE-SPECIAL-USE).

use super::BAD_NAME;
use super::list::{is_renamed, push_listed};
use super::select::unselect;
use crate::imap::context::{CommandError, Context, Enabled};
use crate::imap::names::DELIMITER;
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::list::Create;
use crate::imap::wire::values::Mailbox;
use crate::store::mailboxes::{MailboxError, MailboxKind};
use crate::store::object_ids::mailbox_id;

/// NAMESPACE: personal only.
pub(super) fn namespace(wire: &mut Wire) -> Reply {
    wire.writer().namespace(DELIMITER);
    Reply::completed()
}

/// CREATE, with the levels above (RFC 3501 §6.3.3), and a special use.
pub async fn create(context: &mut Context<'_>, wire: &mut Wire, create: &Create) -> Result<Reply, CommandError> {
    let Some(name) = context.mailbox_name(&create.mailbox) else { return Ok(Reply::no(BAD_NAME).code(Code::Cannot)) };
    let Some(special_use) = special_use(&create.uses) else {
        let text = "unknown special use, use one of \\Archive, \\Drafts, \\Junk, \\Sent and \\Trash";
        return Ok(Reply::no(text).code(Code::UseAttr));
    };
    let created = context.server.mailboxes.create_with_use(&context.login.inbox, &name, special_use).await;
    match created {
        // RFC 8474 §4.1.
        Ok(uid_validity) => {
            if context.enabled.contains(Enabled::IMAP4REV2) && is_renamed(&create.mailbox, &name) {
                push_listed(wire, &create.mailbox, &name);
            }
            Ok(Reply::ok("created").code(Code::MailboxId(mailbox_id(uid_validity))))
        }
        Err(error) => reply(Err(error), "created"),
    }
}

/// At most one of the uses that there are; `None`: another one, or several.
fn special_use(uses: &[String]) -> Option<Option<MailboxKind>> {
    let known = |used: &String| {
        let is_it = |kind: &MailboxKind| kind.special_use().trim_start_matches('\\').eq_ignore_ascii_case(used);
        MailboxKind::ALL.into_iter().filter(|kind| *kind != MailboxKind::Inbox).find(is_it)
    };
    match uses {
        [] => Some(None),
        [used] => known(used).map(Some),
        _ => None,
    }
}

/// DELETE.
pub async fn delete(context: &mut Context<'_>, mailbox: &Mailbox) -> Result<Reply, CommandError> {
    let Some(name) = context.mailbox_name(mailbox) else { return Ok(Reply::no(BAD_NAME).code(Code::Cannot)) };
    let deleted = context.server.mailboxes.delete(&context.login.inbox, &name).await;
    if let (Ok(id), Some(selected)) = (&deleted, &context.selected)
        && selected.mailbox == *id
    {
        unselect(context);
    }
    reply(deleted.map(drop), "deleted")
}

/// RENAME.
pub async fn rename(context: &mut Context<'_>, from: &Mailbox, to: &Mailbox) -> Result<Reply, CommandError> {
    let (Some(from), Some(to)) = (context.mailbox_name(from), context.mailbox_name(to)) else {
        return Ok(Reply::no(BAD_NAME).code(Code::Cannot));
    };
    let renamed = context.server.mailboxes.rename(&context.login.inbox, &from, &to).await;
    // INBOX may have been emptied.
    context.changed.set();
    reply(renamed, "renamed")
}

/// SUBSCRIBE and UNSUBSCRIBE.
pub async fn subscribe(context: &mut Context<'_>, mailbox: &Mailbox, wanted: bool) -> Result<Reply, CommandError> {
    let Some(name) = context.mailbox_name(mailbox) else { return Ok(Reply::no(BAD_NAME).code(Code::Cannot)) };
    reply(context.server.mailboxes.subscribe(&context.login.inbox, &name, wanted).await, "completed")
}

fn reply(done: Result<(), MailboxError>, text: &'static str) -> Result<Reply, CommandError> {
    let Err(error) = done else { return Ok(Reply::ok(text)) };
    let reason = error.to_string();
    let code = match error {
        MailboxError::Store(error) => return Err(CommandError::Store(error)),
        MailboxError::Exists => Code::AlreadyExists,
        MailboxError::Missing => Code::NonExistent,
        MailboxError::TooMany(_) | MailboxError::TooManySubscriptions(_) => Code::OverQuota,
        MailboxError::UseTaken(_) => Code::UseAttr,
        MailboxError::IsInbox | MailboxError::BelowItself | MailboxError::TooLong => Code::Cannot,
    };
    Ok(Reply::no(reason).code(code))
}
