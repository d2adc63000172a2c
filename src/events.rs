//! Events for open sessions: new mail, and the end of the token, domain or inbox they logged in with.
//!
//! Invariant: the store publishes an event after the commit that made it true, and before the verb returns. There is one
//! channel per account, made with its first session and dropped some time after its last; an idle session costs a receiver.

use crate::id::{AccountId, DomainId, InboxId, MailboxId, TokenId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// Events that a slow session may fall behind before it gets `Lagged`.
const BACKLOG: usize = 64;

/// Something happened in an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A mailbox has new mail, other flags, or lost messages.
    MailboxChanged { inbox: InboxId, mailbox: MailboxId },
    /// A token no longer opens anything.
    TokenRevoked(TokenId),
    /// A custom domain is gone: sessions logged in under it end.
    DomainDeleted(DomainId),
    /// An inbox is gone.
    InboxDeleted(InboxId),
}

/// The hub; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Events(Arc<Mutex<Hub>>);

#[derive(Debug, Default)]
struct Hub {
    channels: HashMap<AccountId, broadcast::Sender<Event>>,
    /// With so many channels, those without receivers are dropped.
    clear_at: usize,
}

impl Events {
    /// A hub without listeners.
    pub fn new() -> Self {
        Self::default()
    }

    /// Subscribes a session to its account's events; `None` where `limit` sessions are subscribed. On `Lagged`, read the
    /// store and check the log-in again.
    pub fn subscribe(&self, account: &AccountId, limit: usize) -> Option<broadcast::Receiver<Event>> {
        let mut hub = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Channels without receivers are dropped when there are twice as many as were left the last time.
        if hub.channels.len() >= hub.clear_at {
            hub.channels.retain(|_, sender| sender.receiver_count() > 0);
            hub.clear_at = 64.max(2 * hub.channels.len());
        }
        let channel = hub.channels.entry(account.clone()).or_insert_with(|| broadcast::channel(BACKLOG).0);
        (channel.receiver_count() < limit).then(|| channel.subscribe())
    }

    /// Sends to the account's open sessions.
    pub fn publish(&self, account: &AccountId, event: Event) {
        let hub = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = hub.channels.get(account) {
            // Fails when no session is subscribed.
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
        let mut receiver = events.subscribe(&ours, usize::MAX).unwrap();
        let token = TokenId::new();
        events.publish(&theirs, Event::TokenRevoked(TokenId::new()));
        events.publish(&ours, Event::TokenRevoked(token.clone()));
        assert_eq!(receiver.recv().await, Ok(Event::TokenRevoked(token)));
        assert!(receiver.try_recv().is_err());
    }

    #[tokio::test]
    async fn channels_without_listeners_do_not_pile_up() {
        let events = Events::new();
        let stays = AccountId::new();
        let mut receiver = events.subscribe(&stays, usize::MAX).unwrap();
        for _ in 0..1000 {
            drop(events.subscribe(&AccountId::new(), usize::MAX).unwrap());
        }
        assert!(events.0.lock().unwrap().channels.len() <= 64);
        events.publish(&stays, Event::InboxDeleted(InboxId::new()));
        assert!(receiver.recv().await.is_ok());
    }
}
