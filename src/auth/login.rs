//! Logging in: over SMTP and IMAP with an address and an API token, over HTTP with the token alone.
//!
//! The token determines the account; the address must be one of an inbox of that account, within the token's scope.
//! Invariant: every refusal is the same reply after the same work, whatever was wrong.

use super::throttle::{Attempt, Throttle};
use super::token::{Token, hash_of};
use crate::address::{Address, DomainName, InboxName, LocalPart};
use crate::clock::{Clock, Timestamp};
use crate::config::Limits;
use crate::events::Subscription;
use crate::id::{AccountId, DomainId, InboxId, TokenId, UserId};
use crate::net::connections::network_of;
use crate::resources::Owner;
use crate::secret::Secret;
use crate::store::inboxes::{Inbox, Opened};
use crate::store::tokens::TokenRecord;
use crate::store::{Store, StoreError};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use crate::store::permissions::Permissions;
pub use crate::store::tokens::Scope;

/// The last use of a token is recorded at most this often.
const USE_RECORDED_EVERY: Duration = Duration::from_secs(60);

/// How often the log-in of a session is checked: an expired token publishes no event.
const CHECK_EVERY: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(300) };

/// The sender of an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub token: TokenId,
    pub scope: Scope,
    pub permissions: Permissions,
    /// Whose log-in made the token.
    pub user: Option<UserId>,
}

/// An inbox that someone has logged in to, by SMTP or IMAP, or as which an HTTP request sends. Only this module makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub account: AccountId,
    /// Its revocation ends the session.
    pub token: TokenId,
    pub inbox: InboxId,
    pub inbox_name: InboxName,
    /// The address logged in as, canonical (a bare inbox name has become its platform address).
    pub address: Address,
    /// The custom domain of that address; none: the platform domain. Its deletion ends the session.
    pub domain: Option<DomainId>,
    /// What the token may do.
    pub permissions: Permissions,
    _made_here: (),
}

/// Why a log-in has failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Unknown, wrong, expired, revoked, out of scope: one reply for all. 535 5.7.8, `NO [AUTHENTICATIONFAILED]`, 401.
    #[error("the user name or the API token is wrong")]
    Refused,
    /// Too many failures. 454 4.7.0, `NO [UNAVAILABLE]`, 429.
    #[error("too many failed log-ins, try again in {} s", .retry_after.as_secs())]
    RateLimited { retry_after: Duration },
    /// The store failed: temporary. 454 4.7.0, `NO [UNAVAILABLE]`, 503.
    #[error("log-in is temporarily unavailable: {0}")]
    Unavailable(#[from] StoreError),
}

/// The account has `limits.connections_per_account` sessions. 454 4.7.0, `NO [LIMIT]`.
#[derive(Debug, thiserror::Error)]
#[error("this account has reached its limit of {limit} sessions, close one")]
pub struct TooManySessions {
    pub limit: usize,
}

/// Checks credentials. Clones share the counts of failures.
#[derive(Clone, Debug)]
pub struct Authenticator {
    store: Store,
    clock: Clock,
    platform: DomainName,
    throttle: Arc<Throttle>,
    connections_per_account: usize,
    /// Pause between checks of a session's log-in.
    pub(super) check_every: Duration,
}

impl Authenticator {
    /// Of the limits, it reads `failed_logins` and `connections_per_account`.
    pub fn new(store: Store, clock: Clock, platform: DomainName, limits: &Limits) -> Self {
        let throttle = Arc::new(Throttle::new(clock.clone(), limits.failed_logins, &store));
        let (connections_per_account, check_every) = (limits.connections_per_account, CHECK_EVERY);
        Self { store, clock, platform, throttle, connections_per_account, check_every }
    }

    /// The time by the clock that tokens expire by.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// For tests in which sessions end by events alone.
    #[cfg(test)]
    pub fn checking_every(self, check_every: Duration) -> Self {
        Self { check_every, ..self }
    }

