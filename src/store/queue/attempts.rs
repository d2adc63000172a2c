//! Delivery attempts: claimed with a lease, settled in one commit.

use super::super::deliver::LocalDelivery;
use super::super::hot_rows::HotRow;
use super::super::message_rows::{self, NewMessage};
use super::super::messages::Flags;
use super::super::quota::{self, DeliverError, Quota};
use super::super::sent;
use super::super::{Store, StoreError, StoredMessage, Transaction, bodies, content, mailboxes};
use super::{is_8bit, rows};
use crate::address::{Address, DomainName, InboxName, ReversePath};
use crate::clock::Timestamp;
use crate::envelope::{MailParameters, RecipientParameters, Returned, Xtext};
use crate::events::{DeliveryAttempt, Event};
use crate::id::{AccountId, BodyId, ContentId, DeliveryId, DomainId, InboxId, MessageId, RunnerId, SubmissionId};
use crate::message::threading::Threading;
use crate::store::bodies::{NewBody, NewObject};
use crate::store::engine::{Row, params};
use crate::verification::status::VerifiedStatus;
use std::sync::Arc;

/// The metadata of a queued message.
#[derive(Clone, Debug)]
pub struct QueuedMessage {
    /// The queue ID.
    pub id: SubmissionId,
    pub account: AccountId,
    /// The sender's inbox, to which reports are delivered; `None` if it was deleted.
    pub inbox: Option<InboxId>,
    /// The name of the sender's inbox, also after it was deleted.
    pub inbox_name: InboxName,
    /// The custom domain of the identity; `None` for the platform's.
    pub domain: Option<DomainId>,
    /// The envelope sender.
    pub mail_from: ReversePath,
    /// What MAIL said beside the sender.
    pub parameters: MailParameters,
    /// The client's header block, with the body.
    pub original: ContentId,
    /// The outgoing header block, with the body.
    pub outgoing: ContentId,
    /// Octets of the outgoing message.
    pub size: usize,
    /// Requires 8BITMIME (RFC 6152).
    pub is_8bit: bool,
    /// The outgoing header block is not signed: the key of the domain was not available.
    pub is_unsigned: bool,
    /// Held until its domain is verified; the outgoing header block is written then.
    pub is_held: bool,
    /// The `with` keyword of its Received field.
    pub protocol: String,
    /// The client's address.
    pub client: Option<std::net::IpAddr>,
    /// When it was received, real time.
    pub arrived_at: Timestamp,
    /// The end of its retries, by the clock.
    pub expires_at: Timestamp,
}

/// A recipient that is due.
#[derive(Clone, Debug)]
pub struct DueDelivery {
    pub id: DeliveryId,
    pub rcpt_to: Address,
    /// Previous attempts.
    pub attempts: u32,
    /// When this attempt was due.
    pub due_at: Timestamp,
    /// What RCPT said beside the recipient.
    pub parameters: RecipientParameters,
    /// The sender has a report that it is delayed.
    pub delay_reported: bool,
}

/// An attempt: a message and its due recipients at one domain.
#[derive(Clone, Debug)]
pub struct Due {
    pub queued: QueuedMessage,
    pub domain: DomainName,
    /// Never empty.
    pub deliveries: Vec<DueDelivery>,
    /// The owner of the lease.
    pub runner: RunnerId,
}

impl Due {
    pub fn key(&self) -> AttemptKey {
        let (submission, domain, runner) = (self.queued.id.clone(), self.domain.clone(), self.runner.clone());
        AttemptKey { submission, domain, runner }
    }
}

/// A delivery report for the sender's inbox.
#[derive(Clone, Debug)]
pub struct ReportMessage {
    pub inbox: InboxId,
    /// The sender of the message.
    pub to: Address,
    /// The header block, with the empty line.
    pub header: Vec<u8>,
    pub body: Vec<u8>,
    /// Of a failure: stored also where the quota is exceeded. Another one is left out there.
    pub is_bounce: bool,
}

