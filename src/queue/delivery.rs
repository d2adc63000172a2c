//! One attempt: a message and its due recipients at one domain.
//!
//! Invariant: the identity is read again before every attempt, so nothing leaves under a domain that is not verified now; an
//! attempt ends in exactly one settlement. RFC 5321 §5.1, §6.1 (bounces), §4.4 (Return-Path at final delivery).

use super::address_limits::AddressLimits;
use super::outcome::{Outcome, RemoteReply};
use super::outgoing::{self, Composed, Signed};
use super::slots::{Slot, Slots};
use crate::address::ReversePath;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::dkim::{SignError, Signer};
use crate::dns::Resolver;
use crate::envelope::{EnhancedCode, Recipients};
use crate::id::InboxId;
use crate::identity::{Choice, Fallback, SendIdentity, Unverified, VerifiedDomain, while_unverified};
use crate::message::{self, Submitted};
use crate::resources::Client;
use crate::resources::concurrency::DestinationLimits;
use crate::resources::memory::{Claim, MemoryBudget};
use crate::smtp_client::{Body, ForwardPath, OutgoingMail, RcptTo, SmtpClient};
use crate::store::deliver::LocalDelivery;
use crate::store::queue::{Due, DueDelivery, NewOutgoing, Settled, Settlement};
use crate::store::quota::Quota;
use crate::store::routing::{LocalRecipient, Route};
use crate::store::senders::Sender;
use crate::store::{Store, StoreError, StoredMessage};
use crate::verification::status::OnUnverified;
use std::sync::Arc;

/// Maximum octets of a body in memory; larger ones are read while they are sent.
const BODY_IN_MEMORY: usize = 256 * 1024;

/// Makes attempts. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Deliverer {
    pub config: Arc<Config>,
    pub store: Store,
    pub clock: Clock,
    pub signer: Signer,
    pub resolver: Resolver,
    pub client: SmtpClient,
    pub addresses: Arc<AddressLimits>,
    pub destinations: DestinationLimits,
    pub slots: Arc<Slots>,
    /// For the messages of running attempts.
    pub memory: MemoryBudget,
}

/// The result of an attempt: an outcome for each recipient, and copies for local inboxes.
pub(super) struct Done {
    pub outcomes: Vec<Outcome>,
    pub local: Option<LocalDelivery>,
}

/// A message as it was to be sent, for reports.
#[derive(Debug, Default)]
pub(super) struct Original {
    pub header: Vec<u8>,
    /// `None` if it is larger than [`BODY_IN_MEMORY`].
    pub body: Option<Vec<u8>>,
}

impl Original {
    fn of(message: StoredMessage) -> Self {
        let body = Some(message.body).filter(|body| body.len() <= BODY_IN_MEMORY);
        Self { header: message.header, body }
    }
}

impl Deliverer {
    /// On behalf of a message's account.
    pub fn on_behalf_of(&self, due: &Due) -> Self {
        let account = &due.queued.account;
        Self { store: self.store.for_account(account), resolver: self.resolver.on_behalf_of(account), ..self.clone() }
    }

    /// Makes an attempt. The inboxes of `full` have no room for the message.
    pub async fn attempt(&self, mut due: Due, begun: Timestamp, slot: &Slot, full: &[InboxId]) -> Settlement {
        let mut claim = self.memory.claim(&Client::of_account(&due.queued.account));
        if let Err(error) = claim.grow_to(due.queued.size) {
            let text = format!("{error} by deliveries under way");
            let done = self.all(&due, Outcome::Postponed(RemoteReply::local(EnhancedCode(4, 3, 1), text)));
            return self.conclude(&due, begun, done, &Original::default());
        }
        let (original, done) = match self.store.queued(&due.queued.id).await {
            Ok(Some((queued, message))) => {
                due.queued = queued;
                self.deliver(&mut due, message, slot, full, claim).await
            }
            // There is nothing to settle.
            Ok(None) => {
                (Original::default(), self.all(&due, Outcome::deferred(EnhancedCode(4, 3, 0), "it has been dropped")))
            }
            Err(error) => (Original::default(), self.all(&due, ours(&error))),
        };
        self.conclude(&due, begun, done, &original)
    }