    /// The token must have all of the permissions.
    pub(super) async fn log_in(
        &self,
        peer: IpAddr,
        (user, password): (&str, &Secret),
        needed: Permissions,
    ) -> Result<Login, LoginError> {
        let address = self.canonical(user);
        // A user name that is not an address costs a look-up too.
        let looked_up = address.clone().unwrap_or_else(|| InboxName::postmaster().at(&self.platform));
        let name = address.as_ref().map_or_else(|| user.to_ascii_lowercase(), untagged);
        let attempt = Attempt::new(peer, hash_of(password.reveal()), Some(hash_of(&name)));
        self.throttle(&attempt).await?;

        let well_formed = Token::parse(password.reveal()).is_some();
        let found =
            self.store_for(peer).token_and_inbox(hash_of(password.reveal()), &self.platform, &looked_up).await?;
        let login = match (found, address) {
            ((Some(token), Some(opened)), Some(address))
                if well_formed && token.is_live(self.clock.now()) && token.permissions.contains(needed) =>
            {
                open(token, opened, address)
            }
            _ => None,
        };
        match login {
            Some((token, login)) => {
                self.succeeded(&attempt, &token).await;
                Ok(login)
            }
            None => Err(self.refuse(&attempt, "log-in").await),
        }
    }

    /// HTTP: `Authorization: Bearer`.
    pub async fn bearer(&self, peer: IpAddr, token: &Secret) -> Result<Principal, LoginError> {
        let attempt = Attempt::new(peer, hash_of(token.reveal()), None);
        self.throttle(&attempt).await?;
        let well_formed = Token::parse(token.reveal()).is_some();
        let found = self.store_for(peer).token_by_hash(hash_of(token.reveal())).await?;
        match found.filter(|token| well_formed && token.is_live(self.clock.now())) {
            Some(token) => {
                self.succeeded(&attempt, &token).await;
                let TokenRecord { id, scope, permissions, user, .. } = token;
                Ok(Principal { token: id, scope, permissions, user })
            }
            None => Err(self.refuse(&attempt, "bearer").await),
        }
    }

    /// Whether a token of an earlier request is still valid, for a response that takes long.
    pub async fn is_live(&self, token: &TokenId) -> Result<bool, StoreError> {
        let found = self.store.token_get(None, token).await?;
        Ok(found.is_some_and(|token| token.is_live(self.clock.now())))
    }

    /// HTTP: the log-in of a request that acts for an inbox, at one of its addresses, or else at its platform address.
    /// `None`: it is no address of this inbox, or the token does not have access to the inbox.
    pub async fn log_in_as(
        &self,
        principal: &Principal,
        inbox: &Inbox,
        address: Option<Address>,
    ) -> Result<Option<Login>, StoreError> {
        let has_access = match &principal.scope {
            Scope::Operator => true,
            Scope::Account(account) => *account == inbox.account,
            Scope::Inboxes(account, inboxes) => *account == inbox.account && inboxes.contains(&inbox.id),
        };
        if !has_access {
            return Ok(None);
        }
        let (address, domain) = match address {
            None => (inbox.name.at(&self.platform), None),
            Some(address) => {
                let store = self.store.for_account(&inbox.account);
                match store.inbox_opened_by(&inbox.account, &self.platform, &address).await? {
                    Some(opened) if opened.inbox == inbox.id => (address, opened.domain),
                    _ => return Ok(None),
                }
            }
        };
        Ok(Some(Login {
            account: inbox.account.clone(),
            token: principal.token.clone(),
            inbox: inbox.id.clone(),
            inbox_name: inbox.name.clone(),
            address,
            domain,
            permissions: principal.permissions,
            _made_here: (),
        }))
    }

    /// A receiver of the account's events, one for each of its sessions.
    pub(super) fn subscribe(&self, account: &AccountId) -> Result<Subscription, TooManySessions> {
        let limit = self.connections_per_account;
        self.store.events().subscribe(account, limit).ok_or_else(|| {
            tracing::info!(%account, limit, "a log-in was refused: too many sessions of the account");
            TooManySessions { limit }
        })
    }

