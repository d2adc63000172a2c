//! `/api/v1/inboxes`.

use super::caller::Caller;
use super::client_id::{client_id, client_id_used};
use super::document::parameters::{AccountQuery, EmailQuery, PageQuery};
use super::document::requests::{InboxInput, InboxUpdate};
use super::emails::{self, EmailJson, EmailList};
use super::fields::{Fields, JsonBody};
use super::inbox_view::{AddressJson, InboxJson};
use super::problem::Problem;
use super::query::{Linked, List, Meta, Parameters};
use super::reply::{Created, put};
use super::version::{IfMatch, Versioned, changed_since, etag};
use super::{Context, HttpContext, Id};
use crate::address::{DomainName, InboxName, InboxNameError};
use crate::auth::login::{Permissions, Scope};
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId, InboxId};
use crate::store::Store;
use crate::store::aliases::AliasName;
use crate::store::inbox_addresses::AtDomain;
use crate::store::inboxes::{CreateInboxError, Inbox, InboxChange, NewInbox};
use crate::store::names::NameLimits;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Days that messages may stay in Trash or Junk.
const MAX_DAYS: u16 = 3650;

/// `domain_field` is the field that names a custom domain.
fn problem(error: CreateInboxError, domain_field: &str) -> Problem {
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
        CreateInboxError::Changed => changed_since(),
        // `create` has returned it if the name is the same.
        CreateInboxError::Made(made) => client_id_used(made.id.as_str()),
        CreateInboxError::TooLong => Problem::invalid_field("name", "makes an address of more than 254 octets"),
        CreateInboxError::AliasLimitReached(limit) => Problem::new(
            StatusCode::FORBIDDEN,
            "limit_reached",
            "Limit reached",
            format!("The account has {limit} aliases, which is the limit, and the inbox needs one."),
            "Delete an alias, or ask the operator for a higher limit.",
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
            Problem::invalid_field(domain_field, "is not the id of a custom domain of the account")
        }
        CreateInboxError::Store(error) => error.into(),
    }
}

/// Random endings of the names that are tried for an inbox at a custom domain.
const SUFFIXES: usize = 8;
const SUFFIX_LENGTH: usize = 4;

/// The name of a new inbox, and its address at a custom domain.
fn names(fields: &mut Fields, platform: &DomainName) -> Option<(InboxName, Option<AtDomain>)> {
    let domain = fields.parsed("custom_domain_id");
    let text = fields.required_text("name")?;
    let Some(domain) = domain else {
        let name = InboxName::claim(&text, platform).map_err(|error| fields.fault("name", error));
        return name.ok().map(|name| (name, None));
    };
    let Some(local) = AliasName::parse(&text) else {
        fields.fault("name", "must be the local part of an address, without quotes and without `+`");
        return None;
    };
    // The last characters of an id are random.
    let suffix = || InboxId::new().as_str().chars().rev().take(SUFFIX_LENGTH).collect();
    let suffixes: Vec<String> = std::iter::repeat_with(suffix).take(SUFFIXES).collect();
    let mut names = InboxName::candidates(local.as_str(), &suffixes, platform).into_iter();
    let Some(name) = names.next() else {
        fields.fault("name", InboxNameError::Reserved);
        return None;
    };
    Some((name, Some(AtDomain { domain, local, other_names: names.collect() })))
}

