//! The first account with an inbox, its token and an operator token, ready to use.

use super::SandboxError;
use super::state::{First, State};
use crate::address::InboxName;
use crate::app::Services;
use crate::auth::passwords::Passwords;
use crate::auth::token::{Token, hash_of};
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::resources::Owner;
use crate::store::inboxes::NewInbox;
use crate::store::names::NameLimits;
use crate::store::routing::Route;
use crate::store::tokens::{NewToken, Scope};
use crate::store::users::NewUser;
use std::net::Ipv4Addr;

/// The name of the first account and its inbox.
const NAME: &str = "demo";

/// The first account of this data directory; created, or recreated where parts were deleted.
pub(super) async fn account(services: &Services, state: &State) -> Result<First, SandboxError> {
    if let Some(first) = state.first()
        && still_opens(services, &first).await?
    {
        return Ok(first);
    }
    let first = make(services).await?;
    state.set_first(first.clone()).await?;
    Ok(first)
}

async fn still_opens(services: &Services, first: &First) -> Result<bool, SandboxError> {
    let now = services.clock.now();
    for token in [&first.token, &first.operator_token] {
        if !services.store.token_by_hash(hash_of(token)).await?.is_some_and(|record| record.is_live(now)) {
            return Ok(false);
        }
    }
    if services.store.user_by_email(&first.user).await?.is_none_or(|user| user.disabled_at.is_some()) {
        return Ok(false);
    }
    let (Ok(account), Ok(inbox)) = (first.account_id.parse(), first.inbox_id.parse()) else { return Ok(false) };
    Ok(services.store.inbox_get(&account, &inbox).await?.is_some())
}

async fn make(services: &Services) -> Result<First, SandboxError> {
    let now = services.clock.now();
    let account = services.store.account_create(NAME.into(), now).await?;
    let limits = &services.config.limits;
    let platform = &services.config.platform.domain;
    let mut name = InboxName::claim(NAME, platform).map_err(|e| SandboxError::First(e.to_string()))?;
    if services.store.route(platform, &name.at(platform), now).await? != Route::NoSuchUser {
        let suffix = Timestamp::real().seconds();
        name =
            InboxName::claim(&format!("{NAME}-{suffix}"), platform).map_err(|e| SandboxError::First(e.to_string()))?;
    }
    let new = NewInbox::new(account.id.clone(), name.clone());
    let inbox = services
        .store
        .inbox_create(new, NameLimits::new(limits.inboxes, limits.inbox_names), now)
        .await
        .map_err(|e| SandboxError::First(e.to_string()))?;
    let (user, password) = user(services, account.id.clone(), &name).await?;
    Ok(First {
        user,
        password,
        token: token(services, Scope::Account(account.id.clone()), now).await?,
        operator_token: token(services, Scope::Operator, now).await?,
        account_id: account.id.to_string(),
        inbox: name.at(platform).to_string(),
        inbox_id: inbox.id.to_string(),
    })
}

/// A user with a new password: the email and the password.
async fn user(services: &Services, account: AccountId, name: &InboxName) -> Result<(String, String), SandboxError> {
    let failed = |error: &dyn std::fmt::Display| SandboxError::First(error.to_string());
    let password = Passwords::generate().map_err(|e| failed(&e))?;
    let passwords = Passwords::new(services.reading.work().clone());
    let memory = services.spool.client(Ipv4Addr::LOCALHOST.into()).claim();
    let hash = passwords.hash(&Owner::System, memory, password.clone()).await.map_err(|e| failed(&e))?;
    let email = name.at(&services.config.platform.domain).to_string();
    let (first_name, last_name) = ("Demo".to_owned(), "User".to_owned());
    let new = NewUser { account, email: email.clone(), first_name, last_name, password: hash };
    services.store.user_create(new, services.clock.now()).await.map_err(|e| failed(&e))?;
    Ok((email, password.reveal().to_owned()))
}

async fn token(services: &Services, scope: Scope, now: Timestamp) -> Result<String, SandboxError> {
    let token = Token::generate().map_err(|e| SandboxError::First(e.to_string()))?;
    let new = NewToken::new("sandbox", scope, token.hash());
    services
        .store
        .token_create(new, services.config.limits.tokens, now)
        .await
        .map_err(|e| SandboxError::First(e.to_string()))?;
    Ok(token.secret().reveal().to_owned())
}
