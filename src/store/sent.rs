//! Sent messages and the delivery status of each recipient.
//!
//! Invariant: recipients are recorded in the transaction that accepts the message, and their results in the one that settles
//! them; in between, they are in the queue.

use super::email_changes::Replaced;
use super::queue::{End, Ended, NewSubmission};
use super::{Store, StoreError, Transaction};
use crate::clock::Timestamp;
use crate::envelope::queue_id;
use crate::events::DeliveryAttempt;
use crate::id::{MessageId, SubmissionId, ThreadId};
use crate::store::engine::{Row, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The age from which records of messages that are in no mailbox are removed.
const RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// The period of the limit on messages in a thread.
const HOUR: Duration = Duration::from_secs(3600);
/// Records checked per transaction.
const BATCH: i64 = 500;

/// Data that the sender attaches to a message, which are not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    pub message_type: Option<String>,
    /// A JSON object.
    pub metadata: Option<String>,
    /// The draft that it was, which is removed when it is accepted.
    pub draft: Option<Replaced>,
}

#[derive(Serialize, Deserialize)]
struct Addressee {
    address: String,
    here: bool,
}

/// The status of a message for one recipient, or for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::IntoStaticStr, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[schema(as = SentStatus)]
pub enum Status {
    /// To be sent at a later time that the sender has chosen.
    Scheduled,
    Queued,
    /// An attempt has failed; the message will be retried.
    Deferred,
    /// Held until the sender's domain is verified, or an operator releases it.
    Held,
    /// Accepted by the recipient's host, or delivered to a local inbox.
    Sent,
    Bounced,
    /// Only of all recipients together: sent to some, bounced for others.
    PartlyBounced,
    /// Removed from the queue by an operator or the account.
    Dropped,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SentRecipient {
    pub address: String,
    pub status: Status,
    /// The last reply of its host, or the local reason.
    pub reply: Option<String>,
    /// The ID that its host has queued it under, or the text of the reply where that names none; once it has accepted it.
    pub provider_message_id: Option<String>,
    pub mx: Option<String>,
    /// The time of the reply, by the clock.
    pub at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentEmail {
    pub note: Note,
    pub send_at: Option<Timestamp>,
    pub recipients: Vec<SentRecipient>,
}

impl SentEmail {
    /// The status of all recipients together: an unsettled status takes precedence over settled ones.
    pub fn status(&self) -> Status {
        let has = |status| self.recipients.iter().any(|recipient| recipient.status == status);
        let unsettled = [Status::Scheduled, Status::Held, Status::Deferred, Status::Queued];
        if let Some(status) = unsettled.into_iter().find(|status| has(*status)) {
            return status;
        }
        match (has(Status::Bounced), has(Status::Sent), has(Status::Dropped)) {
            (true, true, _) => Status::PartlyBounced,
            (true, false, _) => Status::Bounced,
            (false, false, true) => Status::Dropped,
            (false, ..) => Status::Sent,
        }
    }

    /// That of the first recipient whose host has accepted the message.
    pub fn provider_message_id(&self) -> Option<&str> {
        self.recipients.iter().find_map(|recipient| recipient.provider_message_id.as_deref())
    }
}

impl SentRecipient {
    fn new(address: String, status: Status) -> Self {
        Self { address, status, reply: None, provider_message_id: None, mx: None, at: None }
    }
}

/// When an inbox may send the next message in a thread, if it has sent `limit` in the hour before `now`.
pub(super) fn next_in_thread(
    connection: &Transaction<'_>,
    thread: &ThreadId,
    limit: u32,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let sql = "SELECT created_at FROM sent_email WHERE thread_id = ?1 AND created_at > ?2
               ORDER BY created_at DESC LIMIT 1 OFFSET ?3";
    let first = params![thread, now.before(HOUR), limit.saturating_sub(1)];
    let found = connection.query_opt(sql, first, |row| row.get::<Timestamp>(0))?;
    Ok(found.map(|first| first.after(HOUR)))
}

/// Records an accepted message, with the thread that it is a part of, if that was there before.
pub(super) fn insert(
    connection: &Transaction<'_>,
    new: &NewSubmission,
    thread: Option<&ThreadId>,
) -> Result<(), StoreError> {
    let local = new.local.iter().flat_map(|local| local.recipients.as_slice());
    let here = local.map(|to| Addressee { address: to.address().to_string(), here: true });
    let elsewhere = new.rcpt_to.iter().map(|to| Addressee { address: to.address.to_string(), here: false });
    let recipients: Vec<Addressee> = here.chain(elsewhere).collect();
    let recipients = serde_json::to_string(&recipients).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let sql =
        "INSERT INTO sent_email (id, inbox_id, recipients, message_type, metadata, send_at, created_at, thread_id)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let Note { message_type, metadata, .. } = &new.note;
    let id = MessageId::of_sent(&new.id);
    let row = params![id, new.inbox, recipients, message_type, metadata, new.send_at, new.now, thread];
    connection.execute(sql, row)?;
    Ok(())
}

/// Records the result of a delivery.
pub(super) fn settled(
    connection: &Transaction<'_>,
    submission: &SubmissionId,
    recipient: &str,
    ended: &Ended,
    at: Timestamp,
) -> Result<(), StoreError> {
    let reply = ended.reply.get(..ended.reply.floor_char_boundary(DeliveryAttempt::REPLY)).unwrap_or_default();
    let sql = "INSERT INTO sent_result (email_id, rcpt_to, is_bounced, reply, mx, ended_at)
               SELECT id, ?2, ?3, ?4, ?5, ?6 FROM sent_email WHERE id = ?1 ON CONFLICT DO NOTHING";
    let id = MessageId::of_sent(submission);
    let is_bounced = i64::from(ended.end == End::Bounced);
    connection.execute(sql, params![id, recipient, is_bounced, reply, ended.mx, at])?;
    Ok(())
}

fn ended(connection: &Transaction<'_>, id: &MessageId) -> Result<BTreeMap<String, SentRecipient>, StoreError> {
    let sql = "SELECT rcpt_to, is_bounced, reply, mx, ended_at FROM sent_result WHERE email_id = ?1";
    let row = |row: &Row<'_>| {
        let status = if row.get::<i64>(1)? == 0 { Status::Sent } else { Status::Bounced };
        let (address, reply, mx) = (row.get::<String>(0)?, row.get::<String>(2)?, row.get::<Option<String>>(3)?);
        let is_accepted = status == Status::Sent && mx.is_some();
        let provider_message_id = is_accepted.then(|| queue_id(&reply).to_owned());
        let reply = Some(reply);
        Ok((address.clone(), SentRecipient { address, status, reply, provider_message_id, mx, at: row.get(4)? }))
    };
    Ok(connection.query(sql, params![id], row)?.into_iter().collect())
}

fn unsettled(connection: &Transaction<'_>, id: &MessageId) -> Result<BTreeMap<String, SentRecipient>, StoreError> {
    let sql = "SELECT d.rcpt_to, d.attempts, s.state = 'held' OR d.next_attempt_at IS NULL, d.last_reply, d.last_mx, d.last_attempt_at
               FROM delivery d JOIN submission s ON s.id = d.submission_id WHERE d.submission_id = ?1";
    let row = |row: &Row<'_>| {
        let status = match (row.get::<bool>(2)?, row.get::<i64>(1)?) {
            (true, _) => Status::Held,
            (false, 0) => Status::Queued,
            (false, _) => Status::Deferred,
        };
        let mut recipient = SentRecipient::new(row.get(0)?, status);
        (recipient.reply, recipient.mx, recipient.at) = (row.get(3)?, row.get(4)?, row.get(5)?);
        Ok((recipient.address.clone(), recipient))
    };
    Ok(connection.query(sql, params![SubmissionId::of_sent(id)], row)?.into_iter().collect())
}

