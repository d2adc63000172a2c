//! The queue of outgoing mail.
//!
//! Invariant: a submission exists exactly while one of its recipients is not settled. Its body is stored once for the client's
//! header block, the outgoing one and all local copies. A message is accepted in one commit. An attempt is settled in one commit,
//! with its local copies and its bounce.

mod attempts;
mod claim;
mod filter;
#[cfg(test)]
mod filter_tests;
mod listing;
mod rows;
#[cfg(test)]
mod tests;

#[cfg(test)]
use attempts::AttemptKey;
pub(super) use attempts::remove;
pub use attempts::{
    Deferral, Due, DueDelivery, End, Ended, NewOutgoing, QueuedMessage, ReportMessage, Settled, Settlement, Wait,
};
#[cfg(test)]
use claim::Claimed;
pub use filter::{QueueAction, QueueFilter, QueueStatus};
pub use listing::QueueEntry;
pub(super) use rows::{end_leases, renew, wake_held, wake_unsigned};

use super::deliver::LocalDelivery;
use super::email_changes::RemoveDraftError;
use super::hot_rows::HotRow;
use super::message_rows::{self, NewMessage};
use super::messages::Flags;
use super::quota::{self, DeliverError, Quota};
use super::sent::{self, Note};
use super::{Store, StoreError, Transaction, bodies, content, email_changes, mailboxes, threads};
use crate::address::Address;
use crate::address::InboxName;
use crate::clock::Timestamp;
use crate::envelope::{MailParameters, RecipientParameters, Returned};
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

/// A message to accept.
#[derive(Debug)]
pub struct NewSubmission {
    /// The queue ID.
    pub id: SubmissionId,
    pub account: AccountId,
    /// The sender's inbox, to which bounces are delivered.
    pub inbox: InboxId,
    pub inbox_name: InboxName,
    /// The token of the log-in.
    pub token: TokenId,
    /// The address that the sender has logged in with.
    pub login_address: Address,
    pub identity: SendIdentity,
    /// The final From, which is also the envelope sender.
    pub mail_from: Address,
    /// The status of the domain of the log-in address, if the identity is a fallback.
    pub fallback: Option<VerifiedStatus>,
    /// Hold the message until this domain is verified, then rewrite it for that identity.
    pub held_for: Option<DomainId>,
    /// The client's header block.
    pub original_header: Vec<u8>,
    pub outgoing_header: Vec<u8>,
    /// To be signed at the attempt: the key of the domain is not available yet.
    pub is_unsigned: bool,
    pub body: Bytes,
    /// What MAIL said beside the sender.
    pub parameters: MailParameters,
    /// The remote recipients; duplicates are ignored. The message is queued unless this is empty.
    pub rcpt_to: Vec<RemoteRecipient>,
    /// For the recipients that are local inboxes.
    pub local: Option<LocalDelivery>,
    /// The copy in the sender's Sent mailbox.
    pub sent: Option<SentCopy>,
    /// The `with` keyword of the Received field.
    pub protocol: &'static str,
    /// The client's address, if Received is to show it.
    pub client: Option<IpAddr>,
    /// When it was received, real time.
    pub arrived_at: Timestamp,
    /// When it was received, by the clock.
    pub now: Timestamp,
    /// When the first attempt is due, if later than `now`.
    pub send_at: Option<Timestamp>,
    pub note: Note,
    /// The end of its retries, by the clock.
    pub expires_at: Timestamp,
}

/// A recipient elsewhere.
#[derive(Clone, Debug)]
pub struct RemoteRecipient {
    pub address: Address,
    pub parameters: RecipientParameters,
}

impl From<Address> for RemoteRecipient {
    /// Without parameters.
    fn from(address: Address) -> Self {
        Self { address, parameters: RecipientParameters::default() }
    }
}

/// What an account may send.
#[derive(Clone, Copy, Debug)]
pub struct SendLimits {
    /// Octets in the queue.
    pub queue_size: u64,
    /// Messages per hour in one thread that its inbox has.
    pub thread_messages_per_hour: u32,
}

/// The header block of the copy in Sent.
#[derive(Debug)]
pub enum SentCopy {
    /// The outgoing header block.
    AsItLeaves,
    /// The outgoing header block with the client's Bcc fields, or the client's header block if the message is held.
    WithHeader(Vec<u8>),
}

impl Store {
    /// Accepts a message in one commit: the body, the copies for local recipients and for Sent, and, for remote recipients, both
    /// header blocks and one row each. The status of the domain may have changed since it was read; it is not compared here,
    /// since each attempt reads it again.
    pub(crate) async fn submission_accept(
        &self,
        new: NewSubmission,
        limits: SendLimits,
        quota: Quota,
    ) -> Result<(), AcceptError> {
        self.check_disk()?;
        let body = self.prepare_body(new.body.clone()).await?;
        let mut hot_rows = new.local.as_ref().map(LocalDelivery::hot_rows).unwrap_or_default();
        if new.sent.is_some() || new.note.draft.is_some() {
            hot_rows.push(HotRow::Inbox(new.inbox.clone()));
        }
        if !new.rcpt_to.is_empty() {
            hot_rows.push(HotRow::Queue(new.account.clone()));
        }
        let object = body.object();
        let accepted =
            self.write_serialized(&hot_rows, move |transaction| accept(transaction, &new, &body, limits, quota));
        accepted.await.inspect(|()| object.iter().for_each(NewObject::committed))
    }
}

