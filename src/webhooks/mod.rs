//! Webhooks: events of an account, sent to the endpoints of its subscriptions.
//!
//! The path of an event: a verb of the store writes it to the event log; [`fan_out`] reads the log for accounts with subscriptions,
//! and records a delivery for each that wants it; [`deliveries`] claims what is due and sends it with the [`client`], signed
//! ([`signature`]); [`outcome`] decides what follows from the answer, and the store records it. Invariant: each event is sent at
//! least once to an endpoint that accepts it, with the same body and number; no request goes to an address that [`endpoint`] refuses.

mod client;
mod connection;
mod deliveries;
pub mod endpoint;
mod fan_out;
mod outcome;
mod paced;
pub(crate) mod signature;
#[cfg(test)]
mod tests;

pub use endpoint::BadUrl;
pub use paced::PAUSE;

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::dkim::{SealError, Secrets};
use crate::dns::Resolver;
use crate::events::PublicType;
use crate::id::{AccountId, WebhookId};
use crate::jobs::Runner;
use crate::net::client_tls::ClientTls;
use crate::net::listener::Shutdown;
use crate::net::ranges::AllowedNetworks;
use crate::net::tls::TlsError;
use crate::public_events::PublicEvents;
use crate::secret::Secret;
use crate::store::webhooks::capacity::Limits;
use crate::store::webhooks::deliveries::{RedeliverError, Which};
use crate::store::webhooks::{CreateWebhookError, NewWebhook, Webhook, sealing_context};
use crate::store::{Store, StoreError};
use bytes::Bytes;
use client::Client;
use deliveries::Deliveries;
use fan_out::FanOut;
use paced::{Busy, Paced};
use serde_json::json;
use signature::{NoRandomness, WebhookSecret, sign};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// Accounts whose events are read at once.
const FAN_OUT: usize = 4;
/// How long the previous secret signs after a rotation.
pub const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// The service; clones share it.
#[derive(Clone, Debug)]
pub struct Webhooks {
    fan_out: Runner<FanOut>,
    deliveries: Runner<Deliveries>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    clock: Clock,
    allowed: AllowedNetworks,
    subscriptions: u32,
    limits: Limits,
    recorded: Arc<Notify>,
    testing: Paced,
    redelivering: Paced,
}

#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    #[error("there is no such subscription")]
    NotFound,
    #[error("the account has reached its limit of {0} webhook subscriptions")]
    LimitReached(u32),
    /// A test of the account is running, or has begun less than [`PAUSE`] ago.
    #[error("another test is running or has just begun")]
    Busy,
    #[error("cannot make or read a secret: {0}")]
    Secret(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CreateWebhookError> for WebhookError {
    fn from(error: CreateWebhookError) -> Self {
        match error {
            CreateWebhookError::LimitReached(limit) => Self::LimitReached(limit),
            CreateWebhookError::Store(error) => Self::Store(error),
        }
    }
}

impl From<SealError> for WebhookError {
    fn from(error: SealError) -> Self {
        Self::Secret(error.to_string())
    }
}

impl From<NoRandomness> for WebhookError {
    fn from(error: NoRandomness) -> Self {
        Self::Secret(error.to_string())
    }
}

/// A new subscription, or the new secret of one, which is shown once.
#[derive(Debug)]
pub struct WithSecret {
    pub webhook: Webhook,
    pub secret: Secret,
}

/// What an endpoint has answered to a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    pub is_success: bool,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub duration: Duration,
}

impl Webhooks {
    /// Does nothing until [`Webhooks::run`] or [`Webhooks::settle`].
    pub fn new(
        config: &Config,
        store: Store,
        clock: Clock,
        resolver: &Resolver,
        secrets: Secrets,
        public_events: PublicEvents,
    ) -> Result<Self, TlsError> {
        let tls = ClientTls::new(config.queue.extra_roots.as_deref())?;
        let allowed = config.webhooks.allow_networks.clone();
        let client = Client::new(&tls, resolver, &allowed);
        let recorded = Arc::new(Notify::new());
        let (subscriptions, limits) = (config.limits.webhook_subscriptions, Limits::from(&config.limits));
        let fan_out = FanOut {
            store: store.clone(),
            clock: clock.clone(),
            events: store.events().clone(),
            public_events,
            limits,
            recorded: Arc::clone(&recorded),
            pending: Mutex::default(),
        };
        let deliveries = Deliveries {
            store: store.clone(),
            clock: clock.clone(),
            client,
            secrets,
            order: Mutex::default(),
            is_held_back: false.into(),
        };
        let places = config.webhooks.concurrency;
        let (testing, redelivering) = (Paced::default(), Paced::default());
        Ok(Self {
            fan_out: Runner::new(fan_out, FAN_OUT, store.clone(), clock.clone()),
            deliveries: Runner::new(deliveries, places, store.clone(), clock.clone()),
            shared: Arc::new(Shared { store, clock, allowed, subscriptions, limits, recorded, testing, redelivering }),
        })
    }

