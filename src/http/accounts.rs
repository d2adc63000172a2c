//! `/api/v1/accounts`: operators make and list accounts; a token of an account sees its own.

use super::HttpContext;
use super::caller::Caller;
use super::fields::{Fields, SMALL};
use super::problem::Problem;
use super::query::{List, Parameters};
use super::reply::Created;
use crate::id::AccountId;
use crate::store::accounts::Account;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;

/// Maximum characters in the name of an account or token.
const NAME_LENGTH: usize = 200;

/// A name for people: one line, not empty.
pub(super) fn display_name(fields: &mut Fields, text: Option<String>) -> Option<String> {
    let text = text?;
    if text.trim().is_empty() || text.chars().count() > NAME_LENGTH || text.chars().any(char::is_control) {
        fields.fault("name", format!("must be one line of 1 to {NAME_LENGTH} characters"));
        return None;
    }
    Some(text)
}

/// `POST`: `{"name"}`.
pub(super) async fn create(
    caller: Caller,
    State(context): State<HttpContext>,
    headers: HeaderMap,
    body: Body,
) -> Result<Created<Account>, Problem> {
    caller.operator()?;
    let mut fields = Fields::read(&caller.spool, &headers, body, SMALL).await?;
    let name = fields.required_text("name");
    let name = display_name(&mut fields, name);
    fields.finish()?;
    let account = context.store.account_create(name.unwrap_or_default(), context.clock.now()).await?;
    tracing::info!(account = %account.id, by = %caller.principal.token, "account created");
    Ok(Created { location: format!("/api/v1/accounts/{}", account.id), body: account })
}

/// `GET`
pub(super) async fn list(
    caller: Caller,
    State(context): State<HttpContext>,
    mut parameters: Parameters,
) -> Result<Json<List<Account>>, Problem> {
    caller.operator()?;
    let page = parameters.page::<AccountId>();
    parameters.finish()?;
    let rows = context.store.account_list(page.after.as_ref(), page.rows()).await?;
    Ok(Json(page.list(rows, |account| account.id.to_string(), |account| account)))
}

/// `GET …/{id}`
pub(super) async fn show(
    caller: Caller,
    State(context): State<HttpContext>,
    Path(id): Path<String>,
) -> Result<Json<Account>, Problem> {
    let own = caller.whole_account()?;
    let id: AccountId = id.parse().map_err(|_| Problem::not_found())?;
    if own.is_some_and(|own| *own != id) {
        return Err(Problem::not_found());
    }
    context.store.account_get(&id).await?.map(Json).ok_or_else(Problem::not_found)
}
