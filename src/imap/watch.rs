//! What happens outside a session while it lives: other people's changes, and the end of its log-in.

use super::listener::ImapServer;
use crate::auth::login::Login;
use crate::events::Event;
use crate::id::MailboxId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// How long a token that has run out may be used by a session that is open.
const LOOK_AGAIN: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(300) };

/// Tells a session that its open mailbox has changed.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// The one that is open.
    mailbox: Mutex<Option<MailboxId>>,
    is_set: AtomicBool,
    wake: Notify,
}

impl Changed {
    /// Which mailbox is open now.
    pub fn watch(&self, mailbox: Option<MailboxId>) {
        *self.mailbox.lock().unwrap_or_else(PoisonError::into_inner) = mailbox;
        self.is_set.store(false, Ordering::Relaxed);
    }

    /// A mailbox changed, or may have.
    pub fn set_for(&self, mailbox: MailboxId) {
        if *self.mailbox.lock().unwrap_or_else(PoisonError::into_inner) == Some(mailbox) {
            self.set();
        }
    }

    /// Something changed, or may have.
    pub fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Whether something has, and forgets it.
    pub fn take(&self) -> bool {
        self.is_set.swap(false, Ordering::Relaxed)
    }

    /// Waits until something has. Cancel safe.
    pub async fn wait(&self) {
        while !self.is_set.load(Ordering::Relaxed) {
            self.wake.notified().await;
        }
    }
}

/// Passes events on to `changed`; answers once the session has to end, with the words of its BYE.
pub(super) async fn until_end(
    server: &ImapServer,
    login: &Login,
    mut events: Receiver<Event>,
    changed: &Changed,
) -> &'static str {
    // What happened between the log-in and the subscription.
    let mut look = true;
    loop {
        if std::mem::take(&mut look) {
            match server.authenticator.still_holds(login).await {
                Ok(true) => {}
                Ok(false) => return "this log-in is no longer valid",
                Err(error) => {
                    tracing::error!(%error, inbox = %login.inbox, "a log-in could not be checked");
                    return "temporary failure, try again later";
                }
            }
        }
        // A token that runs out tells nobody.
        let Ok(event) = tokio::time::timeout(LOOK_AGAIN, events.recv()).await else {
            look = true;
            continue;
        };
        match event {
            Ok(Event::MailboxChanged { inbox, mailbox }) => {
                if inbox == login.inbox {
                    changed.set_for(mailbox);
                }
            }
            Ok(Event::TokenRevoked(token)) if token == login.token => return "this API token has been revoked",
            Ok(Event::DomainDeleted(domain)) if login.domain.as_ref() == Some(&domain) => {
                return "this domain has been deleted";
            }
            Ok(Event::InboxDeleted(inbox)) if inbox == login.inbox => return "this inbox has been deleted",
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => {
                look = true;
                changed.set();
            }
            // The hub lives as long as the server does.
            Err(RecvError::Closed) => return "the server is closing",
        }
    }
}