    /// The settlement of an attempt that panicked.
    pub fn broken_off(&self, due: &Due, begun: Timestamp, error: &dyn std::error::Error) -> Settlement {
        self.conclude(due, begun, self.all(due, ours(error)), &Original::default())
    }

    /// Also returns what was to be sent, for reports.
    async fn deliver(
        &self,
        due: &mut Due,
        message: StoredMessage,
        slot: &Slot,
        full: &[InboxId],
        mut claim: Claim,
    ) -> (Original, Done) {
        let (mut message, mail_from) = match self.renew_identity(due, &message).await {
            Ok((renewed, mail_from)) => (renewed.unwrap_or(message), mail_from),
            Err(outcome) if due.queued.is_held => {
                // No outgoing header block exists yet: a bounce returns the client's.
                let original = self.store.content(due.queued.original).await;
                return (Original::of(original.unwrap_or(message)), self.all(due, outcome));
            }
            Err(outcome) => return (Original::of(message), self.all(due, outcome)),
        };
        let mut is_whole = true;
        let done = match self.store.delivers(&self.config.platform.domain, &due.domain).await {
            Ok(true) => {
                self.deliver_here(due, &message, full).await.unwrap_or_else(|error| self.all(due, ours(&error)))
            }
            Ok(false) => {
                if let Err(outcome) = self.sign(due, &mut message).await {
                    return (Original::of(message), self.all(due, outcome));
                }
                let size = message.body.len();
                let body = if size > BODY_IN_MEMORY {
                    message.body = Vec::new();
                    is_whole = false;
                    claim.shrink_to(message.header.len() + Body::PIECE);
                    Body::Stored { store: &self.store, submission: &due.queued.id, size }
                } else {
                    Body::InMemory(&message.body)
                };
                let rcpt_to: Vec<RcptTo> = due.deliveries.iter().map(rcpt_to).collect();
                let mail = OutgoingMail {
                    mail_from: &mail_from,
                    parameters: &due.queued.parameters,
                    rcpt_to: &rcpt_to,
                    header: &message.header,
                    body,
                    is_8bit: due.queued.is_8bit,
                    allowance: slot.allowance(),
                };
                let outcomes = self.send(&due.domain, &mail, slot).await;
                Done { outcomes, local: None }
            }
            Err(error) => self.all(due, ours(&error)),
        };
        let body = is_whole.then_some(message.body);
        (Original { header: message.header, body }, done)
    }

