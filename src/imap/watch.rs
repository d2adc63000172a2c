//! Wakes a session when its selected mailbox changes.

use crate::auth::session::{AuthSession, Change, SessionEnd};
use crate::id::MailboxId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// Whether the selected mailbox has changed since the last response about it.
#[derive(Debug, Default)]
pub(super) struct Changed {
    mailbox: Mutex<Option<MailboxId>>,
    is_set: AtomicBool,
    wake: Notify,
}

impl Changed {
    /// Watches this mailbox, or none.
    pub fn watch(&self, mailbox: Option<MailboxId>) {
        *self.mailbox.lock().unwrap_or_else(PoisonError::into_inner) = mailbox;
        self.is_set.store(false, Ordering::Relaxed);
    }

    /// This mailbox changed, or may have.
    pub fn set_for(&self, mailbox: MailboxId) {
        if *self.mailbox.lock().unwrap_or_else(PoisonError::into_inner) == Some(mailbox) {
            self.set();
        }
    }

    /// The watched mailbox changed, or may have.
    pub fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Whether it has changed; resets that.
    pub fn take(&self) -> bool {
        self.is_set.swap(false, Ordering::Relaxed)
    }

    /// Resolves once it has changed. Cancel safe.
    pub async fn wait(&self) {
        while !self.is_set.load(Ordering::Relaxed) {
            self.wake.notified().await;
        }
    }
}

/// Passes the changes of the inbox on to `changed`, until the session's log-in ends.
pub(super) async fn follow(session: &mut AuthSession, changed: &Changed) -> SessionEnd {
    loop {
        match session.next().await {
            Ok(Change::Mailbox(mailbox)) => changed.set_for(mailbox),
            Ok(Change::Unknown) => changed.set(),
            Err(end) => return end,
        }
    }
}
