//! `PATCH …/emails/{id}`, `…/actions`, `DELETE`, `…/restore`: labels, flags and the mailbox of one email, all of a request or nothing.

use super::labels::{self, Label};
use super::{find, shown};
use crate::http::caller::Caller;
use crate::http::document::requests::{EmailAction, EmailUpdate};
use crate::http::fields::{Fields, JsonBody};
use crate::http::problem::Problem;
use crate::http::send::inbox_full;
use crate::http::version::{IfMatch, Versioned, changed_since};
use crate::http::{Context, HttpContext, Id};
use crate::id::MessageId;
use crate::store::email_changes::{EmailChange, EmailError, Target};
use crate::store::inboxes::Inbox;
use crate::store::keywords::FlagError;
use crate::store::labels::LabelRow;
use crate::store::mailboxes::{MailboxError, MailboxKind};
use crate::store::messages::{Flags, MessageSummary};
use crate::store::sent::Status;
use crate::store::transfer::TransferError;
use crate::store::version::Versions;
use crate::views::email::EmailJson;
use axum::extract::{Path, State};
use axum::http::StatusCode;

/// Changes the labels
#[utoipa::path(
    method(patch, put), path = "/api/v1/emails/{id}", tag = "Emails", params(("id" = MessageId, Path)),
    request_body = EmailUpdate, responses((status = 200, body = EmailJson), (status = 412), (status = 507))
)]
pub(in crate::http) async fn change(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    IfMatch(versions): IfMatch,
    body: JsonBody,
) -> Result<Versioned<EmailJson>, Problem> {
    let (inbox, message) = find(&caller, &context, &id).await?;
    let (fields, change) = read(&caller, &context, &inbox, body, versions).await?;
    fields.finish()?;
    apply(&caller, &context, &inbox, &message, change).await
}

/// Changes labels, marks as read, moves
///
/// All of it or nothing. What is wrong is 400.
#[utoipa::path(
    patch, path = "/api/v1/emails/{id}/actions", tag = "Emails", params(("id" = MessageId, Path)),
    request_body = EmailAction, responses((status = 200, body = EmailJson), (status = 412), (status = 507))
)]
pub(in crate::http) async fn act(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    IfMatch(versions): IfMatch,
    body: JsonBody,
) -> Result<Versioned<EmailJson>, Problem> {
    let (inbox, message) = find(&caller, &context, &id).await?;
    let (mut fields, mut change) = read(&caller, &context, &inbox, body, versions).await?;
    match fields.flag("mark_read") {
        Some(true) => change.set |= Flags::SEEN,
        Some(false) => change.unset |= Flags::SEEN,
        None => {}
    }
    if let Some(name) = fields.text("move_to") {
        let kind = MailboxKind::ALL.into_iter().find(|kind| name.eq_ignore_ascii_case(labels::name_of(*kind)));
        let target = kind.map_or(Target::Named(name), Target::Kind);
        if let Err(error) = labels::to(&mut change, target) {
            fields.fault("move_to", error);
        }
    }
    fields.finish_as_bad_request()?;
    apply(&caller, &context, &inbox, &message, change).await
}

/// Moves an email to Trash; from Trash, deletes it
///
/// One that is to leave later is cancelled, and gone.
#[utoipa::path(
    delete, path = "/api/v1/emails/{id}", tag = "Emails", params(("id" = MessageId, Path)),
    responses((status = 204), (status = 412))
)]
pub(in crate::http) async fn delete(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
    IfMatch(versions): IfMatch,
) -> Result<StatusCode, Problem> {
    let (inbox, message) = find(&caller, &context, &id).await?;
    let (store, mailboxes) = (caller.store(&context), caller.mailboxes(&context));
    let sent = store.sent_email(&message.id, context.clock.now()).await?;
    if sent.is_some_and(|sent| sent.status() == Status::Scheduled) {
        mailboxes.cancel_email(&inbox.id, &message.id, versions).await.map_err(problem)?;
    } else {
        mailboxes.delete_email(&inbox.id, &message.id, versions).await.map_err(problem)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Moves an email out of Trash, Junk or Archive to where it came from
#[utoipa::path(
    post, path = "/api/v1/emails/{id}/restore", tag = "Emails", params(("id" = MessageId, Path)),
    responses((status = 200, body = EmailJson))
)]
pub(in crate::http) async fn restore(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
) -> Result<Versioned<EmailJson>, Problem> {
    let (inbox, message) = find(&caller, &context, &id).await?;
    apply(&caller, &context, &inbox, &message, EmailChange::to(Target::Origin)).await
}

