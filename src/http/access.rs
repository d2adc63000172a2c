//! `/api/v1/access_entries`: allow and block lists of an account and its inboxes.

use super::caller::Caller;
use super::document::parameters::AccessQuery;
use super::document::requests::AccessEntryInput;
use super::fields::JsonBody;
use super::problem::Problem;
use super::query::{Linked, List, Parameters};
use super::reply::Created;
use super::{Context, Id};
use crate::access::{Action, Direction};
use crate::clock::Timestamp;
use crate::id::{AccessEntryId, AccountId, InboxId};
use crate::store::access::{AccessEntry, AccessFilter, CreateEntryError};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[schema(as = AccessEntry)]
pub(super) struct EntryJson {
    id: AccessEntryId,
    /// `null`: of all inboxes of the account.
    inbox_id: Option<InboxId>,
    direction: Direction,
    action: Action,
    /// An address, a domain with those below it, or `*`.
    pattern: String,
    created_at: Timestamp,
}

impl From<AccessEntry> for EntryJson {
    fn from(entry: AccessEntry) -> Self {
        let AccessEntry { id, inbox, direction, action, pattern, created_at } = entry;
        Self { id, inbox_id: inbox, direction, action, pattern: pattern.to_string(), created_at }
    }
}

fn problem(error: CreateEntryError) -> Problem {
    match error {
        CreateEntryError::UnknownInbox => Problem::invalid_field("inbox_id", "the account has no such inbox"),
        CreateEntryError::Exists(id) => Problem::conflict(
            "entry_exists",
            "The list already has this entry.",
            "Use the entry that `existing_id` names.",
            Some(id.as_str()),
        ),
        CreateEntryError::LimitReached(limit) => Problem::new(
            StatusCode::FORBIDDEN,
            "limit_reached",
            "Limit reached",
            format!("The account has {limit} entries in its lists, which is the limit."),
            "Remove an entry, or ask the operator for a higher limit.",
        ),
        CreateEntryError::Store(error) => error.into(),
    }
}

/// Adds an entry to a list
#[utoipa::path(
    post, path = "/api/v1/access_entries", tag = "Allow and block lists",
    request_body = AccessEntryInput, responses((status = 201, body = EntryJson))
)]
pub(super) async fn create(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<Created<EntryJson>, Problem> {
    caller.whole_account()?;
    let mut fields = body.fields(&caller.spool, "access_entry").await?;
    let (account, inbox) = (fields.parsed("account_id"), fields.parsed("inbox_id"));
    let (direction, action, pattern) =
        (fields.required("direction"), fields.required("action"), fields.required("pattern"));
    fields.finish()?;
    let account = caller.account(account)?;
    // `finish` has already returned the error of a missing or invalid one.
    let (Some(direction), Some(action), Some(pattern)) = (direction, action, pattern) else {
        return Err(Problem::invalid_field("pattern", "is required"));
    };
    let entry =
        AccessEntry { id: AccessEntryId::new(), inbox, direction, action, pattern, created_at: context.clock.now() };
    let limit = context.config.limits.access_entries;
    caller.store(&context).access_add(&account, entry.clone(), limit).await.map_err(problem)?;
    Ok(Created { location: format!("/api/v1/access_entries/{}", entry.id), body: entry.into() })
}

/// The entries of an account's lists
#[utoipa::path(
    get, path = "/api/v1/access_entries", tag = "Allow and block lists", params(AccessQuery),
    responses((status = 200, body = List<EntryJson>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<List<EntryJson>>, Problem> {
    caller.whole_account()?;
    let account = parameters.take::<AccountId>("account_id");
    let filter = AccessFilter {
        inbox: parameters.take("inbox"),
        direction: parameters.take("direction"),
        action: parameters.take("action"),
    };
    let page = parameters.page::<AccessEntryId>();
    parameters.finish()?;
    let account = caller.account(account)?;
    let rows = caller.store(&context).access_list(&account, filter, page.after.as_ref(), page.rows()).await?;
    Ok(page.list(rows, |entry| entry.id.to_string(), EntryJson::from))
}

/// Removes an entry
#[utoipa::path(
    delete, path = "/api/v1/access_entries/{id}", tag = "Allow and block lists", params(("id" = AccessEntryId, Path)),
    responses((status = 204))
)]
pub(super) async fn delete(caller: Caller, State(context): Context, Path(id): Id) -> Result<StatusCode, Problem> {
    let own = caller.whole_account()?;
    let id: AccessEntryId = id.parse().map_err(|_| Problem::not_found())?;
    let store = caller.store(&context);
    let account = match own {
        Some(own) => own.clone(),
        None => store.account_of_access_entry(&id).await?.ok_or_else(Problem::not_found)?,
    };
    match store.access_remove(&account, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found()),
    }
}
