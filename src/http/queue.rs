//! `/api/v1/queue`: mail not yet delivered. An account sees its own; an operator sees all, or those of `account_id`.

use super::caller::Caller;
use super::document::parameters::{AccountQuery, PageQuery};
use super::document::requests::QueueActionInput;
use super::fields::{Fields, JsonBody};
use super::problem::Problem;
use super::query::{Linked, List, Meta, Parameters};
use super::{Context, HttpContext, Id};
use crate::id::{AccountId, MessageId, SubmissionId};
use crate::store::queue::{QueueAction, QueueEntry, QueueFilter};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Batches of the store that one request runs at most.
const BATCHES: usize = 200;
/// Octets of `error`.
const ERROR: usize = 1000;

/// Mail that is not delivered yet
#[utoipa::path(
    get, path = "/api/v1/queue", tag = "Queue and operation", params(AccountQuery, PageQuery),
    responses((status = 200, body = List<QueueEntry>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<List<QueueEntry>>, Problem> {
    let request = parameters.take::<AccountId>("account_id");
    let page = parameters.page::<SubmissionId>();
    parameters.finish()?;
    let account = whose(&caller, request)?;
    let rows = caller.store(&context).queue_list(account, page.after.clone(), page.rows() as usize).await?;
    Ok(page.list(rows, |message| message.id.to_string(), |message| message))
}

/// The account whose queue a request is about; `None`: all, for operators.
fn whose(caller: &Caller, request: Option<AccountId>) -> Result<Option<AccountId>, Problem> {
    match (caller.whole_account()?, request) {
        (None, None) => Ok(None),
        (_, request) => caller.account(request).map(Some),
    }
}

/// Its own id, or that of its copy in Sent.
fn parsed(id: &str) -> Option<SubmissionId> {
    id.parse().or_else(|_| id.parse().map(|id: MessageId| SubmissionId::of_sent(&id))).ok()
}

async fn found(caller: &Caller, context: &HttpContext, id: &str) -> Result<QueueEntry, Problem> {
    let own = caller.whole_account()?;
    let id = parsed(id).ok_or_else(Problem::not_found)?;
    let message = caller.store(context).queue_show(id).await?;
    message.filter(|message| own.is_none() || message.account.as_ref() == own).ok_or_else(Problem::not_found)
}

/// A message in the queue
#[utoipa::path(
    get, path = "/api/v1/queue/{id}", tag = "Queue and operation",
    params(("id" = String, Path, description = "Its own id, or that of its copy in Sent")),
    responses((status = 200, body = QueueEntry))
)]
pub(super) async fn show(caller: Caller, State(context): Context, Path(id): Id) -> Result<Json<QueueEntry>, Problem> {
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
    State(context): Context,
    Path(id): Id,
) -> Result<(StatusCode, Json<QueueEntry>), Problem> {
    let message = found(&caller, &context, &id).await?;
    if message.deliveries.iter().all(|delivery| delivery.on_hold) {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "on_hold",
            "The message is on hold",
            "The message is on hold, so it is not attempted.",
            "Release it first (POST /api/v1/queue/actions), which needs an operator token.",
        ));
    }
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
pub(super) async fn drop(caller: Caller, State(context): Context, Path(id): Id) -> Result<StatusCode, Problem> {
    let message = found(&caller, &context, &id).await?;
    if !caller.store(&context).queue_drop(message.id.clone()).await? {
        return Err(Problem::not_found());
    }
    tracing::info!(submission = %message.id, by = %caller.principal.token, "message removed from the queue");
    Ok(StatusCode::NO_CONTENT)
}

/// What an action has done.
#[derive(Serialize, ToSchema)]
pub(super) struct QueueActionResult {
    action: QueueAction,
    /// Deliveries that match, one for each recipient: all of them were changed, unless it was a dry run.
    matched: usize,
    dry_run: bool,
    /// With a cursor where there is more in the queue than one request goes over: send the request again with it.
    meta: Meta,
}

/// What is asked for.
struct Act {
    action: QueueAction,
    filter: QueueFilter,
    after: Option<SubmissionId>,
    is_dry_run: bool,
}

impl Act {
    fn read(mut fields: Fields, caller: &Caller, context: &HttpContext) -> Result<Self, Problem> {
        let action = fields.required("action");
        let account = fields.parsed("account_id");
        let id = fields.text("id");
        let mut filter = QueueFilter {
            account: None,
            id: id.as_deref().and_then(parsed),
            inbox: fields.parsed("inbox_id"),
            domain: fields.parsed("domain"),
            status: fields.parsed("status"),
            accepted_before: None,
            error: fields.text("error").map(|text| text.to_lowercase()).filter(|text| !text.is_empty()),
        };
        if id.is_some() && filter.id.is_none() {
            fields.fault("id", "must be the id of a message in the queue, or of its copy in Sent");
        }
        if filter.error.as_ref().is_some_and(|text| text.len() > ERROR) {
            fields.fault("error", format!("must have at most {ERROR} octets"));
        }
        let age = fields.number("older_than").map(Duration::from_secs);
        filter.accepted_before = age.map(|age| context.clock.now().before(age));
        let all = fields.flag("all").unwrap_or(false);
        let (is_dry_run, after) = (fields.flag("dry_run").unwrap_or(false), fields.parsed("cursor"));
        fields.finish()?;
        let QueueFilter { id, inbox, domain, status, accepted_before, error, .. } = &filter;
        let has_condition = [id.is_some(), inbox.is_some(), domain.is_some(), status.is_some()].contains(&true)
            || accepted_before.is_some()
            || error.is_some();
        match (all, has_condition) {
            (false, false) => {
                return Err(Problem::invalid_field("all", "must be true where nothing else selects deliveries"));
            }
            (true, true) => {
                let message = "must be left out where something else selects deliveries";
                return Err(Problem::invalid_field("all", message));
            }
            _ => {}
        }
        // `finish` has already returned the error of a missing or invalid one.
        let Some(action) = action else { return Err(Problem::invalid_field("action", "is required")) };
        if matches!(action, QueueAction::Hold | QueueAction::Release) {
            caller.operator()?;
        }
        filter.account = whose(caller, account)?;
        Ok(Self { action, filter, after, is_dry_run })
    }
}

/// Retries, holds, releases or drops all deliveries that match
///
/// `hold` and `release` need an operator token. What is on hold is not attempted, and does not expire, until it is released; a
/// retry is of what has been attempted before.
#[utoipa::path(
    post, path = "/api/v1/queue/actions", tag = "Queue and operation", request_body = QueueActionInput,
    responses((status = 200, body = QueueActionResult))
)]
pub(super) async fn act(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<Json<QueueActionResult>, Problem> {
    caller.whole_account()?;
    let fields = body.object(&caller.spool).await?;
    let Act { action, filter, mut after, is_dry_run } = Act::read(fields, &caller, &context)?;
    let (store, mut matched) = (caller.store(&context), 0);
    for _ in 0..BATCHES {
        let batch = store.queue_act(action, filter.clone(), after, is_dry_run, context.clock.now()).await?;
        matched += batch.matched;
        after = batch.next;
        if after.is_none() {
            break;
        }
    }
    if !is_dry_run {
        context.queue.wake();
        tracing::info!(%action, ?filter, matched, by = %caller.principal.token, "deliveries in the queue changed");
    }
    let meta = Meta { next_cursor: after.map(|id| id.to_string()) };
    Ok(Json(QueueActionResult { action, matched, dry_run: is_dry_run, meta }))
}
