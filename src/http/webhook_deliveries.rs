//! What was sent to the endpoint of a webhook subscription, and sending it again.

use super::caller::Caller;
use super::document::parameters::DeliveryQuery;
use super::document::requests::RedeliverInput;
use super::fields::JsonBody;
use super::problem::Problem;
use super::query::{Linked, List, Parameters};
use super::webhooks::subscription;
use super::{Context, Id};
use crate::clock::Timestamp;
use crate::events::Cursor;
use crate::id::{InboxId, WebhookDeliveryId, WebhookId};
use crate::store::webhooks::deliveries::{Attempt, RedeliverError, State as DeliveryState, Which};
use crate::store::webhooks::listing::Delivery;
use crate::webhooks::PAUSE;
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

/// An event for the endpoint of a subscription.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDelivery)]
pub(super) struct DeliveryJson {
    id: WebhookDeliveryId,
    /// The `id` of what is sent, and its header field `webhook-id`.
    event_id: String,
    event_type: String,
    inbox_id: Option<InboxId>,
    /// The number of the event among those of its inbox.
    sequence: i64,
    state: DeliveryState,
    created_at: Timestamp,
    next_attempt_at: Option<Timestamp>,
    attempts: Vec<AttemptJson>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WebhookAttempt)]
pub(super) struct AttemptJson {
    /// When it ended.
    at: Timestamp,
    /// Of the endpoint's answer.
    status: Option<u16>,
    /// Why there is no answer, or why it counts as a failure.
    error: Option<String>,
    duration_ms: u64,
}

impl From<Attempt> for AttemptJson {
    fn from(Attempt { at, status, error, duration }: Attempt) -> Self {
        Self { at, status, error, duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl From<Delivery> for DeliveryJson {
    fn from(delivery: Delivery) -> Self {
        Self {
            id: delivery.id,
            event_id: delivery.event_id,
            event_type: delivery.event_type,
            inbox_id: delivery.inbox,
            sequence: delivery.sequence,
            state: delivery.state,
            created_at: delivery.created_at,
            next_attempt_at: delivery.next_attempt_at,
            attempts: delivery.attempts.into_iter().map(AttemptJson::from).collect(),
        }
    }
}

/// What is sent again.
#[derive(Serialize, ToSchema)]
#[schema(as = Redelivery)]
pub(super) struct RedeliveryJson {
    /// Deliveries that are due now.
    count: usize,
    /// More were not made due, since as many as may wait are waiting.
    has_more: bool,
}

/// Deliveries of a subscription, the newest first
///
/// With their attempts. They are kept for four days after the event, fewer where the account's limit is reached.
#[utoipa::path(
    get, path = "/api/v1/webhook_subscriptions/{id}/deliveries", tag = "Webhooks",
    params(("id" = WebhookId, Path), DeliveryQuery), responses((status = 200, body = List<DeliveryJson>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    mut parameters: Parameters,
) -> Result<Linked<List<DeliveryJson>>, Problem> {
    let (account, id) = subscription(&caller, &context, &id).await?;
    let state = parameters.take::<DeliveryState>("state");
    let page = parameters.page::<Cursor>();
    parameters.finish()?;
    let store = caller.store(&context);
    store.webhook_get(&account, &id).await?.ok_or_else(Problem::not_found)?;
    let rows = store.webhook_deliveries(&account, &id, state, page.after, page.rows()).await?;
    Ok(page.list(rows, |delivery| delivery.at.to_string(), DeliveryJson::from))
}

/// Sends deliveries again
///
/// One, or those of all events since a time, in the order of the events, also those that have succeeded. They are sent beside new events,
/// which do not wait for them. An account asks for it once a second.
#[utoipa::path(
    post, path = "/api/v1/webhook_subscriptions/{id}/redeliver", tag = "Webhooks",
    params(("id" = WebhookId, Path)), request_body = RedeliverInput, responses((status = 200, body = RedeliveryJson), (status = 409))
)]
pub(super) async fn redeliver(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    body: JsonBody,
) -> Result<Json<RedeliveryJson>, Problem> {
    let (account, id) = subscription(&caller, &context, &id).await?;
    let mut fields = body.object(&caller.spool).await?;
    let is_given = [fields.has("delivery_id"), fields.has("since")];
    let (one, since) = (fields.parsed::<WebhookDeliveryId>("delivery_id"), fields.parsed::<Timestamp>("since"));
    let which = match (one, since) {
        (Some(one), None) => Some(Which::One(one)),
        (None, Some(since)) => Some(Which::Since(since)),
        _ => None,
    };
    if is_given[0] == is_given[1] {
        fields.fault("delivery_id", "give either delivery_id or since");
    }
    fields.finish()?;
    let which = which.ok_or_else(|| Problem::invalid_field("delivery_id", "give either delivery_id or since"))?;
    let made = context.webhooks.redeliver(&account, &id, which).await;
    let (count, has_more) = made.map_err(|error| match error {
        RedeliverError::NotFound => Problem::not_found(),
        RedeliverError::Inactive => Problem::conflict(
            "subscription_inactive",
            "The subscription is not active.",
            "Activate it with `active: true` first.",
            None,
        ),
        RedeliverError::Busy => {
            Problem::too_many("Another redelivery of the account is running, or began less than a second ago.", PAUSE)
        }
        RedeliverError::Store(error) => error.into(),
    })?;
    Ok(Json(RedeliveryJson { count, has_more }))
}
