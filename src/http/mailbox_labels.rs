//! `/api/v1/mailbox_labels`: the names and colours of labels. The system's labels are listed, and cannot be changed.

use super::caller::Caller;
use super::document::parameters::AccountQuery;
use super::document::requests::{LabelInput, LabelUpdate};
use super::emails::labels::{self, Label};
use super::fields::{Fields, JsonBody};
use super::problem::Problem;
use super::query::Parameters;
use super::reply::Created;
use super::version::{IfMatch, Versioned, changed_since};
use super::{Context, HttpContext, Id};
use crate::clock::Timestamp;
use crate::id::{AccountId, LabelId};
use crate::store::labels::{LabelChange, LabelError, LabelRow};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

/// The colour of a label that was made without one, and of the system's.
const GREY: &str = "#808080";
/// Octets of a name, and of a colour.
const NAME: usize = 100;
const COLOR: usize = 32;

#[derive(Serialize, ToSchema)]
#[schema(as = MailboxLabel)]
pub(super) struct LabelJson {
    id: String,
    name: String,
    slug: String,
    color: String,
    system: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MailboxLabelList)]
pub(super) struct LabelsJson {
    data: Vec<LabelJson>,
}

impl From<LabelRow> for LabelJson {
    fn from(LabelRow { id, name, slug, color, .. }: LabelRow) -> Self {
        Self { id: id.to_string(), name, slug, color, system: false }
    }
}

impl LabelJson {
    fn system(slug: &str) -> Self {
        let name = slug.chars().enumerate().map(|(at, c)| if at == 0 { c.to_ascii_uppercase() } else { c }).collect();
        Self { id: slug.to_owned(), name, slug: slug.to_owned(), color: GREY.to_owned(), system: true }
    }
}

/// Labels: the system's, then the account's by name
#[utoipa::path(
    get, path = "/api/v1/mailbox_labels", tag = "Labels", params(AccountQuery),
    responses((status = 200, body = LabelsJson))
)]
pub(super) async fn list(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Json<LabelsJson>, Problem> {
    let request = parameters.take::<AccountId>("account_id");
    parameters.finish()?;
    let account = caller.acts_for(request)?;
    let own = caller.store(&context).labels(&account).await?;
    Ok(Json(LabelsJson {
        data: labels::system().map(LabelJson::system).chain(own.into_iter().map(Into::into)).collect(),
    }))
}

fn name(fields: &mut Fields, text: Option<String>) -> Option<String> {
    let text = text?.trim().to_owned();
    let is_good = !text.is_empty() && text.len() <= NAME && !text.chars().any(char::is_control);
    if !is_good {
        fields.fault("name", format!("must be one line of 1 to {NAME} octets"));
    }
    is_good.then_some(text)
}

fn color(fields: &mut Fields) -> Option<String> {
    let text = fields.text("color")?;
    let is_good = (1..=COLOR).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'#');
    if !is_good {
        fields.fault("color", "must be a colour like #ff8800 or orange");
    }
    is_good.then_some(text)
}

/// Creates a label
#[utoipa::path(
    post, path = "/api/v1/mailbox_labels", tag = "Labels", request_body = LabelInput,
    responses((status = 201, body = LabelJson))
)]
pub(super) async fn create(
    caller: Caller,
    State(context): Context,
    body: JsonBody,
) -> Result<Created<LabelJson>, Problem> {
    caller.whole_account()?;
    let mut fields = body.fields(&caller.spool, "mailbox_label").await?;
    let account = fields.parsed("account_id");
    let text = fields.required_text("name");
    let (name, color) = (name(&mut fields, text), color(&mut fields));
    let given = fields.text("slug");
    let longest = context.config.limits.keyword_length;
    let wanted = given.clone().or_else(|| name.as_deref().map(str::to_ascii_lowercase)).unwrap_or_default();
    let slug = match Label::parse(&wanted, longest) {
        _ if name.is_none() => None,
        Ok(Label::Keyword(slug)) if given.as_ref().is_none_or(|given| *given == slug) => Some(slug),
        Ok(Label::Keyword(_)) => {
            fields.fault("slug", "must be an IMAP keyword: ASCII without spaces and ( ) { % * \" \\ ]");
            None
        }
        Ok(_) => {
            fields.fault(if given.is_some() { "slug" } else { "name" }, "is a label of the system");
            None
        }
        Err(error) => {
            fields.fault(if given.is_some() { "slug" } else { "name" }, error);
            None
        }
    };
    fields.finish()?;
    let account = caller.account(account)?;
    // `finish` has already returned the error of a missing or invalid one.
    let (Some(name), Some(slug)) = (name, slug) else { return Err(Problem::invalid_field("name", "is required")) };
    let color = color.unwrap_or_else(|| GREY.to_owned());
    let row = LabelRow { id: LabelId::new(), name, slug, color, updated_at: context.clock.now() };
    caller.store(&context).label_create(&account, row.clone()).await.map_err(problem)?;
    Ok(Created { location: format!("/api/v1/mailbox_labels/{}", row.id), body: row.into() })
}

