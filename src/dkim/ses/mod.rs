//! Amazon SES as the signing provider: issues the tokens, holds the keys, and signs relayed mail. Invariant: an
//! identity is recorded in the store before it is created ([`crate::store::ses`]), and only identities with our tag
//! are ever deleted. After any failure (crash, lost response, 429, 403, 5xx) [`Ses::run`] reconciles: it deletes
//! identities without a claim, recreates missing ones, and restarts verification that SES has given up. SES keeps one
//! identity per name, so claims to one name share its tokens: [`crate::store::ownership`].

mod client;
mod repair;
mod smtp_password;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use client::SesError;

use super::confirmed::Confirmed;
use crate::address::DomainName;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Relay};
use crate::id::RunnerId;
use crate::jobs::Runner;
use crate::store::ses::SesReply;
use crate::store::{Store, StoreError};
use client::Client;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Maximum delay of a client's response because of SES.
const PATIENCE: Duration = Duration::from_secs(5);
/// When to check a new identity: whether its claim was stored, and its state at SES.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Number of locks by hash of the name.
const LOCKS: usize = 64;
/// Until a name is looked at again that another daemon is repairing.
const REPAIR_PAUSE: Duration = Duration::from_millis(200);
/// The DKIM status after SES has given up finding the records.
const GIVEN_UP: &str = "FAILED";

