//! `POST /api/v1/emails`: puts a message into an inbox as if it had come in, without sending it: for imports and tests.

use crate::address::{Address, ReversePath};
use crate::clock::Timestamp;
use crate::envelope::Recipients;
use crate::http::Context;
use crate::http::body::no_room;
use crate::http::caller::Caller;
use crate::http::compose::Content;
use crate::http::document::requests::IngestInput;
use crate::http::fields::{Fields, JsonBody};
use crate::http::problem::Problem;
use crate::http::send::{Addressed, JSON_FACTOR, inbox_disabled, inbox_full, sending_inbox};
use crate::id::MessageId;
use crate::message;
use crate::resources::Owner;
use crate::resources::spool::{PATIENCE, STORED_FACTOR};
use crate::store::StoreError;
use crate::store::deliver::LocalDelivery;
use crate::store::quota::DeliverError;
use crate::store::routing::Route;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

/// Where mail for the inbox is refused.
const DISABLED: &str = "The inbox is disabled, so it takes no mail.";

/// A message that was put into an inbox. `job` and `id` are its id.
#[derive(Serialize, ToSchema)]
#[schema(as = IngestResult)]
pub(in crate::http) struct Ingested {
    message: &'static str,
    job: MessageId,
    id: MessageId,
}

/// Puts a message into an inbox, as if it had come in
///
/// For imports and tests: nothing is sent.
#[utoipa::path(
    post, path = "/api/v1/emails", tag = "Emails", request_body = IngestInput,
    responses((status = 201, body = Ingested), (status = 507))
)]
pub(in crate::http) async fn ingest(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<(StatusCode, Json<Ingested>), Problem> {
    let limits = &context.config.limits;
    let body = body.octets(&caller.spool, limits.message_size.saturating_mul(JSON_FACTOR)).await?;
    let mut work = caller.spool.claim();
    work.wait_to_grow(body.len().saturating_mul(STORED_FACTOR), PATIENCE).await.map_err(no_room)?;
    let mut fields = Fields::parse(&body)?.unwrapped("email");
    let named = fields.text("inbox_id");
    let (from, raw) = if fields.has("raw") {
        let raw = message::line_ends_as_crlf(fields.required_text("raw").unwrap_or_default().as_bytes());
        if message::has_nul(&raw) {
            fields.fault("raw", message::NUL_REFUSED);
        }
        let from = message::addresses_of(message::split(&raw).0, "From").flatten().next();
        (from, raw)
    } else {
        parts(&mut fields)
    };
    fields.finish()?;
    if raw.len() > limits.message_size {
        return Err(Problem::too_large(limits.message_size));
    }
    let inbox = sending_inbox(&caller, &context, named).await?;
    let platform = &context.config.platform.domain;
    let address = inbox.name.at(platform);
    let recipient = match context.store.route(platform, &address, context.clock.now()).await? {
        Route::Inbox(recipient) => recipient,
        Route::Disabled => return Err(inbox_disabled(DISABLED)),
        _ => return Err(Problem::not_found()),
    };
    let raw = Bytes::from(raw);
    let (header, body) = message::split(&raw);
    let mail_from = from.map_or(ReversePath::Null, ReversePath::Mailbox);
    let recipients = Recipients::new(vec![recipient]).ok_or_else(Problem::not_found)?;
    let received_at = Timestamp::real();
    let delivery = LocalDelivery { mail_from, recipients, header: header.to_vec(), received_at };
    let mailboxes = context.mailboxes.for_owner(Owner::Account(inbox.account));
    let delivered = mailboxes.deliver(delivery, raw.slice_ref(body)).await.map_err(problem)?;
    let id = delivered.into_iter().next().map(|delivered| delivered.id).ok_or_else(Problem::unavailable)?;
    Ok((StatusCode::CREATED, Json(Ingested { message: "Email accepted", job: id.clone(), id })))
}

/// A message of the parts, with the Date that it is given.
fn parts(fields: &mut Fields) -> (Option<Address>, Vec<u8>) {
    let Addressed { from, to, cc, bcc } = Addressed::read(fields);
    let mut content = Content::read(fields);
    if !content.has_body() {
        content.text = Some(String::new());
    }
    let address = from.as_ref().map(|from| from.address.clone());
    let Some(from) = from.or_else(|| to.first().cloned()) else {
        fields.fault("from", "is required, or raw");
        return (None, Vec::new());
    };
    let mut raw = format!("Date: {}\r\n", Timestamp::real().to_rfc5322()).into_bytes();
    raw.extend(content.write(&from, &to, &cc, &bcc));
    (address, raw)
}

fn problem(error: DeliverError) -> Problem {
    match error {
        DeliverError::Full(_) => inbox_full("The inbox is full.".to_owned(), "Delete messages of the inbox."),
        DeliverError::Store(StoreError::InboxDisabled(_)) => inbox_disabled(DISABLED),
        DeliverError::Store(error) => error.into(),
    }
}
