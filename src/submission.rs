//! Sends a message: parse, identity, rewrite, sign what leaves, store, 250. Invariant: after `Ok` the message is on
//! disk, under an identity that was allowed when its status was read just before. If that changes before it leaves,
//! the delivery attempt notices. RFC 6409 §8 (what a submission server fixes), RFC 5321 §6.3 (loops).

mod own_secrets;

pub use own_secrets::OwnSecret;

use crate::access;
use crate::address::{Address, ReversePath};
use crate::auth::login::Login;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::dkim::{Secrets, Signer};
use crate::envelope::{MailParameters, Notify, RecipientParameters, Recipients};
use crate::id::{AccountId, DomainId, InboxId, SubmissionId};
use crate::identity::{Choice, Fallback, Unverified};
use crate::mailbox::MailboxService;
use crate::message::{self, ReadLimits, Submitted};
use crate::queue::Queue;
use crate::queue::outgoing::{self, Composed, Signed};
use crate::rates::{Exceeded, Hourly, Limit, Quota};
use crate::resources::Owner;
use crate::store::deliver::LocalDelivery;
use crate::store::queue::{AcceptError, NewSubmission, RemoteRecipient, SendLimits, SentCopy};
use crate::store::routing::{Destination, LocalRecipient};
use crate::store::senders::Sender;
use crate::store::sent::Note;
use crate::store::{Store, StoreError};
use bytes::Bytes;
use own_secrets::Words;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A message submitted by a client.
#[derive(Debug)]
pub struct Draft {
    /// What MAIL said beside the sender.
    pub parameters: MailParameters,
    /// See [`Submission::recipients`].
    pub rcpt_to: Recipients<(Recipient, RecipientParameters)>,
    /// Header and body in CRLF lines, without bare CR and LF.
    pub raw: Bytes,
    /// For the Received field: `ESMTPSA`, `HTTP` (RFC 3848).
    pub protocol: &'static str,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// When it is to leave, if not now. Recipients here get it then, too.
    pub send_at: Option<Timestamp>,
    pub note: Note,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// A local inbox, delivered when the message is accepted.
    Here(LocalRecipient),
    /// Elsewhere: queued.
    Elsewhere(Address),
}

impl Recipient {
    /// The address as given.
    pub fn address(&self) -> &Address {
        match self {
            Self::Here(recipient) => recipient.address(),
            Self::Elsewhere(address) => address,
        }
    }
}

/// Why a recipient is refused.
#[derive(Debug, thiserror::Error)]
pub enum RecipientError {
    /// 550 5.1.1
    #[error("no such user here: {0}")]
    NoSuchUser(Address),
    /// 452 4.2.2
    #[error("the inbox of {0} is full")]
    Full(Address),
    /// 450 4.2.1
    #[error("the inbox of {0} is disabled")]
    Disabled(Address),
    /// 550 5.7.1
    #[error("a list of this account blocks mail to {address}: see its entry {} for {}", .entry.id, .entry.pattern)]
    Blocked { address: Address, entry: access::Match },
    /// 451 4.3.0
    #[error("local error, try again later")]
    Temporary(#[from] StoreError),
}

/// The message is on disk.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub id: SubmissionId,
    /// The Message-ID that it leaves with, without angle brackets.
    pub message_id: String,
    /// The address it leaves under.
    pub from: Address,
    /// Set if that is a fallback.
    pub fallback: Option<Fallback>,
    /// Held until its domain is verified.
    pub held: bool,
}

