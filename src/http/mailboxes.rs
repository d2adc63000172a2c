//! `GET /api/v1/inboxes/{id}/mailboxes`: how many emails are in each mailbox of an inbox.

use super::caller::Caller;
use super::emails::labels::name_of;
use super::problem::Problem;
use super::query::Parameters;
use super::{Context, Id};
use crate::id::InboxId;
use crate::store::mailboxes::{MailboxCounts, MailboxKind};
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = Mailbox)]
pub(super) struct MailboxJson {
    name: String,
    /// The label of the emails in it; null for a mailbox that a mail program made.
    label: Option<&'static str>,
    emails: u32,
    unread: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MailboxList)]
pub(super) struct MailboxesJson {
    data: Vec<MailboxJson>,
}

impl From<MailboxCounts> for MailboxJson {
    fn from(MailboxCounts { name, messages, unseen }: MailboxCounts) -> Self {
        let label = MailboxKind::of(&name.name, name.special_use.as_deref()).map(name_of);
        Self { name: name.name, label, emails: messages, unread: unseen }
    }
}

/// Mailboxes of an inbox, with their emails counted
#[utoipa::path(
    get, path = "/api/v1/inboxes/{id}/mailboxes", tag = "Emails", params(("id" = InboxId, Path)),
    responses((status = 200, body = MailboxesJson))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    parameters: Parameters,
) -> Result<Json<MailboxesJson>, Problem> {
    parameters.finish()?;
    let inbox = caller.inbox(&context, &id).await?;
    let counts = caller.store(&context).mailbox_counts(&inbox.id).await?;
    Ok(Json(MailboxesJson { data: counts.into_iter().map(Into::into).collect() }))
}
