//! Wakes a session when its selected mailbox changes, or any of its inbox that it wants to be notified of.

use crate::auth::session::{AuthSession, Change, SessionEnd};
use crate::id::MailboxId;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Metadata entries that have changed and that were not reported to the client yet. Beyond these, it is not known which they
/// are.
const ENTRIES: usize = 1000;

/// Whether the selected mailbox has changed since the last response about it; and with NOTIFY, what else has.
#[derive(Debug, Default)]
pub(super) struct Changed {
    mailbox: Mutex<Option<MailboxId>>,
    is_set: AtomicBool,
    wake: Notify,
    /// `None`: only changes of the selected mailbox matter.
    news: Mutex<Option<News>>,
}

/// What has changed in an inbox since the client was notified.
#[derive(Debug, Default)]
pub(super) struct News {
    is_any: bool,
    /// Metadata entries were changed that `metadata` does not name.
    pub misses_metadata: bool,
    /// Entries, of a mailbox or of the inbox as a whole.
    pub metadata: BTreeSet<(Option<MailboxId>, String)>,
}

impl Changed {
    /// Watches this mailbox, or none.
    pub fn watch(&self, mailbox: Option<MailboxId>) {
        *self.mailbox.lock().unwrap_or_else(PoisonError::into_inner) = mailbox;
        self.is_set.store(false, Ordering::Relaxed);
    }

    /// Collects changes of the inbox from now on, or no more.
    pub fn collect(&self, wanted: bool) {
        *self.news() = wanted.then(News::default);
    }

    fn news(&self) -> MutexGuard<'_, Option<News>> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn note(&self, change: Change) {
        let mut news = self.news();
        let Some(news) = &mut *news else { return };
        news.is_any = true;
        match change {
            Change::Mailbox(_) | Change::Mailboxes => {}
            Change::Metadata(of, entries) if news.metadata.len().saturating_add(entries.len()) <= ENTRIES => {
                news.metadata.extend(entries.into_iter().map(|entry| (of, entry)));
            }
            Change::Metadata(..) | Change::Unknown => news.misses_metadata = true,
        }
        self.wake.notify_one();
    }

    /// Whether it has changed; resets that.
    pub fn take(&self) -> bool {
        self.is_set.swap(false, Ordering::Relaxed)
    }

    /// What else has changed; resets that. `None`: nothing.
    pub fn take_news(&self) -> Option<News> {
        self.news().as_mut().filter(|news| news.is_any).map(std::mem::take)
    }

    fn is_any(&self) -> bool {
        self.is_set.load(Ordering::Relaxed) || self.news().as_ref().is_some_and(|news| news.is_any)
    }

    /// Resolves once the mailbox has changed, or there is other news. Cancel safe.
    pub async fn wait(&self) {
        while !self.is_any() {
            self.wake.notified().await;
        }
    }
}

/// Passes the changes of the inbox on to `changed`, until the session's log-in ends.
pub(super) async fn follow(session: &mut AuthSession, changed: &Changed) -> SessionEnd {
    loop {
        match session.next().await {
            Ok(change) => {
                match change {
                    Change::Mailbox(mailbox) => changed.set_for(mailbox),
                    Change::Unknown => changed.set(),
                    Change::Mailboxes | Change::Metadata(..) => {}
                }
                changed.note(change);
            }
            Err(end) => return end,
        }
    }
}
