//! Administration of the queue: list, show, retry, drop.

use super::super::{Store, StoreError, Transaction};
use super::{attempts, rows};
use crate::address::Address;
use crate::clock::Timestamp;
use crate::id::{AccountId, DeliveryId, InboxId, MessageId, SubmissionId};
use crate::store::engine::{Row, params};
use serde::Serialize;

/// A message in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct QueueEntry {
    /// The queue ID.
    pub id: SubmissionId,
    /// The ID of its copy in Sent.
    pub email_id: MessageId,
    /// `None` for the platform's own mail.
    #[serde(rename = "account_id")]
    pub account: Option<AccountId>,
    /// The sender's inbox.
    #[serde(rename = "inbox_id")]
    pub inbox: Option<InboxId>,
    /// The envelope sender, which is the identity.
    pub mail_from: String,
    /// The status of the sender's domain, `pending` or `failed`, if the identity is a fallback.
    pub fallback: Option<String>,
    /// Held until the domain of `mail_from` is verified.
    pub held: bool,
    /// Octets of the outgoing message.
    pub size: i64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it bounces if it is still not delivered.
    pub expires_at: Timestamp,
    /// The recipients that are not settled.
    pub deliveries: Vec<QueuedDelivery>,
}

/// A recipient that is not settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct QueuedDelivery {
    pub id: DeliveryId,
    pub rcpt_to: Address,
    /// Not attempted until an operator releases it.
    pub on_hold: bool,
    /// Attempts made.
    pub attempts: u32,
    /// Null while it is on hold.
    pub next_attempt_at: Option<Timestamp>,
    /// An attempt is running.
    pub in_progress: bool,
    pub last_attempt_at: Option<Timestamp>,
    /// The reply to the last attempt, or the local reason of its failure.
    pub last_reply: Option<String>,
    /// The host that replied.
    pub last_mx: Option<String>,
}

impl Store {
    /// Messages in the queue after `after`, the oldest first: of all accounts, or of one.
    pub async fn queue_list(
        &self,
        account: Option<AccountId>,
        after: Option<SubmissionId>,
        limit: usize,
    ) -> Result<Vec<QueueEntry>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(move |connection| {
            let after = after.as_ref().map(ToString::to_string).unwrap_or_default();
            let sql = format!(
                "{MESSAGE} WHERE s.id > ?1 AND {} ORDER BY s.id LIMIT ?3",
                if account.is_some() { "s.account_id = ?2" } else { "CAST(?2 AS TEXT) IS NULL" }
            );
            let found: Vec<_> = connection.query(&sql, params![after, account, limit], read_message)?;
            found.into_iter().map(|message| with_deliveries(connection, message)).collect()
        })
        .await
    }

    pub async fn queue_show(&self, id: SubmissionId) -> Result<Option<QueueEntry>, StoreError> {
        self.read(move |connection| {
            let sql = format!("{MESSAGE} WHERE s.id = ?1");
            let found = connection.query_opt(&sql, params![id], read_message)?;
            found.map(|message| with_deliveries(connection, message)).transpose()
        })
        .await
    }

    /// Makes a message due now; the caller must wake the queue afterwards. False if it is on hold, or there is no such message.
    pub async fn queue_retry(&self, id: SubmissionId, now: Timestamp) -> Result<bool, StoreError> {
        self.write(move |connection| rows::retry(connection, &id, now)).await
    }

    /// Removes a message from the queue without a bounce. False if there is no such message. A running attempt is not
    /// interrupted.
    pub async fn queue_drop(&self, id: SubmissionId) -> Result<bool, StoreError> {
        self.write(move |connection| attempts::remove(connection, &id)).await
    }
}

const MESSAGE: &str =
    "SELECT s.id, s.account_id, s.inbox_id, s.mail_from, s.fallback, c.size, s.created_at, s.expires_at, s.state = 'held'
                       FROM submission s JOIN content c ON c.id = s.outgoing_id";

fn read_message(row: &Row<'_>) -> Result<QueueEntry, StoreError> {
    let id = row.get(0)?;
    Ok(QueueEntry {
        email_id: MessageId::of_sent(&id),
        id,
        account: row.get(1)?,
        inbox: row.get(2)?,
        mail_from: row.get(3)?,
        fallback: row.get(4)?,
        size: row.get(5)?,
        created_at: row.get(6)?,
        expires_at: row.get(7)?,
        held: row.get(8)?,
        deliveries: Vec::new(),
    })
}

fn with_deliveries(connection: &Transaction<'_>, mut message: QueueEntry) -> Result<QueueEntry, StoreError> {
    let sql =
        "SELECT id, rcpt_to, attempts, next_attempt_at, lease_until IS NOT NULL, last_attempt_at, last_reply, last_mx
               FROM delivery WHERE submission_id = ?1 ORDER BY id";
    let read = |row: &Row<'_>| {
        Ok(QueuedDelivery {
            id: row.get(0)?,
            rcpt_to: row.get(1)?,
            attempts: row.get(2)?,
            next_attempt_at: row.get(3)?,
            on_hold: row.get::<Option<Timestamp>>(3)?.is_none(),
            in_progress: row.get(4)?,
            last_attempt_at: row.get(5)?,
            last_reply: row.get(6)?,
            last_mx: row.get(7)?,
        })
    };
    message.deliveries = connection.query(sql, params![&message.id], read)?;
    Ok(message)
}
