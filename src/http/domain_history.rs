//! `/api/v1/custom_domains/{id}/checks` and `…/events`: the history of a custom domain, newest first.

use super::HttpContext;
use super::caller::Caller;
use super::custom_domains::claim;
use super::problem::Problem;
use super::query::{List, Parameters};
use crate::registry::{DomainCheck, DomainEvent};
use axum::extract::{Path, State};

/// `GET …/checks`: recent checks with their evidence.
pub(super) async fn checks(
    caller: Caller,
    State(context): State<HttpContext>,
    Path(id): Path<String>,
    mut parameters: Parameters,
) -> Result<List<DomainCheck>, Problem> {
    let (account, id) = claim(&caller, &context, &id).await?;
    let page = parameters.page::<u32>();
    let checks = context.registry.checks(&account, &id, page.after, page.rows()).await?;
    let checks = checks.ok_or_else(Problem::not_found)?;
    parameters.finish()?;
    Ok(page.list(checks, |check| check.number.to_string(), |check| check))
}

/// `GET …/events`: status changes with their causes.
pub(super) async fn events(
    caller: Caller,
    State(context): State<HttpContext>,
    Path(id): Path<String>,
    mut parameters: Parameters,
) -> Result<List<DomainEvent>, Problem> {
    let (account, id) = claim(&caller, &context, &id).await?;
    let page = parameters.page::<u32>();
    let events = context.registry.events(&account, &id, page.after, page.rows()).await?;
    let events = events.ok_or_else(Problem::not_found)?;
    parameters.finish()?;
    Ok(page.list(events, |event| event.number.to_string(), |event| event))
}
