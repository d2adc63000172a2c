//! Attempts: claimed with a lease, settled in one commit.

use super::super::deliver::{Place, Placed, place};
use super::super::room::{self, NotStored};
use super::super::routing::LocalRecipient;
use super::super::{Store, StoreError, content, mailboxes};
use super::is_8bit;
use crate::address::{Address, DomainName, InboxName, ReversePath};
use crate::clock::Timestamp;
use crate::id::{AccountId, DeliveryId, DomainId, InboxId, SubmissionId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashMap;
use std::sync::Arc;

/// A queued message, without its bytes.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The queue id.
    pub id: SubmissionId,
    /// Whose; none: the platform's own.
    pub account: Option<AccountId>,
    /// Where bounces go; none when the inbox is gone.
    pub inbox: Option<InboxId>,
    /// The name that inbox has, or had.
    pub inbox_name: InboxName,
    /// The custom domain it leaves under; none: the platform's.
    pub domain: Option<DomainId>,
    /// The envelope sender.
    pub mail_from: ReversePath,
    /// The header block as the client gave it, before the body.
    pub original: i64,
    /// The header block that leaves, before the body.
    pub outgoing: i64,
    /// It needs 8BITMIME.
    pub is_8bit: bool,
    /// How it came.
    pub protocol: String,
    /// From where.
    pub client: Option<std::net::IpAddr>,
    /// When: real time.
    pub arrived_at: Timestamp,
    /// Until when to try, by the clock.
    pub expires_at: Timestamp,
}

/// One recipient that is due.
#[derive(Clone, Debug)]
pub struct DueDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// Who.
    pub rcpt_to: Address,
    /// Attempts made before.
    pub attempts: u32,
}

/// What one attempt is about: a message, and its due recipients at one domain.
#[derive(Clone, Debug)]
pub struct Due {
    /// The message.
    pub letter: Letter,
    /// The domain.
    pub domain: DomainName,
    /// At least one.
    pub deliveries: Vec<DueDelivery>,
}

/// Attempts under way, which a claim leaves alone whatever the clock says of their leases.
#[derive(Clone, Debug)]
pub struct InFlight {
    /// Each message and domain.
    pub attempts: Vec<(SubmissionId, DomainName)>,
    /// Attempts at once to one domain.
    pub per_domain: usize,
    /// Attempts at once of one account.
    pub per_account: usize,
}

impl InFlight {
    /// The attempts as a JSON list of `submission domain`.
    fn keys(&self) -> String {
        let key = |(id, domain): &(SubmissionId, DomainName)| format!("{id} {domain}");
        serde_json::json!(self.attempts.iter().map(key).collect::<Vec<_>>()).to_string()
    }

    /// Each domain's count, as a JSON object.
    fn counts(&self) -> String {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for (_, domain) in &self.attempts {
            *counts.entry(domain.as_str()).or_default() += 1;
        }
        serde_json::json!(counts).to_string()
    }
}

/// A message to be put into an inbox by a settlement.
#[derive(Clone, Debug)]
pub struct ForInbox {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub inbox: InboxId,
    /// For the envelope columns.
    pub mail_from: ReversePath,
    /// For the envelope columns.
    pub rcpt_to: Address,
}

impl ForInbox {
    /// For a local recipient.
    pub fn recipient(recipient: &LocalRecipient, mail_from: &ReversePath) -> Self {
        Self {
            account: recipient.account().clone(),
            inbox: recipient.inbox().clone(),
            mail_from: mail_from.clone(),
            rcpt_to: recipient.address().clone(),
        }
    }
}

/// How an attempt ended, for all its recipients.
#[derive(Debug)]
pub struct Settlement {
    /// The message.
    pub submission: SubmissionId,
    /// Settled: delivered, or bounced.
    pub done: Vec<DeliveryId>,
    /// To be tried again: the recipient, when, what was said, and by whom.
    pub deferred: Vec<(DeliveryId, Timestamp, String, Option<String>)>,
    /// Copies for inboxes here, with the header block they get before the message's body.
    pub local: Option<(Vec<u8>, Vec<ForInbox>)>,
    /// The bounce of those that failed: its header block and body, and the sender's inbox.
    pub bounce: Option<(Vec<u8>, Vec<u8>, ForInbox)>,
    /// When the attempt was made, by the clock.
    pub at: Timestamp,
    /// INTERNALDATE of what is put into inboxes: real time.
    pub received_at: Timestamp,
}

impl Store {
    /// Takes up to `limit` attempts that are due, the longest waiting first, each with a lease until `lease_until`.
    pub async fn claim_due(
        &self,
        now: Timestamp,
        lease_until: Timestamp,
        limit: usize,
        in_flight: InFlight,
    ) -> Result<Vec<Due>, StoreError> {
        self.write(move |connection| claim_due(connection, now, lease_until, limit, &in_flight)).await
    }

