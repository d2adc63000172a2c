//! `\Seen`, which a FETCH of octets sets (RFC 3501 §6.4.5).

use crate::id::{InboxId, MailboxId};
use crate::imap::server::ImapServer;
use crate::imap::watch::Changed;
use crate::store::mailbox_changes::FlagUpdate;
use crate::store::messages::Flags;
use crate::store::open_mailbox::Fetched;

/// Sets `\Seen` on messages of the selected mailbox.
#[derive(Clone, Copy)]
pub(super) struct SeenMarker<'a> {
    pub server: &'a ImapServer,
    pub inbox: &'a InboxId,
    pub mailbox: MailboxId,
    pub changed: &'a Changed,
}

impl SeenMarker<'_> {
    /// Sets it on the chosen messages that lack it, and returns their UIDs. Reading works even where writing fails, as on a full disk.
    pub async fn set(self, messages: &mut [Fetched], is_chosen: impl Fn(&Fetched) -> bool) -> Vec<u32> {
        let Self { server, inbox, mailbox, changed } = self;
        let unseen = |message: &&Fetched| !message.flags.flags.contains(Flags::SEEN) && is_chosen(message);
        let unseen: Vec<u32> = messages.iter().filter(unseen).map(|message| message.flags.uid).collect();
        if unseen.is_empty() {
            return unseen;
        }
        let update = FlagUpdate::add(Flags::SEEN);
        let updated = server.mailboxes.set_flags_of_unchanged(inbox, mailbox, unseen.clone(), None, update).await;
        changed.set_for(mailbox);
        match updated {
            Ok(updated) => {
                for (flags, modseq) in updated.messages {
                    if let Ok(at) = messages.binary_search_by_key(&flags.uid, |message| message.flags.uid)
                        && let Some(message) = messages.get_mut(at)
                    {
                        (message.flags, message.modseq) = (flags, modseq);
                    }
                }
                unseen
            }
            Err(error) => {
                tracing::warn!(%error, %inbox, "could not set \\Seen on fetched messages");
                Vec::new()
            }
        }
    }
}
