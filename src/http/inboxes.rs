//! `/api/v1/inboxes`.

use super::HttpContext;
use super::caller::Caller;
use super::fields::{Fields, SMALL};
use super::problem::Problem;
use super::query::{List, Parameters};
use super::reply::Created;
use crate::address::{DomainName, InboxName};
use crate::auth::login::Scope;
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId, InboxId};
use crate::store::inboxes::{CreateInboxError, Inbox, InboxChange, NewInbox};
use crate::store::names::NameLimits;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct InboxJson {
    id: InboxId,
    account_id: AccountId,
    name: InboxName,
    address: String,
    default_domain_id: Option<DomainId>,
    /// File copies of sent messages in the Sent mailbox.
    save_sent: bool,
    /// Total octets of its messages, at most `limits.inbox_size`.
    size: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

fn json(inbox: Inbox, platform: &DomainName) -> InboxJson {
    InboxJson {
        address: inbox.name.at(platform).to_string(),
        id: inbox.id,
        account_id: inbox.account,
        name: inbox.name,
        default_domain_id: inbox.default_domain,
        save_sent: inbox.save_sent,
        size: inbox.size,
        created_at: inbox.created_at,
        updated_at: inbox.updated_at,
    }
}

fn problem(error: CreateInboxError) -> Problem {
    match error {
        CreateInboxError::Exists(id) => Problem::conflict(
            "inbox_exists",
            "The account already has an inbox with this name.",
            "Use the inbox that `existing_id` names, or choose another name.",
            Some(id.as_str()),
        ),
        CreateInboxError::NameTaken => Problem::conflict(
            "inbox_name_taken",
            "This name is taken: inbox names are unique across all accounts and are never reassigned to another account.",
            "Choose another name. At your own domain any local part is available: create an alias there.",
            None,
        ),
        CreateInboxError::AliasHasName(id) => Problem::conflict(
            "alias_has_name",
            "An alias of the account has this local part, so the address would belong to two inboxes.",
            "Choose another name, or delete the alias that `existing_id` names.",
            Some(id.as_str()),
        ),
        CreateInboxError::LimitReached(limit) => Problem::new(
            StatusCode::FORBIDDEN,
            "limit_reached",
            "Limit reached",
            format!("The account has {limit} inboxes, which is the limit."),
            "Delete an inbox, or ask the operator for a higher limit.",
        ),
        CreateInboxError::NamesUsedUp(limit) => Problem::new(
            StatusCode::FORBIDDEN,
            "limit_reached",
            "Limit reached",
            format!("The account has used {limit} inbox names, which is the limit; names of deleted inboxes count."),
            "Use the name of an inbox that the account has deleted, or ask the operator for a higher limit.",
        ),
        CreateInboxError::UnknownAccount => Problem::invalid_field("account_id", "is not the id of an account"),
        CreateInboxError::UnknownDomain => {
            Problem::invalid_field("default_domain_id", "is not the id of a custom domain of the account")
        }
        CreateInboxError::Store(error) => error.into(),
    }
}

/// `POST`: `{"name", "default_domain_id"?, "save_sent"?, "account_id"?}`.
pub(super) async fn create(
    caller: Caller,
    State(context): State<HttpContext>,
    headers: HeaderMap,
    body: Body,
) -> Result<Created<InboxJson>, Problem> {
    caller.whole_account()?;
    let mut fields = Fields::read(&caller.spool, &headers, body, SMALL).await?.unwrapped("inbox");
    let account = fields.parsed("account_id");
    let default_domain = fields.parsed("default_domain_id");
    let save_sent = fields.flag("save_sent");
    let name = fields.required_text("name").and_then(|text| {
        InboxName::claim(&text, &context.config.platform.domain).map_err(|error| fields.fault("name", error)).ok()
    });
    fields.finish()?;
    let account = caller.account(account)?;
    // `finish` has already returned the error of a missing or invalid name.
    let Some(name) = name else { return Err(Problem::invalid_field("name", "is required")) };
    let new = NewInbox { account, name, default_domain, save_sent: save_sent.unwrap_or(true) };
    context.count_creation(&new.account).await?;
    let limits = &context.config.limits;
    let limit = NameLimits::new(limits.inboxes, limits.inbox_names);
    let inbox = caller.store(&context).inbox_create(new, limit, context.clock.now()).await.map_err(problem)?;
    tracing::info!(account = %inbox.account, inbox = %inbox.id, name = %inbox.name, "inbox created");
    Ok(Created {
        location: format!("/api/v1/inboxes/{}", inbox.id),
        body: json(inbox, &context.config.platform.domain),
    })
}

/// `GET`: the inboxes that the token may see.
pub(super) async fn list(
    caller: Caller,
    State(context): State<HttpContext>,
    mut parameters: Parameters,
) -> Result<List<InboxJson>, Problem> {
    let request = parameters.take::<AccountId>("account_id");
    let page = parameters.page::<InboxId>();
    parameters.finish()?;
    let (account, within) = match &caller.principal.scope {
        Scope::Inboxes(account, _) if request.as_ref().is_some_and(|request| request != account) => {
            return Err(Problem::not_found());
        }
        Scope::Inboxes(account, inboxes) => (account.clone(), Some(inboxes.as_slice())),
        _ => (caller.account(request)?, None),
    };
    let rows = caller.store(&context).inbox_list(&account, within, page.after.as_ref(), page.rows()).await?;
    let show = |inbox| json(inbox, &context.config.platform.domain);
    Ok(page.list(rows, |inbox| inbox.id.to_string(), show))
}

/// `GET …/{id}`
pub(super) async fn show(
    caller: Caller,
    State(context): State<HttpContext>,
    Path(id): Path<String>,
) -> Result<Json<InboxJson>, Problem> {
    let inbox = caller.inbox(&context, &id).await?;
    Ok(Json(json(inbox, &context.config.platform.domain)))
}

/// `PATCH …/{id}`: `{"default_domain_id"}`, null for none; `{"save_sent"}`.
pub(super) async fn change(
    caller: Caller,
    State(context): State<HttpContext>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<InboxJson>, Problem> {
    caller.whole_account()?;
    let inbox = caller.inbox(&context, &id).await?;
    let mut fields = Fields::read(&caller.spool, &headers, body, SMALL).await?.unwrapped("inbox");
    let change = InboxChange {
        default_domain: fields.change::<DomainId>("default_domain_id"),
        save_sent: fields.flag("save_sent"),
    };
    fields.finish()?;
    if change == InboxChange::default() {
        return Ok(Json(json(inbox, &context.config.platform.domain)));
    }
    let (store, now) = (caller.store(&context), context.clock.now());
    let changed = store.inbox_change(&inbox.account, &inbox.id, change, now).await.map_err(problem)?;
    let changed = changed.ok_or_else(Problem::not_found)?;
    Ok(Json(json(changed, &context.config.platform.domain)))
}

/// `DELETE …/{id}`: deletes the inbox with its mail and ends its sessions.
pub(super) async fn delete(
    caller: Caller,
    State(context): State<HttpContext>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.whole_account()?;
    let inbox = caller.inbox(&context, &id).await?;
    if !caller.mailboxes(&context).delete_inbox(&inbox.account, &inbox.id).await? {
        return Err(Problem::not_found());
    }
    tracing::info!(account = %inbox.account, inbox = %inbox.id, "inbox deleted");
    Ok(StatusCode::NO_CONTENT)
}