#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    #[error(transparent)]
    Ses(#[from] SesError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tokens for a claim about to be stored. While this value exists, nothing is deleted at SES under the name.
#[derive(Debug)]
pub struct Reserved {
    pub tokens: [String; 3],
    /// The identity was created for our claims. Otherwise its records may be older.
    pub is_ours: bool,
    _lock: OwnedMutexGuard<()>,
}

#[derive(Clone, Debug)]
pub struct Ses {
    identities: Arc<Identities>,
    repairs: Runner<Arc<Identities>>,
}

#[derive(Debug)]
struct Identities {
    client: Client,
    store: Store,
    clock: Clock,
    time_limit: Duration,
    platform: DomainName,
    /// Held while an identity of the name is created, repaired or deleted.
    locks: Vec<Arc<Mutex<()>>>,
}

impl Ses {
    /// The configured SES. Makes no calls.
    pub async fn open(config: &Config, store: Store, clock: Clock) -> Self {
        let client = Client::open(config, PATIENCE).await;
        Self::with(client, config, store, clock, PATIENCE)
    }

    fn with(client: Client, config: &Config, store: Store, clock: Clock, time_limit: Duration) -> Self {
        let locks = (0..LOCKS).map(|_| Arc::default()).collect();
        let platform = config.platform.domain.clone();
        let (of_runner, time) = (store.clone(), clock.clone());
        let identities = Arc::new(Identities { client, store, clock, time_limit, platform, locks });
        let repairs = Runner::new(Arc::clone(&identities), repair::CONCURRENCY, of_runner, time);
        Self { identities, repairs }
    }

    /// The region's relay, with credentials derived from the access key.
    pub async fn relay(&self, config: &Config) -> Result<Relay, SesError> {
        let (username, password) = self.identities.client.relay_login().await?;
        let host = format!("email-smtp.{}.amazonaws.com", config.ses.region.as_deref().unwrap_or_default());
        Ok(Relay { host, port: 587, username: Some(username), password: Some(password) })
    }

    /// The tokens for a claim to a name: creates the identity at SES, or adopts the existing one.
    pub async fn reserve(&self, name: &DomainName) -> Result<Reserved, ReserveError> {
        let in_time = tokio::time::timeout(self.identities.time_limit, self.reserve_without_limit(name)).await;
        in_time.unwrap_or(Err(SesError::TimedOut.into()))
    }

    async fn reserve_without_limit(&self, name: &DomainName) -> Result<Reserved, ReserveError> {
        let lock = self.identities.lock(name).await;
        let store = &self.identities.store;
        let row = loop {
            let (runner, now) = self.runner_now();
            match store.ses_intend(name, self.fresh_mark(), (runner, now), now.after(LOOK_AGAIN)).await? {
                Some(row) => break row,
                None => tokio::time::sleep(REPAIR_PAUSE).await,
            }
        };
        if let Some(tokens) = row.claimed_tokens {
            return Ok(Reserved { tokens, is_ours: row.is_ours, _lock: lock });
        }
        let reply = self.identities.make_or_adopt(name, &row.mark).await?;
        let (tokens, is_ours) = (reply.tokens.clone(), reply.is_ours);
        store.ses_record_reply(name, self.runner_now(), reply).await?;
        Ok(Reserved { tokens, is_ours, _lock: lock })
    }

    /// The state of a name at SES; `None` if unknown. It is recorded, and faults are repaired in the background.
    pub async fn confirms(&self, name: &DomainName) -> Option<Confirmed> {
        let in_time = tokio::time::timeout(self.identities.time_limit, self.look(name)).await;
        match in_time.unwrap_or(Err(SesError::TimedOut.into())) {
            Ok(confirmed) => Some(confirmed),
            // A definite negative answer.
            Err(ReserveError::Ses(error @ (SesError::NotFound | SesError::Unusable(_)))) => {
                tracing::error!(domain = %name, %error, "Amazon SES does not send for the domain");
                Some(Confirmed::default())
            }
            Err(error) => {
                tracing::warn!(domain = %name, %error, "cannot find out whether Amazon SES sends for the domain");
                None
            }
        }
    }

    async fn look(&self, name: &DomainName) -> Result<Confirmed, ReserveError> {
        let (store, now) = (&self.identities.store, self.identities.clock.now());
        let Some(row) = store.ses_identity(name).await? else {
            // The platform domain's own identity, created by the operator.
            let reply = self.identities.client.get(name, "").await?;
            return Ok(Confirmed { sends: reply.sending, mail_from: reply.mail_from_in_use().cloned() });
        };
        let reply = match self.identities.client.get(name, &row.mark).await {
            Err(SesError::NotFound) => {
                store.ses_gone(name, now).await?;
                self.wake();
                return Ok(Confirmed::default());
            }
            reply => reply?,
        };
        let same_tokens = row.claimed_tokens.is_none_or(|claimed| claimed == reply.tokens);
        if !same_tokens {
            tracing::error!(domain = %name, "the tokens at Amazon SES differ from those of the claims: delete and recreate the claims");
        }
        let halted = reply.dkim_status == GIVEN_UP || !reply.signs;
        let other_mail_from = row.return_path.is_some_and(|wanted| !reply.has_mail_from(&wanted));
        let confirmed = Confirmed { sends: reply.sending && same_tokens, mail_from: reply.mail_from_in_use().cloned() };
        store.ses_record_reply(name, self.runner_now(), reply).await?;
        if halted || other_mail_from {
            store.ses_look_at(name, now).await?;
            self.wake();
        }
        Ok(confirmed)
    }

    /// Checks for pending work, after a change or the end of a claim.
    pub fn wake(&self) {
        self.repairs.wake();
    }

    fn runner_now(&self) -> (RunnerId, Timestamp) {
        (self.repairs.id().clone(), self.identities.clock.now())
    }

    /// A tag's value that no other identity has.
    fn fresh_mark(&self) -> String {
        format!("{}/{}", self.identities.platform, ulid::Ulid::new())
    }
}

impl Identities {
    async fn make_or_adopt(&self, name: &DomainName, mark: &str) -> Result<SesReply, SesError> {
        match self.client.create(name, mark).await {
            Err(SesError::AlreadyExists) => self.client.get(name, mark).await,
            made => made,
        }
    }

    async fn lock(&self, name: &DomainName) -> OwnedMutexGuard<()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or(0);
        let lock = self.locks.get(at).map(Arc::clone).unwrap_or_default();
        lock.lock_owned().await
    }
}