    /// Records and delivers events until shutdown; then waits for running attempts.
    pub async fn run(self, shutdown: Shutdown) {
        let events = self.shared.store.events().clone();
        let wake = async {
            loop {
                tokio::select! {
                    () = events.has_new() => self.fan_out.wake(),
                    () = self.shared.recorded.notified() => self.deliveries.wake(),
                }
            }
        };
        let expiry = self.shared.store.clone().run_webhook_expiry(|| self.shared.clock.now());
        let work = async { tokio::join!(self.fan_out.run(&shutdown), self.deliveries.run(&shutdown)) };
        tokio::select! {
            _ = work => {}
            // Neither ends.
            () = wake => {}
            () = async { expiry.await; std::future::pending().await } => {}
        }
    }

    /// Records all events, and makes all due attempts.
    pub async fn settle(&self) {
        self.fan_out.settle().await;
        self.deliveries.settle().await;
    }

    /// When the next attempt is due.
    pub async fn next_due(&self) -> Option<Timestamp> {
        self.deliveries.next_due().await
    }

    /// Checks a URL, without resolving its name.
    pub fn check_url(&self, url: &str) -> Result<(), BadUrl> {
        endpoint::check(url, &self.shared.allowed).map(|_| ())
    }

    /// Creates a subscription, with a new secret.
    pub async fn create(
        &self,
        account: &AccountId,
        url: String,
        events: Vec<PublicType>,
        is_active: bool,
    ) -> Result<WithSecret, WebhookError> {
        let Shared { store, clock, subscriptions, .. } = &*self.shared;
        let (id, secret) = (WebhookId::new(), WebhookSecret::generate()?);
        let sealed = self.seal(&id, &secret)?;
        let new = NewWebhook { id, account: account.clone(), url, events, is_active, secret: sealed };
        let webhook = store.for_account(account).webhook_create(new, *subscriptions, clock.now()).await?;
        self.follow(&webhook);
        Ok(WithSecret { webhook, secret: secret.into() })
    }

    /// Replaces the secret. The one before it signs too for [`OVERLAP`].
    pub async fn rotate_secret(&self, account: &AccountId, id: &WebhookId) -> Result<WithSecret, WebhookError> {
        let Shared { store, clock, .. } = &*self.shared;
        let (secret, now) = (WebhookSecret::generate()?, clock.now());
        let sealed = self.seal(id, &secret)?;
        let store = store.for_account(account);
        let rotated = store.webhook_rotate_secret(account, id, sealed, now.after(OVERLAP), now).await?;
        let webhook = rotated.ok_or(WebhookError::NotFound)?;
        Ok(WithSecret { webhook, secret: secret.into() })
    }

    /// Events of an account with an active subscription are read as they are committed.
    pub fn follow(&self, webhook: &Webhook) {
        if webhook.is_active {
            self.shared.store.events().follow_also(webhook.account.clone());
        }
    }

    /// Makes ended deliveries due, once within [`PAUSE`].
    pub async fn redeliver(
        &self,
        account: &AccountId,
        id: &WebhookId,
        which: Which,
    ) -> Result<(usize, bool), RedeliverError> {
        let Shared { store, clock, limits, redelivering, .. } = &*self.shared;
        let store = store.for_account(account);
        store.webhook_get(account, id).await?.ok_or(RedeliverError::NotFound)?;
        let _one_at_a_time = redelivering.begin(account).map_err(|Busy| RedeliverError::Busy)?;
        let made = store.webhook_redeliver(account, id, which, *limits, clock.now()).await?;
        self.deliveries.wake();
        Ok(made)
    }

    /// Sends an event of type `test` now, and returns what the endpoint answers. It is not recorded.
    pub async fn test(&self, account: &AccountId, id: &WebhookId) -> Result<Tested, WebhookError> {
        let Shared { store, clock, testing, .. } = &*self.shared;
        let store = store.for_account(account);
        let webhook = store.webhook_get(account, id).await?.ok_or(WebhookError::NotFound)?;
        let sealed = store.webhook_secrets(account, id, clock.now()).await?.ok_or(WebhookError::NotFound)?;
        let _one_at_a_time = testing.begin(account).map_err(|Busy| WebhookError::Busy)?;
        let deliveries = self.deliveries.work();
        let (current, previous) = deliveries.open(id, &sealed)?;
        let event_id = format!("evt_test_{}", ulid::Ulid::new().to_string().to_ascii_lowercase());
        let at = Timestamp::real();
        let body = json!({"id": event_id, "type": "test", "created_at": at, "inbox_id": null,
            "data": {"webhook_subscription_id": id}, "sequence": null});
        let body = Bytes::from(body.to_string());
        let signed = sign(&event_id, at, &body, &current, previous.as_ref());
        let (answer, duration) = deliveries.client.post(&webhook.url, signed, body).await;
        Ok(Tested { is_success: answer.is_success(), status: answer.status(), error: answer.error(), duration })
    }

    fn seal(&self, id: &WebhookId, secret: &WebhookSecret) -> Result<Vec<u8>, SealError> {
        self.deliveries.work().secrets.seal(&sealing_context(id), secret.reveal())
    }
}

impl From<WebhookSecret> for Secret {
    fn from(secret: WebhookSecret) -> Self {
        Self::new(secret.reveal())
    }
}
