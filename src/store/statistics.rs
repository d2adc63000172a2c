//! How many emails were sent, delivered, deferred, bounced and received over time, counted in the event log.
//!
//! Invariant: a count reads one partial index (account, kind, time) of the log and no row, and at most [`MOST`] of its entries for
//! each kind, the newest. See docs/decisions/0028-statistics-from-the-event-log.md.

use super::engine::params;
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::id::AccountId;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// Entries of the index that are counted for each kind.
pub(crate) const MOST: i64 = if cfg!(test) { 5 } else { 500_000 };

/// The kinds that are counted, in the order of [`Counts::spans`]. The condition of the index names the same.
const KINDS: [&str; 5] = ["email_accepted", "email_delivered", "email_deferred", "email_bounced", "message_received"];

/// Emails in each span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By the number of the span since 1970: sent, delivered, deferred, bounced, received. A span without any is left out.
    pub spans: BTreeMap<i64, [u64; 5]>,
    /// The first span of which all were counted, where there were more than are counted.
    pub complete_from: Option<i64>,
}

impl Store {
    /// Emails of an account within a time, by spans of this length.
    pub async fn email_counts(
        &self,
        account: &AccountId,
        within: Range<Timestamp>,
        span: Duration,
    ) -> Result<Counts, StoreError> {
        let account = account.clone();
        let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX).max(1);
        self.read(move |transaction| {
            let mut counts = Counts::default();
            for (at, kind) in KINDS.into_iter().enumerate() {
                // The kind is in the text, so that SQLite sees that the index has it.
                let sql = format!(
                    "SELECT at / ?4 AS span, count(*) FROM
                         (SELECT at FROM event WHERE account_id = ?1 AND kind = '{kind}' AND at >= ?2 AND at < ?3
                          ORDER BY at DESC LIMIT ?5) AS newest
                     GROUP BY 1 ORDER BY 1"
                );
                let values = params![account, within.start, within.end, span, MOST];
                let row = |row: &super::engine::Row<'_>| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?));
                let found: Vec<(i64, i64)> = transaction.query(&sql, values, row)?;
                let total = found.iter().fold(0_i64, |total, (_, count)| total.saturating_add(*count));
                if let Some((first, _)) = found.first()
                    && total >= MOST
                {
                    counts.complete_from = counts.complete_from.max(Some(first.saturating_add(1)));
                }
                for (span, count) in found {
                    if let Some(counted) = counts.spans.entry(span).or_default().get_mut(at) {
                        *counted = count.unsigned_abs();
                    }
                }
            }
            Ok(counts)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{DeliveryAttempt, Event, NewEmail};
    use crate::id::{InboxId, MailboxId, MessageId, SubmissionId};
    use crate::store::engine::Engine;
    use crate::store::testing::{account, store_with_account};

    const HOUR: Duration = Duration::from_secs(3600);

    async fn log(store: &Store, account: &AccountId, events: Vec<(Event, i64)>) {
        let account = account.clone();
        store
            .write(move |transaction| {
                for (event, at) in events.clone() {
                    transaction.publish(&account, event)?;
                    let last = "(SELECT max(number) FROM event WHERE account_id = ?2)";
                    transaction
                        .execute(&format!("UPDATE event SET at = ?1 WHERE number = {last}"), params![at, account])?;
                }
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
    }

    fn received() -> Event {
        let (inbox_id, message_id) = (InboxId::new(), MessageId::new());
        Event::MessageReceived { inbox_id, mailbox: MailboxId::new(1), message_id, uid: 1 }
    }

    fn attempt() -> DeliveryAttempt {
        DeliveryAttempt {
            inbox_id: None,
            submission_id: SubmissionId::new(),
            delivery_id: crate::id::DeliveryId::new(),
            recipient: "a@example.org".parse().unwrap(),
            reply: "250 ok".into(),
            mx: None,
        }
    }

    fn sent() -> Event {
        let (submission_id, inbox_id) = (SubmissionId::new(), InboxId::new());
        Event::EmailAccepted(NewEmail { submission_id, inbox_id, remote_recipients: 1 })
    }

    #[tokio::test]
    async fn emails_are_counted_by_spans_for_their_account_alone() {
        let (_dir, store, ours) = store_with_account().await;
        let theirs = account(&store).await;
        let at = |hours: i64| hours * 3_600_000;
        let events = vec![
            (received(), at(10)),
            (received(), at(11) - 1),
            (received(), at(11)),
            (sent(), at(10)),
            (Event::EmailDelivered(attempt()), at(12)),
            (Event::EmailDeferred(attempt()), at(11)),
            (Event::EmailBounced(attempt()), at(12) + 5),
            // After the end.
            (sent(), at(13)),
        ];
        log(&store, &ours, events).await;
        log(&store, &theirs, vec![(received(), at(10))]).await;
        let within = |from: i64, to: i64| Timestamp::from_millis(at(from))..Timestamp::from_millis(at(to));
        let counts = store.email_counts(&ours, within(10, 13), HOUR).await.unwrap();
        let expected = [(10, [1, 0, 0, 0, 2]), (11, [0, 0, 1, 0, 1]), (12, [0, 1, 0, 1, 0])];
        assert_eq!((counts.spans, counts.complete_from), (expected.into_iter().collect(), None));

        // Where there are more than are counted, the newest are.
        log(&store, &ours, vec![(sent(), at(20)); 4]).await;
        log(&store, &ours, vec![(sent(), at(21)); 3]).await;
        let counts = store.email_counts(&ours, within(20, 22), HOUR).await.unwrap();
        let expected = [(20, [2, 0, 0, 0, 0]), (21, [3, 0, 0, 0, 0])];
        assert_eq!((counts.spans, counts.complete_from), (expected.into_iter().collect(), Some(21)));
    }

    #[tokio::test]
    async fn a_count_reads_the_index_alone() {
        let (_dir, store, ours) = store_with_account().await;
        if !matches!(store.inner.engine, Engine::Sqlite(_)) {
            return;
        }
        let plan = store
            .read(move |transaction| {
                let sql = "EXPLAIN QUERY PLAN SELECT at FROM event WHERE account_id = ?1 AND kind = 'email_accepted' AND at >= ?2";
                transaction.query(sql, params![ours, 0_i64], |row| row.get::<String>(3))
            })
            .await
            .unwrap();
        assert!(
            plan.join("\n").contains("USING COVERING INDEX event_of_email (account_id=? AND kind=? AND at>?)"),
            "{plan:?}"
        );
    }
}
