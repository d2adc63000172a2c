//! `/api/v1/webhook_subscriptions`. What was sent is in [`super::webhook_deliveries`].

use super::caller::Caller;
use super::document::parameters::{AccountQuery, PageQuery};
use super::document::requests::{WebhookInput, WebhookUpdate};
use super::fields::{Fields, JsonBody};
use super::permission::suffice;
use super::problem::Problem;
use super::query::{Linked, Parameters};
use super::reply::{Created, CreatedSecret, Secretive};
use super::version::{IfMatch, Versioned, changed_since};
use super::{Context, HttpContext, Id};
use crate::auth::login::Permissions;
use crate::clock::Timestamp;
use crate::events::PublicType;
use crate::id::{AccountId, WebhookId};
use crate::public_events::needed;
use crate::store::webhooks::{ChangeWebhookError, Webhook, WebhookPatch};
use crate::webhooks::{PAUSE, Tested, WebhookError, WithSecret};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = WebhookSubscription)]
pub(super) struct WebhookJson {
    id: WebhookId,
    url: String,
    events: Vec<PublicType>,
    /// False: nothing is sent, by its owner's wish or since it was disabled.
    active: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    /// The first failed attempt after the last success.
    failing_since: Option<Timestamp>,
    /// When deliveries to it were stopped: after days without a success, or since it answered 410.
    disabled_at: Option<Timestamp>,
    disabled_reason: Option<String>,
    /// Until then, deliveries are signed with the secret before the last rotation too.
    previous_secret_expires_at: Option<Timestamp>,
}

impl WebhookJson {
    fn versioned(webhook: Webhook, now: Timestamp) -> Versioned<Self> {
        Versioned { version: webhook.updated_at, body: Self::of(webhook, now) }
    }