/// Creates an inbox
#[utoipa::path(
    post, path = "/api/v1/inboxes", tag = "Inboxes", request_body = InboxInput,
    responses((status = 201, body = InboxJson))
)]
pub(super) async fn create(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<Created<InboxJson>, Problem> {
    caller.whole_account()?;
    let platform = &context.config.platform.domain;
    let mut fields = body.fields(&caller.spool, "inbox").await?;
    let account = fields.parsed("account_id");
    let default_domain = fields.parsed("default_domain_id");
    let save_sent = fields.flag("save_sent");
    let client_id = client_id(&mut fields);
    let names = names(&mut fields, platform);
    if default_domain.is_some() && matches!(names, Some((_, Some(_)))) {
        fields
            .fault("default_domain_id", "must be left out where custom_domain_id is given, which is the default then");
    }
    fields.finish()?;
    let account = caller.account(account)?;
    // `finish` has already returned the error of a missing or invalid name.
    let Some((name, at)) = names else { return Err(Problem::invalid_field("name", "is required")) };
    let local = at.as_ref().map_or_else(|| name.to_string(), |at| at.local.as_str().to_owned());
    let new = NewInbox { account, name, default_domain, save_sent: save_sent.unwrap_or(true), client_id };
    context.count_creation(&caller, &new.account).await?;
    let (store, limits, now) = (caller.store(&context), &context.config.limits, context.clock.now());
    let limit = NameLimits::new(limits.inboxes, limits.inbox_names);
    let domain_field = if at.is_some() { "custom_domain_id" } else { "default_domain_id" };
    let created = match at {
        None => store.inbox_create(new, limit, now).await,
        Some(at) => store.inbox_create_at(new, at, limit, limits.aliases, now).await,
    };
    let (inbox, is_new) = match created {
        Ok(inbox) => (inbox, true),
        Err(CreateInboxError::Made(inbox)) => (*inbox, false),
        Err(error) => return Err(problem(error, domain_field)),
    };
    if is_new {
        tracing::info!(account = %inbox.account, inbox = %inbox.id, name = %inbox.name, "inbox created");
    }
    let id = inbox.id.clone();
    let shown = InboxJson::of(&context, &store, inbox).await?;
    // A client id that was used for another name.
    let is_at = |address: &AddressJson| address.address.rsplit_once('@').is_some_and(|(part, _)| part == local);
    if !is_new && !shown.addresses.iter().any(is_at) {
        return Err(client_id_used(id.as_str()));
    }
    Ok(Created { location: format!("/api/v1/inboxes/{id}"), body: shown })
}

/// Inboxes that the token may see
#[utoipa::path(
    get, path = "/api/v1/inboxes", tag = "Inboxes", params(AccountQuery, PageQuery),
    responses((status = 200, body = List<InboxJson>))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Linked<List<InboxJson>>, Problem> {
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
    let store = caller.store(&context);
    let rows = store.inbox_list(&account, within, page.after.as_ref(), page.rows()).await?;
    let addresses = store.inbox_addresses(&account, rows.iter().map(|inbox| inbox.id.clone()).collect()).await?;
    let show = |inbox| InboxJson::new(inbox, &addresses, &context.config.platform.domain);
    Ok(page.list(rows, |inbox| inbox.id.to_string(), show))
}

/// A page of emails, for the document: with a token that may not read them it is left out.
#[derive(ToSchema)]
#[expect(dead_code, reason = "read by the derive alone")]
struct InboxPage {
    #[schema(required = false)]
    emails: Vec<EmailJson>,
    /// The same as `emails`.
    #[schema(required = false)]
    data: Vec<EmailJson>,
    #[schema(required = false)]
    meta: Meta,
}

/// An inbox with its newest emails, if the token may read them.
#[derive(Serialize, ToSchema)]
#[schema(as = InboxEmails)]
struct InboxWithEmails {
    #[serde(flatten)]
    inbox: InboxJson,
    #[serde(flatten)]
    #[schema(value_type = InboxPage)]
    list: Option<EmailList>,
}

/// An inbox with its newest emails
///
/// Without the emails where the token may not read them.
#[utoipa::path(
    get, path = "/api/v1/inboxes/{id}", tag = "Inboxes", params(("id" = InboxId, Path), EmailQuery),
    responses((status = 200, body = InboxWithEmails))
)]
pub(super) async fn show(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let page = emails::Page::take(&mut parameters, context.config.limits.keyword_length);
    let target = parameters.target();
    parameters.finish()?;
    let inbox = caller.inbox(&context, &id).await?;
    let (mut found, mut rest) = (None, None);
    if caller.principal.permissions.contains(Permissions::MESSAGES_READ) {
        let (emails, next) = emails::newest(&caller, &context, &inbox, page).await?;
        (found, rest) = (Some(emails), next);
    }
    let Versioned { body, version } = shown(&context, &caller.store(&context), inbox).await?;
    let list = found.map(|emails| EmailList::new(&emails, rest.as_ref())).transpose()?;
    let mut response = Linked::new(InboxWithEmails { inbox: body, list }, &target, rest.as_ref()).into_response();
    put(&mut response, header::ETAG, &etag(version));
    Ok(response)
}

