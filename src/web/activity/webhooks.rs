//! Webhook subscriptions: the list, and creating one.

use super::parts as tabs;
use crate::auth::login::Permissions;
use crate::events::PublicType;
use crate::web::api::to;
use crate::web::controls::check;
use crate::web::docs::links::{Term, term};
use crate::web::form::{Fields, Form};
use crate::web::layout::{Section, csrf, page};
use crate::web::parts::{Field, empty, pages, refused, status, time};
use crate::web::refusal::Refusal;
use crate::web::secret::shown_once;
use crate::web::session::Session;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
pub(super) struct Webhook {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) events: Vec<String>,
    pub(super) active: bool,
    pub(super) created_at: String,
    pub(super) failing_since: Option<String>,
    pub(super) disabled_at: Option<String>,
    pub(super) disabled_reason: Option<String>,
    pub(super) previous_secret_expires_at: Option<String>,
}

impl Webhook {
    pub(super) fn status(&self) -> &'static str {
        match (self.active, &self.disabled_at, &self.failing_since) {
            (_, Some(_), _) => "disabled",
            (false, None, _) => "inactive",
            (true, None, Some(_)) => "failing",
            (true, None, None) => "active",
        }
    }
}

/// A new secret, with what it is of.
#[derive(Debug, Deserialize)]
pub(super) struct WithSecret {
    id: String,
    secret: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Page {
    cursor: Option<String>,
}

pub(super) async fn list(session: Session, Query(wanted): Query<Page>) -> Result<Markup, Refusal> {
    shown(&session, wanted.cursor.as_deref(), None, None).await
}

async fn shown(
    session: &Session,
    cursor: Option<&str>,
    given: Option<&Fields>,
    refusal: Option<&Refusal>,
) -> Result<Markup, Refusal> {
    let webhooks = session.api.list::<Webhook>(to(["webhook_subscriptions"]).with_some("cursor", cursor)).await?;
    let body = html! {
        h1 { "Webhooks" }
        (tabs(session, "/activity/webhooks"))
        p .hint { "Events are sent to a URL of yours as they happen. " (term(Term::Webhooks)) }
        @if session.may(Permissions::WEBHOOKS_WRITE) {
            details .card open[given.is_some() || webhooks.rows.is_empty()] {
                summary { "Create a webhook" }
                form .stack method="post" action="/activity/webhooks" {
                    (csrf(session))
                    (fields(given.map_or("", |fields| fields.text("url")), &chosen(given), refusal))
                    div .actions { button type="submit" { "Create webhook" } }
                }
            }
        }
        @if webhooks.rows.is_empty() {
            (empty("No webhook yet.", &html! { p { "Create one above: events are sent to it from then on." } }))
        } @else {
            div .table { table {
                thead { tr { th scope="col" { "URL" } th scope="col" { "Status" } th scope="col" { "Events" } th scope="col" { "Since" } } }
                tbody { @for webhook in &webhooks.rows { tr {
                    th scope="row" { a href={"/activity/webhooks/" (webhook.id)} { (webhook.url) } }
                    td data-label="Status" { (status(webhook.status())) }
                    td data-label="Events" { (webhook.events.len()) " of " (PublicType::ALL.len()) " types" }
                    td data-label="Since" { (time(&webhook.created_at)) }
                } } }
            } }
            (pages(session, "cursor", webhooks.next.as_deref()))
        }
    };
    Ok(page(session, Some(Section::Activity), "Webhooks", &body))
}

/// The types that are checked: what was sent; all at first.
fn chosen(given: Option<&Fields>) -> Vec<String> {
    match given {
        Some(fields) => fields.all("event").map(str::to_owned).collect(),
        None => PublicType::ALL.iter().map(ToString::to_string).collect(),
    }
}

/// The fields of a subscription.
pub(super) fn fields(url: &str, events: &[String], refusal: Option<&Refusal>) -> Markup {
    let hint = "An HTTPS URL at a public address. Each event is a POST with JSON.";
    let field = Field { kind: "url", value: url, hint, is_required: true, ..Field::new("url", "URL") };
    html! {
        (field.show(refusal))
        fieldset {
            legend { "Events" }
            div .choices { @for kind in PublicType::ALL {
                @let name = kind.to_string();
                (check("event", &name, &name, events.contains(&name)))
            } }
        }
        (refused(refusal, &["url"]))
    }
}

/// The fields as the API takes them.
pub(super) fn body(fields: &Fields) -> Value {
    json!({"url": fields.text("url"), "events": fields.all("event").collect::<Vec<_>>()})
}

/// The page with a new secret.
pub(super) fn secret(session: &Session, title: &str, made: &WithSecret) -> Markup {
    let next = html! {
        p { "It signs each request: verify " code { "webhook-signature" } " or " code { "X-Signature" } " with it before reading the body." }
    };
    let back = format!("/activity/webhooks/{}", made.id);
    let what = (title, "the secret of the webhook");
    shown_once(session, Section::Activity, what, &made.secret, &next, (&back, "To the webhook"))
}

pub(super) async fn create(form: Form) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    match session.api.post::<WithSecret>(to(["webhook_subscriptions"]), body(&fields)).await {
        Ok(made) => Ok(secret(&session, "The new webhook", &made).into_response()),
        Err(refusal) if refusal.is_of_input() => {
            Ok((refusal.status(), shown(&session, None, Some(&fields), Some(&refusal)).await?).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}
