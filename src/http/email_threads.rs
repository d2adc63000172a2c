//! `/api/v1/email_threads`: the emails of an inbox that belong together.

use super::caller::Caller;
use super::document::parameters::{AccountQuery, InboxQuery, PageQuery};
use super::emails::{self, EmailJson};
use super::problem::Problem;
use super::query::{Linked, List, Meta, Parameters};
use super::{Context, Id};
use crate::auth::login::Scope;
use crate::clock::Timestamp;
use crate::id::{AccountId, InboxId, MessageId, ThreadId};
use crate::resources::Owner;
use crate::store::emails::EmailFilter;
use crate::store::threads::{Thread, ThreadsOf};
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

/// Threads of a page.
const PER_PAGE: usize = 50;
/// Emails that are shown with a thread at most: the newest.
const EMAILS: usize = 100;

#[derive(Serialize, ToSchema)]
#[schema(as = EmailThread)]
pub(super) struct ThreadJson {
    id: ThreadId,
    thread_id: ThreadId,
    inbox_id: InboxId,
    /// Of its first email.
    subject: String,
    participants: Vec<String>,
    email_count: u64,
    last_email_id: MessageId,
    last_email_at: Timestamp,
}

impl From<Thread> for ThreadJson {
    fn from(Thread { id, inbox, subject, participants, last, emails }: Thread) -> Self {
        Self {
            thread_id: id.clone(),
            id,
            inbox_id: inbox,
            subject,
            participants,
            email_count: emails,
            last_email_at: last.made_at(),
            last_email_id: last,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = WholeEmailThread)]
pub(super) struct WholeThreadJson {
    #[serde(flatten)]
    thread: ThreadJson,
    /// The newest first.
    emails: Vec<EmailJson>,
}

/// Threads, the newest first
#[utoipa::path(
    get, path = "/api/v1/email_threads", tag = "Threads", params(InboxQuery, AccountQuery, PageQuery),
    responses((status = 200, body = List<ThreadJson>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<List<ThreadJson>>, Problem> {
    let inbox = parameters.take::<String>("inbox");
    let account = parameters.take::<AccountId>("account_id");
    let below = parameters.take::<MessageId>("cursor");
    let per_page = emails::per_page(&mut parameters, PER_PAGE);
    let target = parameters.target();
    parameters.finish()?;
    let of = match (&inbox, &caller.principal.scope) {
        (Some(inbox), _) => ThreadsOf::Inboxes(vec![caller.inbox(&context, inbox).await?.id]),
        (None, Scope::Inboxes(_, inboxes)) => ThreadsOf::Inboxes(inboxes.clone()),
        (None, _) => ThreadsOf::Account(caller.account(account)?),
    };
    let mut found = caller.store(&context).threads(of, below, per_page.saturating_add(1)).await?;
    let has_more = found.len() > per_page;
    found.truncate(per_page);
    let next_cursor = found.last().filter(|_| has_more).map(|thread| thread.last.clone());
    let meta = Meta { next_cursor: next_cursor.as_ref().map(ToString::to_string) };
    let list = List { data: found.into_iter().map(Into::into).collect(), meta };
    Ok(Linked::new(list, &target, next_cursor.as_ref()))
}

/// A thread with its newest hundred emails
#[utoipa::path(
    get, path = "/api/v1/email_threads/{id}", tag = "Threads", params(("id" = ThreadId, Path)),
    responses((status = 200, body = WholeThreadJson))
)]
pub(super) async fn show(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
) -> Result<Json<WholeThreadJson>, Problem> {
    let id: ThreadId = id.parse().map_err(|_| Problem::not_found())?;
    let store = caller.store(&context);
    let thread = store.thread(&id).await?.ok_or_else(Problem::not_found)?;
    let inbox = caller.inbox(&context, thread.inbox.as_str()).await?;
    let filter = EmailFilter { thread: Some(id), ..EmailFilter::default() };
    let page = store.emails(vec![inbox.id], filter, EMAILS).await?;
    let emails = emails::show_all(&caller, &context, Owner::Account(inbox.account), page.rows).await?;
    Ok(Json(WholeThreadJson { thread: thread.into(), emails }))
}
