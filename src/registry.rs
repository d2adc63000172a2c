//! Custom domains for the API: claimed, shown, changed, deleted, and checked on request. Invariant: every function is
//! for one account, and another account's domain is not found; no response reveals that another account claims a name.
//! Names are canonical and registrable: RFC 5890, RFC 6761 and the public suffix list.

mod history;
mod refusal;
mod running;
#[cfg(test)]
#[cfg(feature = "ses")]
mod ses_tests;
#[cfg(test)]
mod tests;
mod view;

pub use history::{DomainCheck, DomainEvent};
pub use refusal::Refused;
pub use running::{CheckProgress, CheckState, Seen, Watched};
pub use view::{Capabilities, CustomDomain, Warning};

use crate::address::DomainName;
use crate::clock::Clock;
use crate::config::Config;
use crate::dkim::{Fresh, Provider, ProviderError};
use crate::events::{Event, Subscription};
use crate::id::{AccountId, DomainId};
use crate::rates::{Exceeded, Hourly, Limit, Quota};
use crate::resources::permits::Permits;
use crate::store::checks::RequestCheckError;
use crate::store::domains::{CreateDomainError, DomainPatch, DomainRow, NewDomain, PatchDomainError};
use crate::store::names::NameLimits;
use crate::store::{Store, StoreError};
use crate::verification::status::{State, TooSoon};
use crate::verification::zone_file::zone_file;
use crate::verifier::Verifier;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// Maximum wait for a check (`Prefer: wait`, RFC 7240 §4.3).
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Requests of an account that wait for a check at a time; further ones are answered at once. A waiting request holds a connection, and
/// behind a proxy all accounts share the connection limit of one address.
const WAITS_PER_ACCOUNT: usize = 8;

