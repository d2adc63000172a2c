//! LIST, LSUB, NAMESPACE, CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE. RFC 3501 §6.3; RFC 2342, RFC 3348, RFC 6154.
//!
//! A level that is not a mailbox but has some below it is listed as `\Noselect`.

use super::BAD_NAME;
use super::select::unselect;
use crate::imap::context::{CommandError, Context};
use crate::imap::names::{self, DELIMITER, Pattern};
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::list::List;
use crate::imap::wire::values::Mailbox;
use crate::store::mailboxes::{MailboxError, MailboxName};
use std::collections::{BTreeMap, HashSet};

/// A level that is not a mailbox.
const NO_SELECT: &str = "\\Noselect";

/// Mailboxes and the levels above them; `None` for a level that is not a mailbox.
fn tree(mailboxes: Vec<MailboxName>) -> BTreeMap<String, Option<MailboxName>> {
    let mut tree = BTreeMap::new();
    for mailbox in mailboxes {
        for parent in names::parents(&mailbox.name) {
            tree.entry(parent.to_owned()).or_insert(None);
        }
        tree.insert(mailbox.name.clone(), Some(mailbox));
    }
    tree
}

/// The attribute of a special use: only those of RFC 6154.
fn special_use(mailbox: &MailboxName) -> Option<&'static str> {
    const USES: [&str; 5] = ["\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash"];
    let used = mailbox.special_use.as_deref()?;
    USES.into_iter().find(|known| *known == used)
}

/// NAMESPACE: personal only.
pub(super) fn namespace(wire: &mut Wire) -> Reply {
    wire.writer().namespace(DELIMITER);
    Reply::completed()
}

/// LIST.
pub async fn list(context: &mut Context<'_>, wire: &mut Wire, command: List) -> Result<Reply, CommandError> {
    let List { reference, patterns, is_extended, .. } = command;
    // `LIST "" ""` only asks for the delimiter.
    if !is_extended && patterns.iter().all(Vec::is_empty) {
        wire.writer().list("LIST", [NO_SELECT], DELIMITER, "");
        return Ok(Reply::completed());
    }
    let utf8 = context.enabled.takes_utf8();
    // What is encoded wrongly matches nothing.
    let patterns: Vec<_> = patterns.iter().filter_map(|one| Pattern::read(&reference, one, utf8)).collect();
    let tree = tree(context.server.store.mailboxes(&context.login.inbox).await?);
    let with_children: HashSet<&str> = tree.keys().filter_map(|name| names::parents(name).last()).collect();
    for (name, mailbox) in &tree {
        // Matching may take long.
        tokio::task::yield_now().await;
        if !patterns.iter().any(|pattern| pattern.matches(name)) {
            continue;
        }
        let has = with_children.contains(name.as_str());
        let kind = mailbox.as_ref().map_or(Some(NO_SELECT), special_use);
        let attributes = [if has { "\\HasChildren" } else { "\\HasNoChildren" }].into_iter().chain(kind);
        wire.writer_for(utf8).list("LIST", attributes, DELIMITER, &names::write(name, utf8));
        wire.flush_batch().await?;
    }
    Ok(Reply::completed())
}

/// LSUB. A level that matches, is not subscribed to, and has subscribed ones below it is `\Noselect` (RFC 3501 §6.3.9).
pub async fn lsub(
    context: &mut Context<'_>,
    wire: &mut Wire,
    reference: &Mailbox,
    pattern: &[u8],
) -> Result<Reply, CommandError> {
    let utf8 = context.enabled.takes_utf8();
    let Some(pattern) = Pattern::read(reference, pattern, utf8) else { return Ok(Reply::completed()) };
    let mut listed = BTreeMap::new();
    for name in context.server.store.subscriptions(&context.login.inbox).await? {
        tokio::task::yield_now().await;
        if !pattern.matches(&name) {
            for parent in names::parents(&name).filter(|parent| pattern.matches(parent)) {
                listed.entry(parent.to_owned()).or_insert(false);
            }
        } else {
            listed.insert(name, true);
        }
    }
    for (name, is_subscribed) in listed {
        let attributes = (!is_subscribed).then_some(NO_SELECT);
        wire.writer_for(utf8).list("LSUB", attributes, DELIMITER, &names::write(&name, utf8));
    }
    Ok(Reply::completed())
}

/// CREATE, with the levels above (RFC 3501 §6.3.3).
pub async fn create(context: &mut Context<'_>, mailbox: &Mailbox) -> Result<Reply, CommandError> {
    let Some(name) = context.mailbox_name(mailbox) else { return Ok(Reply::no(BAD_NAME).code(Code::Cannot)) };
    reply(context.server.mailboxes.create(&context.login.inbox, &name).await, "created")
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