/// The outgoing form of a message under another identity.
#[derive(Clone, Debug)]
pub struct NewOutgoing {
    /// The final From.
    pub mail_from: Address,
    /// The custom domain; `None` for the platform's.
    pub domain: Option<DomainId>,
    /// The status of the domain of the previous identity, if this is a fallback.
    pub fallback: Option<VerifiedStatus>,
    /// The outgoing header block.
    pub header: Vec<u8>,
    /// To be signed at the attempt: the key of the domain is not available yet.
    pub is_unsigned: bool,
    /// The end of its retries, by the clock.
    pub expires_at: Timestamp,
}

/// A recipient that is settled.
#[derive(Clone, Debug)]
pub struct Ended {
    pub delivery: DeliveryId,
    pub end: End,
    /// The remote reply, or the local reason.
    pub reply: String,
    /// The host that replied; `None` for a local reason.
    pub mx: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Delivered,
    Bounced,
}

/// A recipient that is retried.
#[derive(Clone, Debug)]
pub struct Deferral {
    pub delivery: DeliveryId,
    pub next: Timestamp,
    /// The remote reply, or the local reason.
    pub reply: String,
    /// The host that replied; `None` for a local reason.
    pub mx: Option<String>,
    pub wait: Wait,
    /// One of the reports says that it is delayed.
    pub delay_reported: bool,
}

/// The reason to defer a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A temporary failure: counts as an attempt, so the next pause is longer.
    Attempt,
    /// No connection or memory was available in this daemon.
    Place,
    /// The sender's domain is not verified yet, or its key is not available yet.
    Domain,
}

/// The result of an attempt for all its recipients.
#[derive(Debug)]
pub struct Settlement {
    pub submission: SubmissionId,
    pub account: AccountId,
    pub runner: RunnerId,
    pub done: Vec<Ended>,
    pub deferred: Vec<Deferral>,
    /// For the recipients that are local inboxes.
    pub local: Option<LocalDelivery>,
    /// For the sender.
    pub reports: Vec<ReportMessage>,
    /// When the attempt was made, by the clock.
    pub at: Timestamp,
    /// INTERNALDATE of local copies and the reports, real time.
    pub received_at: Timestamp,
}

/// A running attempt and its runner.
#[derive(Clone, Debug)]
pub struct AttemptKey {
    pub submission: SubmissionId,
    /// The domain of its recipients.
    pub domain: DomainName,
    pub runner: RunnerId,
}

impl AttemptKey {
    /// False if the lease is another runner's, or the message was dropped.
    fn has_lease(&self, connection: &Transaction<'_>) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM delivery WHERE submission_id = ?1 AND domain = ?2 AND lease_owner = ?3";
        connection.exists(sql, params![self.submission, self.domain, self.runner])
    }
}

/// The result of a write by an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Recorded,
    /// Nothing was written: the message was dropped, or the lease has expired and another runner has claimed the attempt.
    LeaseLost,
}

impl Store {
    /// Records the result of an attempt in one commit: removes settled recipients, reschedules the others, and delivers local
    /// copies and the reports. A message that was dropped meanwhile gets no report. Fails without changes if a local copy exceeds
    /// a quota; a bounce is exempt from quotas.
    pub async fn delivery_settle(&self, settlement: Arc<Settlement>, quota: Quota) -> Result<Settled, DeliverError> {
        let mut reports = Vec::with_capacity(settlement.reports.len());
        for report in &settlement.reports {
            reports.push(self.prepare_body(report.body.clone().into()).await?);
        }
        let mut hot_rows = settlement.local.as_ref().map(LocalDelivery::hot_rows).unwrap_or_default();
        hot_rows.extend(settlement.reports.iter().map(|report| HotRow::Inbox(report.inbox.clone())));
        hot_rows.push(HotRow::Queue(settlement.account.clone()));
        let objects: Vec<NewObject> = reports.iter().filter_map(NewBody::object).collect();
        let settled =
            self.write_serialized(&hot_rows, move |transaction| settle(transaction, &settlement, &reports, quota));
        settled.await.inspect(|_| objects.iter().for_each(NewObject::committed))
    }

