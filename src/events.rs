//! What open sessions must hear of at once: new mail, and the end of what they logged in with.
//!
//! Invariant: an event is published after the commit that made it true. Channels are one per account, made with its first
//! session and gone with its last; an idle session costs a receiver.

use crate::id::{AccountId, DomainId, InboxId, TokenId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// Events a slow session may fall behind before it must look for itself.
const BACKLOG: usize = 64;

/// Something happened in an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A mailbox has new mail, other flags, or lost messages.
    MailboxChanged {
        /// The inbox it is in.
        inbox: InboxId,
        /// Its number in the store.
        mailbox: i64,
    },
    /// A token no longer opens anything.
    TokenRevoked(TokenId),
    /// A custom domain is gone: sessions logged in under it end.
    DomainDeleted(DomainId),
    /// An inbox is gone.
    InboxDeleted(InboxId),
}

/// The hub; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Events(Arc<Mutex<HashMap<AccountId, broadcast::Sender<Event>>>>);

impl Events {
    /// A hub without listeners.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens to an account. A `Lagged` error means: look at the store, and check the log-in again.
    pub fn subscribe(&self, account: &AccountId) -> broadcast::Receiver<Event> {
        let mut hub = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever comes clears up after those who left.
        hub.retain(|_, sender| sender.receiver_count() > 0);
        hub.entry(account.clone()).or_insert_with(|| broadcast::channel(BACKLOG).0).subscribe()
    }

    /// Tells the account's open sessions.
    pub fn publish(&self, account: &AccountId, event: Event) {
        let hub = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = hub.get(account) {
            // Without a listener there is nobody to tell.
            let _ = sender.send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_account_hears_its_own_events_only() {
        let (events, ours, theirs) = (Events::new(), AccountId::new(), AccountId::new());
        let mut receiver = events.subscribe(&ours);
        let token = TokenId::new();
        events.publish(&theirs, Event::TokenRevoked(TokenId::new()));
        events.publish(&ours, Event::TokenRevoked(token.clone()));
        assert_eq!(receiver.recv().await, Ok(Event::TokenRevoked(token)));
        assert!(receiver.try_recv().is_err());
    }
}
