//! STATUS. RFC 9051 §6.3.11; RFC 7162 §3.1.7 (HIGHESTMODSEQ), RFC 7889 (APPENDLIMIT), RFC 8438 (STATUS=SIZE), RFC 8474
//! (MAILBOXID), RFC 9208 (DELETED-STORAGE).

use super::quota::storage;
use super::{BAD_NAME, NO_SUCH_MAILBOX};
use crate::id::MailboxId;
use crate::imap::context::{CommandError, Context};
use crate::imap::names;
use crate::imap::updates::enable_condstore;
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::data::StatusValue;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::select::{Status, StatusItem};
use crate::store::mailboxes::MailboxStatus;
use std::collections::BTreeMap;

/// The items of STATUS responses, and what is read once for all of them.
pub(super) struct Items<'a> {
    items: &'a [StatusItem],
    append_limit: usize,
    deleted_octets: BTreeMap<MailboxId, u64>,
}

impl<'a> Items<'a> {
    pub async fn read(
        context: &mut Context<'_>,
        wire: &mut Wire,
        items: &'a [StatusItem],
    ) -> Result<Self, CommandError> {
        if items.contains(&StatusItem::HighestModSeq) {
            enable_condstore(context, wire);
        }
        let deleted_octets = match items.contains(&StatusItem::DeletedStorage) {
            true => context.server.store.deleted_octets(&context.login.inbox).await?,
            false => BTreeMap::new(),
        };
        Ok(Self { items, append_limit: context.server.config.limits.message_size, deleted_octets })
    }

    /// Writes the response for a mailbox. The name is as it goes over the wire.
    pub fn push(&self, wire: &mut Wire, utf8: bool, name: &str, status: &MailboxStatus) {
        let value = |item: &StatusItem| match item {
            StatusItem::Messages => ("MESSAGES", status.messages.into()),
            StatusItem::Recent => ("RECENT", status.recent.into()),
            StatusItem::Unseen => ("UNSEEN", status.unseen.into()),
            StatusItem::UidNext => ("UIDNEXT", status.uid_next.into()),
            StatusItem::UidValidity => ("UIDVALIDITY", status.uid_validity.into()),
            StatusItem::Deleted => ("DELETED", status.deleted.into()),
            StatusItem::DeletedStorage => {
                let octets = self.deleted_octets.get(&status.id).copied().unwrap_or_default();
                ("DELETED-STORAGE", storage(octets).into())
            }
            StatusItem::Size => ("SIZE", status.size.into()),
            StatusItem::HighestModSeq => ("HIGHESTMODSEQ", status.highest_modseq.unsigned_abs().into()),
            StatusItem::AppendLimit => ("APPENDLIMIT", u64::try_from(self.append_limit).unwrap_or(u64::MAX).into()),
            StatusItem::MailboxId => ("MAILBOXID", StatusValue::ObjectId(status.object_id.clone())),
        };
        wire.writer_for(utf8).status(name, self.items.iter().map(value));
    }
}

/// STATUS.
pub async fn status(
    context: &mut Context<'_>,
    wire: &mut Wire,
    Status { mailbox, items }: &Status,
) -> Result<Reply, CommandError> {
    let Some(name) = context.mailbox_name(mailbox) else { return Ok(Reply::no(BAD_NAME).code(Code::Cannot)) };
    let Some(status) = context.server.store.mailbox_status(&context.login.inbox, &name).await? else {
        return Ok(Reply::no(NO_SUCH_MAILBOX).code(Code::NonExistent));
    };
    let utf8 = context.enabled.takes_utf8();
    Items::read(context, wire, items).await?.push(wire, utf8, &names::write(&name, utf8), &status);
    Ok(Reply::completed())
}