/// Why a claim was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The name cannot be claimed: 422, with [`Refused::code`].
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The account has already claimed it: 409.
    #[error("this account has already claimed this domain")]
    Exists(DomainId),
    /// The account has claimed another name under this client id: 409.
    #[error("this account has claimed another domain under this client id")]
    ClientIdUsed(DomainId),
    /// The account's limit of domains is reached.
    #[error("this account has reached its limit of {limit} domains")]
    Full { limit: u32 },
    /// The account's limit of names ever claimed is reached.
    #[error("this account has claimed {limit} names, which is the limit; deleted claims count")]
    NamesUsedUp { limit: u32 },
    /// The account's hourly limit of claims is reached: 429.
    #[error(transparent)]
    RateLimited(#[from] Exceeded),
    /// The signing provider is unavailable; temporary.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a domain was not changed.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The account has no such domain: 404.
    #[error("no such domain")]
    NotFound,
    /// `catch_all_inbox_id` is not an inbox of the account: 422.
    #[error("the account has no such inbox")]
    UnknownInbox,
    /// It has another version than the change is meant for: 412.
    #[error("the domain has changed")]
    Changed,
    /// `return_path` makes too long a name: 422.
    #[error("{0} is not a valid domain name")]
    ReturnPath(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why no check was started.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The account has no such domain: 404.
    #[error("no such domain")]
    NotFound,
    /// Too soon after the last check: 429.
    #[error("a domain is checked at most once every 10 s; try again in {} s", .retry_after.as_secs().max(1))]
    RateLimited { retry_after: Duration },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How a request for a check was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// At once: without a wait, or since the account has too many requests waiting.
    AtOnce,
    /// After the wait, before the check had settled.
    InVain,
    /// After the check had settled.
    Settled,
}

#[derive(Clone, Debug)]
pub struct Registry {
    config: Arc<Config>,
    store: Store,
    clock: Clock,
    provider: Provider,
    verifier: Verifier,
    waiting: Permits,
    claims: Arc<Hourly<AccountId, 1>>,
}

impl Registry {
    pub fn new(
        config: Arc<Config>,
        store: Store,
        clock: Clock,
        provider: impl Into<Provider>,
        verifier: Verifier,
    ) -> Self {
        let claims = Arc::new(Hourly::new(
            [Limit { key: "claims_per_hour", what: "claims of domains", limit: config.limits.claims_per_hour }],
            &store,
        ));
        let waiting = Permits::new(usize::MAX, WAITS_PER_ACCOUNT);
        Self { config, store, clock, provider: provider.into(), verifier, waiting, claims }
    }

    /// Claims a name. Signing keys are generated in the background; the first check is scheduled. Claimed before under the same
    /// client id, it is returned as it is.
    pub async fn create(
        &self,
        account: &AccountId,
        name: &str,
        client_id: Option<String>,
    ) -> Result<CustomDomain, CreateError> {
        let name: DomainName = refusal::claimable(name, &self.config.platform)?;
        let now = self.clock.now();
        let limits = &self.config.limits;
        let names = NameLimits::new(limits.domains, limits.domain_names);
        let refused = |error| match error {
            CreateDomainError::Exists(id) => CreateError::Exists(id),
            CreateDomainError::Full => CreateError::Full { limit: names.present },
            CreateDomainError::NamesUsedUp => CreateError::NamesUsedUp { limit: names.ever },
            CreateDomainError::Store(error) => error.into(),
        };
        let store = self.store.for_account(account);
        if let Some(client_id) = &client_id
            && let Some(row) = store.domain_by_client_id(account, client_id).await?
        {
            return if row.name == name { Ok(self.view(&row)) } else { Err(CreateError::ClientIdUsed(row.id)) };
        }
        // Checked before other parties are involved.
        store.domain_may_create(account, &name, names).await.map_err(refused)?;
        self.claims.charge::<CreateError>(account.clone(), [1], now).await?;
        let Fresh { tokens, ownership, .. } = &self.provider.tokens(&name).await?;
        let new = NewDomain {
            account: account.clone(),
            name,
            tokens: tokens.clone(),
            ownership: ownership.clone(),
            state: State::created(now, &self.verifier.rules().policy),
            client_id,
        };
        let row = store.domain_create(new, names, now).await.map_err(refused)?;
        self.provider.claimed(&row.account, &row.id);
        self.verifier.wake();
        tracing::info!(domain = %row.name, id = %row.id, account = %row.account, "domain claimed");
        Ok(self.view(&row))
    }

    /// What is left of the account's hourly limit of claims.
    pub fn quota(&self, account: &AccountId) -> Quota {
        let [quota] = self.claims.quotas(account, self.clock.now());
        quota
    }

    pub async fn get(&self, account: &AccountId, id: &DomainId) -> Result<Option<CustomDomain>, StoreError> {
        Ok(self.store.for_account(account).domain_get(account, id).await?.map(|row| self.view(&row)))
    }

    /// The account's domains in order of creation, after `after`.
    pub async fn list(
        &self,
        account: &AccountId,
        after: Option<&DomainId>,
        limit: u32,
    ) -> Result<Vec<CustomDomain>, StoreError> {
        let rows = self.store.for_account(account).domain_list(account, after, limit).await?;
        Ok(rows.iter().map(|row| self.view(row)).collect())
    }

    /// The records of a domain as a zone file, with the results of the last check.
    pub async fn zone_file(&self, account: &AccountId, id: &DomainId) -> Result<Option<String>, StoreError> {
        let row = self.store.for_account(account).domain_get(account, id).await?;
        Ok(row.map(|row| zone_file(&row.name, &self.view(&row).records)))
    }

    /// The checks of a domain, newest first, before `before`. `None` if the account has no such domain.
    pub async fn checks(
        &self,
        account: &AccountId,
        id: &DomainId,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Option<Vec<DomainCheck>>, StoreError> {
        let rows = self.store.for_account(account).domain_checks(account, id, before, limit).await?;
        // Without a check the domain may be new, or not exist.
        let known = !rows.is_empty() || self.store.for_account(account).domain_get(account, id).await?.is_some();
        Ok(known.then(|| rows.into_iter().map(DomainCheck::from).collect()))
    }

    /// Its status changes, likewise.
    pub async fn events(
        &self,
        account: &AccountId,
        id: &DomainId,
        before: Option<u32>,
        limit: u32,
    ) -> Result<Option<Vec<DomainEvent>>, StoreError> {
        let rows = self.store.for_account(account).domain_events(account, id, before, limit).await?;
        let known = !rows.is_empty() || self.store.for_account(account).domain_get(account, id).await?.is_some();
        Ok(known.then(|| rows.into_iter().map(DomainEvent::from).collect()))
    }

    pub async fn patch(
        &self,
        account: &AccountId,
        id: &DomainId,
        change: DomainPatch,
    ) -> Result<CustomDomain, PatchError> {
        let is_led = change.return_path.is_some();
        if let Some(Some(label)) = &change.return_path
            && let Some(row) = self.store.for_account(account).domain_get(account, id).await?
        {
            let name = format!("{label}.{}", row.name);
            DomainName::parse(&name).map_err(|_| PatchError::ReturnPath(name))?;
        }
        let row = self.store.for_account(account).domain_patch(account, id, change, self.clock.now()).await.map_err(
            |error| match error {
                PatchDomainError::NotFound => PatchError::NotFound,
                PatchDomainError::UnknownInbox => PatchError::UnknownInbox,
                PatchDomainError::Changed => PatchError::Changed,
                PatchDomainError::Store(error) => error.into(),
            },
        )?;
        if is_led {
            self.provider.changed();
        }
        Ok(self.view(&row))
    }

    /// Deletes a claim with immediate effect everywhere. False if the account has no such domain.
    pub async fn delete(&self, account: &AccountId, id: &DomainId) -> Result<bool, StoreError> {
        let deleted = self.store.for_account(account).domain_delete(account, id, self.clock.now()).await?;
        if deleted {
            tracing::info!(%id, %account, "domain deleted");
            self.provider.changed();
        }
        Ok(deleted)
    }

    /// Checks a domain now. With `wait`, returns when the check has settled, or after that time; at once if the
    /// account has too many requests waiting.
    pub async fn verify(
        &self,
        account: &AccountId,
        id: &DomainId,
        wait: Option<Duration>,
    ) -> Result<(CustomDomain, Answered), VerifyError> {
        // Subscribe before the check can end.
        let mut events = self.store.events().of_domains();
        let requested = self
            .store
            .for_account(account)
            .domain_request_check(account, id, self.verifier.rules().policy, self.clock.now())
            .await;
        let row = requested.map_err(|error| match error {
            RequestCheckError::NotFound => VerifyError::NotFound,
            RequestCheckError::TooSoon(TooSoon { retry_after }) => VerifyError::RateLimited { retry_after },
            RequestCheckError::Store(error) => error.into(),
        })?;
        self.verifier.wake();
        let Some((wait, _permit)) =
            wait.and_then(|wait| Some((wait.min(LONGEST_WAIT), self.waiting.take(account).ok()?)))
        else {
            return Ok((self.view(&row), Answered::AtOnce));
        };
        let in_time = tokio::time::timeout(wait, self.settles(&mut events, account, id)).await.is_ok();
        let row = self.store.for_account(account).domain_get(account, id).await?.ok_or(VerifyError::NotFound)?;
        Ok((self.view(&row), if in_time { Answered::Settled } else { Answered::InVain }))
    }

    /// Returns when the requested check has settled, in whatever daemon. A check already running may end first, with older data.
    async fn settles(&self, events: &mut Subscription, account: &AccountId, id: &DomainId) {
        loop {
            match events.recv().await {
                Ok(Event::DomainChecked { domain_id } | Event::DomainDeleted { domain_id, .. }) if domain_id == *id => {
                }
                Ok(_) => continue,
                // The event may have been missed.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
            match self.store.for_account(account).domain_get(account, id).await {
                Ok(Some(row)) if row.verify_requested => {}
                _ => return,
            }
        }
    }

    /// A claim as the API shows it.
    pub fn view(&self, row: &DomainRow) -> CustomDomain {
        view::of(row, self.verifier.rules())
    }
}
