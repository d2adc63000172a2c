//! `/api/v1/accounts`: operators make and list accounts; a token of an account sees its own.

use super::caller::Caller;
use super::document::parameters::PageQuery;
use super::document::requests::AccountInput;
use super::fields::{Fields, JsonBody};
use super::problem::Problem;
use super::query::{Linked, Page, Parameters};
use super::reply::Created;
use super::{Context, Id};
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::store::accounts::Account;
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

/// Maximum characters in the name of an account or token.
const NAME_LENGTH: usize = 200;

#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
pub(super) struct AccountJson {
    /// The number that the published API knows it by.
    id: u64,
    account_id: AccountId,
    name: String,
    /// Octets of its mail in the queue, at most `limits.queue_size`.
    queued: u64,
    created_at: Timestamp,
}

impl From<Account> for AccountJson {
    fn from(account: Account) -> Self {
        let Account { id: account_id, name, queued, created_at } = account;
        Self { id: account_id.number(), account_id, name, queued, created_at }
    }
}

/// A name for people: one line, not empty.
pub(super) fn display_name(fields: &mut Fields, text: Option<String>) -> Option<String> {
    let text = text?;
    if text.trim().is_empty() || text.chars().count() > NAME_LENGTH || text.chars().any(char::is_control) {
        fields.fault("name", format!("must be one line of 1 to {NAME_LENGTH} characters"));
        return None;
    }
    Some(text)
}

/// Creates an account
///
/// For operators.
#[utoipa::path(
    post, path = "/api/v1/accounts", tag = "Accounts", request_body = AccountInput,
    responses((status = 201, body = AccountJson))
)]
pub(super) async fn create(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<Created<AccountJson>, Problem> {
    caller.operator()?;
    let mut fields = body.fields(&caller.spool, "account").await?;
    let name = fields.required_text("name");
    let name = display_name(&mut fields, name);
    fields.finish()?;
    let account = context.store.account_create(name.unwrap_or_default(), context.clock.now()).await?;
    tracing::info!(account = %account.id, by = %caller.principal.token, "account created");
    Ok(Created { location: format!("/api/v1/accounts/{}", account.id), body: account.into() })
}

/// Accounts
///
/// All with an operator token, else the token's own.
#[utoipa::path(
    get, path = "/api/v1/accounts", tag = "Accounts", params(PageQuery),
    responses((status = 200, body = Vec<AccountJson>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<Vec<AccountJson>>, Problem> {
    let page: Page<AccountId> = parameters.page();
    parameters.finish()?;
    let rows = match caller.whole_account()? {
        None => context.store.account_list(page.after.as_ref(), page.rows()).await?,
        Some(own) => context.store.account_get(own).await?.into_iter().collect(),
    };
    Ok(page.list(rows, |account| account.id.to_string(), AccountJson::from).array())
}

/// An account
///
/// By `account_id` or, the token's own, by its number.
#[utoipa::path(
    get, path = "/api/v1/accounts/{id}", tag = "Accounts", params(("id" = String, Path)),
    responses((status = 200, body = AccountJson))
)]
pub(super) async fn show(caller: Caller, State(context): Context, Path(id): Id) -> Result<Json<AccountJson>, Problem> {
    let own = caller.whole_account()?;
    let id = match own {
        Some(own) if id == own.number().to_string() => own.clone(),
        _ => id.parse().map_err(|_| Problem::not_found())?,
    };
    if own.is_some_and(|own| *own != id) {
        return Err(Problem::not_found());
    }
    context.store.account_get(&id).await?.map(|account| Json(account.into())).ok_or_else(Problem::not_found)
}