    /// The current state of a queued message, with its octets. `None` if it was dropped.
    pub async fn queued(&self, id: &SubmissionId) -> Result<Option<(QueuedMessage, StoredMessage)>, StoreError> {
        let id = id.clone();
        let found = self.read(move |connection| {
            // In one snapshot: an attempt at another domain may sign the message concurrently.
            let Some(queued) = queued(connection, &id)? else { return Ok::<_, StoreError>(None) };
            let message = content::load(connection, queued.outgoing)?;
            Ok(Some((queued, message)))
        });
        match found.await? {
            Some((queued, message)) => Ok(Some((queued, self.fetch_message(message).await?))),
            None => Ok(None),
        }
    }

    /// Replaces the outgoing header block by the same one with its signature.
    pub async fn sign_outgoing(&self, attempt: AttemptKey, header: Vec<u8>) -> Result<Settled, StoreError> {
        self.write(move |connection| {
            if !attempt.has_lease(connection)? {
                return Ok(Settled::LeaseLost);
            }
            let sql =
                "SELECT c.body_id, c.size - length(c.header) FROM submission s JOIN content c ON c.id = s.outgoing_id
                       WHERE s.id = ?1 AND s.is_unsigned = 1";
            let found: Option<(BodyId, i64)> =
                connection.query_opt(sql, params![&attempt.submission], |row| Ok((row.get(0)?, row.get(1)?)))?;
            // Signed meanwhile by the attempt at another domain.
            let Some((body_id, size)) = found else { return Ok(Settled::Recorded) };
            let size = usize::try_from(size).unwrap_or(0);
            let outgoing = content::insert_content(connection, &header, body_id, size)?;
            let sql = "UPDATE submission SET is_unsigned = 0 WHERE id = ?1";
            connection.execute(sql, params![attempt.submission])?;
            set_outgoing(connection, &attempt.submission, outgoing)?;
            Ok(Settled::Recorded)
        })
        .await
    }

    /// Gives the message another identity and releases it if it is held.
    pub async fn replace_outgoing(&self, attempt: AttemptKey, new: NewOutgoing) -> Result<Settled, StoreError> {
        let of = attempt.submission.clone();
        let original = self.read(move |connection| {
            let sql = "SELECT c.body_id FROM submission s JOIN content c ON c.id = s.original_id WHERE s.id = ?1";
            let found = connection.query_opt(sql, params![of], |row| row.get(0))?;
            found.map(|body_id| bodies::read(connection, body_id, 0..usize::MAX)).transpose()
        });
        let Some((_, body)) = original.await? else { return Ok(Settled::LeaseLost) };
        // Bodies are immutable, so this one is read before the transaction.
        let is_8bit = is_8bit(&new.header, &self.fetch_body(body).await?);
        self.write(move |connection| match attempt.has_lease(connection)? {
            true => replace_outgoing(connection, &attempt.submission, &new, is_8bit),
            false => Ok(Settled::LeaseLost),
        })
        .await
    }
}

/// Removes a submission and its recipients. False if there is no such submission.
pub(in crate::store) fn remove(connection: &Transaction<'_>, id: &SubmissionId) -> Result<bool, StoreError> {
    rows::remove(connection, id)?;
    remove_settled(connection, id)
}

/// Removes a submission if it has no recipients any more.
pub(super) fn remove_if_settled(connection: &Transaction<'_>, id: &SubmissionId) -> Result<(), StoreError> {
    if !connection.exists("SELECT 1 FROM delivery WHERE submission_id = ?1", params![id])? {
        remove_settled(connection, id)?;
    }
    Ok(())
}

/// Removes a submission without recipients, and its contents unless a message refers to them. False if there is no such
/// submission.
fn remove_settled(connection: &Transaction<'_>, id: &SubmissionId) -> Result<bool, StoreError> {
    let sql = "DELETE FROM submission WHERE id = ?1 RETURNING account_id, octets, original_id, outgoing_id";
    let row = |row: &Row<'_>| Ok((row.get::<Option<AccountId>>(0)?, row.get::<i64>(1)?, [row.get(2)?, row.get(3)?]));
    let Some((account, octets, contents)) = connection.query_opt(sql, params![id], row)? else { return Ok(false) };
    connection.execute("UPDATE account SET queued = queued - ?2 WHERE id = ?1", params![account, octets])?;
    content::remove_unreferenced(connection, contents)?;
    Ok(true)
}

