//! `/api/v1/custom_domains/{id}/checks` and `…/events`: the history of a custom domain, newest first.

use super::caller::Caller;
use super::custom_domains::claim;
use super::document::parameters::PageQuery;
use super::problem::Problem;
use super::query::{Linked, List, Parameters};
use super::{Context, Id};
use crate::id::DomainId;
use crate::registry::{DomainCheck, DomainEvent};
use axum::extract::{Path, State};

/// Its last checks with their evidence, the newest first
#[utoipa::path(
    get, path = "/api/v1/custom_domains/{id}/checks", tag = "Custom domains",
    params(("id" = DomainId, Path), PageQuery), responses((status = 200, body = List<DomainCheck>))
)]
pub(super) async fn checks(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    mut parameters: Parameters,
) -> Result<Linked<List<DomainCheck>>, Problem> {
    let (account, id) = claim(&caller, &context, &id).await?;
    let page = parameters.page::<u32>();
    let checks = context.registry.checks(&account, &id, page.after, page.rows()).await?;
    let checks = checks.ok_or_else(Problem::not_found)?;
    parameters.finish()?;
    Ok(page.list(checks, |check| check.number.to_string(), |check| check))
}

/// Changes of its status with their causes, the newest first
#[utoipa::path(
    get, path = "/api/v1/custom_domains/{id}/events", tag = "Custom domains",
    params(("id" = DomainId, Path), PageQuery), responses((status = 200, body = List<DomainEvent>))
)]
pub(super) async fn events(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    mut parameters: Parameters,
) -> Result<Linked<List<DomainEvent>>, Problem> {
    let (account, id) = claim(&caller, &context, &id).await?;
    let page = parameters.page::<u32>();
    let events = context.registry.events(&account, &id, page.after, page.rows()).await?;
    let events = events.ok_or_else(Problem::not_found)?;
    parameters.finish()?;
    Ok(page.list(events, |event| event.number.to_string(), |event| event))
}