    /// Records how an attempt ended: recipients that are done go, the others wait again; copies and the bounce are put
    /// into their inboxes in the same commit. A message that was dropped meanwhile gets no bounce. Nothing is recorded when
    /// an inbox has no room for its copy within `most` octets; a bounce, which is small, always finds its place.
    pub async fn settle(&self, settlement: Arc<Settlement>, most: u64) -> Result<Vec<Placed>, NotStored> {
        self.write(move |connection| settle(connection, &settlement, most)).await
    }

    /// The message has another header block now, under the platform's domain and another envelope sender.
    pub async fn replace_outgoing(
        &self,
        id: SubmissionId,
        mail_from: Address,
        fallback: crate::domain::status::VerifiedStatus,
        header: Vec<u8>,
    ) -> Result<(), StoreError> {
        self.write(move |connection| replace_outgoing(connection, &id, &mail_from, fallback.as_str(), &header)).await
    }

    /// At start: whoever held leases is dead, since the store is one daemon's.
    pub async fn release_leases(&self) -> Result<usize, StoreError> {
        self.write(|connection| {
            let sql = "UPDATE delivery SET lease_until = NULL WHERE lease_until IS NOT NULL";
            Ok(connection.prepare_cached(sql)?.execute([])?)
        })
        .await
    }

    /// When the next attempt is due that nobody has taken.
    pub async fn next_attempt_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection| {
            let sql =
                "SELECT min(coalesce(lease_until, next_attempt_at)) FROM delivery WHERE next_attempt_at IS NOT NULL";
            Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
        })
        .await
    }
}

/// Recipients that one claim looks at: its work does not grow with the queue.
const LOOK: i64 = 1000;

/// Messages and domains that are due, the longest waiting first, at most so many of a domain and of an account.
const CLAIMABLE: &str = "
    WITH busy AS MATERIALIZED (
        SELECT s.account_id AS account, count(*) AS attempts FROM json_each(?3) j
        JOIN submission s ON s.id = substr(j.value, 1, instr(j.value, ' ') - 1) GROUP BY s.account_id),
    head AS (
        SELECT submission_id, domain, next_attempt_at, account_id FROM delivery d
        CROSS JOIN submission s ON s.id = d.submission_id
        WHERE next_attempt_at <= ?1 AND (lease_until IS NULL OR lease_until <= ?1)
          AND domain NOT IN (SELECT key FROM json_each(?2) WHERE value >= ?4)
          AND submission_id || ' ' || domain NOT IN (SELECT value FROM json_each(?3))
          AND NOT EXISTS (SELECT 1 FROM busy WHERE account = account_id AND busy.attempts >= ?7)
        ORDER BY next_attempt_at LIMIT ?6),
    attempt AS (
        SELECT submission_id, domain, account_id, min(next_attempt_at) AS due FROM head GROUP BY submission_id, domain),
    ranked AS (
        SELECT *, row_number() OVER (PARTITION BY domain ORDER BY due, submission_id) AS place,
            row_number() OVER (PARTITION BY account_id ORDER BY due, submission_id) AS turn FROM attempt)
    SELECT submission_id, domain FROM ranked
    WHERE place + coalesce((SELECT value FROM json_each(?2) WHERE key = domain), 0) <= ?4
      AND turn + coalesce((SELECT attempts FROM busy WHERE account = account_id), 0) <= ?7
    ORDER BY due, submission_id LIMIT ?5";

fn claim_due(
    connection: &Connection,
    now: Timestamp,
    lease_until: Timestamp,
    limit: usize,
    in_flight: &InFlight,
) -> Result<Vec<Due>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let per_domain = i64::try_from(in_flight.per_domain).unwrap_or(i64::MAX);
    let per_account = i64::try_from(in_flight.per_account).unwrap_or(i64::MAX);
    let due: Vec<(SubmissionId, DomainName)> = connection
        .prepare_cached(CLAIMABLE)?
        .query_map(params![now, in_flight.counts(), in_flight.keys(), per_domain, limit, LOOK, per_account], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut claimed = Vec::with_capacity(due.len());
    for (id, domain) in due {
        let deliveries = connection
            .prepare_cached(
                "UPDATE delivery SET lease_until = ?4 WHERE submission_id = ?1 AND domain = ?2 AND next_attempt_at <= ?3
                     AND (lease_until IS NULL OR lease_until <= ?3)
                 RETURNING id, rcpt_to, attempts",
            )?
            .query_map(params![id, domain, now, lease_until], |row| {
                Ok(DueDelivery { id: row.get(0)?, rcpt_to: row.get(1)?, attempts: row.get(2)? })
            })?
            .collect::<Result<_, _>>()?;
        claimed.push(Due { letter: letter(connection, &id)?, domain, deliveries });
    }
    Ok(claimed)
}