    /// Whether the token still gives access to this inbox at this address.
    pub(super) async fn is_valid(&self, login: &Login) -> Result<bool, StoreError> {
        let found = self
            .store
            .for_account(&login.account)
            .token_still_opens(&login.token, &self.platform, &login.address)
            .await?;
        Ok(found.is_some_and(|(token, opened)| {
            token.is_live(self.clock.now())
                && opened
                    .and_then(|opened| open(token, opened, login.address.clone()))
                    .is_some_and(|(_, now)| now == *login)
        }))
    }

    /// Before log-in, look-ups count against the network's share.
    pub(super) fn store_for(&self, peer: IpAddr) -> Store {
        self.store.for_owner(Owner::Network(network_of(peer)))
    }

    /// A user name as an address in lower case; a bare inbox name is its platform address.
    fn canonical(&self, user: &str) -> Option<Address> {
        let user = user.trim_matches(' ');
        let parsed = if user.contains('@') {
            Address::parse(user).ok()?
        } else {
            Address::new(LocalPart::parse(user).ok()?, self.platform.clone()).ok()?
        };
        let local = LocalPart::from_unquoted(parsed.local.as_str().to_ascii_lowercase()).ok()?;
        Some(Address { local, domain: parsed.domain })
    }

    pub(super) async fn throttle(&self, attempt: &Attempt) -> Result<(), LoginError> {
        match self.throttle.retry_after(attempt).await? {
            // A `Retry-After` of 0 would ask for the next attempt at once.
            Some(wait) => Err(LoginError::RateLimited { retry_after: wait.max(Duration::from_secs(1)) }),
            None => Ok(()),
        }
    }

    pub(super) async fn refuse(&self, attempt: &Attempt, what: &'static str) -> LoginError {
        tracing::info!(network = %attempt.network(), what, "a log-in was refused");
        self.throttle.failed(attempt).await;
        LoginError::Refused
    }

    pub(super) async fn note_success(&self, attempt: &Attempt) {
        self.throttle.succeeded(attempt).await;
    }

    async fn succeeded(&self, attempt: &Attempt, token: &TokenRecord) {
        self.note_success(attempt).await;
        let now = self.clock.now();
        if token.last_used_at.is_none_or(|last| now.since(last) >= USE_RECORDED_EVERY) {
            // Not waited for: a use that is not recorded does no harm.
            let (store, id) = (self.store.clone(), token.id.clone());
            tokio::spawn(async move {
                if let Err(error) = store.token_used(&id, now, USE_RECORDED_EVERY).await {
                    tracing::warn!(token = %id, %error, "the use of a token could not be recorded");
                }
            });
        }
    }
}

/// The log-in, if the token's scope includes the inbox. An operator's token has access to no inbox by SMTP or IMAP.
fn open(token: TokenRecord, opened: Opened, address: Address) -> Option<(TokenRecord, Login)> {
    let account = match &token.scope {
        Scope::Operator => return None,
        Scope::Account(account) => account.clone(),
        Scope::Inboxes(account, inboxes) => inboxes.contains(&opened.inbox).then(|| account.clone())?,
    };
    let login = Login {
        account,
        token: token.id.clone(),
        inbox: opened.inbox,
        inbox_name: opened.name,
        address,
        domain: opened.domain,
        permissions: token.permissions,
        _made_here: (),
    };
    Some((token, login))
}

/// Addresses that differ in their tag are one name to the throttle.
fn untagged(address: &Address) -> String {
    format!("{}@{}", address.local.base(), address.domain)
}

#[cfg(test)]
impl Login {
    /// At the platform address, with a token that does not exist.
    pub fn for_test(account: AccountId, inbox: InboxId, inbox_name: &str) -> Self {
        let inbox_name: InboxName = inbox_name.parse().unwrap();
        Self {
            account,
            token: TokenId::new(),
            inbox,
            address: inbox_name.at(&DomainName::parse("inboxlayer.dev").unwrap()),
            inbox_name,
            domain: None,
            permissions: Permissions::all(),
            _made_here: (),
        }
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