/// A body, and the change of the labels that it asks for.
async fn read(
    caller: &Caller,
    context: &HttpContext,
    inbox: &Inbox,
    body: JsonBody,
    versions: Versions,
) -> Result<(Fields, EmailChange), Problem> {
    let mut fields = body.fields(&caller.spool, "email").await?;
    let names = Names::of(caller, context, inbox).await?;
    let change = EmailChange { versions, ..labels_of(&mut fields, &names) };
    Ok((fields, change))
}

async fn apply(
    caller: &Caller,
    context: &HttpContext,
    inbox: &Inbox,
    message: &MessageSummary,
    change: EmailChange,
) -> Result<Versioned<EmailJson>, Problem> {
    caller.mailboxes(context).change_email(&inbox.id, &message.id, change).await.map_err(problem)?;
    shown(caller, context, inbox, &message.id).await
}

/// The names that the account has given its labels.
struct Names {
    known: Vec<LabelRow>,
    /// Octets of a keyword.
    longest: usize,
}

impl Names {
    async fn of(caller: &Caller, context: &HttpContext, inbox: &Inbox) -> Result<Self, Problem> {
        let known = caller.store(context).labels(&inbox.account).await?;
        Ok(Self { known, longest: context.config.limits.keyword_length })
    }

    /// A label by its slug, or by its name.
    fn label(&self, text: &str) -> Result<Label, String> {
        let named = self.known.iter().find(|label| label.name.eq_ignore_ascii_case(text.trim()));
        Label::parse(named.map_or(text, |label| &label.slug), self.longest)
    }
}

/// `labels` replaces the keywords and the two flags; the mailbox stays where it names none.
fn labels_of(fields: &mut Fields, names: &Names) -> EmailChange {
    let mut change = EmailChange::default();
    if fields.has("labels") {
        let labels = list(fields, "labels", names);
        change.replaces_keywords = true;
        let has = |label: Label| labels.contains(&label);
        (change.unset, change.set) = (Flags::empty(), Flags::empty());
        if !has(Label::Unread) {
            change.set |= Flags::SEEN;
        }
        if !has(Label::Starred) {
            change.unset |= Flags::FLAGGED;
        }
        apply_all(fields, "labels", labels, &mut change, Label::add);
    }
    for (name, apply) in [("add_labels", Label::add as Apply), ("remove_labels", Label::remove)] {
        let labels = list(fields, name, names);
        if change.replaces_keywords && !labels.is_empty() {
            fields.fault(name, "cannot be given with labels, which replaces them all");
        }
        apply_all(fields, name, labels, &mut change, apply);
    }
    change
}

type Apply = fn(Label, &mut EmailChange) -> Result<(), String>;

fn apply_all(fields: &mut Fields, name: &str, labels: Vec<Label>, change: &mut EmailChange, apply: Apply) {
    for label in labels {
        if let Err(error) = apply(label, change) {
            fields.fault(name, error);
        }
    }
}

fn list(fields: &mut Fields, name: &'static str, names: &Names) -> Vec<Label> {
    let mut labels = Vec::new();
    for (at, value) in fields.list(name, true).into_iter().enumerate() {
        let read = value.as_str().ok_or_else(|| "must be a string".to_owned());
        match read.and_then(|text| names.label(text)) {
            Ok(label) if labels.contains(&label) => {}
            Ok(label) => labels.push(label),
            Err(error) => fields.fault(&format!("{name}[{at}]"), error),
        }
    }
    labels
}

/// 409: an email that has left cannot be cancelled.
pub(in crate::http) fn not_scheduled() -> Problem {
    let detail = "The email does not wait to leave any more, so it cannot be cancelled.";
    let fix = "See `recipients` of the email for what has become of it.";
    Problem::new(StatusCode::CONFLICT, "not_scheduled", "The email has left", detail, fix)
}

pub(in crate::http) fn problem(error: EmailError) -> Problem {
    let text = error.to_string();
    match error {
        EmailError::NoSuchEmail => Problem::not_found(),
        EmailError::Changed => changed_since(),
        EmailError::NotScheduled => not_scheduled(),
        EmailError::NoSuchMailbox(_) => Problem::invalid_field("move_to", text).with_status(StatusCode::BAD_REQUEST),
        EmailError::Flags(FlagError::Full) => inbox_full(text, "Delete messages of the inbox."),
        EmailError::Flags(FlagError::Store(error))
        | EmailError::Transfer(TransferError::Store(error))
        | EmailError::Mailbox(MailboxError::Store(error))
        | EmailError::Store(error) => error.into(),
        EmailError::Flags(_) | EmailError::Transfer(_) | EmailError::Mailbox(_) => {
            Problem::invalid_field("labels", text)
        }
    }
}