/// Why it was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The domain is not verified and its owner allows no fallback: 550 5.7.1.
    #[error(
        "{from} cannot be used while its domain is {reason}: publish its records and verify it, or set on_unverified to fallback"
    )]
    Unverified { from: Address, reason: crate::verification::status::VerifiedStatus },
    /// It cannot be parsed: 550 5.6.0.
    #[error("{0}")]
    Malformed(String),
    /// Too many Received fields: 554 5.4.6.
    #[error("this message has passed through too many servers: a mail loop")]
    Loop,
    /// The account's hourly limit: 452 4.7.1 / 429.
    #[error("this account has reached its limit of {limit} {what} per hour")]
    RateLimited {
        /// messages or recipients.
        what: &'static str,
        limit: u32,
        /// The rest of the hour.
        retry_after: Duration,
    },
    /// The inbox's hourly limit of messages in this thread: 450 4.7.1 / 429.
    #[error(
        "this inbox has sent {limit} messages in this thread within an hour, which is the limit: wait {} seconds before the next one", seconds(*.retry_after)
    )]
    ThreadFull { limit: u32, retry_after: Duration },
    /// It holds a secret of the account: 550 5.7.1 / 422.
    #[error("this message contains {0}: remove it from the message, and revoke it if others may know it")]
    HoldsSecret(OwnSecret),
    /// The account's queue is full: 452 4.3.1 / 429.
    #[error("this account's queued mail has reached its limit of {limit} octets: wait for deliveries, or remove some")]
    QueueFull {
        /// limits.queue_size.
        limit: u64,
    },
    /// The inboxes of these recipients are full: 452 4.2.2 / 507.
    #[error("the inbox of {} is full", addresses(.0))]
    RecipientFull(Vec<Address>),
    /// The sender's own inbox is too full for the copy in Sent: 452 4.2.2 / 507.
    #[error("your inbox is full, so the copy in Sent cannot be stored: delete some mail, or set save_sent to false")]
    SenderFull,
    /// The draft that it was has been sent or removed meanwhile: 404.
    #[error("there is no such draft")]
    NoSuchDraft,
    /// It has another version than the request is meant for: 412.
    #[error("the draft has changed")]
    DraftChanged,
    /// Not enough free disk space: 452 4.3.1 / 503.
    #[error("insufficient system storage, try again later")]
    DiskLow,
    /// A temporary local error: 451 4.3.0.
    #[error("local error, try again later")]
    Temporary,
}

impl From<Exceeded> for Refusal {
    fn from(Exceeded { what, limit, retry_after }: Exceeded) -> Self {
        Self::RateLimited { what, limit, retry_after }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        temporary(error)
    }
}

/// The service; clones share it.
#[derive(Clone, Debug)]
pub struct Submission {
    config: Arc<Config>,
    store: Store,
    clock: Clock,
    mailboxes: MailboxService,
    signer: Signer,
    secrets: Secrets,
    queue: Queue,
    handed_in: Arc<Hourly<AccountId, 2>>,
}

impl Submission {
    pub fn new(
        config: Arc<Config>,
        store: Store,
        clock: Clock,
        mailboxes: MailboxService,
        signer: Signer,
        secrets: Secrets,
        queue: Queue,
    ) -> Self {
        let limits = &config.limits;
        let handed_in = Arc::new(Hourly::new(
            [
                Limit { key: "messages_per_hour", what: "messages", limit: limits.messages_per_hour },
                Limit { key: "recipients_per_hour", what: "recipients", limit: limits.recipients_per_hour },
            ],
            &store,
        ));
        Self { config, store, clock, mailboxes, signer, secrets, queue, handed_in }
    }

    /// Accepts a message: after `Ok` it is on disk.
    pub async fn accept(&self, login: &Login, draft: Draft) -> Result<Accepted, Refusal> {
        let (inbox, size, rcpts) = (login.inbox.clone(), draft.raw.len(), draft.rcpt_to.as_slice().len());
        let taken = self.take_in(login, draft).await;
        match &taken {
            Ok(ok) => tracing::info!(
                submission = %ok.id, %inbox, login = %login.address, identity = %ok.from,
                fallback = ok.fallback.as_ref().map_or("-", |f| f.reason.into()), held = ok.held, size, rcpts, "accepted"
            ),
            Err(why) => tracing::info!(%inbox, login = %login.address, size, rcpts, %why, "not accepted"),
        }
        taken
    }

    /// What is left of the account's hourly limits of messages and recipients.
    pub fn quotas(&self, account: &AccountId) -> [Quota; 2] {
        self.handed_in.quotas(account, self.clock.now())
    }

