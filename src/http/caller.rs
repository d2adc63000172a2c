//! The caller of a request and the account it acts for. A token of scope `account` acts for its account. A token of
//! scope `inboxes` sees only its inboxes: other inboxes are 404, and routes for the whole account are 403 before
//! anything is looked up. An operator token acts for the account that owns the id in the path or that `account_id`
//! names. Invariant: what a caller may not see gets the same response as what does not exist.

use super::HttpContext;
use super::body::AnswerOwner;
use super::permission;
use super::problem::Problem;
use super::rate_limit::Charged;
use crate::auth::login::{LoginError, Principal, Scope};
use crate::id::{AccountId, DomainId, InboxId};
use crate::mailbox::MailboxService;
use crate::net::request::Client;
use crate::resources::Owner;
use crate::resources::spool::ClientSpool;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::inboxes::Inbox;
use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

/// An authenticated caller.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    /// The client's address.
    pub(super) client: IpAddr,
    /// Where the limits are noted that the request is charged to.
    pub(super) charged: Charged,
    /// The memory and spool share that its requests and responses are charged to.
    pub(super) spool: ClientSpool,
}

impl FromRequestParts<HttpContext> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &HttpContext) -> Result<Self, Problem> {
        // A layer has read it.
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let client = client(parts);
        let token = bearer(&parts.headers).ok_or_else(|| Problem::unauthorized("The request has no bearer token."))?;
        match context.authenticator.bearer(client, &token).await {
            Ok(principal) => {
                let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
                permission::check(&parts.method, path, principal.permissions)?;
                let spool = context.spool.client(client);
                let spool = match &principal.scope {
                    Scope::Operator => spool,
                    Scope::Account(account) | Scope::Inboxes(account, _) => spool.logged_in(account),
                };
                if let Some(owner) = parts.extensions.get::<AnswerOwner>() {
                    let _ = owner.set(spool.clone());
                }
                let charged = parts.extensions.get::<Charged>().cloned().unwrap_or_default();
                Ok(Self { principal, client, charged, spool })
            }
            Err(LoginError::Refused) => Err(Problem::unauthorized("The API token is invalid, expired or revoked.")),
            Err(LoginError::RateLimited { retry_after }) => {
                Err(Problem::too_many("Too many invalid tokens from this address.", retry_after))
            }
            Err(LoginError::Unavailable(error)) => Err(error.into()),
        }
    }
}

/// The client's address.
fn client(parts: &Parts) -> IpAddr {
    parts.extensions.get::<Client>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0)
}

/// A client without a token.
#[derive(Debug)]
pub(super) struct Anonymous {
    pub(super) client: IpAddr,
    /// The share of its network.
    pub(super) spool: ClientSpool,
}

impl FromRequestParts<HttpContext> for Anonymous {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, context: &HttpContext) -> Result<Self, Infallible> {
        let client = client(parts);
        Ok(Self { client, spool: context.spool.client(client) })
    }
}

/// RFC 6750 §2.1, or the scheme `token`; schemes are case-insensitive (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let known = ["bearer", "token"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    known.then(|| Secret::new(token.trim_matches(' ')))
}

impl Caller {
    /// The store, with work charged to the caller's account.
    pub(super) fn store(&self, context: &HttpContext) -> Store {
        match &self.principal.scope {
            Scope::Operator => context.store.clone(),
            Scope::Account(account) | Scope::Inboxes(account, _) => context.store.for_account(account),
        }
    }

    /// Who work that does not concern one inbox is charged to.
    pub(super) fn owner(&self) -> Owner {
        match &self.principal.scope {
            Scope::Operator => Owner::System,
            Scope::Account(account) | Scope::Inboxes(account, _) => Owner::Account(account.clone()),
        }
    }

    /// Changes mailboxes on the caller's behalf.
    pub(super) fn mailboxes(&self, context: &HttpContext) -> MailboxService {
        match &self.principal.scope {
            Scope::Operator => context.mailboxes.clone(),
            Scope::Account(account) | Scope::Inboxes(account, _) => {
                context.mailboxes.for_owner(Owner::Account(account.clone()))
            }
        }
    }

    /// 403 unless the token is an operator token.
    pub(super) fn operator(&self) -> Result<(), Problem> {
        if self.principal.scope == Scope::Operator { Ok(()) } else { Err(Problem::forbidden("operator")) }
    }

    /// The token's account; 403 if the token is limited to inboxes, `None` for an operator token.
    pub(super) fn whole_account(&self) -> Result<Option<&AccountId>, Problem> {
        match &self.principal.scope {
            Scope::Operator => Ok(None),
            Scope::Account(account) => Ok(Some(account)),
            Scope::Inboxes(..) => Err(Problem::forbidden("account")),
        }
    }

    /// The account of a request about a whole account. An operator token has to name it; other tokens may only name
    /// their own.
    pub(super) fn account(&self, account_id: Option<AccountId>) -> Result<AccountId, Problem> {
        match (self.whole_account()?, account_id) {
            (None, Some(account_id)) => Ok(account_id),
            (None, None) => Err(Problem::invalid_field("account_id", "is required with an operator token")),
            (Some(own), Some(account_id)) if *own != account_id => Err(Problem::not_found()),
            (Some(own), _) => Ok(own.clone()),
        }
    }

    /// The account of a request that a token limited to inboxes may make too. An operator token has to name it.
    pub(super) fn acts_for(&self, account_id: Option<AccountId>) -> Result<AccountId, Problem> {
        match &self.principal.scope {
            Scope::Inboxes(own, _) if account_id.as_ref().is_none_or(|account| account == own) => Ok(own.clone()),
            Scope::Inboxes(..) => Err(Problem::not_found()),
            Scope::Operator | Scope::Account(_) => self.account(account_id),
        }
    }

    /// The account that owns the domain. Whether the id exists is checked later, by what is done with it.
    pub(super) async fn account_of_domain(&self, context: &HttpContext, id: &DomainId) -> Result<AccountId, Problem> {
        match self.whole_account()? {
            Some(own) => Ok(own.clone()),
            None => context.store.account_of_domain(id).await?.ok_or_else(Problem::not_found),
        }
    }

    /// The inbox of an id in a path, if the caller may see it.
    pub(super) async fn inbox(&self, context: &HttpContext, id: &str) -> Result<Inbox, Problem> {
        let id: InboxId = id.parse().map_err(|_| Problem::not_found())?;
        let found = match &self.principal.scope {
            Scope::Operator => context.store.inbox_of_any_account(&id).await?,
            Scope::Account(account) => context.store.for_account(account).inbox_get(account, &id).await?,
            Scope::Inboxes(account, inboxes) => context
                .store
                .for_account(account)
                .inbox_get(account, &id)
                .await?
                .filter(|inbox| inboxes.contains(&inbox.id)),
        };
        found.ok_or_else(Problem::not_found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_case_insensitive() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            bearer(&headers).map(|secret| secret.reveal().to_owned())
        };
        assert_eq!(read("bearer abc"), Some("abc".into()));
        assert_eq!(read("Token abc"), Some("abc".into()));
        assert_eq!(read("Basic abc"), None);
        assert_eq!(read("abc"), None);
    }
}
