//! A message goes out: parse, identity, rewrite, sign what leaves, store, 250.
//!
//! Invariant: `Ok` means that the message is on disk, under an identity that was allowed when its status was read, just
//! before. Should that change before it leaves, the delivery attempt sees it. RFC 6409 §8 (what a submission server
//! fixes), RFC 5321 §6.3 (loops).

use crate::address::{Address, ReversePath};
use crate::auth::login::Login;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::dkim::Signer;
use crate::envelope::Recipients;
use crate::id::{AccountId, DomainId, SubmissionId};
use crate::identity::{Choice, Fallback, Unverified};
use crate::mailbox::MailboxService;
use crate::message;
use crate::net::hourly::{Exceeded, Hourly};
use crate::queue::Queue;
use crate::queue::outgoing::{self, Composed, Composing, Signed};
use crate::resources::Owner;
use crate::store::deliver::LocalDelivery;
use crate::store::queue::{AcceptError, NewSubmission, SentCopy};
use crate::store::routing::{Destination, LocalRecipient};
use crate::store::senders::Sender;
use crate::store::{Store, StoreError};
use bytes::Bytes;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

/// A message as a client handed it in.
#[derive(Debug)]
pub struct Draft {
    /// Who it goes to: see [`Submission::recipients`].
    pub rcpt_to: Recipients<Recipient>,
    /// Header and body, CRLF lines, already free of bare CR and LF.
    pub raw: Bytes,
    /// How it came, for the Received field: `ESMTPSA`, `HTTP` (RFC 3848).
    pub protocol: &'static str,
    /// From where.
    pub client: Option<IpAddr>,
}

/// Where a recipient's mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Into an inbox here, when the message is accepted.
    Here(LocalRecipient),
    /// Into the queue.
    Elsewhere(Address),
}

impl Recipient {
    /// As it was named.
    pub fn address(&self) -> &Address {
        match self {
            Self::Here(recipient) => recipient.address(),
            Self::Elsewhere(address) => address,
        }
    }
}

/// Why mail is not taken for a recipient.
#[derive(Debug, thiserror::Error)]
pub enum RecipientError {
    /// 550 5.1.1
    #[error("there is no mailbox {0} here")]
    NoSuchUser(Address),
    /// 452 4.2.2
    #[error("the inbox of {0} is full")]
    Full(Address),
    /// 451 4.3.0
    #[error("the recipient could not be looked for now")]
    Temporary(#[from] StoreError),
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
        reason: crate::verification::status::VerifiedStatus,
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
    /// The inboxes of these recipients have no room for it: 452 4.2.2 / 507.
    #[error("the inbox of {} is full", addresses(.0))]
    RecipientFull(Vec<Address>),
    /// The sender's own inbox has no room for the copy in Sent: 452 4.2.2 / 507.
    #[error(
        "your inbox is full, and a copy of what you send is kept in it: delete some mail, or set save_sent to false"
    )]
    SenderFull,
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
    mailboxes: MailboxService,
    signer: Signer,
    queue: Queue,
    handed_in: Arc<Hourly<AccountId, 2>>,
}

impl Submission {
    /// The service, which hands to this queue.
    pub fn new(
        config: Arc<Config>,
        store: Store,
        clock: Clock,
        mailboxes: MailboxService,
        signer: Signer,
        queue: Queue,
    ) -> Self {
        let limits = &config.limits;
        let handed_in =
            Arc::new(Hourly::new([("messages", limits.messages_per_hour), ("recipients", limits.recipients_per_hour)]));
        Self { config, store, clock, mailboxes, signer, queue, handed_in }
    }