async fn shown(context: &HttpContext, store: &Store, inbox: Inbox) -> Result<Versioned<InboxJson>, Problem> {
    let version = inbox.updated_at;
    Ok(Versioned { body: InboxJson::of(context, store, inbox).await?, version })
}

#[derive(Serialize, ToSchema)]
#[schema(as = WarmupStatus)]
pub(super) struct WarmupJson {
    inbox_id: u64,
    /// Always null: the sending rate of an inbox is not raised step by step.
    warmup_started_at: Option<Timestamp>,
}

/// Whether it is warmed up
///
/// No inbox is: the rate of its mail is not raised step by step.
#[utoipa::path(
    get, path = "/api/v1/inboxes/{id}/warmup", tag = "Inboxes", params(("id" = InboxId, Path)),
    responses((status = 200, body = WarmupJson))
)]
pub(super) async fn warmup(caller: Caller, State(context): Context, Path(id): Id) -> Result<Json<WarmupJson>, Problem> {
    let inbox = caller.inbox(&context, &id).await?;
    Ok(Json(WarmupJson { inbox_id: inbox.id.number(), warmup_started_at: None }))
}

/// Changes what is given
#[utoipa::path(
    patch, path = "/api/v1/inboxes/{id}", tag = "Inboxes", params(("id" = InboxId, Path)),
    request_body = InboxUpdate, responses((status = 200, body = InboxJson), (status = 412))
)]
pub(super) async fn change(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    IfMatch(versions): IfMatch,
    body: JsonBody,
) -> Result<Versioned<InboxJson>, Problem> {
    caller.whole_account()?;
    let inbox = caller.inbox(&context, &id).await?;
    let mut fields = body.fields(&caller.spool, "inbox").await?;
    let change = InboxChange {
        default_domain: fields.change::<DomainId>("default_domain_id"),
        save_sent: fields.flag("save_sent"),
        trash_days: days(&mut fields, "trash_days"),
        junk_days: days(&mut fields, "junk_days"),
        is_disabled: fields.flag("is_disabled"),
        versions,
    };
    fields.finish()?;
    let (store, now) = (caller.store(&context), context.clock.now());
    let inbox = if change == InboxChange::default() {
        inbox
    } else {
        let changed = store.inbox_change(&inbox.account, &inbox.id, change, now).await;
        changed.map_err(|error| problem(error, "default_domain_id"))?.ok_or_else(Problem::not_found)?
    };
    shown(&context, &store, inbox).await
}

fn days(fields: &mut Fields, name: &'static str) -> Option<Option<u16>> {
    if !fields.has(name) {
        return None;
    }
    let Some(number) = fields.number(name) else { return Some(None) };
    let days = u16::try_from(number).ok().filter(|days| *days <= MAX_DAYS);
    if days.is_none() {
        fields.fault(name, format!("must be at most {MAX_DAYS} days"));
    }
    Some(days)
}

/// Deletes an inbox with its mail, and ends its sessions
#[utoipa::path(
    delete, path = "/api/v1/inboxes/{id}", tag = "Inboxes", params(("id" = InboxId, Path)),
    responses((status = 204))
)]
pub(super) async fn delete(caller: Caller, State(context): Context, Path(id): Id) -> Result<StatusCode, Problem> {
    caller.whole_account()?;
    let inbox = caller.inbox(&context, &id).await?;
    if !caller.mailboxes(&context).delete_inbox(&inbox.account, &inbox.id).await? {
        return Err(Problem::not_found());
    }
    tracing::info!(account = %inbox.account, inbox = %inbox.id, "inbox deleted");
    Ok(StatusCode::NO_CONTENT)
}