fn set_outgoing(connection: &Transaction<'_>, id: &SubmissionId, outgoing: ContentId) -> Result<(), StoreError> {
    let before =
        connection.query_opt("SELECT outgoing_id FROM submission WHERE id = ?1", params![id], |row| row.get(0))?;
    connection.execute("UPDATE submission SET outgoing_id = ?2 WHERE id = ?1", params![id, outgoing])?;
    content::remove_unreferenced(connection, before)
}

pub(super) fn queued(connection: &Transaction<'_>, id: &SubmissionId) -> Result<Option<QueuedMessage>, StoreError> {
    let sql = "SELECT id, account_id, inbox_id, inbox_name, domain_id, mail_from, original_id, outgoing_id, is_8bit,
                   protocol, client, arrived_at, expires_at, is_unsigned,
                   (SELECT size FROM content WHERE id = outgoing_id), state = 'held', ret, envelope_id FROM submission WHERE id = ?1";
    connection.query_opt(sql, params![id], read_queued)
}

fn read_queued(row: &Row<'_>) -> Result<QueuedMessage, StoreError> {
    let mail_from: String = row.get(5)?;
    let mail_from =
        ReversePath::parse(&mail_from).map_err(|error| StoreError::Corrupt(format!("{mail_from:?}: {error}")))?;
    Ok(QueuedMessage {
        id: row.get(0)?,
        account: row.get(1)?,
        inbox: row.get(2)?,
        inbox_name: row.get(3)?,
        domain: row.get(4)?,
        mail_from,
        original: row.get(6)?,
        outgoing: row.get(7)?,
        size: usize::try_from(row.get::<i64>(14)?).unwrap_or(usize::MAX),
        is_8bit: row.get(8)?,
        protocol: row.get(9)?,
        client: row.get::<Option<String>>(10)?.and_then(|text| text.parse().ok()),
        arrived_at: row.get(11)?,
        expires_at: row.get(12)?,
        is_unsigned: row.get(13)?,
        is_held: row.get(15)?,
        parameters: MailParameters {
            returned: row.get::<Option<String>>(16)?.and_then(|text| Returned::parse(&text)),
            envelope_id: row.get::<Option<String>>(17)?.and_then(|text| Xtext::envelope_id(&text)),
        },
    })
}

