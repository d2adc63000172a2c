//! `/api/v1/queue`: mail not yet delivered. An account sees its own; an operator sees all, or those of `account_id`.

use super::HttpContext;
use super::caller::Caller;
use super::document::parameters::{AccountQuery, PageQuery};
use super::problem::Problem;
use super::query::{Linked, List, Parameters};
use crate::id::{AccountId, MessageId, SubmissionId};
use crate::store::queue::QueueEntry;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

/// Mail that is not delivered yet
#[utoipa::path(
    get, path = "/api/v1/queue", tag = "Queue and operation", params(AccountQuery, PageQuery),
    responses((status = 200, body = List<QueueEntry>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): State<HttpContext>,
    mut parameters: Parameters,
) -> Result<Linked<List<QueueEntry>>, Problem> {
    let request = parameters.take::<AccountId>("account_id");
    let page = parameters.page::<SubmissionId>();
    parameters.finish()?;
    let account = match (caller.whole_account()?, request) {
        (None, None) => None,
        (_, request) => Some(caller.account(request)?),
    };
    let rows = caller.store(&context).queue_list(account, page.after.clone(), page.rows() as usize).await?;
    Ok(page.list(rows, |message| message.id.to_string(), |message| message))
}

async fn found(caller: &Caller, context: &HttpContext, id: &str) -> Result<QueueEntry, Problem> {
    let own = caller.whole_account()?;
    // Its own id, or that of its copy in Sent.
    let id = id.parse().or_else(|_| id.parse().map(|id: MessageId| SubmissionId::of_sent(&id)));
    let id = id.map_err(|_| Problem::not_found())?;
    let message = caller.store(context).queue_show(id).await?;
    message.filter(|message| own.is_none() || message.account.as_ref() == own).ok_or_else(Problem::not_found)
}

/// A message in the queue
#[utoipa::path(
    get, path = "/api/v1/queue/{id}", tag = "Queue and operation",
    params(("id" = String, Path, description = "Its own id, or that of its copy in Sent")),
    responses((status = 200, body = QueueEntry))
)]
pub(super) async fn show(
    caller: Caller,
    State(context): State<HttpContext>,
    Path(id): Path<String>,
) -> Result<Json<QueueEntry>, Problem> {
    found(&caller, &context, &id).await.map(Json)
}

/// Makes its deliveries due now
#[utoipa::path(
    post, path = "/api/v1/queue/{id}/retry", tag = "Queue and operation",
    params(("id" = String, Path, description = "Its own id, or that of its copy in Sent")),
    responses((status = 202, body = QueueEntry))
)]
pub(super) async fn retry(
    caller: Caller,
    State(context): State<HttpContext>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<QueueEntry>), Problem> {
    let message = found(&caller, &context, &id).await?;
    if !caller.store(&context).queue_retry(message.id.clone(), context.clock.now()).await? {
        return Err(Problem::not_found());
    }
    context.queue.wake();
    let message = found(&caller, &context, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(message)))
}

/// Removes it without a bounce
#[utoipa::path(
    delete, path = "/api/v1/queue/{id}", tag = "Queue and operation",
    params(("id" = String, Path, description = "Its own id, or that of its copy in Sent")),
    responses((status = 204))
)]
pub(super) async fn drop(
    caller: Caller,
    State(context): State<HttpContext>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let message = found(&caller, &context, &id).await?;
    if !caller.store(&context).queue_drop(message.id.clone()).await? {
        return Err(Problem::not_found());
    }
    tracing::info!(submission = %message.id, by = %caller.principal.token, "message removed from the queue");
    Ok(StatusCode::NO_CONTENT)
}