    /// Reads the status of the message's domain, and returns the envelope sender: From, or the same at the domain's return path. A held
    /// message leaves once the domain is verified; if the domain is no longer verified, `on_unverified` decides. A message with a new
    /// identity is rewritten and signed again, in the store, too.
    async fn renew_identity(
        &self,
        due: &mut Due,
        message: &StoredMessage,
    ) -> Result<(Option<StoredMessage>, ReversePath), Outcome> {
        let queued = &due.queued;
        let (Some(domain), Some(requested)) = (&queued.domain, queued.mail_from.address()) else {
            return Ok((None, queued.mail_from.clone()));
        };
        let sender = self.store.sender(queued.account.clone(), queued.inbox.clone()).await.map_err(|e| ours(&e))?;
        let claim = sender.claim(domain);
        let choice = match claim.and_then(VerifiedDomain::of) {
            Some(_) if !queued.is_held => {
                return Ok((None, ReversePath::Mailbox(sender.envelope(Some(domain), requested))));
            }
            Some(domain) => {
                let identity = SendIdentity::Custom { local: requested.local.clone(), domain };
                Choice { identity, fallback: None }
            }
            None => {
                let platform = &self.config.platform.domain;
                let on_unverified = if queued.is_held { OnUnverified::Hold } else { OnUnverified::Fallback };
                while_unverified(&queued.inbox_name, platform, requested, claim, on_unverified)
            }
        };
        match choice.fallback.as_ref().map(Fallback::decision) {
            None | Some(Unverified::FallsBack) => {}
            Some(Unverified::IsHeld) => {
                let text = format!("kept until {} is verified", requested.domain);
                return Err(Outcome::Waiting(RemoteReply::local(EnhancedCode(4, 7, 1), text)));
            }
            Some(Unverified::IsRefused) => {
                let text = format!("{requested} cannot be used: its domain is not verified");
                return Err(Outcome::bounced(EnhancedCode(5, 7, 1), text));
            }
        }
        let message = self.write_anew(due, message, &sender, choice).await?;
        let queued = &due.queued;
        let from = queued.mail_from.address().cloned();
        let mail_from =
            from.map_or(ReversePath::Null, |from| ReversePath::Mailbox(sender.envelope(queued.domain.as_ref(), &from)));
        Ok((Some(message), mail_from))
    }

    /// Rewrites and signs a message for another identity.
    async fn write_anew(
        &self,
        due: &mut Due,
        message: &StoredMessage,
        sender: &Sender,
        choice: Choice,
    ) -> Result<StoredMessage, Outcome> {
        let attempt = due.key();
        let queued = &mut due.queued;
        let identity = choice.identity.address();
        let reason = choice.fallback.as_ref().map(|fallback| fallback.reason);
        tracing::info!(submission = %queued.id, from = %queued.mail_from, %identity, fallback = reason.map_or("-", Into::into), "the identity has changed");
        let original = self.store.content(queued.original).await.map_err(|e| ours(&e))?;
        let submitted = Submitted {
            choice: choice.clone(),
            inbox: queued.inbox_name.clone(),
            queue_id: queued.id.to_string(),
            protocol: queued.protocol.clone(),
            client: queued.client,
            arrived_at: queued.arrived_at,
        };
        let signer = self.signer.for_account(&queued.account);
        let composed = outgoing::compose(&self.config, &signer, sender, submitted, &original.header.into()).await;
        let Composed { header, from, .. } = composed.map_err(|e| ours(&e))?;
        let signed = outgoing::sign(&signer, &choice.identity, header, &message.body).await;
        let Signed { header, is_unsigned } = signed.map_err(|e| ours(&e))?;
        if queued.is_held {
            queued.expires_at = self.clock.now().after(self.config.queue.expire_after.0);
        }
        queued.domain = choice.identity.custom_domain().cloned();
        queued.is_8bit = !header.is_ascii() || !message.body.is_ascii();
        (queued.is_held, queued.is_unsigned) = (false, is_unsigned);
        queued.mail_from = ReversePath::Mailbox(from.clone());
        let new = NewOutgoing {
            mail_from: from,
            domain: queued.domain.clone(),
            fallback: reason,
            header: header.clone(),
            is_unsigned,
            expires_at: queued.expires_at,
        };
        recorded(self.store.replace_outgoing(attempt, new).await)?;
        Ok(StoredMessage { header, body: original.body })
    }

    /// Signs a message that was accepted before its domain had a key, and stores it.
    async fn sign(&self, due: &Due, message: &mut StoredMessage) -> Result<(), Outcome> {
        let queued = &due.queued;
        let (true, Some(domain), Some(from)) = (queued.is_unsigned, &queued.domain, queued.mail_from.address()) else {
            return Ok(());
        };
        let claim = self.store.claim_for_identity(domain).await.map_err(|e| ours(&e))?;
        let Some(domain) = claim.as_ref().and_then(VerifiedDomain::of) else {
            return Err(Outcome::deferred(EnhancedCode(4, 3, 0), "the domain has just changed"));
        };
        let identity = SendIdentity::Custom { local: from.local.clone(), domain };
        let signature =
            match self.signer.for_account(&queued.account).sign(&identity, &message.header, &message.body).await {
                Ok(signature) => signature,
                Err(error @ SignError::NoKey(_)) => {
                    return Err(Outcome::Waiting(RemoteReply::local(EnhancedCode(4, 7, 0), error.to_string())));
                }
                Err(error) => return Err(ours(&error)),
            };
        message.header.splice(0..0, signature);
        recorded(self.store.sign_outgoing(due.key(), message.header.clone()).await)
    }

