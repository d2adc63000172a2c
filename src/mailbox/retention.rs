//! Removes expired messages from Trash and Junk.

use super::MailboxService;
use crate::clock::{Clock, Timestamp};
use crate::config::Retention;
use crate::id::MailboxId;
use crate::store::StoreError;
use std::time::Duration;

/// Between passes over all mailboxes.
const PAUSE: Duration = Duration::from_secs(3600);
/// Mailboxes read at once.
const MAILBOXES: u32 = 200;
/// Messages of a mailbox read at once.
const MESSAGES: u32 = 1000;

impl MailboxService {
    /// Removes expired messages of all inboxes, once an hour.
    pub async fn run_retention(&self, clock: &Clock, default: Retention) {
        loop {
            match self.remove_expired(clock.now(), default).await {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot remove expired messages from Trash and Junk, retrying in an hour")
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn remove_expired(&self, now: Timestamp, default: Retention) -> Result<(), StoreError> {
        let mut after = MailboxId::new(0);
        loop {
            let mailboxes = self.store.mailboxes_with_retention(after, default, MAILBOXES).await?;
            let Some(last) = mailboxes.last() else { return Ok(()) };
            after = last.mailbox;
            for mailbox in mailboxes {
                let before = mailbox.before(now);
                loop {
                    let old = self.store.messages_expired(&mailbox, before, MESSAGES).await?;
                    if old.is_empty() {
                        break;
                    }
                    self.remove_in_batches(&mailbox.inbox, &old, |uids| {
                        let (store, mailbox) = (self.store.clone(), mailbox.clone());
                        async move { store.messages_remove_expired(mailbox, before, uids).await }
                    })
                    .await?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::id::InboxId;
    use crate::store::inboxes::InboxChange;
    use crate::store::messages::Flags;
    use crate::store::testing::{fill, inbox, put, store_with_account};
    use crate::store::{Store, engine::params};

    const DEFAULT: Retention = Retention { trash_days: 30, junk_days: 30 };

    /// How many messages INBOX, Trash and Junk have.
    async fn counts(store: &Store, inbox: &InboxId) -> Vec<i64> {
        let inbox = inbox.clone();
        let sql = "SELECT count(*) FROM message m JOIN mailbox p ON p.id = m.mailbox_id
                       JOIN mailbox b ON b.id = coalesce(p.part_of, p.id) WHERE b.inbox_id = ?1 AND b.name = ?2";
        let of = move |c: &crate::store::Transaction<'_>| {
            ["INBOX", "Trash", "Junk"]
                .iter()
                .map(|name| c.query_row(sql, params![inbox, *name], |row| row.get(0)))
                .collect()
        };
        store.read(of).await.unwrap()
    }

    #[tokio::test]
    async fn trash_and_junk_are_emptied_after_their_days_and_nothing_else() {
        let (_dir, store, account) = store_with_account().await;
        let service = MailboxService::new(store.clone(), &Limits::default());
        let (ann, ben) = (inbox(&store, &account, "ann").await, inbox(&store, &account, "ben").await);
        let first = Timestamp::real();
        for inbox in [&ann, &ben] {
            let message = put(&store, inbox, b"Subject: x\r\n\r\nx\r\n").await;
            fill(&store, inbox, message.mailbox, 1203, Flags::default()).await;
            for (to, uids) in [("Trash", 1..=1200_u32), ("Junk", 1201..=1203)] {
                let moved = service.move_to(inbox, message.mailbox, uids.collect(), to).await;
                moved.unwrap();
            }
            assert_eq!(counts(&store, inbox).await, [1, 1200, 3]);
        }
        // One has its own rule.
        let change = InboxChange { trash_days: Some(Some(0)), junk_days: Some(Some(3)), ..InboxChange::default() };
        store.inbox_change(&account, &ben, change, first).await.unwrap().unwrap();

        let day = |days: u64| first.after(Duration::from_secs(days * 24 * 3600));
        for (days, of_ann, of_ben) in [
            (2, [1, 1200, 3], [1, 1200, 3]),
            (4, [1, 1200, 3], [1, 1200, 0]),
            (29, [1, 1200, 3], [1, 1200, 0]),
            (31, [1, 0, 0], [1, 1200, 0]),
        ] {
            service.remove_expired(day(days), DEFAULT).await.unwrap();
            assert_eq!(
                (counts(&store, &ann).await, counts(&store, &ben).await),
                (of_ann.to_vec(), of_ben.to_vec()),
                "{days}"
            );
        }
        // The configured rule again.
        let change = InboxChange { trash_days: Some(None), ..InboxChange::default() };
        store.inbox_change(&account, &ben, change, first).await.unwrap().unwrap();
        service.remove_expired(day(31), Retention { trash_days: 0, ..DEFAULT }).await.unwrap();
        assert_eq!(counts(&store, &ben).await, [1, 1200, 0]);
        service.remove_expired(day(31), DEFAULT).await.unwrap();
        assert_eq!(counts(&store, &ben).await, [1, 0, 0]);
    }
}
