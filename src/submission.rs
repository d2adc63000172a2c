//! A message goes out: parse, identity, rewrite, sign, enqueue, 250.
//!
//! Invariant: `Ok` means that the message is on disk, under an identity that was allowed when its status was read, just
//! before. Should that change before it leaves, the delivery attempt sees it. RFC 6409 §8 (what a submission server
//! fixes), RFC 5321 §6.3 (loops).

use crate::address::Address;
use crate::authentication::dkim::Signer;
use crate::authentication::login::Login;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::domain::status::OnUnverified;
use crate::envelope::Recipients;
use crate::id::{AccountId, SubmissionId};
use crate::identity::{Choice, Fallback};
use crate::message;
use crate::net::hourly::{Exceeded, Hourly};
use crate::queue::Queue;
use crate::queue::letter::{self, Writing, Written};
use crate::store::queue::{EnqueueError, NewSubmission};
use crate::store::senders::Sender;
use crate::store::{Store, StoreError};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;

/// A message as a client handed it in.
#[derive(Debug)]
pub struct Draft {
    /// Who it goes to.
    pub rcpt_to: Recipients,
    /// Header and body, CRLF lines, already free of bare CR and LF.
    pub raw: Bytes,
    /// How it came, for the Received field: `ESMTPSA`, `HTTP` (RFC 3848).
    pub protocol: &'static str,
    /// From where.
    pub client: Option<IpAddr>,
}

/// It is on disk.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The queue id.
    pub id: SubmissionId,
    /// The address it leaves under.
    pub from: Address,
    /// Set when that is a fallback.
    pub fallback: Option<Fallback>,
    /// Kept until its domain is verified.
    pub held: bool,
}

/// It is not, and why.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The domain is not verified and its owner wants no fallback: 550 5.7.1.
    #[error(
        "{from} cannot be used while its domain is {reason}: publish its records and verify it, or set on_unverified to fallback"
    )]
    Unverified {
        /// The address.
        from: Address,
        /// pending or failed.
        reason: crate::domain::status::VerifiedStatus,
    },
    /// The message is no message: 550 5.6.0.
    #[error("{0}")]
    Malformed(String),
    /// Too many Received fields: 554 5.4.6.
    #[error("this message has passed through too many servers: a mail loop")]
    Loop,
    /// The account's hourly limit: 452 4.7.1 / 429.
    #[error("this account has reached its limit of {limit} {what} in an hour")]
    RateLimited {
        /// messages or recipients.
        what: &'static str,
        /// The limit.
        limit: u32,
    },
    /// The account's queue is full: 452 4.3.1 / 429.
    #[error(
        "this account has as much mail in the queue as it may, {limit} octets: wait until some of it is delivered, or drop some"
    )]
    QueueFull {
        /// limits.queue_size.
        limit: u64,
    },
    /// Too little disk is free: 452 4.3.1 / 503.
    #[error("no room for new messages now, try again later")]
    DiskLow,
    /// Ours, temporary: 451 4.3.0.
    #[error("the message could not be stored now")]
    Temporary,
}

/// The service; clones share it.
#[derive(Clone, Debug)]
pub struct Submission {
    config: Arc<Config>,
    store: Store,
    clock: Clock,
    signer: Signer,
    queue: Queue,
    handed_in: Arc<Hourly<AccountId, 2>>,
}

impl Submission {
    /// The service, which hands to this queue.
    pub fn new(config: Arc<Config>, store: Store, clock: Clock, signer: Signer, queue: Queue) -> Self {
        let limits = &config.limits;
        let handed_in =
            Arc::new(Hourly::new([("messages", limits.messages_per_hour), ("recipients", limits.recipients_per_hour)]));
        Self { config, store, clock, signer, queue, handed_in }
    }

    /// Takes a message in: when this answers `Ok` it is on disk.
    pub async fn accept(&self, login: &Login, draft: Draft) -> Result<Accepted, Refusal> {
        let (inbox, size, rcpts) = (login.inbox.clone(), draft.raw.len(), draft.rcpt_to.as_slice().len());
        let taken = self.take_in(login, draft).await;
        match &taken {
            Ok(ok) => tracing::info!(
                submission = %ok.id, %inbox, login = %login.address, identity = %ok.from,
                fallback = ok.fallback.as_ref().map_or("-", |f| f.reason.as_str()), size, rcpts, "accepted"
            ),
            Err(why) => tracing::info!(%inbox, login = %login.address, size, rcpts, %why, "not accepted"),
        }
        taken
    }