    fn of(webhook: Webhook, now: Timestamp) -> Self {
        let (disabled_at, disabled_reason) = webhook.disabled.map(|disabled| (disabled.at, disabled.reason)).unzip();
        Self {
            id: webhook.id,
            url: webhook.url,
            events: webhook.events,
            active: webhook.is_active,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
            failing_since: webhook.failing_since,
            disabled_at,
            disabled_reason,
            previous_secret_expires_at: webhook.previous_until.filter(|until| now < *until),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = WebhookSubscriptionWithSecret)]
pub(super) struct WithSecretJson {
    #[serde(flatten)]
    webhook: WebhookJson,
    /// Signs the deliveries; shown this once.
    secret: String,
}

impl WithSecretJson {
    fn of(WithSecret { webhook, secret }: WithSecret, now: Timestamp) -> Self {
        Self { webhook: WebhookJson::of(webhook, now), secret: secret.reveal().to_owned() }
    }
}

/// What the endpoint has answered to a test.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookTest)]
pub(super) struct TestJson {
    /// It has answered with a status from 200 to 299.
    success: bool,
    /// Of its answer.
    status: Option<u16>,
    /// Why there is no answer, or why it counts as a failure.
    error: Option<String>,
    duration_ms: u64,
}

impl From<Tested> for TestJson {
    fn from(tested: Tested) -> Self {
        let Tested { is_success, status, error, duration } = tested;
        Self {
            success: is_success,
            status,
            error,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

fn problem(error: WebhookError) -> Problem {
    match error {
        WebhookError::NotFound => Problem::not_found(),
        WebhookError::LimitReached(limit) => Problem::new(
            StatusCode::FORBIDDEN,
            "limit_reached",
            "Limit reached",
            format!("The account has {limit} webhook subscriptions, which is the limit."),
            "Delete a subscription, or ask the operator for a higher limit.",
        ),
        WebhookError::Busy => Problem::too_many(
            "Another test of a webhook subscription is running, or began less than a second ago.",
            PAUSE,
        ),
        WebhookError::Secret(error) => {
            tracing::error!(listener = "http", error, "cannot make or open a webhook secret");
            Problem::unavailable()
        }
        WebhookError::Store(error) => error.into(),
    }
}

/// The fields of a body.
struct Wanted {
    url: Option<String>,
    events: Option<Vec<PublicType>>,
    is_active: Option<bool>,
}

impl Wanted {
    fn of(fields: &mut Fields, url: Option<String>, context: &HttpContext) -> Self {
        if let Some(error) = url.as_deref().and_then(|url| context.webhooks.check_url(url).err()) {
            fields.fault("url", error);
        }
        let events = fields.optional_list("events").map(|list| {
            let mut events = Vec::new();
            for (at, value) in list.iter().enumerate() {
                match value.as_str().unwrap_or_default().parse::<PublicType>() {
                    Ok(one) if events.contains(&one) => {}
                    Ok(one) => events.push(one),
                    Err(error) => fields.fault(&format!("events[{at}]"), error),
                }
            }
            if list.is_empty() {
                fields.fault(
                    "events",
                    "must name at least one type: delete the subscription, or deactivate it, to get none",
                );
            }
            events
        });
        Self { url, events, is_active: fields.flag("active") }
    }
}

/// Events say what is in emails and domains: a token cannot subscribe to what it may not read.
fn may_read(caller: &Caller, events: &[PublicType]) -> Result<(), Problem> {
    suffice(caller.principal.permissions, events.iter().map(|kind| needed(*kind)).collect::<Permissions>())
}

/// Subscribes an endpoint to events
///
/// The secret is shown this once. A token with a list of permissions needs those that reading the emails, domains or inboxes of the
/// events needs, too.
#[utoipa::path(
    post, path = "/api/v1/webhook_subscriptions", tag = "Webhooks", request_body = WebhookInput,
    responses((status = 201, body = WithSecretJson))
)]
pub(super) async fn create(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<CreatedSecret<WithSecretJson>, Problem> {
    caller.whole_account()?;
    let mut fields = body.fields(&caller.spool, "webhook_subscription").await?;
    let account = fields.parsed("account_id");
    let url = fields.required_text("url");
    let wanted = Wanted::of(&mut fields, url, &context);
    fields.finish()?;
    let account = caller.account(account)?;
    let (url, events) = (wanted.url.unwrap_or_default(), wanted.events.unwrap_or_else(|| PublicType::ALL.to_vec()));
    may_read(&caller, &events)?;
    if caller.operator().is_ok() && context.store.account_get(&account).await?.is_none() {
        return Err(Problem::invalid_field("account_id", "is not the id of an account"));
    }
    let made =
        context.webhooks.create(&account, url, events, wanted.is_active.unwrap_or(true)).await.map_err(problem)?;
    let location = format!("/api/v1/webhook_subscriptions/{}", made.webhook.id);
    Ok(CreatedSecret(Created { location, body: WithSecretJson::of(made, context.clock.now()) }))
}

/// Webhook subscriptions of the account
#[utoipa::path(
    get, path = "/api/v1/webhook_subscriptions", tag = "Webhooks", params(AccountQuery, PageQuery),
    responses((status = 200, body = Vec<WebhookJson>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<Vec<WebhookJson>>, Problem> {
    let request = parameters.take::<AccountId>("account_id");
    let page = parameters.page::<WebhookId>();
    parameters.finish()?;
    let account = caller.account(request)?;
    let rows = caller.store(&context).webhook_list(&account, page.after.as_ref(), page.rows()).await?;
    let now = context.clock.now();
    Ok(page.list(rows, |webhook| webhook.id.to_string(), |webhook| WebhookJson::of(webhook, now)).array())
}

/// The id in a path and the account that owns the subscription, if the caller may see it.
pub(super) async fn subscription(
    caller: &Caller,
    context: &HttpContext,
    id: &str,
) -> Result<(AccountId, WebhookId), Problem> {
    let own = caller.whole_account()?;
    let id: WebhookId = id.parse().map_err(|_| Problem::not_found())?;
    let account = match own {
        Some(own) => own.clone(),
        None => context.store.account_of_webhook(&id).await?.ok_or_else(Problem::not_found)?,
    };
    Ok((account, id))
}

/// A webhook subscription
#[utoipa::path(
    get, path = "/api/v1/webhook_subscriptions/{id}", tag = "Webhooks", params(("id" = WebhookId, Path)),
    responses((status = 200, body = WebhookJson))
)]
pub(super) async fn show(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
) -> Result<Versioned<WebhookJson>, Problem> {
    let (account, id) = subscription(&caller, &context, &id).await?;
    let found = caller.store(&context).webhook_get(&account, &id).await?;
    found.map(|webhook| WebhookJson::versioned(webhook, context.clock.now())).ok_or_else(Problem::not_found)
}

/// Changes what is given
///
/// What is left out stays. Deactivating ends the waiting deliveries; activating sends events from then on, and enables a subscription
/// that was disabled.
#[utoipa::path(
    method(patch, put), path = "/api/v1/webhook_subscriptions/{id}", tag = "Webhooks",
    params(("id" = WebhookId, Path)), request_body = WebhookUpdate,
    responses((status = 200, body = WebhookJson), (status = 412))
)]
pub(super) async fn change(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    IfMatch(versions): IfMatch,
    body: JsonBody,
) -> Result<Versioned<WebhookJson>, Problem> {
    let (account, id) = subscription(&caller, &context, &id).await?;
    let store = caller.store(&context);
    let current = store.webhook_get(&account, &id).await?.ok_or_else(Problem::not_found)?;
    let mut fields = body.fields(&caller.spool, "webhook_subscription").await?;
    let url = fields.text("url");
    let Wanted { url, events, is_active } = Wanted::of(&mut fields, url, &context);
    fields.finish()?;
    // Another URL gets what is in the emails, too: also what the subscription had before, which can be sent again.
    let of: Vec<PublicType> = current.events.iter().chain(events.iter().flatten()).copied().collect();
    may_read(&caller, &of)?;
    let now = context.clock.now();
    let patch = WebhookPatch { url, events, is_active, versions };
    let changed = store.webhook_change(&account, &id, patch, now).await;
    let webhook = changed.map_err(|error| match error {
        ChangeWebhookError::NotFound => Problem::not_found(),
        ChangeWebhookError::Changed => changed_since(),
        ChangeWebhookError::Store(error) => error.into(),
    })?;
    context.webhooks.follow(&webhook);
    Ok(WebhookJson::versioned(webhook, now))
}

/// Deletes a subscription
///
/// Its waiting deliveries end.
#[utoipa::path(
    delete, path = "/api/v1/webhook_subscriptions/{id}", tag = "Webhooks", params(("id" = WebhookId, Path)),
    responses((status = 204))
)]
pub(super) async fn delete(caller: Caller, State(context): Context, Path(id): Id) -> Result<StatusCode, Problem> {
    let (account, id) = subscription(&caller, &context, &id).await?;
    match caller.store(&context).webhook_delete(&account, &id, context.clock.now()).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found()),
    }
}

