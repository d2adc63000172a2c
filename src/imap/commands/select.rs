//! SELECT, EXAMINE, CLOSE, UNSELECT, STATUS. RFC 3501 §6.3.1, §6.3.2, §6.3.10, §6.4.2; RFC 3691.

use super::{BAD_NAME, NO_SUCH_MAILBOX};
use crate::imap::names;
use crate::imap::selected::SelectedMailbox;
use crate::imap::session::{CommandError, Session};
use crate::imap::wire::Wire;
use crate::imap::wire::response::{Reply, other, untagged_ok};
use imap_codec::imap_types::flag::FlagPerm;
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::response::{Code, Data, Response};
use imap_codec::imap_types::status::{StatusDataItem, StatusDataItemName};
use std::num::NonZeroU32;

impl Session<'_> {
    /// SELECT, or EXAMINE.
    pub async fn select(
        &mut self,
        wire: &mut Wire,
        mailbox: &Mailbox<'_>,
        read_only: bool,
    ) -> Result<Reply, CommandError> {
        // A SELECT that fails leaves nothing selected (RFC 3501 §6.3.1).
        self.unselect();
        let Some(name) = names::read(mailbox) else { return Ok(Reply::no(BAD_NAME).code(other("CANNOT"))) };
        let inbox = &self.login.inbox;
        let Some(open) = self.server.store.mailbox_open(inbox, &name, !read_only).await? else {
            return Ok(Reply::no(NO_SUCH_MAILBOX).code(other("NONEXISTENT")));
        };
        let (uid_validity, uid_next) = (open.uid_validity, open.seen.uid_next);
        // What has changed since the mailbox was read is sent before the OK.
        self.changed.watch(Some(open.id));
        self.changed.set();
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
        self.selected = Some(selected);
        Ok(Reply::ok("selected").code(if read_only { Code::ReadOnly } else { Code::ReadWrite }))
    }

    /// UNSELECT: nothing is expunged.
    pub fn unselect(&mut self) -> Reply {
        self.changed.watch(None);
        self.selected = None;
        Reply::ok("no mailbox selected")
    }

    /// CLOSE: expunges without EXPUNGE responses.
    pub async fn close(&mut self) -> Result<Reply, CommandError> {
        if let Some(selected) = &self.selected
            && !selected.read_only
        {
            let mailbox = selected.mailbox;
            self.expunge_deleted(mailbox, None).await?;
        }
        Ok(self.unselect())
    }

    /// STATUS.
    pub async fn status(
        &mut self,
        wire: &mut Wire,
        mailbox: &Mailbox<'_>,
        items: &[StatusDataItemName],
    ) -> Result<Reply, CommandError> {
        let Some(name) = names::read(mailbox) else { return Ok(Reply::no(BAD_NAME).code(other("CANNOT"))) };
        let Some(status) = self.server.store.mailbox_status(&self.login.inbox, &name).await? else {
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
}
