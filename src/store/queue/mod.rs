//! Mail that waits to leave.
//!
//! Invariant: a submission is there exactly while a recipient of it is unsettled; its body is stored
//! once, shared by the header block the client gave, the one that leaves, and every local copy. One commit takes a message
//! in, and one settles an attempt together with what it puts into inboxes.

mod attempts;
mod claim;
mod listing;
mod rows;
#[cfg(test)]
mod tests;

#[cfg(test)]
use attempts::AttemptKey;
pub use attempts::{
    BounceMessage, Deferral, Due, DueDelivery, End, Ended, NewOutgoing, QueuedMessage, Settled, Settlement, Wait,
};
#[cfg(test)]
use claim::Claimed;
pub use listing::QueueEntry;
pub(super) use rows::{end_leases, renew, wake_held, wake_unsigned};

use super::deliver::LocalDelivery;
use super::message_rows::{self, NewMessage};
use super::messages::Flags;
use super::room::{self, DeliverError, Quota};
use super::sent::{self, Note};
use super::turns::Turn;
use super::{Store, StoreError, Transaction, bodies, content, mailboxes};
use crate::address::Address;
use crate::address::InboxName;
use crate::clock::Timestamp;
use crate::events::{Event, NewEmail};
use crate::id::{AccountId, BodyId, ContentId, DomainId, InboxId, MessageId, SubmissionId, TokenId};
use crate::identity::SendIdentity;
use crate::message::threading::Threading;
use crate::store::bodies::{NewBody, NewObject};
use crate::store::engine::params;
use crate::store::mailboxes::MailboxKind;
use crate::verification::status::VerifiedStatus;
use bytes::Bytes;
use std::net::IpAddr;

/// A message to be taken in.
#[derive(Debug)]
pub struct NewSubmission {
    /// The queue id.
    pub id: SubmissionId,
    pub account: AccountId,
    /// Which inbox sends it, and gets its bounces.
    pub inbox: InboxId,
    pub inbox_name: InboxName,
    /// The token it came with.
    pub token: TokenId,
    /// What the sender logged in as.
    pub login_address: Address,
    /// What it leaves under.
    pub identity: SendIdentity,
    /// The final From, which is the envelope sender too.
    pub mail_from: Address,
    /// The status of the log-in's domain, when it fell back.
    pub fallback: Option<VerifiedStatus>,
    /// It is kept until this domain is verified, and then written anew under it.
    pub held_for: Option<DomainId>,
    /// The header block as the client gave it.
    pub original_header: Vec<u8>,
    /// The header block that leaves.
    pub outgoing_header: Vec<u8>,
    /// It is signed only when it leaves: its domain's key is still being made.
    pub is_unsigned: bool,
    /// The body of all of them.
    pub body: Bytes,
    /// To whom it leaves; one that is named twice gets it once. It is queued only where there are some.
    pub rcpt_to: Vec<Address>,
    /// For the recipients that are inboxes here.
    pub local: Option<LocalDelivery>,
    /// The copy in the sender's Sent mailbox.
    pub sent: Option<SentCopy>,
    /// How it came, for Received.
    pub protocol: &'static str,
    /// From where, if Received is to show it.
    pub client: Option<IpAddr>,
    /// When: real time.
    pub arrived_at: Timestamp,
    /// When, by the clock.
    pub now: Timestamp,
    /// When the first attempt is due, if that is later.
    pub send_at: Option<Timestamp>,
    pub note: Note,
    /// Until when to try, by the clock.
    pub expires_at: Timestamp,
}

/// The header block of the copy in Sent.
#[derive(Debug)]
pub enum SentCopy {
    /// The one that leaves.
    AsItLeaves,
    /// This one: with the client's fields of blind copies, or all as the client gave it where the message is held.
    WithHeader(Vec<u8>),
}

impl Store {
    /// Takes a message in, in one commit: its body once, the copies for recipients here and for Sent, and for recipients
    /// elsewhere both header blocks and a row each. The status of its domain may have changed since it was read; each attempt
    /// reads it again, so nothing is compared here. The account may have `queue_size` octets in the queue at most.
    pub(crate) async fn submission_accept(
        &self,
        new: NewSubmission,
        queue_size: u64,
        quota: Quota,
    ) -> Result<(), AcceptError> {
        self.check_disk()?;
        let body = self.prepare_body(new.body.clone()).await?;
        let mut turns = new.local.as_ref().map(LocalDelivery::turns).unwrap_or_default();
        turns.extend(new.sent.as_ref().map(|_| Turn::Inbox(new.inbox.clone())));
        if !new.rcpt_to.is_empty() {
            turns.push(Turn::Queue(new.account.clone()));
        }
        let object = body.object();
        let accepted =
            self.write_in_turn(&turns, move |transaction| accept(transaction, &new, &body, queue_size, quota));
        accepted.await.inspect(|()| object.iter().for_each(NewObject::committed))
    }
}

