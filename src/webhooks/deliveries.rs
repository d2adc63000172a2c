//! Sends what is due to endpoints.
//!
//! Invariant: the attempts to an endpoint begin in the order of their claim, each when the one before was answered, has failed, or has
//! taken [`HEAD_START`]. An attempt is recorded before its delivery is claimed again, so each event is delivered at least once.

use super::client::Client;
use super::outcome::{self, Answer};
use super::signature::{WebhookSecret, sign};
use crate::clock::{Clock, Timestamp};
use crate::dkim::{SealError, Secrets};
use crate::id::{RunnerId, WebhookId};
use crate::jobs::{Claimed, Work};
use crate::resources::Owner;
use crate::resources::places::Places;
use crate::store::jobs::{Claim, JobKey};
use crate::store::webhooks::claim::DueWebhook;
use crate::store::webhooks::deliveries::{Attempt, Next};
use crate::store::webhooks::{SealedSecrets, sealing_context};
use crate::store::{Store, StoreError};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// After it, the next attempt to the endpoint begins, even if there is no answer.
const HEAD_START: Duration = Duration::from_millis(200);
/// Before another look at deliveries whose endpoints have no room for another attempt.
const HELD_BACK_PAUSE: Duration = Duration::from_millis(250);
/// Pauses before retries of recording an attempt.
const SETTLE_PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(5)];

#[derive(Debug)]
pub(super) struct Deliveries {
    pub store: Store,
    pub clock: Clock,
    pub client: Client,
    pub secrets: Secrets,
    /// Of each endpoint, when the next attempt may begin.
    pub order: Mutex<HashMap<WebhookId, oneshot::Receiver<()>>>,
    pub is_held_back: AtomicBool,
}

/// A delivery in its order.
#[derive(Debug)]
pub(super) struct Ordered {
    due: DueWebhook,
    /// Resolved when it may begin.
    before: Option<oneshot::Receiver<()>>,
    /// Its end lets the next one begin.
    next: oneshot::Sender<()>,
}

impl Work for Deliveries {
    type Job = Ordered;
    const NAME: &'static str = "deliveries to webhooks";
    const ENDS_JOBS_AT_SHUTDOWN: bool = true;

    async fn claim(&self, claim: Claim, _at_once: bool) -> Result<Vec<Claimed<Ordered>>, StoreError> {
        let claimed = self.store.webhook_claim(claim).await?;
        self.is_held_back.store(claimed.is_held_back, Ordering::Relaxed);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.retain(|_, before| matches!(before.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        let ordered = |due: DueWebhook| {
            let (next, wait) = oneshot::channel();
            let before = order.insert(due.webhook.clone(), wait);
            Claimed {
                key: JobKey::Webhook(due.webhook.clone(), due.id.clone()),
                owner: Owner::Account(due.account.clone()),
                job: Ordered { due, before, next },
            }
        };
        Ok(claimed.due.into_iter().map(ordered).collect())
    }

    async fn run(&self, Ordered { due, before, next }: Ordered, runner: RunnerId) {
        if let Some(before) = before {
            // An error: the one before has answered, or its job has ended.
            let _ = before.await;
        }
        let attempt = self.attempt(&due);
        tokio::pin!(attempt);
        let (answer, duration) = tokio::select! {
            attempted = &mut attempt => {
                drop(next);
                attempted
            }
            () = tokio::time::sleep(HEAD_START) => {
                drop(next);
                attempt.await
            }
        };
        let now = self.clock.now();
        let random = *blake3::hash(due.id.as_str().as_bytes()).as_bytes().first().unwrap_or(&0);
        let next = outcome::next(&answer, due.retries, random, now);
        let (status, error) = (answer.status(), answer.error());
        tracing::info!(delivery = %due.id, webhook = %due.webhook, event = due.event_id, status, error, ?next, "webhook attempt");
        self.record(&due, &runner, Attempt { at: now, status, error, duration }, next).await;
    }

    async fn next_due(&self, places: Places) -> Result<Option<Timestamp>, StoreError> {
        self.store.webhook_next_due(places).await
    }

    fn pause(&self) -> Duration {
        if self.is_held_back.load(Ordering::Relaxed) { HELD_BACK_PAUSE } else { Duration::ZERO }
    }
}

impl Deliveries {
    async fn attempt(&self, due: &DueWebhook) -> (Answer, Duration) {
        let body = match due.body.json() {
            Ok(body) => Bytes::from(body),
            Err(error) => {
                tracing::error!(delivery = %due.id, %error, "cannot read the stored body of a webhook");
                return (Answer::Failed("the stored event cannot be read".into()), Duration::ZERO);
            }
        };
        let signed = match self.open(&due.webhook, &due.secrets) {
            Ok((current, previous)) => sign(&due.event_id, Timestamp::real(), &body, &current, previous.as_ref()),
            Err(error) => {
                tracing::error!(webhook = %due.webhook, %error, "cannot open the secret of a webhook subscription");
                return (Answer::Failed("the secret cannot be read: rotate it".into()), Duration::ZERO);
            }
        };
        self.client.post(&due.url, signed, body).await
    }

    /// The current and the previous secret.
    pub fn open(
        &self,
        webhook: &WebhookId,
        SealedSecrets { current, previous }: &SealedSecrets,
    ) -> Result<(WebhookSecret, Option<WebhookSecret>), SealError> {
        let open = |sealed: &[u8]| {
            let text = self.secrets.open(&sealing_context(webhook), sealed)?;
            WebhookSecret::parse(text.reveal()).map_err(|_| SealError::DoesNotOpen)
        };
        Ok((open(current)?, previous.as_deref().map(open).transpose()?))
    }

    async fn record(&self, due: &DueWebhook, runner: &RunnerId, attempt: Attempt, next: Next) {
        let store = self.store.for_account(&due.account);
        for pause in SETTLE_PAUSES.map(Some).into_iter().chain([None]) {
            match store.webhook_settle(due, runner.clone(), attempt.clone(), next.clone()).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::info!(delivery = %due.id, "an attempt has lost its lease: the subscription was changed, or another daemon has taken it over");
                    return;
                }
                Err(error) => tracing::error!(delivery = %due.id, %error, "cannot record a webhook attempt"),
            }
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        }
    }
}