/// All but those of the draft are temporary errors to a client.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("the account's queue is full: the limit is {0} octets")]
    QueueFull(u64),
    /// Of the local recipients, or of the sender.
    #[error("the inbox is full")]
    InboxFull(Vec<InboxId>),
    #[error("there is no such draft")]
    NoSuchDraft,
    #[error("the draft has changed")]
    DraftChanged,
    #[error("the inbox has sent {limit} messages in this thread within an hour, which is the limit")]
    ThreadFull { limit: u32, until: Timestamp },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RemoveDraftError> for AcceptError {
    fn from(error: RemoveDraftError) -> Self {
        match error {
            RemoveDraftError::Gone => Self::NoSuchDraft,
            RemoveDraftError::Changed => Self::DraftChanged,
            RemoveDraftError::Store(error) => Self::Store(error),
        }
    }
}

impl From<DeliverError> for AcceptError {
    fn from(error: DeliverError) -> Self {
        match error {
            DeliverError::Full(inboxes) => Self::InboxFull(inboxes),
            DeliverError::Store(error) => Self::Store(error),
        }
    }
}

/// Octets that a recipient counts as in the queue.
const RECIPIENT_OCTETS: usize = 1024;

/// The size of a message in its account's queue: the body, both header blocks and the recipients.
fn queue_octets(new: &NewSubmission) -> i64 {
    let bytes = new.original_header.len().saturating_add(new.outgoing_header.len()).saturating_add(new.body.len());
    let recipients = new.rcpt_to.len().saturating_mul(RECIPIENT_OCTETS);
    i64::try_from(bytes.saturating_add(recipients)).unwrap_or(i64::MAX)
}

fn accept(
    transaction: &Transaction<'_>,
    new: &NewSubmission,
    body: &NewBody,
    limits: SendLimits,
    quota: Quota,
) -> Result<(), AcceptError> {
    if let Some(draft) = &new.note.draft {
        email_changes::remove_draft(transaction, &new.inbox, draft)?;
    }
    new.local.iter().try_for_each(|local| local.check_enabled(transaction))?;
    let body_size = new.body.len();
    let sent_header = match &new.sent {
        Some(SentCopy::AsItLeaves) => Some(&new.outgoing_header),
        Some(SentCopy::WithHeader(header)) => Some(header),
        None => None,
    };
    let threading = Threading::of(sent_header.unwrap_or(&new.outgoing_header));
    let email_id = MessageId::of_sent(&new.id);
    let thread = threads::of_reply(transaction, &new.inbox, &email_id, &threading)?;
    if let Some(thread) = &thread {
        let limit = limits.thread_messages_per_hour;
        if let Some(until) = sent::next_in_thread(transaction, thread, limit, new.now)? {
            return Err(AcceptError::ThreadFull { limit, until });
        }
    }
    let sent_octets = sent_header.map(|header| (&new.inbox, quota::octets(header.len(), body_size)));
    let local_octets = new.local.iter().flat_map(|local| local.octets(body_size));
    quota::check(transaction, local_octets.chain(sent_octets), quota)?;
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
            id: email_id,
            inbox: &new.inbox,
            mailbox: mailboxes::of_kind(transaction, &new.inbox, MailboxKind::Sent)?,
            content,
            flags: Flags::SEEN,
            keywords: "",
            mail_from: &new.mail_from.to_string(),
            rcpt_to: "",
            internal_date: new.arrived_at,
            threading: &threading,
        };
        message_rows::insert(transaction, &copy)?;
    }
    sent::insert(transaction, new, thread.as_ref())?;
    let (submission_id, inbox_id) = (new.id.clone(), new.inbox.clone());
    let remote_recipients = match outgoing {
        Some(outgoing) if !new.rcpt_to.is_empty() => enqueue(transaction, new, body, outgoing, limits.queue_size)?,
        _ => 0,
    };
    let event = Event::EmailAccepted(NewEmail { submission_id, inbox_id, remote_recipients });
    transaction.publish(&new.account, event)?;
    Ok(())
}

/// Returns the number of recipients.
fn enqueue(
    connection: &Transaction<'_>,
    new: &NewSubmission,
    body: BodyId,
    outgoing: ContentId,
    limit: u64,
) -> Result<usize, AcceptError> {
    let octets = queue_octets(new);
    let sql = "SELECT queued FROM account WHERE id = ?1";
    let queued: i64 = connection.query_row(sql, params![&new.account], |row| row.get(0))?;
    if queued.saturating_add(octets).unsigned_abs() > limit {
        return Err(AcceptError::QueueFull(limit));
    }
    let original = content::insert_content(connection, &new.original_header, body, new.body.len())?;
    connection.execute("INSERT INTO submission (id, account_id, inbox_id, inbox_name, token_id, login_address, domain_id, state,
                 mail_from, fallback, original_id, outgoing_id, is_8bit, protocol, client, arrived_at, created_at, expires_at,
                 is_unsigned, octets, ret, envelope_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, CASE WHEN ?20 = 1 THEN 'held' ELSE 'queued' END, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?21, ?22)", params![
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
            new.parameters.returned.map(Returned::as_str),
            new.parameters.envelope_id.as_ref().map(ToString::to_string),
        ])?;
    connection.execute("UPDATE account SET queued = queued + ?2 WHERE id = ?1", params![new.account, octets])?;
    Ok(rows::insert(connection, new)?)
}

/// True if the message requires 8BITMIME (RFC 6152).
fn is_8bit(header: &[u8], body: &[u8]) -> bool {
    !header.is_ascii() || !body.is_ascii()
}