/// All recipients of an attempt have the same lease; some of them may have been dropped.
fn has_lease(connection: &Transaction<'_>, settlement: &Settlement) -> Result<bool, StoreError> {
    let done = settlement.done.iter().map(|ended| &ended.delivery);
    for delivery in done.chain(settlement.deferred.iter().map(|deferral| &deferral.delivery)) {
        let sql = "SELECT 1 FROM delivery WHERE id = ?1 AND lease_owner = ?2";
        if connection.exists(sql, params![delivery, settlement.runner])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `report_bodies` are those of the settlement's reports.
fn settle(
    connection: &Transaction<'_>,
    settlement: &Settlement,
    report_bodies: &[NewBody],
    quota: Quota,
) -> Result<Settled, DeliverError> {
    if !has_lease(connection, settlement)? {
        return Ok(Settled::LeaseLost);
    }
    let sql = "SELECT c.body_id, c.size - length(c.header) FROM submission s JOIN content c ON c.id = s.outgoing_id
               WHERE s.id = ?1";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get::<i64>(1)?));
    let queued = connection.query_opt(sql, params![&settlement.submission], row)?;
    if let Some((body_id, size)) = queued {
        let body_size = usize::try_from(size).unwrap_or(0);
        if let Some(local) = &settlement.local {
            quota::check(connection, local.octets(body_size), quota)?;
            local.deliver(connection, body_id, body_size)?;
        }
        for (report, body) in settlement.reports.iter().zip(report_bodies) {
            // The sender's inbox was deleted.
            let Some(mailbox) = mailboxes::find(connection, &report.inbox, mailboxes::INBOX)? else { continue };
            let octets = quota::octets(report.header.len(), report.body.len());
            if !report.is_bounce && !quota::allows_messages(connection, &report.inbox, octets, 1, quota)? {
                continue;
            }
            let body_id = bodies::insert(connection, body)?;
            let new = NewMessage {
                id: MessageId::new(),
                inbox: &report.inbox,
                mailbox,
                content: content::insert_content(connection, &report.header, body_id, report.body.len())?,
                flags: Flags::default(),
                keywords: "",
                mail_from: "",
                rcpt_to: &report.to.to_string(),
                internal_date: settlement.received_at,
                threading: &Threading::of(&report.header),
            };
            message_rows::insert(connection, &new)?;
        }
    }
    let sender = Sender::of(connection, &settlement.submission)?;
    let mut recipients = rows::settle(connection, settlement)?.into_iter();
    for (ended, recipient) in settlement.done.iter().zip(&mut recipients) {
        if let Some(recipient) = &recipient {
            sent::settled(connection, &settlement.submission, &recipient.to_string(), ended, settlement.at)?;
        }
        let Ended { delivery, end, reply, mx } = ended;
        let kind = match end {
            End::Delivered => Event::EmailDelivered,
            End::Bounced => Event::EmailBounced,
        };
        sender.publish(connection, kind, (delivery, recipient), reply, mx.as_ref())?;
    }
    for (deferral, recipient) in settlement.deferred.iter().zip(recipients) {
        let Deferral { delivery, reply, mx, wait, .. } = deferral;
        if *wait == Wait::Attempt {
            sender.publish(connection, Event::EmailDeferred, (delivery, recipient), reply, mx.as_ref())?;
        }
    }
    remove_if_settled(connection, &settlement.submission)?;
    Ok(Settled::Recorded)
}

/// The sender of a submission.
struct Sender<'a> {
    submission: &'a SubmissionId,
    /// `None` for the platform's own mail.
    account: Option<AccountId>,
    inbox: Option<InboxId>,
}

impl<'a> Sender<'a> {
    fn of(connection: &Transaction<'_>, submission: &'a SubmissionId) -> Result<Self, StoreError> {
        let sql = "SELECT account_id, inbox_id FROM submission WHERE id = ?1";
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (account, inbox) = connection.query_opt(sql, params![submission], row)?.unwrap_or_default();
        Ok(Self { submission, account, inbox })
    }

    /// Publishes the result for a recipient, unless the recipient was dropped from the queue meanwhile.
    fn publish(
        &self,
        connection: &Transaction<'_>,
        kind: fn(DeliveryAttempt) -> Event,
        (delivery, recipient): (&DeliveryId, Option<Address>),
        reply: &str,
        mx: Option<&String>,
    ) -> Result<(), StoreError> {
        let (Some(account), Some(recipient)) = (&self.account, recipient) else { return Ok(()) };
        let (submission_id, inbox_id) = (self.submission.clone(), self.inbox.clone());
        let reply = reply.get(..reply.floor_char_boundary(DeliveryAttempt::REPLY)).unwrap_or_default().to_owned();
        let (delivery_id, mx) = (delivery.clone(), mx.cloned());
        connection
            .publish(account, kind(DeliveryAttempt { submission_id, inbox_id, delivery_id, recipient, reply, mx }))
    }
}

fn replace_outgoing(
    connection: &Transaction<'_>,
    id: &SubmissionId,
    new: &NewOutgoing,
    is_8bit: bool,
) -> Result<Settled, StoreError> {
    let sql = "SELECT c.body_id, c.size - length(c.header) FROM submission s JOIN content c ON c.id = s.original_id
               WHERE s.id = ?1";
    let found: Option<(BodyId, i64)> = connection.query_opt(sql, params![id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some((body_id, body_size)) = found else { return Ok(Settled::LeaseLost) };
    let NewOutgoing { mail_from, domain, fallback, header, is_unsigned, expires_at } = new;
    let body_size = usize::try_from(body_size).unwrap_or(0);
    let outgoing = content::insert_content(connection, header, body_id, body_size)?;
    let sql = "UPDATE submission SET mail_from = ?2, fallback = ?3, domain_id = ?4, is_8bit = ?5, is_unsigned = ?6,
                   expires_at = ?7, state = 'queued' WHERE id = ?1";
    connection.execute(sql, params![id, mail_from, fallback, domain, is_8bit, is_unsigned, expires_at])?;
    set_outgoing(connection, id, outgoing)?;
    Ok(Settled::Recorded)
}
