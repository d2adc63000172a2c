//! The names of an email's labels. What they mean in a request is in `http::emails::labels`.

use crate::store::mailboxes::MailboxKind;
use crate::store::messages::{Flags, MessageSummary};

pub(crate) const UNREAD: &str = "unread";
pub(crate) const STARRED: &str = "starred";

pub(crate) const fn name_of(kind: MailboxKind) -> &'static str {
    match kind {
        MailboxKind::Inbox => "inbox",
        MailboxKind::Drafts => "drafts",
        MailboxKind::Sent => "sent",
        MailboxKind::Junk => "junk",
        MailboxKind::Trash => "trash",
        MailboxKind::Archive => "archive",
    }
}

/// The labels that every account has.
pub(crate) fn system() -> impl Iterator<Item = &'static str> {
    MailboxKind::ALL.into_iter().map(name_of).chain([UNREAD, STARRED])
}

/// The labels of a message.
pub(crate) fn of(message: &MessageSummary) -> Vec<String> {
    let kind = MailboxKind::of(&message.mailbox, message.special_use.as_deref());
    let unread = (!message.flags.contains(Flags::SEEN)).then_some(UNREAD);
    let starred = message.flags.contains(Flags::FLAGGED).then_some(STARRED);
    let system = kind.map(name_of).into_iter().chain(unread).chain(starred);
    system.chain(message.keywords.split_ascii_whitespace()).map(str::to_owned).collect()
}