/// Why a message was not taken in. Temporary.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("the account has as much mail in the queue as it may: {0} octets")]
    QueueFull(u64),
    /// These inboxes have no room for it: a recipient's, or the sender's.
    #[error("the inbox is full")]
    InboxFull(Vec<InboxId>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DeliverError> for AcceptError {
    fn from(error: DeliverError) -> Self {
        match error {
            DeliverError::Full(inboxes) => Self::InboxFull(inboxes),
            DeliverError::Store(error) => Self::Store(error),
        }
    }
}

/// Octets that a recipient counts for in the queue.
const RECIPIENT: usize = 1024;

/// What a message counts for in its account's queue: its body once, both header blocks, its recipients.
fn octets(new: &NewSubmission) -> i64 {
    let bytes = new.original_header.len().saturating_add(new.outgoing_header.len()).saturating_add(new.body.len());
    let recipients = new.rcpt_to.len().saturating_mul(RECIPIENT);
    i64::try_from(bytes.saturating_add(recipients)).unwrap_or(i64::MAX)
}

fn accept(
    transaction: &Transaction<'_>,
    new: &NewSubmission,
    body: &NewBody,
    queue_size: u64,
    quota: Quota,
) -> Result<(), AcceptError> {
    let body_size = new.body.len();
    let sent_header = match &new.sent {
        Some(SentCopy::AsItLeaves) => Some(&new.outgoing_header),
        Some(SentCopy::WithHeader(header)) => Some(header),
        None => None,
    };
    let sent_octets = sent_header.map(|header| (&new.inbox, room::octets(header.len(), body_size)));
    let local_octets = new.local.iter().flat_map(|local| local.octets(body_size));
    room::check(transaction, local_octets.chain(sent_octets), quota)?;
    let body = bodies::insert(transaction, body)?;
    if let Some(local) = &new.local {
        local.deliver(transaction, body, body_size)?;
    }
    let outgoing = match (&new.sent, new.rcpt_to.as_slice()) {
        (None | Some(SentCopy::WithHeader(_)), []) => None,
        _ => Some(content::insert_content(transaction, &new.outgoing_header, body, body_size)?),
    };
    if let Some(header) = sent_header {
        let content = match (&new.sent, outgoing) {
            (Some(SentCopy::AsItLeaves), Some(outgoing)) => outgoing,
            _ => content::insert_content(transaction, header, body, body_size)?,
        };
        let copy = NewMessage {
            id: MessageId::of_sent(&new.id),
            inbox: &new.inbox,
            mailbox: mailboxes::of_kind(transaction, &new.inbox, MailboxKind::Sent)?,
            content,
            flags: Flags::SEEN,
            keywords: "",
            mail_from: &new.mail_from.to_string(),
            rcpt_to: "",
            internal_date: new.arrived_at,
            threading: &Threading::of(header),
        };
        message_rows::insert(transaction, &copy)?;
    }
    sent::insert(transaction, new)?;
    let (submission_id, inbox_id) = (new.id.clone(), new.inbox.clone());
    let remote_recipients = match outgoing {
        Some(outgoing) if !new.rcpt_to.is_empty() => enqueue(transaction, new, body, outgoing, queue_size)?,
        _ => 0,
    };
    let event = Event::EmailAccepted(NewEmail { submission_id, inbox_id, remote_recipients });
    transaction.publish(&new.account, event)?;
    Ok(())
}

/// Returns the number of its recipients.
fn enqueue(
    connection: &Transaction<'_>,
    new: &NewSubmission,
    body: BodyId,
    outgoing: ContentId,
    limit: u64,
) -> Result<usize, AcceptError> {
    let octets = octets(new);
    let sql = "SELECT queued FROM account WHERE id = ?1";
    let queued: i64 = connection.query_row(sql, params![&new.account], |row| row.get(0))?;
    if queued.saturating_add(octets).unsigned_abs() > limit {
        return Err(AcceptError::QueueFull(limit));
    }
    let original = content::insert_content(connection, &new.original_header, body, new.body.len())?;
    connection.execute("INSERT INTO submission (id, account_id, inbox_id, inbox_name, token_id, login_address, domain_id, state,
                 mail_from, fallback, original_id, outgoing_id, is_8bit, protocol, client, arrived_at, created_at, expires_at,
                 is_unsigned, octets)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, CASE WHEN ?20 = 1 THEN 'held' ELSE 'queued' END, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)", params![
            new.id,
            new.account,
            new.inbox,
            new.inbox_name,
            new.token,
            new.login_address,
            new.held_for.as_ref().or(new.identity.custom_domain()),
            new.mail_from,
            new.fallback,
            original,
            outgoing,
            is_8bit(&new.outgoing_header, &new.body),
            new.protocol,
            new.client.map(|client| client.to_string()),
            new.arrived_at,
            new.now,
            new.expires_at,
            new.is_unsigned,
            octets,
            new.held_for.is_some(),
        ])?;
    connection.execute("UPDATE account SET queued = queued + ?2 WHERE id = ?1", params![new.account, octets])?;
    Ok(rows::insert(connection, new)?)
}

/// True when the message needs 8BITMIME (RFC 6152).
fn is_8bit(header: &[u8], body: &[u8]) -> bool {
    !header.is_ascii() || !body.is_ascii()
}