/// Sends an event of type `test`
///
/// At once, and says what the endpoint has answered. It is signed as all deliveries are, and not recorded as one.
#[utoipa::path(
    post, path = "/api/v1/webhook_subscriptions/{id}/test", tag = "Webhooks", params(("id" = WebhookId, Path)),
    responses((status = 200, body = TestJson))
)]
pub(super) async fn test(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    body: JsonBody,
) -> Result<Json<TestJson>, Problem> {
    let (account, id) = subscription(&caller, &context, &id).await?;
    body.optional(&caller.spool).await?.finish()?;
    let tested = context.webhooks.test(&account, &id).await.map_err(problem)?;
    Ok(Json(tested.into()))
}

/// Makes a new secret
///
/// It is shown this once. For 24 hours `webhook-signature` also has a signature by the secret before it; `X-Signature` is by the
/// new one at once.
#[utoipa::path(
    post, path = "/api/v1/webhook_subscriptions/{id}/rotate_secret", tag = "Webhooks",
    params(("id" = WebhookId, Path)), responses((status = 200, body = WithSecretJson))
)]
pub(super) async fn rotate_secret(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    body: JsonBody,
) -> Result<Secretive<WithSecretJson>, Problem> {
    let (account, id) = subscription(&caller, &context, &id).await?;
    body.optional(&caller.spool).await?.finish()?;
    let rotated = context.webhooks.rotate_secret(&account, &id).await.map_err(problem)?;
    let of = Some(rotated.webhook.id.to_string());
    Ok(Secretive { of, body: WithSecretJson::of(rotated, context.clock.now()) })
}