    /// Under which address a message of this session leaves if it is taken in now, and what that was decided on.
    pub async fn identity(&self, login: &Login) -> Result<(Sender, Choice), StoreError> {
        let sender =
            self.store.for_account(&login.account).sender(login.account.clone(), Some(login.inbox.clone())).await?;
        let platform = &self.config.platform.domain;
        let choice = sender.choose(&login.inbox_name, platform, &login.address, login.domain.as_ref());
        Ok((sender, choice))
    }

    async fn take_in(&self, login: &Login, draft: Draft) -> Result<Accepted, Refusal> {
        let signer = self.signer.for_account(&login.account);
        let (raw, hop_limit) = (draft.raw.clone(), self.config.queue.hop_limit);
        let parsed = signer.run(raw.len(), move || parse(&raw, hop_limit)).await;
        let (header, body) = parsed.map_err(temporary)??;
        self.handed_in
            .charge(login.account.clone(), [1, draft.rcpt_to.as_slice().len()], self.clock.now())
            .map_err(|Exceeded { what, limit, .. }| Refusal::RateLimited { what, limit })?;
        let id = SubmissionId::new();
        let platform = &self.config.platform;
        let client = draft.client.filter(|_| platform.received_shows_client);
        let arrived_at = Timestamp::real();

        let (sender, choice) = self.identity(login).await.map_err(temporary)?;
        may_fall_back(&choice)?;
        let with = Writing {
            choice: &choice,
            inbox: &login.inbox_name,
            sender: &sender,
            id: &id,
            protocol: draft.protocol,
            client,
            arrived_at,
        };
        let written = letter::write(&self.config, &signer, &with, &header, &body).await;
        let Written { header: outgoing_header, from, is_unsigned } = written.map_err(temporary)?;
        let now = self.clock.now();
        let new = NewSubmission {
            id: id.clone(),
            account: login.account.clone(),
            inbox: login.inbox.clone(),
            inbox_name: login.inbox_name.clone(),
            token: login.token.clone(),
            login_address: login.address.clone(),
            identity: choice.identity,
            mail_from: from.clone(),
            fallback: choice.fallback.as_ref().map(|fallback| fallback.reason),
            original_header: header.to_vec(),
            outgoing_header,
            is_unsigned,
            body,
            rcpt_to: draft.rcpt_to,
            protocol: draft.protocol,
            client,
            arrived_at,
            now,
            expires_at: now.after(self.config.queue.expire_after.0),
        };
        let store = self.store.for_account(&login.account);
        store.enqueue(new, self.config.limits.queue_size).await.map_err(|error| match error {
            EnqueueError::QueueFull(limit) => Refusal::QueueFull { limit },
            EnqueueError::Store(StoreError::DiskLow(_)) => Refusal::DiskLow,
            EnqueueError::Store(error) => temporary(error),
        })?;
        self.queue.wake();
        Ok(Accepted { id, from, fallback: choice.fallback, held: false })
    }
}

/// Header block and body, the body with a complete last line.
fn parse(raw: &Bytes, hop_limit: usize) -> Result<(Bytes, Bytes), Refusal> {
    if message::has_nul(raw) {
        return Err(Refusal::Malformed(message::NUL_REFUSED.into()));
    }
    let bare = raw.iter().enumerate().any(|(at, octet)| match octet {
        b'\r' => raw.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || raw.get(at - 1) != Some(&b'\r'),
        _ => false,
    });
    if bare {
        return Err(Refusal::Malformed("the lines of a message end with CR LF, and neither stands alone".into()));
    }
    let (header, body) = message::split(raw);
    if message::hop_count(header) > hop_limit {
        return Err(Refusal::Loop);
    }
    let body = match message::missing_line_end(body) {
        [] => raw.slice_ref(body),
        end => [body, end].concat().into(),
    };
    Ok((raw.slice_ref(header), body))
}

fn may_fall_back(choice: &Choice) -> Result<(), Refusal> {
    match &choice.fallback {
        Some(fallback) if fallback.on_unverified == OnUnverified::Reject => {
            Err(Refusal::Unverified { from: fallback.from.clone(), reason: fallback.reason })
        }
        _ => Ok(()),
    }
}

/// Our own fault, told once in the log and never as a 5yz.
fn temporary(error: impl std::error::Error) -> Refusal {
    tracing::error!(%error, "a message could not be taken in");
    Refusal::Temporary
}
