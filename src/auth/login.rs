//! Logging in: over SMTP and IMAP with an address and an API token, over HTTP with the token alone.
//!
//! The token decides the account; the address must open one of that account's inboxes, inside the token's scope.
//! Invariant: every refusal is the same answer after the same work, whatever was wrong.

use super::failures::{Attempt, Failures};
use super::token::{Token, hash_of};
use crate::address::{Address, DomainName, InboxName, LocalPart};
use crate::clock::Clock;
use crate::id::{AccountId, DomainId, InboxId, TokenId};
use crate::net::connections::network_of;
use crate::resources::Owner;
use crate::secret::Secret;
use crate::store::inboxes::Opened;
use crate::store::tokens::TokenRecord;
use crate::store::{Store, StoreError};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use crate::store::tokens::Scope;

/// The last use of a token is noted at most this often.
const USE_NOTED_EVERY: Duration = Duration::from_secs(60);

/// Who an HTTP request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The token.
    pub token: TokenId,
    /// What it may do.
    pub scope: Scope,
}

/// A session of one inbox over SMTP or IMAP, or a sender over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Whose inbox it is.
    pub account: AccountId,
    /// The token used: its revocation ends the session.
    pub token: TokenId,
    /// The inbox.
    pub inbox: InboxId,
    /// Its name.
    pub inbox_name: InboxName,
    /// The address logged in as, canonical (a bare inbox name has become its platform address).
    pub address: Address,
    /// The custom domain that address is at; none: the platform's. Its deletion ends the session.
    pub domain: Option<DomainId>,
}

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Unknown, wrong, expired, revoked, out of scope: one answer for all. 535 5.7.8, `NO [AUTHENTICATIONFAILED]`, 401.
    #[error("the user name or the API token is wrong")]
    Refused,
    /// Too many failures. 454 4.7.0, `NO [UNAVAILABLE]`, 429.
    #[error("too many failed log-ins; try again in {} s", .retry_after.as_secs())]
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store failed: temporary. 454 4.7.0, `NO [UNAVAILABLE]`, 503.
    #[error("log-in is not possible now: {0}")]
    Unavailable(#[from] StoreError),
}

/// Checks credentials; clones share its counts of failures.
#[derive(Clone, Debug)]
pub struct Authenticator {
    store: Store,
    clock: Clock,
    platform: DomainName,
    failures: Arc<Failures>,
}

impl Authenticator {
    /// One that allows `failed_logins` failures in ten minutes per network address and per user name.
    pub fn new(store: Store, clock: Clock, platform: DomainName, failed_logins: u32) -> Self {
        let failures = Arc::new(Failures::new(clock.clone(), failed_logins));
        Self { store, clock, platform, failures }
    }

    /// SMTP and IMAP: `user` is an address of an inbox (or a bare inbox name), `password` an API token.
    pub async fn log_in(&self, peer: IpAddr, user: &str, password: &Secret) -> Result<Login, LoginError> {
        let address = self.canonical(user);
        // A name that is no address is looked up all the same, as one that nobody has.
        let sought = address.clone().unwrap_or_else(|| InboxName::postmaster().at(&self.platform));
        let name = address.as_ref().map_or_else(|| user.to_ascii_lowercase(), untagged);
        let attempt = Attempt::new(peer, hash_of(password.reveal()), Some(hash_of(&name)));
        self.let_through(&attempt)?;

        let well_formed = Token::parse(password.reveal()).is_some();
        let found = self.store_for(peer).token_and_inbox(hash_of(password.reveal()), &self.platform, &sought).await?;
        let login = match (found, address) {
            ((Some(token), Some(opened)), Some(address)) if well_formed && token.is_live(self.clock.now()) => {
                open(token, opened, address)
            }
            _ => None,
        };
        match login {
            Some((token, login)) => {
                self.opened(&attempt, &token);
                Ok(login)
            }
            None => Err(self.refuse(&attempt, "log-in")),
        }
    }

    /// HTTP: `Authorization: Bearer`.
    pub async fn bearer(&self, peer: IpAddr, token: &Secret) -> Result<Principal, LoginError> {
        let attempt = Attempt::new(peer, hash_of(token.reveal()), None);
        self.let_through(&attempt)?;
        let well_formed = Token::parse(token.reveal()).is_some();
        let found = self.store_for(peer).token_by_hash(hash_of(token.reveal())).await?;
        match found.filter(|token| well_formed && token.is_live(self.clock.now())) {
            Some(token) => {
                self.opened(&attempt, &token);
                Ok(Principal { token: token.id, scope: token.scope })
            }
            None => Err(self.refuse(&attempt, "bearer")),
        }
    }

    /// True while what the session logged in with still holds; asked after a listener of events has fallen behind.
    pub async fn still_holds(&self, login: &Login) -> Result<bool, StoreError> {
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

    /// Nobody is logged in yet: what is looked up is looked up for the network.
    fn store_for(&self, peer: IpAddr) -> Store {
        self.store.for_owner(Owner::Network(network_of(peer)))
    }

    /// The address a user name means, in lower case; a bare inbox name is its platform address.
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

    fn let_through(&self, attempt: &Attempt) -> Result<(), LoginError> {
        match self.failures.must_wait(attempt) {
            // At least a second: some servers round it down.
            Some(wait) => Err(LoginError::RateLimited { retry_after: wait.max(Duration::from_secs(1)) }),
            None => Ok(()),
        }
    }

    fn refuse(&self, attempt: &Attempt, what: &'static str) -> LoginError {
        tracing::info!(network = %attempt.network(), what, "a log-in was refused");
        self.failures.failed(attempt);
        LoginError::Refused
    }

    fn opened(&self, attempt: &Attempt, token: &TokenRecord) {
        self.failures.succeeded(attempt);
        let now = self.clock.now();
        if token.last_used_at.is_none_or(|last| now.since(last) >= USE_NOTED_EVERY) {
            // Nobody waits for it: a use that is not noted does no harm.
            let (store, id) = (self.store.clone(), token.id.clone());
            tokio::spawn(async move {
                if let Err(error) = store.token_used(&id, now, USE_NOTED_EVERY).await {
                    tracing::warn!(token = %id, %error, "the use of a token could not be noted");
                }
            });
        }
    }
}

/// The log-in, where the token's scope has the inbox. An operator's token opens none: it is nobody's mailbox.
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
    };
    Some((token, login))
}

/// An address without its tag: tags make no new name to guess at.
fn untagged(address: &Address) -> String {
    format!("{}@{}", address.local.base(), address.domain)
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
