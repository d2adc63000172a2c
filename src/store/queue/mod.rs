//! Mail that waits to leave.
//!
//! Invariant: a submission is there exactly while a recipient of it is unsettled (a trigger sees to it); its body stands
//! once, shared by the header block the client gave, the one that leaves, and every local copy. One commit takes a message
//! in, and one settles an attempt together with what it puts into inboxes.

mod attempts;
mod claim;
mod listing;
#[cfg(test)]
mod tests;

pub(super) use attempts::wake_unsigned;
pub use attempts::{Deferral, Due, DueDelivery, ForInbox, Letter, Settlement};
pub use claim::{Claimed, InFlight};
pub use listing::{QueuedDelivery, QueuedMessage};

use super::{Store, StoreError, content};
use crate::address::Address;
use crate::address::InboxName;
use crate::clock::Timestamp;
use crate::domain::status::VerifiedStatus;
use crate::envelope::Recipients;
use crate::id::{AccountId, DeliveryId, InboxId, SubmissionId, TokenId};
use crate::identity::SendIdentity;
use bytes::Bytes;
use rusqlite::{Connection, params};
use std::net::IpAddr;

/// A message to be taken in.
#[derive(Debug)]
pub struct NewSubmission {
    /// The queue id.
    pub id: SubmissionId,
    /// Whose.
    pub account: AccountId,
    /// Which inbox sends it, and gets its bounces.
    pub inbox: InboxId,
    /// The name of that inbox.
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
    /// The header block as the client gave it.
    pub original_header: Vec<u8>,
    /// The header block that leaves.
    pub outgoing_header: Vec<u8>,
    /// It is signed only when it leaves: its domain's key is still being made.
    pub is_unsigned: bool,
    /// The body of both.
    pub body: Bytes,
    /// To whom; one that is named twice gets it once.
    pub rcpt_to: Recipients,
    /// How it came, for Received.
    pub protocol: &'static str,
    /// From where, if Received is to show it.
    pub client: Option<IpAddr>,
    /// When: real time.
    pub arrived_at: Timestamp,
    /// When, by the clock: the first attempt is due then.
    pub now: Timestamp,
    /// Until when to try, by the clock.
    pub expires_at: Timestamp,
}

impl Store {
    /// Takes a message in: body once, both header blocks, a row a recipient, in one commit. The status of its domain may
    /// have changed since it was read; each attempt reads it again, so nothing is compared here. The account may have so
    /// many octets in the queue at most.
    pub async fn enqueue(&self, new: NewSubmission, limit: u64) -> Result<(), EnqueueError> {
        self.check_disk()?;
        self.write(move |connection| enqueue(connection, &new, limit)).await
    }
}

/// Why a message was not taken in. Temporary.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The account has too much in the queue.
    #[error("the account has as much mail in the queue as it may: {0} octets")]
    QueueFull(u64),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for EnqueueError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Octets that a recipient counts for in the queue.
const RECIPIENT: usize = 1024;

/// What a message counts for in its account's queue: its body once, both header blocks, its recipients.
fn octets(new: &NewSubmission) -> i64 {
    let bytes = new.original_header.len().saturating_add(new.outgoing_header.len()).saturating_add(new.body.len());
    let recipients = new.rcpt_to.as_slice().len().saturating_mul(RECIPIENT);
    i64::try_from(bytes.saturating_add(recipients)).unwrap_or(i64::MAX)
}

fn enqueue(connection: &Connection, new: &NewSubmission, limit: u64) -> Result<(), EnqueueError> {
    let octets = octets(new);
    let sql = "SELECT queued FROM account WHERE id = ?1";
    let queued: i64 = connection.prepare_cached(sql)?.query_row([&new.account], |row| row.get(0))?;
    if queued.saturating_add(octets).unsigned_abs() > limit {
        return Err(EnqueueError::QueueFull(limit));
    }
    let body = content::insert_body(connection, &new.body)?;
    let original = content::insert_content(connection, &new.original_header, body, new.body.len())?;
    let outgoing = content::insert_content(connection, &new.outgoing_header, body, new.body.len())?;
    connection
        .prepare_cached(
            "INSERT INTO submission (id, account_id, inbox_id, inbox_name, token_id, login_address, domain_id, state,
                 mail_from, fallback, original_id, outgoing_id, is_8bit, protocol, client, arrived_at, created_at, expires_at,
                 is_unsigned, octets)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'queued', ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?
        .execute(params![
            new.id,
            new.account,
            new.inbox,
            new.inbox_name,
            new.token,
            new.login_address,
            new.identity.custom_domain(),
            new.mail_from,
            new.fallback.map(VerifiedStatus::as_str),
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
        ])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO delivery (id, submission_id, account_id, rcpt_to, domain, next_attempt_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut seen = std::collections::HashSet::new();
    for rcpt in new.rcpt_to.as_slice().iter().filter(|rcpt| seen.insert(*rcpt)) {
        insert.execute(params![DeliveryId::new(), new.id, new.account, rcpt, rcpt.domain, new.now])?;
    }
    Ok(())
}

/// True when the message needs 8BITMIME (RFC 6152).
fn is_8bit(header: &[u8], body: &[u8]) -> bool {
    !header.is_ascii() || !body.is_ascii()
}
