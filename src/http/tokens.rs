//! `/api/v1/tokens`. The text of a token is returned once, when it is created.

use super::accounts::display_name;
use super::caller::Caller;
use super::document::parameters::{AccountQuery, PageQuery};
use super::document::requests::TokenInput;
use super::fields::{Fields, JsonBody};
use super::problem::Problem;
use super::query::{Linked, List, Parameters};
use super::reply::{Created, CreatedSecret};
use super::{Context, Id};
use crate::auth::login::{Permissions, Scope};
use crate::auth::token::Token;
use crate::clock::Timestamp;
use crate::id::{AccountId, InboxId, TokenId, UserId};
use crate::store::tokens::{CreateTokenError, NewToken, TokenRecord};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenJson {
    id: TokenId,
    name: String,
    scope: &'static str,
    account_id: Option<AccountId>,
    inbox_ids: Option<Vec<InboxId>>,
    /// `None`: everything that the scope reaches.
    permissions: Option<Vec<&'static str>>,
    /// Whose log-in made it.
    user_id: Option<UserId>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl From<TokenRecord> for TokenJson {
    fn from(token: TokenRecord) -> Self {
        let scope = token.scope.word();
        let (account_id, inbox_ids) = match token.scope {
            Scope::Operator => (None, None),
            Scope::Account(account) => (Some(account), None),
            Scope::Inboxes(account, inboxes) => (Some(account), Some(inboxes)),
        };
        Self {
            id: token.id,
            name: token.name,
            scope,
            account_id,
            inbox_ids,
            permissions: (!token.permissions.is_all()).then(|| token.permissions.words().collect()),
            user_id: token.user,
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            revoked_at: token.revoked_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = NewToken)]
pub(super) struct NewTokenJson {
    #[serde(flatten)]
    record: TokenJson,
    token: String,
}

/// RFC 3339, the format the API itself uses.
fn moment(text: &str) -> Result<Timestamp, &'static str> {
    text.parse::<jiff::Timestamp>()
        .map(|at| Timestamp::from_millis(at.as_millisecond()))
        .map_err(|_| "must be an RFC 3339 time like 2030-01-31T00:00:00Z")
}

/// The parsed request.
struct TokenRequest {
    name: Option<String>,
    scope: Option<String>,
    account: Option<AccountId>,
    inboxes: Vec<InboxId>,
    permissions: Option<Permissions>,
    expires_at: Option<Timestamp>,
}

/// What the token may do; `None` if the request has no list.
fn permissions(fields: &mut Fields) -> Option<Permissions> {
    let list = fields.optional_list("permissions")?;
    let mut all = Permissions::empty();
    for (at, value) in list.into_iter().enumerate() {
        match value.as_str().unwrap_or_default().parse::<Permissions>() {
            Ok(one) => all |= one,
            Err(error) => fields.fault(&format!("permissions[{at}]"), error),
        }
    }
    Some(all)
}

fn wanted(fields: &mut Fields, most_inboxes: usize, now: Timestamp) -> TokenRequest {
    let name = fields.text("name");
    let name = display_name(fields, name);
    let scope = fields.text("scope");
    let account = fields.parsed("account_id");
    let mut inboxes = Vec::new();
    for (at, value) in fields.list("inbox_ids", false).into_iter().enumerate() {
        match value.as_str().and_then(|text| text.parse().ok()) {
            Some(id) => inboxes.push(id),
            None => fields.fault(&format!("inbox_ids[{at}]"), "must be an inbox id"),
        }
    }
    if inboxes.len() > most_inboxes {
        let scope = "a token of scope account covers all inboxes of the account";
        fields.fault("inbox_ids", format!("must have at most {most_inboxes} entries; {scope}"));
    }
    let expires_at = fields.text("expires_at").and_then(|text| match moment(&text) {
        Ok(at) if at > now => Some(at),
        Ok(_) => {
            fields.fault("expires_at", "must be in the future");
            None
        }
        Err(message) => {
            fields.fault("expires_at", message);
            None
        }
    });
    match (scope.as_deref(), inboxes.is_empty()) {
        (None | Some("inboxes"), false) | (None | Some("operator" | "account"), true) => {}
        (Some("inboxes"), true) => fields.fault("inbox_ids", "must name at least one inbox for scope inboxes"),
        (Some("operator" | "account"), false) => fields.fault("inbox_ids", "is only valid with scope inboxes"),
        (Some(_), _) => fields.fault("scope", "must be operator, account or inboxes"),
    }
    if scope.as_deref() == Some("operator") && account.is_some() {
        fields.fault("account_id", "is not valid with scope operator");
    }
    TokenRequest { name, scope, account, inboxes, permissions: permissions(fields), expires_at }
}

/// Creates a token
///
/// Its text is shown this once.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "API tokens", request_body = TokenInput,
    responses((status = 201, body = NewTokenJson))
)]
pub(super) async fn create(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<CreatedSecret<NewTokenJson>, Problem> {
    caller.whole_account()?;
    let now = context.clock.now();
    let mut fields = body.fields(&caller.spool, "token").await?;
    let wanted = wanted(&mut fields, context.config.limits.token_inboxes, now);
    fields.finish()?;
    let scope = if wanted.scope.as_deref() == Some("operator") {
        caller.operator()?;
        Scope::Operator
    } else {
        let account = caller.account(wanted.account)?;
        if wanted.inboxes.is_empty() { Scope::Account(account) } else { Scope::Inboxes(account, wanted.inboxes) }
    };
    let limits = &context.config.limits;
    if let Some(account) = scope.account() {
        context.count_creation(&caller, account).await?;
    }
    let token = Token::generate().map_err(|error| {
        tracing::error!(listener = "http", %error, "cannot create a token");
        Problem::unavailable()
    })?;
    let name = wanted.name.unwrap_or_else(|| "API token".to_owned());
    // A token gives no permission that it does not have.
    let own = caller.principal.permissions;
    let permissions = wanted.permissions.unwrap_or(own);
    if !own.contains(permissions) {
        let words = permissions.difference(own).words().collect::<Vec<_>>().join(", ");
        return Err(Problem::invalid_field(
            "permissions",
            format!("has {words}, which the token of this request lacks"),
        ));
    }
    let new = NewToken { permissions, expires_at: wanted.expires_at, ..NewToken::new(name, scope, token.hash()) };
    let record = caller.store(&context).token_create(new, limits.tokens, now).await.map_err(|error| match error {
        CreateTokenError::UnknownAccount | CreateTokenError::UserDisabled => {
            Problem::invalid_field("account_id", "is not the id of an account")
        }
        CreateTokenError::UnknownInbox(_) => Problem::invalid_field("inbox_ids", error.to_string()),
        CreateTokenError::LimitReached(limit) => Problem::new(
            StatusCode::FORBIDDEN,
            "limit_reached",
            "Limit reached",
            format!("The account has {limit} API tokens that are neither revoked nor expired, which is the limit."),
            "Revoke a token, or ask the operator for a higher limit.",
        ),
        CreateTokenError::Store(error) => error.into(),
    })?;
    tracing::info!(token = %record.id, scope = record.scope.word(), by = %caller.principal.token, "token created");
    let location = format!("/api/v1/tokens/{}", record.id);
    let body = NewTokenJson { record: record.into(), token: token.secret().reveal().to_owned() };
    Ok(CreatedSecret(Created { location, body }))
}

/// Tokens of the account
///
/// With an operator token those of operators, or of `account_id`.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "API tokens", params(AccountQuery, PageQuery),
    responses((status = 200, body = List<TokenJson>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<List<TokenJson>>, Problem> {
    let request = parameters.take::<AccountId>("account_id");
    let page = parameters.page::<TokenId>();
    parameters.finish()?;
    let account = match (caller.whole_account()?, request) {
        (None, None) => None,
        (_, request) => Some(caller.account(request)?),
    };
    let rows = caller.store(&context).token_list(account.as_ref(), page.after.as_ref(), page.rows()).await?;
    Ok(page.list(rows, |token| token.id.to_string(), TokenJson::from))
}

/// A token
#[utoipa::path(
    get, path = "/api/v1/tokens/{id}", tag = "API tokens", params(("id" = TokenId, Path)),
    responses((status = 200, body = TokenJson))
)]
pub(super) async fn show(caller: Caller, State(context): Context, Path(id): Id) -> Result<Json<TokenJson>, Problem> {
    let account = caller.whole_account()?;
    let id: TokenId = id.parse().map_err(|_| Problem::not_found())?;
    let found = caller.store(&context).token_get(account, &id).await?;
    found.map(|token| Json(token.into())).ok_or_else(Problem::not_found)
}

/// Revokes a token and ends its sessions
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "API tokens", params(("id" = TokenId, Path)),
    responses((status = 204))
)]
pub(super) async fn revoke(caller: Caller, State(context): Context, Path(id): Id) -> Result<StatusCode, Problem> {
    let account = caller.whole_account()?;
    let id: TokenId = id.parse().map_err(|_| Problem::not_found())?;
    let revoked = caller.store(&context).token_revoke(account, &id, context.clock.now()).await?;
    let token = revoked.ok_or_else(Problem::not_found)?;
    tracing::info!(token = %token.id, by = %caller.principal.token, "token revoked");
    Ok(StatusCode::NO_CONTENT)
}