    /// The identity of a message submitted now in this session, and the data it was chosen by.
    pub async fn identity(&self, login: &Login) -> Result<(Sender, Choice), StoreError> {
        let sender =
            self.store.for_account(&login.account).sender(login.account.clone(), Some(login.inbox.clone())).await?;
        let platform = &self.config.platform.domain;
        let choice = sender.choose(&login.inbox_name, platform, &login.address, login.domain.as_ref());
        Ok((sender, choice))
    }

    /// The recipients for a message of this size, each address once. At a domain elsewhere `Ann@` and `ann@` differ;
    /// at a local one they are the same.
    pub async fn recipients(
        &self,
        owner: Owner,
        inbox: &InboxId,
        addresses: Vec<Address>,
        octets: usize,
    ) -> Result<Vec<Recipient>, RecipientError> {
        // A full inbox accepts no message, however small.
        let octets = u64::try_from(octets.max(1)).unwrap_or(u64::MAX);
        let mailboxes = self.mailboxes.for_owner(owner);
        let found = mailboxes.destinations(inbox, &self.config.platform.domain, addresses, octets).await?;
        let mut seen = HashSet::new();
        let mut recipients = Vec::with_capacity(found.len());
        for (address, destination) in found {
            let (recipient, key) = match destination {
                Destination::NoSuchUser => return Err(RecipientError::NoSuchUser(address)),
                Destination::Blocked(entry) => return Err(RecipientError::Blocked { address, entry }),
                Destination::Full => return Err(RecipientError::Full(address)),
                Destination::Disabled => return Err(RecipientError::Disabled(address)),
                Destination::Here(recipient) => (Recipient::Here(recipient), address.to_string().to_ascii_lowercase()),
                Destination::Elsewhere => (Recipient::Elsewhere(address.clone()), address.to_string()),
            };
            if seen.insert(key) {
                recipients.push(recipient);
            }
        }
        Ok(recipients)
    }

    /// The path of a message.
    async fn take_in(&self, login: &Login, draft: Draft) -> Result<Accepted, Refusal> {
        let signer = self.signer.for_account(&login.account);
        let (raw, hop_limit, limits) =
            (draft.raw.clone(), self.config.queue.hop_limit, ReadLimits::from(&self.config.limits));
        let parsed = signer.run(raw.len(), move || {
            let (header, body) = parse(&raw, hop_limit)?;
            let words = Words::of(&header, &body, &limits);
            Ok::<_, Refusal>((header, body, words))
        });
        let (header, body, words) = parsed.await.map_err(temporary)??;
        self.check_words(&login.account, words).await?;
        self.handed_in
            .charge::<Refusal>(login.account.clone(), [1, draft.rcpt_to.as_slice().len()], self.clock.now())
            .await?;

        let (sender, choice) = self.identity(login).await.map_err(temporary)?;
        let held_for = held_for(&choice, login)?;

        let id = SubmissionId::new();
        let (arrived_at, now) = (Timestamp::real(), self.clock.now());
        let client = draft.client.filter(|_| self.config.platform.received_shows_client);
        let submitted = Submitted {
            choice: choice.clone(),
            inbox: login.inbox_name.clone(),
            queue_id: id.to_string(),
            protocol: draft.protocol.to_owned(),
            client,
            arrived_at,
        };
        let written = outgoing::compose(&self.config, &signer, &sender, submitted, &header).await;
        let Composed { header: unsigned, from, blind_copies } = written.map_err(temporary)?;

        // Held mail, including local mail, is delivered once its From is known; what leaves later, then.
        let (here, elsewhere) = match held_for.as_ref().map(|_| ()).or(draft.send_at.map(|_| ())) {
            Some(()) => (Vec::new(), draft.rcpt_to.map(queued).into_vec()),
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
            // Local delivery needs no signature; held mail is rewritten when it leaves.
            false => Signed { header: unsigned, is_unsigned: true },
        };
        let sent = sender.saves_sent.then(|| match (&held_for, blind_copies.as_slice()) {
            (Some(_), _) => SentCopy::WithHeader(header.to_vec()),
            (None, []) => SentCopy::AsItLeaves,
            (None, fields) => SentCopy::WithHeader(message::with_fields(&outgoing, fields)),
        });
        let message_id = message::message_id(&outgoing).unwrap_or_default();
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
            parameters: draft.parameters,
            rcpt_to: elsewhere,
            local,
            sent,
            protocol: draft.protocol,
            client,
            arrived_at,
            now,
            send_at: draft.send_at,
            note: draft.note,
            expires_at: draft.send_at.unwrap_or(now).after(held_until.unwrap_or(self.config.queue.expire_after.0)),
        };
        let mailboxes = self.mailboxes.for_owner(Owner::Account(login.account.clone()));
        let limits = SendLimits {
            queue_size: self.config.limits.queue_size,
            thread_messages_per_hour: self.config.limits.thread_messages_per_hour,
        };
        let (now, accepted) = (new.now, mailboxes.accept(new, limits).await);
        accepted.map_err(|error| not_accepted(error, login, here, now))?;
        if leaves {
            self.queue.wake();
        }
        Ok(Accepted { id, message_id, from, fallback, held: held_for.is_some() })
    }
}

