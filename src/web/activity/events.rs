//! Events, the newest first, in pages; and how the first page is updated.

use super::parts as tabs;
use crate::events::PublicType;
use crate::web::api::to;
use crate::web::controls::select;
use crate::web::docs::links::{Term, term};
use crate::web::layout::{Section, page};
use crate::web::parts::{empty, pages, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

/// Events of a page.
const EVENTS: usize = 50;

#[derive(Debug, Deserialize)]
struct Events {
    data: Vec<Event>,
    meta: Meta,
}

#[derive(Debug, Deserialize)]
struct Meta {
    next_cursor: String,
    has_more: bool,
}

#[derive(Debug, Deserialize)]
struct Event {
    id: String,
    r#type: String,
    created_at: String,
    inbox_id: Option<String>,
    data: Value,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    paused: String,
    before: Option<String>,
}

pub(super) async fn list(session: Session, Query(wanted): Query<Wanted>) -> Result<Markup, Refusal> {
    let kind = wanted.kind.parse::<PublicType>().ok();
    let request = to(["events"]).with("order", "desc").with("limit", EVENTS).with_some("types", kind);
    let events: Events = session.api.get(request.with_some("before", wanted.before.as_deref())).await?;
    // A page further back stays as it is.
    let (is_paused, is_first) = (!wanted.paused.is_empty(), wanted.before.is_none());
    let chosen = kind.map(|kind| kind.to_string()).unwrap_or_default();
    let rows = html! { div #events .stack { (table(&events.data)) } };
    let here = session.uri.path_and_query().map_or("/activity/events", |here| here.as_str());
    let body = html! {
        h1 { "Events" }
        (tabs(&session, &tab(kind)))
        (filter(&chosen, is_paused))
        p .actions {
            @if is_paused {
                span { "Paused." }
                a .button .quiet .small #pause href={"/activity/events?type=" (chosen)} { "Resume" }
            } @else if is_first {
                span { "The list updates automatically." }
                a .button .quiet .small #pause href={"/activity/events?paused=1&type=" (chosen)} { "Pause" }
            } @else { span { "Older events." } }
            (term(Term::Events))
        }
        @if is_first && !is_paused { (super::live::updated(here, "events", &rows)) } @else { (rows) }
        (pages(&session, "before", events.meta.has_more.then_some(events.meta.next_cursor.as_str())))
    };
    Ok(page(&session, Some(Section::Activity), "Events", &body))
}

/// The tab that a type has for itself, or that of all.
fn tab(kind: Option<PublicType>) -> String {
    match kind {
        Some(kind @ (PublicType::EmailSent | PublicType::EmailBounced)) => format!("/activity/events?type={kind}"),
        _ => "/activity/events".to_owned(),
    }
}

fn filter(chosen: &str, is_paused: bool) -> Markup {
    let names: Vec<String> = PublicType::ALL.iter().map(ToString::to_string).collect();
    let options: Vec<(&str, &str)> =
        std::iter::once(("", "all types")).chain(names.iter().map(|name| (name.as_str(), name.as_str()))).collect();
    html! {
        form .inline method="get" action="/activity/events" {
            (select("type", "Type", &options, chosen))
            @if is_paused { input type="hidden" name="paused" value="1"; }
            button .quiet type="submit" { "Show" }
        }
    }
}

fn table(events: &[Event]) -> Markup {
    html! {
        @if events.is_empty() {
            (empty("No event here.", &html! { p { "Mail received and sent, changes of domains and inboxes are listed here as they happen. "
                a href="/mail" { "Send an email" } " to see some." } }))
        } @else {
            div .table { table {
                thead { tr { th scope="col" { "Time" } th scope="col" { "Type" } th scope="col" { "What" } } }
                tbody { @for event in events { tr {
                    td data-label="Time" { (time(&event.created_at)) }
                    th scope="row" { (event.r#type) }
                    td .long data-label="What" { (described(event)) }
                } } }
            } }
        }
    }
}

/// An event in a line. Links have ids, so that the focus stays on them when the list is updated.
fn described(event: &Event) -> Markup {
    let text = |name: &str| event.data.get(name).and_then(Value::as_str).unwrap_or_default();
    let email = event.data.get("email_id").or_else(|| event.data.get("id")).and_then(Value::as_str);
    let email = match (&event.inbox_id, email) {
        (Some(inbox), Some(email)) if event.r#type.starts_with("email.") => Some(format!("/mail/{inbox}/{email}")),
        _ => None,
    };
    let subject = Some(text("subject")).filter(|subject| !subject.is_empty()).unwrap_or("no subject");
    let linked = html! {
        @match &email { Some(path) => a id=(event.id) href=(path) { bdi { (subject) } }, None => bdi { (subject) } }
    };
    match event.r#type.as_str() {
        "email.received" => html! { "from " bdi { (text("from_address")) } ": " (linked) },
        "email.sent" => html! { "to " bdi { (text("to_address")) } ": " (linked) },
        "email.delivered" | "email.deferred" | "email.bounced" => html! {
            "to " bdi { (text("recipient")) } ": " bdi { (text("reply")) }
            @if let Some(path) = &email { " " a id=(event.id) href=(path) aria-label={"The email to " (text("recipient"))} { "Email" } }
        },
        "email.labels_changed" => {
            let count = event.data.get("emails").and_then(Value::as_array).map_or(0, Vec::len);
            html! { (count) @if count == 1 { " email" } @else { " emails" } }
        }
        kind if kind.starts_with("custom_domain.") => {
            html! { a id=(event.id) href={"/domains/" (text("id"))} { (text("domain")) } }
        }
        kind if kind.starts_with("inbox.") => html! { (text("name")) },
        _ => html! { (text("reason")) },
    }
}
