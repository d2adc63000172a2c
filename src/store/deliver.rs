//! Delivery into the INBOX of local recipients, or into Junk if a list blocks the sender.
//!
//! Invariant: the content is stored once for all inboxes.

use super::bodies::NewObject;
use super::hot_rows::HotRow;
use super::message_rows::{self, BLOCKED, Delivered, NewMessage};
use super::messages::Flags;
use super::quota::{self, DeliverError, Quota};
use super::routing::LocalRecipient;
use super::{Store, StoreError, Transaction, access, bodies, content, mailboxes, routing};
use crate::access::{ADDRESSES, Direction, blocked_by};
use crate::address::{Address, ReversePath};
use crate::clock::Timestamp;
use crate::envelope::Recipients;
use crate::id::{BodyId, InboxId, MailboxId, MessageId};
use crate::message::addresses_of;
use crate::message::threading::Threading;
use crate::store::mailboxes::MailboxKind;
use bytes::Bytes;
use std::collections::HashSet;

/// Octets of a header that are searched for From, since this is done in the transaction.
const FROM_WITHIN: usize = 64 * 1024;

/// The delivery of a message, without its body, to the INBOX of each recipient.
#[derive(Clone, Debug)]
pub struct LocalDelivery {
    /// The envelope sender.
    pub mail_from: ReversePath,
    /// An inbox with several addresses among them gets one copy.
    pub recipients: Recipients<LocalRecipient>,
    /// The header block, with the empty line.
    pub header: Vec<u8>,
    /// INTERNALDATE, real time.
    pub received_at: Timestamp,
}

impl LocalDelivery {
    fn unique_inboxes(&self) -> impl Iterator<Item = &LocalRecipient> {
        let mut seen = HashSet::new();
        self.recipients.as_slice().iter().filter(move |recipient| seen.insert(recipient.inbox()))
    }

    /// The addresses that allow and block lists are compared with: the envelope sender, and those of From.
    fn senders(&self) -> Vec<Address> {
        let header = self.header.get(..FROM_WITHIN).unwrap_or(&self.header);
        let authors = addresses_of(header, "From").flatten().take(ADDRESSES);
        self.mail_from.address().cloned().into_iter().chain(authors).collect()
    }

    /// The octets added to each inbox, for [`quota::check`].
    pub(super) fn octets(&self, body_size: usize) -> impl Iterator<Item = (&InboxId, u64)> {
        let size = quota::octets(self.header.len(), body_size);
        self.unique_inboxes().map(move |recipient| (recipient.inbox(), size))
    }

    /// An error if an inbox was disabled after its address was resolved.
    pub(super) fn check_enabled(&self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        for recipient in self.unique_inboxes() {
            if routing::is_disabled(transaction, recipient.inbox())? {
                return Err(StoreError::InboxDisabled(recipient.inbox().clone()));
            }
        }
        Ok(())
    }

    pub(super) fn hot_rows(&self) -> Vec<HotRow> {
        self.recipients.as_slice().iter().map(|recipient| HotRow::Inbox(recipient.inbox().clone())).collect()
    }

    /// Stores the copies, for a stored body.
    ///
    /// Fails with [`StoreError::InboxDeleted`] if an inbox was deleted after its address was resolved; a retry is then refused.
    pub(super) fn deliver(
        &self,
        transaction: &Transaction<'_>,
        body_id: BodyId,
        body_size: usize,
    ) -> Result<Vec<Delivered>, StoreError> {
        let content = content::insert_content(transaction, &self.header, body_id, body_size)?;
        let threading = Threading::of(&self.header);
        let (mail_from, patterns) = (self.mail_from.to_string(), access::patterns(self.senders().iter()));
        let deliver = |recipient: &LocalRecipient| {
            let matches = access::matching(transaction, recipient.inbox(), Direction::Receive, &patterns)?;
            let is_blocked = blocked_by(matches).is_some();
            let new = NewMessage {
                id: MessageId::new(),
                inbox: recipient.inbox(),
                mailbox: match is_blocked {
                    true => mailboxes::of_kind(transaction, recipient.inbox(), MailboxKind::Junk)?,
                    false => inbox_mailbox(transaction, recipient.inbox())?,
                },
                content,
                flags: Flags::default(),
                keywords: if is_blocked { BLOCKED } else { "" },
                mail_from: &mail_from,
                rcpt_to: &recipient.address().to_string(),
                internal_date: self.received_at,
                threading: &threading,
            };
            message_rows::insert(transaction, &new)
        };
        self.unique_inboxes().map(deliver).collect()
    }
}

pub(super) fn inbox_mailbox(connection: &Transaction<'_>, inbox: &InboxId) -> Result<MailboxId, StoreError> {
    let found = mailboxes::find(connection, inbox, mailboxes::INBOX)?;
    found.ok_or_else(|| StoreError::InboxDeleted(inbox.clone()))
}

impl Store {
    /// Delivers a message to all recipients or to none.
    pub(crate) async fn message_deliver(
        &self,
        delivery: LocalDelivery,
        body: Bytes,
        quota: Quota,
    ) -> Result<Vec<Delivered>, DeliverError> {
        self.check_disk()?;
        let body = self.prepare_body(body).await?;
        let (hot_rows, object) = (delivery.hot_rows(), body.object());
        let delivered = self.write_serialized(&hot_rows, move |transaction| {
            delivery.check_enabled(transaction)?;
            quota::check(transaction, delivery.octets(body.len()), quota)?;
            let body_id = bodies::insert(transaction, &body)?;
            Ok(delivery.deliver(transaction, body_id, body.len())?)
        });
        delivered.await.inspect(|_| object.iter().for_each(NewObject::committed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, DomainName};
    use crate::store::params;
    use crate::store::routing::Route;
    use crate::store::testing::{inbox, store_with_account};

    #[tokio::test]
    async fn a_delivery_stores_one_body_and_one_message_per_inbox_with_ascending_uids() {
        let (_dir, store, account) = store_with_account().await;
        let (one, two) = (inbox(&store, &account, "one").await, inbox(&store, &account, "two").await);
        let platform = DomainName::parse("inboxlayer.dev").unwrap();
        let mut recipients = Vec::new();
        for text in ["one@inboxlayer.dev", "two@inboxlayer.dev", "One+tag@inboxlayer.dev"] {
            let address = Address::parse(text).unwrap();
            match store.route(&platform, &address, Timestamp::real()).await.unwrap() {
                Route::Inbox(recipient) => recipients.push(recipient),
                other => panic!("{other:?}"),
            }
        }
        for uid in 1..=2 {
            let delivered = store
                .message_deliver(
                    LocalDelivery {
                        mail_from: ReversePath::Null,
                        recipients: Recipients::new(recipients.clone()).unwrap(),
                        header: b"Subject: x\r\n\r\n".to_vec(),
                        received_at: Timestamp::real(),
                    },
                    b"hello\r\n".to_vec().into(),
                    Quota { octets: 1000, messages: 2 },
                )
                .await
                .unwrap();
            assert_eq!(delivered.iter().map(|p| &p.inbox).collect::<Vec<_>>(), [&one, &two]);
            assert!(delivered.iter().all(|p| p.uid == uid));
        }
        let counts: (i64, i64, i64) = store
            .read(|c| {
                let sql = "SELECT (SELECT count(*) FROM body), (SELECT count(*) FROM content), (SELECT count(*) FROM message)";
                c.query_row(sql, params![], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            })
            .await
            .unwrap();
        assert_eq!(counts, (1, 2, 4), "the second message has the same body");
    }
}