    /// Takes a message in: when this answers `Ok` it is on disk.
    pub async fn accept(&self, login: &Login, draft: Draft) -> Result<Accepted, Refusal> {
        let (inbox, size, rcpts) = (login.inbox.clone(), draft.raw.len(), draft.rcpt_to.as_slice().len());
        let taken = self.take_in(login, draft).await;
        match &taken {
            Ok(ok) => tracing::info!(
                submission = %ok.id, %inbox, login = %login.address, identity = %ok.from,
                fallback = ok.fallback.as_ref().map_or("-", |f| f.reason.as_str()), held = ok.held, size, rcpts, "accepted"
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

    /// Where mail of so many octets for these addresses goes now, each address once. At a domain elsewhere `Ann@` and `ann@`
    /// are two; at one that is delivered here they are one.
    pub async fn recipients(
        &self,
        owner: Owner,
        addresses: Vec<Address>,
        octets: usize,
    ) -> Result<Vec<Recipient>, RecipientError> {
        // A full inbox takes no message, not even one of 0 octets.
        let octets = u64::try_from(octets.max(1)).unwrap_or(u64::MAX);
        let mailboxes = self.mailboxes.for_owner(owner);
        let found = mailboxes.destinations(&self.config.platform.domain, addresses, octets).await?;
        let mut seen = HashSet::new();
        let mut recipients = Vec::with_capacity(found.len());
        for (address, destination) in found {
            let (recipient, key) = match destination {
                Destination::NoSuchUser => return Err(RecipientError::NoSuchUser(address)),
                Destination::Full => return Err(RecipientError::Full(address)),
                Destination::Here(recipient) => (Recipient::Here(recipient), address.to_string().to_ascii_lowercase()),
                Destination::Elsewhere => (Recipient::Elsewhere(address.clone()), address.to_string()),
            };
            if seen.insert(key) {
                recipients.push(recipient);
            }
        }
        Ok(recipients)
    }

    /// The way of a message.
    async fn take_in(&self, login: &Login, draft: Draft) -> Result<Accepted, Refusal> {
        let signer = self.signer.for_account(&login.account);
        let (raw, hop_limit) = (draft.raw.clone(), self.config.queue.hop_limit);
        let parsed = signer.run(raw.len(), move || parse(&raw, hop_limit)).await;
        let (header, body) = parsed.map_err(temporary)??;
        self.handed_in
            .charge(login.account.clone(), [1, draft.rcpt_to.as_slice().len()], self.clock.now())
            .map_err(|Exceeded { what, limit, .. }| Refusal::RateLimited { what, limit })?;

        let (sender, choice) = self.identity(login).await.map_err(temporary)?;
        let held_for = held_for(&choice, login)?;

        let id = SubmissionId::new();
        let (arrived_at, now) = (Timestamp::real(), self.clock.now());
        let client = draft.client.filter(|_| self.config.platform.received_shows_client);
        let with = Composing {
            choice: &choice,
            inbox: &login.inbox_name,
            sender: &sender,
            id: &id,
            protocol: draft.protocol,
            client,
            arrived_at,
        };
        let written = outgoing::compose(&self.config, &signer, &with, &header).await;
        let Composed { header: unsigned, from, blind_copies } = written.map_err(temporary)?;

        // What is held for its domain is delivered, here as well, once its From is known.
        let (here, elsewhere) = match held_for {
            Some(_) => (Vec::new(), draft.rcpt_to.into_vec().iter().map(|to| to.address().clone()).collect()),
            None => by_destination(draft.rcpt_to),
        };
        let local = Recipients::new(here.clone()).map(|recipients| {
            let mail_from = ReversePath::Mailbox(from.clone());
            let header = message::with_return_path(&mail_from, &unsigned);
            LocalDelivery { mail_from, recipients, header, received_at: arrived_at }
        });
        let leaves = !elsewhere.is_empty();
        let Signed { header: outgoing, is_unsigned } = match leaves && held_for.is_none() {
            true => outgoing::sign(&signer, &choice.identity, unsigned, &body).await.map_err(temporary)?,
            // A signature proves nothing to ourselves; what is held is written anew when it leaves.
            false => Signed { header: unsigned, is_unsigned: true },
        };
        let sent = sender.saves_sent.then(|| match (&held_for, blind_copies.as_slice()) {
            (Some(_), _) => SentCopy::WithHeader(header.to_vec()),
            (None, []) => SentCopy::AsItLeaves,
            (None, fields) => SentCopy::WithHeader(message::with_fields(&outgoing, fields)),
        });
        let held_until = held_for.is_some().then_some(self.config.verification.window.0);
        let (from, fallback) = match (&held_for, choice.fallback) {
            (Some(_), Some(held)) => (held.from, None),
            (_, fallback) => (from, fallback),
        };

        let new = NewSubmission {
            id: id.clone(),
            account: login.account.clone(),
            inbox: login.inbox.clone(),
            inbox_name: login.inbox_name.clone(),
            token: login.token.clone(),
            login_address: login.address.clone(),
            identity: choice.identity,
            mail_from: from.clone(),
            fallback: fallback.as_ref().map(|fallback| fallback.reason),
            held_for: held_for.clone(),
            original_header: header.to_vec(),
            outgoing_header: outgoing,
            is_unsigned,
            body,
            rcpt_to: elsewhere,
            local,
            sent,
            protocol: draft.protocol,
            client,
            arrived_at,
            now,
            expires_at: now.after(held_until.unwrap_or(self.config.queue.expire_after.0)),
        };
        let mailboxes = self.mailboxes.for_owner(Owner::Account(login.account.clone()));
        let accepted = mailboxes.accept(new, self.config.limits.queue_size).await;
        accepted.map_err(|error| not_accepted(error, login, here))?;
        if leaves {
            self.queue.wake();
        }
        Ok(Accepted { id, from, fallback, held: held_for.is_some() })
    }
}

/// The recipients that are inboxes here, and the others.
fn by_destination(recipients: Recipients<Recipient>) -> (Vec<LocalRecipient>, Vec<Address>) {
    let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
    for recipient in recipients.into_vec() {
        match recipient {
            Recipient::Here(recipient) => here.push(recipient),
            Recipient::Elsewhere(address) => elsewhere.push(address),
        }
    }
    (here, elsewhere)
}

/// Why the store did not take the message.
fn not_accepted(error: AcceptError, login: &Login, here: Vec<LocalRecipient>) -> Refusal {
    match error {
        AcceptError::QueueFull(limit) => Refusal::QueueFull { limit },
        AcceptError::InboxFull(full) if full.contains(&login.inbox) => Refusal::SenderFull,
        AcceptError::InboxFull(full) => {
            let named = here.iter().filter(|recipient| full.contains(recipient.inbox()));
            Refusal::RecipientFull(named.map(|recipient| recipient.address().clone()).collect())
        }
        AcceptError::Store(StoreError::DiskLow(_)) => Refusal::DiskLow,
        AcceptError::Store(error) => temporary(error),
    }
}

fn addresses(list: &[Address]) -> String {
    list.iter().map(Address::to_string).collect::<Vec<_>>().join(", ")
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

/// The domain that the message is held for, if its owner wants that.
fn held_for(choice: &Choice, login: &Login) -> Result<Option<DomainId>, Refusal> {
    let Some(fallback) = &choice.fallback else { return Ok(None) };
    match fallback.decision() {
        Unverified::FallsBack => Ok(None),
        Unverified::IsHeld => Ok(login.domain.clone()),
        Unverified::IsRefused => Err(Refusal::Unverified { from: fallback.from.clone(), reason: fallback.reason }),
    }
}

/// Our own fault, told once in the log and never as a 5yz.
fn temporary(error: impl std::error::Error) -> Refusal {
    tracing::error!(%error, "a message could not be taken in");
    Refusal::Temporary
}
