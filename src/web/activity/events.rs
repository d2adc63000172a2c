//! The newest events, and how the list is updated.

use super::parts as tabs;
use crate::clock::Timestamp;
use crate::events::PublicType;
use crate::web::api::to;
use crate::web::controls::select;
use crate::web::layout::{Section, page};
use crate::web::parts::{empty, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// Events of a page.
const EVENTS: usize = 100;
/// The list goes back so far, in seconds, as needed for some events: the API lists the oldest first.
const BACK: [u64; 4] = [60, 3600, 24 * 3600, 7 * 24 * 3600];
/// Fewer than these, and a longer time is tried.
const ENOUGH: usize = 25;

#[derive(Debug, Deserialize)]
struct Events {
    data: Vec<Event>,
    meta: Meta,
}

#[derive(Debug, Deserialize)]
struct Meta {
    has_more: bool,
}

#[derive(Debug, Deserialize)]
struct Event {
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
}

/// The newest events, and whether there are more within their time.
async fn newest(session: &Session, kind: Option<PublicType>) -> Result<(Vec<Event>, bool), Refusal> {
    let mut found: Option<(Vec<Event>, bool)> = None;
    for seconds in BACK {
        let after = Timestamp::real().before(Duration::from_secs(seconds));
        let wanted = to(["events"]).with("after", after).with("limit", EVENTS).with_some("types", kind);
        let page: Events = session.api.get(wanted).await?;
        // The newest of a longer time are not in its first page.
        if page.meta.has_more && found.is_some() {
            break;
        }
        let is_enough = page.data.len() >= ENOUGH;
        found = Some((page.data, page.meta.has_more));
        if is_enough {
            break;
        }
    }
    let (mut events, has_more) = found.unwrap_or_default();
    events.reverse();
    Ok((events, has_more))
}

pub(super) async fn list(session: Session, Query(wanted): Query<Wanted>) -> Result<Markup, Refusal> {
    let kind = wanted.kind.parse::<PublicType>().ok();
    let (events, has_more) = newest(&session, kind).await?;
    let is_live = wanted.paused.is_empty();
    let names: Vec<String> = PublicType::ALL.iter().map(ToString::to_string).collect();
    let options: Vec<(&str, &str)> =
        std::iter::once(("", "all types")).chain(names.iter().map(|name| (name.as_str(), name.as_str()))).collect();
    let chosen = kind.map(|kind| kind.to_string()).unwrap_or_default();
    let here = session.uri.path_and_query().map_or("/activity/events", |here| here.as_str());
    let body = html! {
        h1 { "Events" }
        (tabs(&session, "/activity/events"))
        form .inline method="get" action="/activity/events" {
            (select("type", "Type", &options, &chosen))
            @if !is_live { input type="hidden" name="paused" value="1"; }
            button .quiet type="submit" { "Show" }
        }
        p .actions {
            @if is_live {
                span { "The list updates automatically." }
                a .button .quiet .small href={"/activity/events?paused=1&type=" (chosen)} { "Pause" }
            } @else {
                span { "Paused." }
                a .button .quiet .small href={"/activity/events?type=" (chosen)} { "Resume" }
            }
        }
        div hx-ext=[is_live.then_some("sse")] sse-connect=[is_live.then_some("/activity/live")] {
            div #events .stack hx-get=[is_live.then_some(here)] hx-select=[is_live.then_some("#events")]
                hx-trigger=[is_live.then_some("sse:changed throttle:2s")] hx-swap=[is_live.then_some("outerHTML")] {
                @if has_more { p .hint { "More than " (EVENTS) " events within a minute: these are the oldest of them. The API lists all." } }
                @if events.is_empty() {
                    (empty("Nothing has happened in the last seven days.", &html! { p { "Mail received and sent is listed here." } }))
                } @else { (table(&events)) }
            }
        }
    };
    Ok(page(&session, Some(Section::Activity), "Events", &body))
}

fn table(events: &[Event]) -> Markup {
    html! {
        div .table { table {
            thead { tr { th scope="col" { "Time" } th scope="col" { "Type" } th scope="col" { "What" } } }
            tbody { @for event in events { tr {
                td { (time(&event.created_at)) }
                th scope="row" { (event.r#type) }
                td { (described(event)) }
            } } }
        } }
    }
}

/// An event in a line.
fn described(event: &Event) -> Markup {
    let text = |name: &str| event.data.get(name).and_then(Value::as_str).unwrap_or_default();
    let email = event.data.get("email_id").or_else(|| event.data.get("id")).and_then(Value::as_str);
    let email = match (&event.inbox_id, email) {
        (Some(inbox), Some(email)) if event.r#type.starts_with("email.") => Some(format!("/mail/{inbox}/{email}")),
        _ => None,
    };
    let subject = Some(text("subject")).filter(|subject| !subject.is_empty()).unwrap_or("no subject");
    let linked = html! {
        @match &email { Some(path) => a href=(path) { bdi { (subject) } }, None => bdi { (subject) } }
    };
    match event.r#type.as_str() {
        "email.received" => html! { "from " bdi { (text("from_address")) } ": " (linked) },
        "email.sent" => html! { "to " bdi { (text("to_address")) } ": " (linked) },
        "email.delivered" | "email.deferred" | "email.bounced" => html! {
            "to " bdi { (text("recipient")) } ": " bdi { (text("reply")) }
            @if let Some(path) = &email { " " a href=(path) aria-label={"The email to " (text("recipient"))} { "Email" } }
        },
        "email.labels_changed" => {
            let count = event.data.get("emails").and_then(Value::as_array).map_or(0, Vec::len);
            html! { (count) @if count == 1 { " email" } @else { " emails" } }
        }
        kind if kind.starts_with("custom_domain.") => {
            html! { a href={"/domains/" (text("id"))} { (text("domain")) } }
        }
        kind if kind.starts_with("inbox.") => html! { (text("name")) },
        _ => html! { (text("reason")) },
    }
}
