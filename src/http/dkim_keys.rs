//! `/api/v1/custom_domains/{id}/dkim_keys` and `…/rotate_key`: the three keys of a domain and their rotation. With
//! Amazon SES as the signing provider both are 409, since SES holds the keys.

use super::caller::Caller;
use super::fields::JsonBody;
use super::problem::Problem;
use super::{Context, HttpContext, Id};
use crate::config::{Config, Provider};
use crate::id::DomainId;
use crate::rotation::{RotateError, ShownKey};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// The keys, in the order of the domain's tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = DkimKeys)]
pub(super) struct KeysJson {
    data: Vec<ShownKey>,
}

/// Its three DKIM keys
///
/// 409 `keys_at_provider` where Amazon SES signs.
#[utoipa::path(
    get, path = "/api/v1/custom_domains/{id}/dkim_keys", tag = "Custom domains", params(("id" = DomainId, Path)),
    responses((status = 200, body = KeysJson), (status = 409))
)]
pub(super) async fn list(caller: Caller, State(context): Context, Path(id): Id) -> Result<Json<KeysJson>, Problem> {
    let id = own(&caller, &context, &id).await?;
    keys_are_here(&context.config)?;
    shown(&context, &id).await
}

/// Signs with the next key from now on
///
/// 409 `no_key_ready`, with what to do, where that is not possible yet.
#[utoipa::path(
    post, path = "/api/v1/custom_domains/{id}/rotate_key", tag = "Custom domains", params(("id" = DomainId, Path)),
    responses((status = 200, body = KeysJson))
)]
pub(super) async fn rotate(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    body: JsonBody,
) -> Result<Json<KeysJson>, Problem> {
    let id = own(&caller, &context, &id).await?;
    body.optional(&caller.spool).await?.finish()?;
    keys_are_here(&context.config)?;
    context.rotation.rotate(&id).await.map_err(|error| match error {
        RotateError::NotFound => Problem::not_found(),
        RotateError::NotYet { message, fix } => {
            Problem::new(StatusCode::CONFLICT, "no_key_ready", "No other key is ready", message, fix)
        }
        RotateError::Store(error) => error.into(),
    })?;
    shown(&context, &id).await
}

/// 409 if another provider holds the keys.
pub(super) fn keys_are_here(config: &Config) -> Result<(), Problem> {
    match config.dkim.provider {
        Provider::Local => Ok(()),
        Provider::Ses => Err(Problem::new(
            StatusCode::CONFLICT,
            "keys_at_provider",
            "Amazon SES holds the keys",
            "Amazon SES signs mail with its own keys, which it rotates itself.",
            "No action is needed: the three CNAME records of a domain stay as they are.",
        )),
    }
}

/// The domain of an id in a path, if the caller may see it.
async fn own(caller: &Caller, context: &HttpContext, id: &str) -> Result<DomainId, Problem> {
    caller.whole_account()?;
    let id: DomainId = id.parse().map_err(|_| Problem::not_found())?;
    let account = caller.account_of_domain(context, &id).await?;
    context.registry.get(&account, &id).await?.map(|domain| domain.id).ok_or_else(Problem::not_found)
}

async fn shown(context: &HttpContext, id: &DomainId) -> Result<Json<KeysJson>, Problem> {
    let data = context.rotation.show(id).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(KeysJson { data }))
}
