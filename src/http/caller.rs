//! Who a request is from, and for which account it acts.
//!
//! A token of scope `account` acts for its account. One of scope `inboxes` reaches its inboxes only: any other inbox is
//! not found, and what concerns the whole account is 403, said before anything is looked up. An operator's token acts for
//! the account that owns the id in the path, or that `account_id` names.
//! Invariant: what a caller may not see is answered like what does not exist.

use super::HttpContext;
use super::body::AnswerOwner;
use super::problem::Problem;
use super::serve::Client;
use crate::auth::login::{LoginError, Principal, Scope};
use crate::id::{AccountId, DomainId, InboxId};
use crate::resources::spool::ClientSpool;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::inboxes::Inbox;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use std::net::{IpAddr, Ipv4Addr};

/// A request's sender, let in.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The token, and what it may do.
    pub(super) principal: Principal,
    /// From where.
    pub(super) client: IpAddr,
    /// Room for what it sends and is sent.
    pub(super) spool: ClientSpool,
}

impl FromRequestParts<HttpContext> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &HttpContext) -> Result<Self, Problem> {
        let client = parts.extensions.get::<Client>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |client| client.0);
        let token = bearer(&parts.headers).ok_or_else(|| Problem::unauthorized("The request has no bearer token."))?;
        match context.authenticator.bearer(client, &token).await {
            Ok(principal) => {
                let spool = context.spool.client(client);
                let spool = match &principal.scope {
                    Scope::Operator => spool,
                    Scope::Account(account) | Scope::Inboxes(account, _) => spool.logged_in(account),
                };
                if let Some(owner) = parts.extensions.get::<AnswerOwner>() {
                    let _ = owner.set(spool.clone());
                }
                Ok(Self { principal, client, spool })
            }
            Err(LoginError::Refused) => Err(Problem::unauthorized("The API token opens nothing.")),
            Err(LoginError::RateLimited { retry_after }) => {
                Err(Problem::too_many("Too many tokens from this address were wrong.", retry_after))
            }
            Err(LoginError::Unavailable(error)) => Err(error.into()),
        }
    }
}

/// RFC 6750 §2.1; the scheme in any case (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(token.trim_matches(' ')))
}

impl Caller {
    /// The store, on the caller's behalf.
    pub(super) fn store(&self, context: &HttpContext) -> Store {
        match &self.principal.scope {
            Scope::Operator => context.store.clone(),
            Scope::Account(account) | Scope::Inboxes(account, _) => context.store.for_account(account),
        }
    }

    /// 403 unless the token is an operator's.
    pub(super) fn operator(&self) -> Result<(), Problem> {
        if self.principal.scope == Scope::Operator { Ok(()) } else { Err(Problem::forbidden("operator")) }
    }

    /// The account whose token this is, 403 where it reaches only some inboxes; `None`: an operator's.
    pub(super) fn whole_account(&self) -> Result<Option<&AccountId>, Problem> {
        match &self.principal.scope {
            Scope::Operator => Ok(None),
            Scope::Account(account) => Ok(Some(account)),
            Scope::Inboxes(..) => Err(Problem::forbidden("account")),
        }
    }

    /// The account a request about a whole account is for. An operator names it; others may only name their own.
    pub(super) fn account(&self, account_id: Option<AccountId>) -> Result<AccountId, Problem> {
        match (self.whole_account()?, account_id) {
            (None, Some(account_id)) => Ok(account_id),
            (None, None) => Err(Problem::invalid_field("account_id", "is required with an operator's token")),
            (Some(own), Some(account_id)) if *own != account_id => Err(Problem::not_found()),
            (Some(own), _) => Ok(own.clone()),
        }
    }

    /// The account whose domain an id means. Whether the id exists shows in what is done with it.
    pub(super) async fn account_of_domain(&self, context: &HttpContext, id: &DomainId) -> Result<AccountId, Problem> {
        match self.whole_account()? {
            Some(own) => Ok(own.clone()),
            None => context.store.account_of_domain(id).await?.ok_or_else(Problem::not_found),
        }
    }

    /// The inbox an id in a path means, if the caller may see it.
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
    fn the_scheme_is_read_in_any_case() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            bearer(&headers).map(|secret| secret.reveal().to_owned())
        };
        assert_eq!(read("bearer abc"), Some("abc".into()));
        assert_eq!(read("Basic abc"), None);
        assert_eq!(read("abc"), None);
    }
}