    /// Delivers to local inboxes. The copies are stored with the settlement.
    async fn deliver_here(&self, due: &Due, message: &StoredMessage, full: &[InboxId]) -> Result<Done, StoreError> {
        let mut outcomes = Vec::with_capacity(due.deliveries.len());
        let mut recipients: Vec<LocalRecipient> = Vec::new();
        for delivery in &due.deliveries {
            let route = self.store.route(&self.config.platform.domain, &delivery.rcpt_to, self.clock.now()).await?;
            let (status, text) = match route {
                // The settlement decides finally.
                Route::Inbox(to) if full.contains(to.inbox()) || !self.is_within_quota(to.inbox(), message).await? => {
                    (EnhancedCode(4, 2, 2), "the inbox is full")
                }
                Route::Inbox(recipient) => {
                    recipients.push(recipient);
                    (EnhancedCode(2, 1, 5), "delivered to an inbox here")
                }
                Route::Disabled => (EnhancedCode(4, 2, 1), "the inbox is disabled"),
                Route::NoSuchUser => (EnhancedCode(5, 1, 1), "there is no inbox of this address"),
                // The domain has changed between two reads.
                Route::PendingDomain | Route::NotHosted => (EnhancedCode(4, 3, 0), "the domain has just changed"),
            };
            let reply = RemoteReply::local(status, text);
            outcomes.push(match status.0 {
                2 => Outcome::Delivered(reply),
                5 => Outcome::Bounced(reply),
                _ => Outcome::Deferred(reply),
            });
        }
        let mail_from = due.queued.mail_from.clone();
        let local = Recipients::new(recipients).map(|recipients| {
            let header = message::with_return_path(&mail_from, &message.header);
            LocalDelivery { mail_from, recipients, header, received_at: Timestamp::real() }
        });
        Ok(Done { outcomes, local })
    }

    async fn is_within_quota(&self, inbox: &InboxId, message: &StoredMessage) -> Result<bool, StoreError> {
        let size = u64::try_from(message.header.len() + message.body.len()).unwrap_or(u64::MAX);
        self.store.inbox_allows(inbox, size, Quota::from(&self.config.limits)).await
    }

    fn all(&self, due: &Due, outcome: Outcome) -> Done {
        Done { outcomes: vec![outcome; due.deliveries.len()], local: None }
    }
}

fn rcpt_to(delivery: &DueDelivery) -> RcptTo {
    RcptTo { path: ForwardPath::Mailbox(delivery.rcpt_to.clone()), parameters: delivery.parameters.clone() }
}

/// An attempt that has lost its lease sends nothing. Its settlement finds the same, and records nothing.
fn recorded(written: Result<Settled, StoreError>) -> Result<(), Outcome> {
    match written {
        Ok(Settled::Recorded) => Ok(()),
        Ok(Settled::LeaseLost) => Err(Outcome::deferred(EnhancedCode(4, 3, 0), "another daemon has taken it over")),
        Err(error) => Err(ours(&error)),
    }
}

/// An internal error: logged and retried.
fn ours(error: &dyn std::error::Error) -> Outcome {
    tracing::error!(%error, "cannot attempt a delivery");
    Outcome::deferred(EnhancedCode(4, 3, 0), "a fault of this system; the message is kept")
}