pub(super) fn sent(
    connection: &Transaction<'_>,
    id: &MessageId,
    now: Timestamp,
) -> Result<Option<SentEmail>, StoreError> {
    let sql = "SELECT recipients, message_type, metadata, send_at FROM sent_email WHERE id = ?1";
    let row = |row: &Row<'_>| {
        let note = Note { message_type: row.get(1)?, metadata: row.get(2)?, draft: None };
        Ok((row.get::<String>(0)?, note, row.get::<Option<Timestamp>>(3)?))
    };
    let Some((recipients, note, send_at)) = connection.query_opt(sql, params![id], row)? else { return Ok(None) };
    let all: Vec<Addressee> =
        serde_json::from_str(&recipients).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let (mut ended, mut unsettled) = (ended(connection, id)?, unsettled(connection, id)?);
    let is_later = send_at.is_some_and(|send_at| send_at > now);
    let mut recipient = |Addressee { address, here }: Addressee| {
        let known = ended.remove(&address).or_else(|| unsettled.remove(&address));
        let mut shown = known.unwrap_or_else(|| {
            let status = if here { Status::Sent } else { Status::Dropped };
            SentRecipient::new(address, status)
        });
        if is_later && shown.status == Status::Queued {
            shown.status = Status::Scheduled;
        }
        shown
    };
    let recipients = all.into_iter().map(&mut recipient).collect();
    Ok(Some(SentEmail { note, send_at, recipients }))
}

impl Store {
    /// A sent message with the status of its recipients. The caller must have checked that the message belongs to the account.
    pub async fn sent_email(&self, id: &MessageId, now: Timestamp) -> Result<Option<SentEmail>, StoreError> {
        let id = id.clone();
        self.read(move |connection| sent(connection, &id, now)).await
    }

    /// Removes a batch of records older than [`RETENTION`] whose message is in no mailbox. Returns the time to continue from, if
    /// there may be more.
    pub async fn sent_emails_remove(&self, from: Timestamp, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let until = now.before(RETENTION);
        self.write(move |connection| {
            let sql = "SELECT id, created_at FROM sent_email WHERE created_at >= ?1 AND created_at < ?2 ORDER BY created_at LIMIT ?3";
            let row = |row: &Row<'_>| Ok((row.get::<MessageId>(0)?, row.get::<Timestamp>(1)?));
            let old = connection.query(sql, params![from, until, BATCH], row)?;
            let sql = "DELETE FROM sent_email WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE id = ?1)";
            for (id, _) in &old {
                connection.execute(sql, params![id])?;
            }
            let has_more = i64::try_from(old.len()).unwrap_or(i64::MAX) == BATCH;
            Ok(old.last().filter(|_| has_more).map(|(_, at)| Timestamp::from_millis(at.millis().saturating_add(1))))
        })
        .await
    }
}
