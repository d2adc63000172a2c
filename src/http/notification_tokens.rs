//! `/api/v1/notification_tokens`: device tokens that apps register for push notifications. The daemon stores them for the operator's
//! own push service, and sends nothing to them.

use super::caller::Caller;
use super::document::parameters::{AccountQuery, PageQuery};
use super::document::requests::NotificationTokenInput;
use super::fields::{Fields, JsonBody};
use super::problem::Problem;
use super::query::{Linked, List, Parameters};
use super::reply::Created;
use super::{Context, Id};
use crate::clock::Timestamp;
use crate::id::{AccountId, NotificationTokenId, UserId};
use crate::store::notification_tokens::{NotificationToken, RegisterError};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// Octets of a token: those of web push are JSON with a URL and two keys.
const TOKEN: usize = 4096;
/// Octets of a platform.
const PLATFORM: usize = 50;

#[derive(Serialize, ToSchema)]
#[schema(as = NotificationToken)]
pub(super) struct TokenJson {
    id: NotificationTokenId,
    account_id: AccountId,
    /// The user whose log-in has registered it.
    user_id: Option<UserId>,
    token: String,
    platform: String,
    created_at: Timestamp,
    /// When it was registered last.
    updated_at: Timestamp,
}

/// A token that was registered.
#[derive(Serialize, ToSchema)]
#[schema(as = RegisteredToken)]
pub(super) struct Registered {
    success: bool,
    #[serde(flatten)]
    token: TokenJson,
}

impl From<NotificationToken> for TokenJson {
    fn from(found: NotificationToken) -> Self {
        let NotificationToken { id, account, user, token, platform, created_at, updated_at } = found;
        Self { id, account_id: account, user_id: user, token, platform, created_at, updated_at }
    }
}

fn problem(error: RegisterError) -> Problem {
    let text = error.to_string();
    match error {
        RegisterError::TooMany => Problem::new(
            StatusCode::FORBIDDEN,
            "limit_reached",
            "Limit reached",
            text,
            "Delete tokens of devices that are not used any more.",
        ),
        RegisterError::UnknownAccount => Problem::invalid_field("account_id", "is not the id of an account"),
        RegisterError::Store(error) => error.into(),
    }
}

/// One line of text, from 1 to `longest` octets long.
fn line(fields: &mut Fields, field: &'static str, longest: usize) -> String {
    let Some(text) = fields.required_text(field) else { return String::new() };
    if !(1..=longest).contains(&text.len()) || text.chars().any(char::is_control) {
        fields.fault(field, format!("must be one line of 1 to {longest} octets"));
    }
    text
}

/// Registers a token
///
/// One that the account has already keeps its id.
#[utoipa::path(
    post, path = "/api/v1/notification_tokens", tag = "Notification tokens", request_body = NotificationTokenInput,
    responses((status = 201, body = Registered))
)]
pub(super) async fn create(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<Created<Registered>, Problem> {
    caller.whole_account()?;
    let mut fields = body.fields(&caller.spool, "notification_token").await?;
    let account = fields.parsed("account_id");
    let (token, platform) = (line(&mut fields, "token", TOKEN), line(&mut fields, "platform", PLATFORM));
    fields.finish()?;
    let (account, now) = (caller.account(account)?, context.clock.now());
    let (id, user) = (NotificationTokenId::new(), caller.principal.user.clone());
    let new = NotificationToken { id, account, user, token, platform, created_at: now, updated_at: now };
    let made = caller.store(&context).notification_token_register(new).await.map_err(problem)?;
    let location = format!("/api/v1/notification_tokens/{}", made.id);
    Ok(Created { location, body: Registered { success: true, token: made.into() } })
}

/// Tokens of the account
#[utoipa::path(
    get, path = "/api/v1/notification_tokens", tag = "Notification tokens", params(AccountQuery, PageQuery),
    responses((status = 200, body = List<TokenJson>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<List<TokenJson>>, Problem> {
    let account = parameters.take::<AccountId>("account_id");
    let page = parameters.page::<NotificationTokenId>();
    parameters.finish()?;
    let account = caller.account(account)?;
    let rows = caller.store(&context).notification_tokens(&account, page.after.as_ref(), page.rows()).await?;
    Ok(page.list(rows, |token| token.id.to_string(), TokenJson::from))
}

/// Removes a token
#[utoipa::path(
    delete, path = "/api/v1/notification_tokens/{id}", tag = "Notification tokens",
    params(("id" = NotificationTokenId, Path)), responses((status = 204))
)]
pub(super) async fn delete(caller: Caller, State(context): Context, Path(id): Id) -> Result<StatusCode, Problem> {
    let own = caller.whole_account()?;
    let id: NotificationTokenId = id.parse().map_err(|_| Problem::not_found())?;
    match caller.store(&context).notification_token_remove(own, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found()),
    }
}
