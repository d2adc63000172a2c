//! Drafts that begin as a reply or a forward, or as an email that was to leave later.

use super::{Parts, WholeJson, draft_of, read, shown, write};
use crate::http::caller::Caller;
use crate::http::compose::Mailbox;
use crate::http::document::requests::{DraftKind, DraftOf};
use crate::http::emails::answers::begun;
use crate::http::emails::{find, not_scheduled, problem};
use crate::http::fields::JsonBody;
use crate::http::problem::Problem;
use crate::http::reply::Created;
use crate::http::send::login_of;
use crate::http::version::IfMatch;
use crate::http::{Context, Id};
use crate::id::MessageId;
use crate::store::sent::Status;
use crate::store::version::Versions;
use axum::extract::{Path, State};

/// Begins a reply or a forward as a draft
///
/// It is addressed, and quotes the email or has it below with its attachments. It is sent like any other draft. A reply to an automatic
/// email, to a list or to the inbox itself is 409, unless `force` is true: a person will send it.
#[utoipa::path(
    post, path = "/api/v1/emails/{id}/drafts", tag = "Drafts", params(("id" = MessageId, Path)),
    request_body = DraftOf, responses((status = 201, body = WholeJson), (status = 409), (status = 507))
)]
pub(in crate::http) async fn begin(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    body: JsonBody,
) -> Result<Created<WholeJson>, Problem> {
    let (inbox, message) = find(&caller, &context, &id).await?;
    let mut fields = body.object(&caller.spool).await?;
    let kind = fields.required::<DraftKind>("kind");
    let force = fields.flag("force").unwrap_or(false);
    fields.finish()?;
    // `finish` has already returned the error of a missing or invalid one.
    let Some(kind) = kind else { return Err(Problem::invalid_field("kind", "is required")) };
    let (mut addressed, content) = begun(&caller, &context, &inbox, &message, kind, force).await?;
    // It leaves under the address that the email came for, if that is still one of the inbox.
    if let Ok(address) = message.rcpt_to.parse()
        && let Ok(login) = login_of(&context, &caller, &inbox, Some(address)).await
    {
        addressed.from = Some(Mailbox::of(login.address));
    }
    let id = write(&caller, &context, &inbox, None, Parts { addressed, content }).await?;
    Ok(draft_of(shown(&caller, &context, &inbox, &id).await?.body, &id))
}

/// Cancels an email that is to leave later, and makes it a draft again
#[utoipa::path(
    post, path = "/api/v1/emails/{id}/cancel", tag = "Drafts", params(("id" = MessageId, Path)),
    responses((status = 201, body = WholeJson), (status = 409), (status = 412), (status = 507))
)]
pub(in crate::http) async fn cancel(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    IfMatch(versions): IfMatch,
) -> Result<Created<WholeJson>, Problem> {
    let (inbox, message) = find(&caller, &context, &id).await?;
    let (store, mailboxes) = (caller.store(&context), caller.mailboxes(&context));
    let sent = store.sent_email(&message.id, context.clock.now()).await?;
    if sent.is_none_or(|sent| sent.status() != Status::Scheduled) {
        return Err(not_scheduled());
    }
    let parts = read(&caller, &context, &inbox, &message, |raw, readable| Parts::read(&raw, readable)).await?;
    // The draft is there before the email is cancelled, so that a fault between the two loses nothing.
    let draft = write(&caller, &context, &inbox, None, parts).await?;
    if let Err(error) = mailboxes.cancel_email(&inbox.id, &message.id, versions).await {
        mailboxes.remove_email(&inbox.id, &draft, Versions::default()).await.map_err(problem)?;
        return Err(problem(error));
    }
    Ok(draft_of(shown(&caller, &context, &inbox, &draft).await?.body, &draft))
}
