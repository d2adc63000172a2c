//! Putting a message into mailboxes.
//!
//! Invariant: the bytes are stored once, however many inboxes get the message; a UID is given out once and only upward
//! (RFC 3501 §2.3.1.1).

use super::room::{self, NotStored, Quota};
use super::routing::LocalRecipient;
use super::{Store, StoreError, content, mailboxes};
use crate::address::ReversePath;
use crate::clock::Timestamp;
use crate::envelope::Recipients;
use crate::id::{AccountId, InboxId, MessageId};
use bytes::Bytes;
use rusqlite::{Connection, params};
use std::collections::HashSet;

/// A message for local inboxes.
#[derive(Debug)]
pub struct Arrival {
    /// The envelope sender.
    pub mail_from: ReversePath,
    /// The inboxes; one that is named twice gets one copy.
    pub recipients: Recipients<LocalRecipient>,
    /// Header block as stored, with the empty line that ends it.
    pub header: Vec<u8>,
    /// The body, stored once.
    pub body: Bytes,
    /// INTERNALDATE: real time.
    pub received_at: Timestamp,
}

/// A message stands in a mailbox: what to tell open sessions (`Event::MailboxChanged`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its id.
    pub id: MessageId,
    /// Whose.
    pub account: AccountId,
    /// In which inbox.
    pub inbox: InboxId,
    /// In which mailbox.
    pub mailbox: i64,
    /// Under which UID.
    pub uid: u32,
}

/// Where a message is to stand.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub account: &'a AccountId,
    pub inbox: &'a InboxId,
    /// INBOX, Sent, …; made when it is missing.
    pub mailbox: &'a str,
    /// The flag bits of the schema.
    pub flags: i64,
    pub mail_from: &'a str,
    pub rcpt_to: &'a str,
    pub internal_date: Timestamp,
}

/// Puts a stored content into a mailbox, inside somebody's transaction.
pub(super) fn place(connection: &Connection, content_id: i64, place: &Place<'_>) -> Result<Placed, StoreError> {
    let mailbox = mailboxes::ensure(connection, place.inbox, place.mailbox)?;
    let next = mailboxes::next_uids(connection, mailbox, 1)?;
    let id = MessageId::new();
    connection
        .prepare_cached(
            "INSERT INTO message (id, inbox_id, mailbox_id, uid, content_id, flags, internal_date, modseq, mail_from, rcpt_to)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            id,
            place.inbox,
            mailbox,
            next.first_uid,
            content_id,
            place.flags,
            place.internal_date,
            next.modseq,
            place.mail_from,
            place.rcpt_to,
        ])?;
    Ok(Placed { id, account: place.account.clone(), inbox: place.inbox.clone(), mailbox, uid: next.first_uid })
}

impl Store {
    /// Delivers to INBOX of each recipient, in one transaction.
    ///
    /// An inbox that was deleted since its address was resolved fails the whole arrival: the client tries again and is
    /// told then. So does one that has no room: all of them get the message, or none.
    pub async fn deliver(&self, arrival: Arrival, quota: Quota) -> Result<Vec<Placed>, NotStored> {
        self.check_disk()?;
        self.write(move |connection| {
            let size = room::octets(&arrival.header, &arrival.body);
            room::check(connection, arrival.recipients.as_slice().iter().map(LocalRecipient::inbox), size, quota)?;
            let body_id = content::insert_body(connection, &arrival.body)?;
            let content_id = content::insert_content(connection, &arrival.header, body_id, arrival.body.len())?;
            let mail_from = arrival.mail_from.to_string();
            let mut served = HashSet::new();
            let mut placed = Vec::new();
            for recipient in arrival.recipients.as_slice() {
                if !served.insert(recipient.inbox()) {
                    continue;
                }
                let to = Place {
                    account: recipient.account(),
                    inbox: recipient.inbox(),
                    mailbox: mailboxes::INBOX,
                    flags: 0,
                    mail_from: &mail_from,
                    rcpt_to: &recipient.address().to_string(),
                    internal_date: arrival.received_at,
                };
                placed.push(place(connection, content_id, &to)?);
            }
            Ok(placed)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{Address, DomainName};
    use crate::store::routing::Route;
    use crate::store::testing::{inbox, store_with_account};

    #[tokio::test]
    async fn one_body_one_row_per_inbox_and_uids_that_rise() {
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
            let placed = store
                .deliver(
                    Arrival {
                        mail_from: ReversePath::Null,
                        recipients: Recipients::new(recipients.clone()).unwrap(),
                        header: b"Subject: x\r\n\r\n".to_vec(),
                        body: b"hello\r\n".to_vec().into(),
                        received_at: Timestamp::real(),
                    },
                    Quota { octets: 1000, messages: 2 },
                )
                .await
                .unwrap();
            assert_eq!(placed.iter().map(|p| &p.inbox).collect::<Vec<_>>(), [&one, &two]);
            assert!(placed.iter().all(|p| p.uid == uid && p.account == account));
        }
        let counts: (i64, i64, i64) = store
            .read(|c| {
                let sql = "SELECT (SELECT count(*) FROM body), (SELECT count(*) FROM content), (SELECT count(*) FROM message)";
                Ok::<_, StoreError>(c.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?)
            })
            .await
            .unwrap();
        assert_eq!(counts, (2, 2, 4));
    }
}