/// A label
#[utoipa::path(
    get, path = "/api/v1/mailbox_labels/{id}", tag = "Labels", params(("id" = String, Path)),
    responses((status = 200, body = LabelJson))
)]
pub(super) async fn show(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
) -> Result<Versioned<LabelJson>, Problem> {
    if let Some(slug) = labels::system().find(|slug| *slug == id) {
        return Ok(Versioned { body: LabelJson::system(slug), version: Timestamp::from_millis(0) });
    }
    let (account, label) = found(&caller, &context, &id).await?;
    caller.acts_for(Some(account))?;
    Ok(versioned(label))
}

fn versioned(label: LabelRow) -> Versioned<LabelJson> {
    Versioned { version: label.updated_at, body: label.into() }
}

/// Changes the name or the colour
///
/// The slug is the keyword of emails, and stays.
#[utoipa::path(
    method(patch, put), path = "/api/v1/mailbox_labels/{id}", tag = "Labels", params(("id" = String, Path)),
    request_body = LabelUpdate, responses((status = 200, body = LabelJson), (status = 412))
)]
pub(super) async fn change(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    IfMatch(versions): IfMatch,
    body: JsonBody,
) -> Result<Versioned<LabelJson>, Problem> {
    let (account, known) = find(&caller, &context, &id).await?;
    let mut fields = body.fields(&caller.spool, "mailbox_label").await?;
    let text = fields.text("name");
    let (name, color) = (name(&mut fields, text), color(&mut fields));
    if fields.text("slug").is_some_and(|slug| slug != known.slug) {
        fields.fault("slug", "cannot change: messages have it as a keyword. Make another label");
    }
    fields.finish()?;
    let (store, change) = (caller.store(&context), LabelChange { name, color, versions });
    let changed = store.label_change(&account, &known.id, change, context.clock.now()).await;
    changed.map(versioned).map_err(problem)
}

/// Deletes a label
///
/// Emails keep the keyword.
#[utoipa::path(
    delete, path = "/api/v1/mailbox_labels/{id}", tag = "Labels", params(("id" = String, Path)),
    responses((status = 204))
)]
pub(super) async fn delete(caller: Caller, State(context): Context, Path(id): Id) -> Result<StatusCode, Problem> {
    let (account, label) = find(&caller, &context, &id).await?;
    match caller.store(&context).label_delete(&account, &label.id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found()),
    }
}

/// A label that the caller may change.
async fn find(caller: &Caller, context: &HttpContext, id: &str) -> Result<(AccountId, LabelRow), Problem> {
    let own = caller.whole_account()?;
    if labels::system().any(|name| name == id) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "system_label",
            "A label of the system",
            format!("{id} is a label that every account has."),
            "Make a label of your own.",
        ));
    }
    let (account, label) = found(caller, context, id).await?;
    if own.is_some_and(|own| *own != account) {
        return Err(Problem::not_found());
    }
    Ok((account, label))
}

/// A label of any account, with the account.
async fn found(caller: &Caller, context: &HttpContext, id: &str) -> Result<(AccountId, LabelRow), Problem> {
    let id: LabelId = id.parse().map_err(|_| Problem::not_found())?;
    caller.store(context).label(&id).await?.ok_or_else(Problem::not_found)
}

fn problem(error: LabelError) -> Problem {
    let text = error.to_string();
    match error {
        LabelError::Exists(id) => {
            Problem::conflict("label_exists", text, "Use the label that `existing_id` names.", Some(id.as_str()))
        }
        LabelError::TooMany => {
            Problem::new(StatusCode::FORBIDDEN, "limit_reached", "Limit reached", text, "Delete a label.")
        }
        LabelError::NotFound => Problem::not_found(),
        LabelError::Changed => changed_since(),
        LabelError::Store(error) => error.into(),
    }
}
