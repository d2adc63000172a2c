//! Putting a message into mailboxes. (stub: owner imap)

use super::routing::LocalRecipient;
use super::{Store, StoreError};
use crate::address::ReversePath;
use crate::clock::Timestamp;
use crate::envelope::Recipients;
use crate::id::{AccountId, InboxId, MessageId};
use rusqlite::Connection;

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
    pub body: Vec<u8>,
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
    let _ = (connection, content_id, place);
    todo!("owner: imap")
}

impl Store {
    /// Delivers to INBOX of each recipient, in one transaction.
    pub async fn deliver(&self, arrival: Arrival) -> Result<Vec<Placed>, StoreError> {
        let _ = arrival;
        todo!("owner: imap")
    }
}
