//! `/api/v1/inboxes/{id}/aliases`.

use super::caller::Caller;
use super::document::parameters::PageQuery;
use super::document::requests::AliasInput;
use super::fields::JsonBody;
use super::problem::Problem;
use super::query::{Linked, List, Parameters};
use super::reply::Created;
use super::{Context, HttpContext, Id};
use crate::address::{Address, DomainName};
use crate::clock::Timestamp;
use crate::id::{AccountId, AliasId, DomainId, InboxId};
use crate::store::aliases::{Alias, AliasName, CreateAliasError};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Alias)]
pub(super) struct AliasJson {
    id: AliasId,
    address: Address,
    inbox_id: InboxId,
    custom_domain_id: DomainId,
    /// Mail of the inbox leaves under it where the domain is the inbox's default.
    is_primary: bool,
    created_at: Timestamp,
}

impl From<Alias> for AliasJson {
    fn from(alias: Alias) -> Self {
        Self {
            id: alias.id,
            address: alias.address,
            inbox_id: alias.inbox,
            custom_domain_id: alias.domain,
            is_primary: alias.is_primary,
            created_at: alias.created_at,
        }
    }
}

fn problem(error: CreateAliasError) -> Problem {
    match error {
        CreateAliasError::UnknownInbox => Problem::not_found(),
        CreateAliasError::UnknownDomain => {
            Problem::invalid_field("address", "the account has not claimed this domain").with_code("unknown_domain")
        }
        CreateAliasError::Exists(id) => Problem::conflict(
            "alias_exists",
            "This address already has an alias.",
            "Use the alias that `existing_id` names, or delete it first.",
            Some(id.as_str()),
        ),
        CreateAliasError::InboxHasName(id) => Problem::conflict(
            "inbox_has_name",
            "The address already belongs to the inbox of the account with this name.",
            "Choose another local part.",
            Some(id.as_str()),
        ),
        CreateAliasError::LimitReached(limit) => Problem::new(
            StatusCode::FORBIDDEN,
            "limit_reached",
            "Limit reached",
            format!("The account has {limit} aliases, which is the limit."),
            "Delete an alias, or ask the operator for a higher limit.",
        ),
        CreateAliasError::TooLong => Problem::invalid_field("address", "is longer than 254 octets"),
        CreateAliasError::Store(error) => error.into(),
    }
}

fn name_and_domain(text: &str) -> Result<(AliasName, DomainName), String> {
    let (local, domain) = text.rsplit_once('@').ok_or("must have the form local-part@domain")?;
    let name = AliasName::parse(local).ok_or("must have a local part without quotes and without `+`")?;
    Ok((name, DomainName::parse(domain).map_err(|error| error.to_string())?))
}

/// Creates an alias
///
/// Another address of the inbox, at a custom domain of the account.
#[utoipa::path(
    post, path = "/api/v1/inboxes/{id}/aliases", tag = "Inboxes", params(("id" = InboxId, Path)),
    request_body = AliasInput, responses((status = 201, body = AliasJson))
)]
pub(super) async fn create(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    body: JsonBody,
) -> Result<Created<AliasJson>, Problem> {
    caller.whole_account()?;
    let inbox = caller.inbox(&context, &id).await?;
    let mut fields = body.fields(&caller.spool, "alias").await?;
    let address = fields
        .required_text("address")
        .and_then(|text| name_and_domain(&text).map_err(|message| fields.fault("address", message)).ok());
    fields.finish()?;
    let Some((name, domain)) = address else { return Err(Problem::invalid_field("address", "is required")) };
    let domain = domain_id(&context, &inbox.account, &domain).await?;
    context.count_creation(&caller, &inbox.account).await?;
    let alias = caller
        .store(&context)
        .alias_create(&inbox.account, &inbox.id, &domain, name, context.config.limits.aliases, context.clock.now())
        .await
        .map_err(problem)?;
    let location = format!("/api/v1/inboxes/{}/aliases/{}", alias.inbox, alias.id);
    Ok(Created { location, body: alias.into() })
}

async fn domain_id(context: &HttpContext, account: &AccountId, name: &DomainName) -> Result<DomainId, Problem> {
    let found = context.store.for_account(account).domain_of_account(account, name).await?;
    found.ok_or_else(|| problem(CreateAliasError::UnknownDomain))
}

/// Its aliases
#[utoipa::path(
    get, path = "/api/v1/inboxes/{id}/aliases", tag = "Inboxes", params(("id" = InboxId, Path), PageQuery),
    responses((status = 200, body = List<AliasJson>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    mut parameters: Parameters,
) -> Result<Linked<List<AliasJson>>, Problem> {
    let inbox = caller.inbox(&context, &id).await?;
    let page = parameters.page::<AliasId>();
    parameters.finish()?;
    let rows = context
        .store
        .for_account(&inbox.account)
        .alias_list(&inbox.account, &inbox.id, page.after.as_ref(), page.rows())
        .await?;
    Ok(page.list(rows, |alias| alias.id.to_string(), AliasJson::from))
}

/// Deletes an alias
#[utoipa::path(
    delete, path = "/api/v1/inboxes/{id}/aliases/{alias}", tag = "Inboxes",
    params(("id" = InboxId, Path), ("alias" = AliasId, Path)), responses((status = 204))
)]
pub(super) async fn delete(
    caller: Caller,
    State(context): Context,
    Path((id, alias)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    caller.whole_account()?;
    let inbox = caller.inbox(&context, &id).await?;
    let alias: AliasId = alias.parse().map_err(|_| Problem::not_found())?;
    if caller.store(&context).alias_delete(&inbox.account, &inbox.id, &alias).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found())
    }
}
