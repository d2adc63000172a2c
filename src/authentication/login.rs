//! Logging in. (stub: owner http)
//!
//! Invariant: every refusal is the same answer after the same time, whatever was wrong.

use crate::address::{Address, InboxName};
use crate::clock::Clock;
use crate::id::{AccountId, DomainId, InboxId, TokenId};
use crate::secret::Secret;
use crate::store::Store;
use std::net::IpAddr;
use std::time::Duration;

/// What a token may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Accounts, and everything of every account.
    Operator,
    /// Everything of one account.
    Account(AccountId),
    /// Only these inboxes of one account.
    Inboxes(AccountId, Vec<InboxId>),
}

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
    Unavailable(#[from] crate::store::StoreError),
}

/// The door-keeper; clones share its counts of failures.
#[derive(Clone, Debug)]
pub struct Authenticator {
    store: Store,
    clock: Clock,
}

impl Authenticator {
    /// A door-keeper that allows `failed_logins` failures in ten minutes per network address and per account.
    pub fn new(store: Store, clock: Clock, platform: crate::address::DomainName, failed_logins: u32) -> Self {
        let _ = (platform, failed_logins);
        Self { store, clock }
    }

    /// SMTP and IMAP: `user` is an address of an inbox (or a bare inbox name), `password` an API token.
    pub async fn log_in(&self, peer: IpAddr, user: &str, password: &Secret) -> Result<Login, LoginError> {
        let _ = (peer, user, password, &self.store, &self.clock);
        todo!("owner: http")
    }

    /// HTTP: `Authorization: Bearer`.
    pub async fn bearer(&self, peer: IpAddr, token: &Secret) -> Result<Principal, LoginError> {
        let _ = (peer, token);
        todo!("owner: http")
    }

    /// True while what the session logged in with still holds; asked after a listener of events has fallen behind.
    pub async fn still_holds(&self, login: &Login) -> Result<bool, crate::store::StoreError> {
        let _ = login;
        todo!("owner: http")
    }
}