fn queued((recipient, parameters): (Recipient, RecipientParameters)) -> RemoteRecipient {
    RemoteRecipient { address: recipient.address().clone(), parameters }
}

/// Splits the recipients into local inboxes and others. The queue delivers to a local one whose sender wants a report of that.
fn by_destination(
    recipients: Recipients<(Recipient, RecipientParameters)>,
) -> (Vec<LocalRecipient>, Vec<RemoteRecipient>) {
    let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
    for (recipient, parameters) in recipients.into_vec() {
        match recipient {
            Recipient::Here(recipient) if !parameters.wants(Notify::SUCCESS) => here.push(recipient),
            recipient => elsewhere.push(queued((recipient, parameters))),
        }
    }
    (here, elsewhere)
}

/// Why the store did not accept the message.
fn not_accepted(error: AcceptError, login: &Login, here: Vec<LocalRecipient>, now: Timestamp) -> Refusal {
    match error {
        AcceptError::NoSuchDraft => Refusal::NoSuchDraft,
        AcceptError::DraftChanged => Refusal::DraftChanged,
        AcceptError::QueueFull(limit) => Refusal::QueueFull { limit },
        AcceptError::ThreadFull { limit, until } => Refusal::ThreadFull { limit, retry_after: until.since(now) },
        AcceptError::InboxFull(full) if full.contains(&login.inbox) => Refusal::SenderFull,
        AcceptError::InboxFull(full) => {
            let named = here.iter().filter(|recipient| full.contains(recipient.inbox()));
            Refusal::RecipientFull(named.map(|recipient| recipient.address().clone()).collect())
        }
        AcceptError::Store(StoreError::DiskLow(_)) => Refusal::DiskLow,
        AcceptError::Store(error) => temporary(error),
    }
}

/// Rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn addresses(list: &[Address]) -> String {
    list.iter().map(Address::to_string).collect::<Vec<_>>().join(", ")
}

/// Header block and body; a missing final line end is added.
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
        return Err(Refusal::Malformed("message lines must end in CRLF, without bare CR or LF".into()));
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

/// The domain that the message is held for, if its owner chose so.
fn held_for(choice: &Choice, login: &Login) -> Result<Option<DomainId>, Refusal> {
    let Some(fallback) = &choice.fallback else { return Ok(None) };
    match fallback.decision() {
        Unverified::FallsBack => Ok(None),
        Unverified::IsHeld => Ok(login.domain.clone()),
        Unverified::IsRefused => Err(Refusal::Unverified { from: fallback.from.clone(), reason: fallback.reason }),
    }
}

/// A local error, logged once here and never a 5yz.
fn temporary(error: impl std::error::Error) -> Refusal {
    tracing::error!(%error, "cannot accept a message");
    Refusal::Temporary
}