fn letter(connection: &Connection, id: &SubmissionId) -> Result<Letter, StoreError> {
    let sql = "SELECT id, account_id, inbox_id, inbox_name, domain_id, mail_from, original_id, outgoing_id, is_8bit,
                   protocol, client, arrived_at, expires_at FROM submission WHERE id = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([id], read_letter)?)
}

fn read_letter(row: &Row<'_>) -> rusqlite::Result<Letter> {
    let mail_from: String = row.get(5)?;
    let mail_from = ReversePath::parse(&mail_from)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Text, Box::new(e)))?;
    Ok(Letter {
        id: row.get(0)?,
        account: row.get(1)?,
        inbox: row.get(2)?,
        inbox_name: row.get(3)?,
        domain: row.get(4)?,
        mail_from,
        original: row.get(6)?,
        outgoing: row.get(7)?,
        is_8bit: row.get(8)?,
        protocol: row.get(9)?,
        client: row.get::<_, Option<String>>(10)?.and_then(|text| text.parse().ok()),
        arrived_at: row.get(11)?,
        expires_at: row.get(12)?,
    })
}

fn settle(connection: &Connection, settlement: &Settlement, most: u64) -> Result<Vec<Placed>, NotStored> {
    let sql = "SELECT c.body_id, c.size - length(c.header) FROM submission s JOIN content c ON c.id = s.outgoing_id
               WHERE s.id = ?1";
    let body: Option<(i64, i64)> = connection
        .prepare_cached(sql)?
        .query_row([&settlement.submission], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let mut placed = Vec::new();
    if let Some((body, size)) = body {
        let size = usize::try_from(size).unwrap_or(0);
        if let Some((header, copies)) = &settlement.local {
            let octets = u64::try_from(header.len().saturating_add(size)).unwrap_or(u64::MAX);
            room::check(connection, copies.iter().map(|copy| &copy.inbox), octets, most)?;
            let copy = content::insert_content(connection, header, body, size)?;
            for to in copies {
                placed.push(put(connection, copy, to, settlement.received_at)?);
            }
        }
        // Without the sender's inbox there is nobody to tell.
        if let Some((header, body, to)) = &settlement.bounce
            && exists(connection, &to.inbox)?
        {
            let body_id = content::insert_body(connection, body)?;
            let bounce = content::insert_content(connection, header, body_id, body.len())?;
            placed.push(put(connection, bounce, to, settlement.received_at)?);
        }
    }
    let mut delete = connection.prepare_cached("DELETE FROM delivery WHERE id = ?1")?;
    for id in &settlement.done {
        delete.execute([id])?;
    }
    let mut update = connection.prepare_cached(
        "UPDATE delivery SET attempts = attempts + 1, next_attempt_at = ?2, lease_until = NULL, last_attempt_at = ?3,
             last_reply = ?4, last_mx = ?5 WHERE id = ?1",
    )?;
    for (id, next, reply, mx) in &settlement.deferred {
        update.execute(params![id, next, settlement.at, reply, mx])?;
    }
    Ok(placed)
}

fn exists(connection: &Connection, inbox: &InboxId) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM inbox WHERE id = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([inbox], |row| row.get(0))?)
}

fn put(connection: &Connection, content: i64, to: &ForInbox, received_at: Timestamp) -> Result<Placed, StoreError> {
    let place_of = Place {
        account: &to.account,
        inbox: &to.inbox,
        mailbox: mailboxes::INBOX,
        flags: 0,
        mail_from: &to.mail_from.to_string(),
        rcpt_to: &to.rcpt_to.to_string(),
        internal_date: received_at,
    };
    place(connection, content, &place_of)
}

fn replace_outgoing(
    connection: &Connection,
    id: &SubmissionId,
    mail_from: &Address,
    fallback: &str,
    header: &[u8],
) -> Result<(), StoreError> {
    let sql = "SELECT c.body_id, b.data FROM submission s JOIN content c ON c.id = s.original_id
               JOIN body b ON b.id = c.body_id WHERE s.id = ?1";
    let found: Option<(i64, Vec<u8>)> =
        connection.prepare_cached(sql)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    // Dropped meanwhile: nothing is left to rewrite.
    let Some((body_id, body)) = found else { return Ok(()) };
    let outgoing = content::insert_content(connection, header, body_id, body.len())?;
    connection
        .prepare_cached(
            "UPDATE submission SET outgoing_id = ?2, mail_from = ?3, fallback = ?4, domain_id = NULL, is_8bit = ?5
             WHERE id = ?1",
        )?
        .execute(params![id, outgoing, mail_from, fallback, is_8bit(header, &body)])?;
    Ok(())
}
