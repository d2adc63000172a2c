//! Changes of mailboxes, and telling all sessions of them.
//!
//! Invariant: a change that has begun is made to its end and told, also when its session ends meanwhile: sessions that
//! have the mailbox open hear of all that is on disk.

use super::listener::ImapDoor;
use super::watch::Changed;
use crate::authentication::login::Login;
use crate::events::Event;
use crate::id::InboxId;
use crate::resources::uncancelled::uncancelled;
use crate::store::Store;

/// What a session changes its inbox with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changer<'a> {
    pub door: &'a ImapDoor,
    pub login: &'a Login,
    /// The session's own.
    pub changed: &'a Changed,
}

impl Changer<'_> {
    /// Makes a change. `changed` says of its result which mailboxes it has changed, or may have.
    pub async fn make<T, F, W>(&self, change: W, changed: impl Fn(&T) -> Vec<i64> + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
        W: FnOnce(Store, InboxId) -> F,
    {
        let (events, account, inbox) = (self.door.events.clone(), self.login.account.clone(), self.login.inbox.clone());
        let change = change(self.door.store.clone(), inbox.clone());
        let (done, mailboxes) = uncancelled(async move {
            let done = change.await;
            let mailboxes = changed(&done);
            for mailbox in &mailboxes {
                events.publish(&account, Event::MailboxChanged { inbox: inbox.clone(), mailbox: *mailbox });
            }
            (done, mailboxes)
        })
        .await;
        // Our own event may take a moment; the client expects to hear of it with this command.
        mailboxes.into_iter().for_each(|mailbox| self.changed.set_for(mailbox));
        done
    }
}
