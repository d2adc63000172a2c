//! `/api/v1/auth`, `/me` and `/password`: a user logs in with a password, which gives a token of the user's account.

use super::body::no_room;
use super::caller::{Anonymous, Caller};
use super::document::parameters::LogOutQuery;
use super::document::requests::{LogInInput, PasswordUpdate};
use super::fields::JsonBody;
use super::problem::Problem;
use super::query::Parameters;
use super::reply::Secretive;
use super::users::{UserJson, hashed, new_password, not_changed};
use super::{Context, HttpContext};
use crate::auth::login::{LoginError, Scope};
use crate::auth::passwords::MEMORY;
use crate::auth::token::Token;
use crate::clock::Timestamp;
use crate::resources::spool::ClientSpool;
use crate::secret::Secret;
use crate::store::tokens::{CreateTokenError, NewToken};
use crate::store::users::{User, UserChange};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::net::IpAddr;
use std::time::Duration;
use utoipa::ToSchema;

/// How long the token of a log-in is valid.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// The published API's, which has no other fields.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthResponse)]
pub(super) struct AuthJson {
    token: String,
    name: String,
    expires_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Success {
    success: bool,
}

/// The user who may log in with this, from this network.
async fn checked(
    context: &HttpContext,
    (client, spool): (IpAddr, &ClientSpool),
    email: &str,
    password: &Secret,
) -> Result<User, Problem> {
    let mut memory = spool.claim();
    memory.grow_to(MEMORY).map_err(no_room)?;
    let found = context.authenticator.user(&context.passwords, client, memory, (email, password)).await;
    found.map_err(|error| match error {
        LoginError::Refused => wrong_password(),
        LoginError::RateLimited { retry_after } => {
            Problem::too_many("Too many failed log-ins from this network.", retry_after)
        }
        LoginError::Unavailable(error) => error.into(),
    })
}

fn wrong_password() -> Problem {
    Problem::unauthorized("The email or the password is wrong, or the user is disabled.")
        .with_code("invalid_credentials")
        .with_fix("Check both; the operator can set a new password (`inboxlayer user password`).")
}

/// Logs a user in: a token
///
/// It is of the user's account, and valid for 30 days.
#[utoipa::path(
    post, path = "/api/v1/auth", tag = "Sessions", security(()), request_body = LogInInput,
    responses((status = 200, body = AuthJson), (status = 401), (status = 403), (status = 429))
)]
pub(super) async fn log_in(
    Anonymous { client, spool }: Anonymous,
    State(context): Context,
    body: JsonBody,
) -> Result<Secretive<AuthJson>, Problem> {
    let mut fields = body.fields(&spool, "user").await?;
    let email = fields.required_text("email");
    let password = fields.required_text("password").map(Secret::new);
    fields.finish()?;
    let (Some(email), Some(password)) = (email, password) else { return Err(wrong_password()) };
    let user = checked(&context, (client, &spool), &email, &password).await?;
    let now = context.clock.now();
    let expires_at = now.after(LIFETIME);
    let token = Token::generate().map_err(|error| {
        tracing::error!(listener = "http", %error, "cannot create a token");
        Problem::unavailable()
    })?;
    let new = NewToken {
        expires_at: Some(expires_at),
        user: Some(user.id.clone()),
        ..NewToken::new("log-in", Scope::Account(user.account.clone()), token.hash())
    };
    let limit = context.config.limits.tokens;
    let made = context.store.for_account(&user.account).token_create(new, limit, now).await;
    let made = made.map_err(|error| match error {
        CreateTokenError::Store(error) => error.into(),
        CreateTokenError::UserDisabled | CreateTokenError::UnknownAccount => wrong_password(),
        CreateTokenError::UnknownInbox(_) | CreateTokenError::LimitReached(_) => Problem::unavailable(),
    })?;
    tracing::info!(user = %user.id, token = %made.id, %client, "a user has logged in");
    let name = format!("{} {}", user.first_name, user.last_name).trim().to_owned();
    let name = if name.is_empty() { user.email } else { name };
    let body = AuthJson { token: token.secret().reveal().to_owned(), name, expires_at };
    Ok(Secretive { of: Some(made.id.to_string()), body })
}

/// Revokes the token of the request
#[utoipa::path(
    delete, path = "/api/v1/auth", tag = "Sessions", params(LogOutQuery), responses((status = 200, body = Success))
)]
pub(super) async fn log_out(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Json<Success>, Problem> {
    let everywhere = parameters.take::<bool>("everywhere").unwrap_or_default();
    parameters.finish()?;
    let (token, now) = (&caller.principal.token, context.clock.now());
    let store = caller.store(&context);
    match (&caller.principal.user, caller.principal.scope.account()) {
        (Some(user), Some(account)) if everywhere => {
            store.user_log_out(account, user, now).await?;
            tracing::info!(%user, by = %token, "all log-ins of a user ended");
        }
        _ => {
            store.token_revoke(None, token, now).await?;
            tracing::info!(%token, "token revoked by its own request");
        }
    }
    Ok(Json(Success { success: true }))
}

/// The user that the token is of: the one whose log-in made it, else the account's first.
async fn user_of(caller: &Caller, context: &HttpContext) -> Result<User, Problem> {
    let account = caller.whole_account()?.ok_or_else(Problem::not_found)?;
    let store = caller.store(context);
    let found = match &caller.principal.user {
        Some(id) => store.user_get(id).await?,
        None => store.user_list(Some(account), None, 1).await?.pop(),
    };
    let fix = "Ask the operator to create a user (`inboxlayer user create`).";
    found.ok_or_else(|| Problem::not_found().with_code("no_user").with_fix(fix))
}

/// The user whose token this is
///
/// Of a token that no log-in made, the first user of the account.
#[utoipa::path(get, path = "/api/v1/me", tag = "Sessions", responses((status = 200, body = UserJson)))]
pub(super) async fn me(caller: Caller, State(context): Context) -> Result<Json<UserJson>, Problem> {
    Ok(Json(user_of(&caller, &context).await?.into()))
}

/// Changes the user's password
///
/// The user's other tokens are revoked.
#[utoipa::path(
    method(patch, put), path = "/api/v1/password", tag = "Sessions", request_body = PasswordUpdate,
    responses((status = 200, body = Success))
)]
pub(super) async fn change_password(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<Json<Success>, Problem> {
    let user = user_of(&caller, &context).await?;
    let mut fields = body.fields(&caller.spool, "user").await?;
    let current = fields.required_text("current_password").map(Secret::new);
    if !fields.has("password") {
        fields.fault("password", "is required");
    }
    let new = new_password(&mut fields);
    let confirmation = fields.required_text("password_confirmation").map(Secret::new);
    if new.is_some() && confirmation.is_some() && new != confirmation {
        fields.fault("password_confirmation", "must be the same as password");
    }
    fields.finish()?;
    let (Some(current), Some(new)) = (current, new) else {
        return Err(Problem::invalid_field("password", "is required"));
    };
    checked(&context, (caller.client, &caller.spool), &user.email, &current).await?;
    let hash = hashed(&context, &caller.spool, new).await?;
    let kept = Some(caller.principal.token.clone());
    let change = UserChange { password: Some((hash, kept)), ..UserChange::default() };
    let changed = caller.store(&context).user_change(&user.id, change, context.clock.now()).await;
    changed.map_err(not_changed)?;
    tracing::info!(user = %user.id, by = %caller.principal.token, "password changed");
    Ok(Json(Success { success: true }))
}
