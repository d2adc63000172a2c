//! The queue: mail that is not delivered yet, why, and when it is tried next. Accounts see theirs, operators all.

use super::WebContext;
use super::api::{Listed, to};
use super::controls::octets;
use super::form::Form;
use super::layout::{Section, csrf, page};
use super::parts::{empty, page_of, pages, status, time};
use super::refusal::Refusal;
use super::session::Session;
use crate::auth::login::Permissions;
use axum::Router;
use axum::extract::Path;
use axum::response::Redirect;
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

/// Recipients of a message that are shown among others, and of a page of its own.
const RECIPIENTS: usize = 20;
const RECIPIENTS_OF_ONE: usize = 100;

pub(super) fn routes() -> Router<WebContext> {
    Router::new().route("/queue/{id}", get(show)).route("/queue/{id}/{action}", post(act))
}

#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    id: String,
    account_id: Option<String>,
    inbox_id: Option<String>,
    email_id: String,
    mail_from: String,
    fallback: Option<String>,
    held: bool,
    size: u64,
    created_at: String,
    expires_at: String,
    deliveries: Vec<Delivery>,
}

#[derive(Debug, Deserialize)]
struct Delivery {
    rcpt_to: String,
    on_hold: bool,
    attempts: u32,
    next_attempt_at: Option<String>,
    in_progress: bool,
    last_reply: Option<String>,
    last_mx: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    cursor: Option<String>,
    /// For operators: whose.
    pub(super) account: Option<String>,
}

pub(super) async fn found(session: &Session, wanted: &Wanted) -> Result<Listed<Entry>, Refusal> {
    let account = wanted.account.as_ref().filter(|_| session.is_operator());
    let all = to(["queue"]).with("per_page", 20).with_some("cursor", wanted.cursor.as_deref());
    session.api.list(all.with_some("account_id", account)).await
}

/// `back` is the page that it is on.
pub(super) fn list(session: &Session, found: &Listed<Entry>, back: &str) -> Markup {
    html! {
        @if found.rows.is_empty() {
            (empty("The queue is empty.", &html! { p { "Mail that waits for another attempt is listed here." } }))
        } @else {
            @for entry in &found.rows {
                @let shown = entry.deliveries.get(..RECIPIENTS).unwrap_or(&entry.deliveries);
                @let rest = html! { @if shown.len() < entry.deliveries.len() {
                    p { a id={"all-" (entry.id)} href={"/queue/" (entry.id)} { "All " (entry.deliveries.len()) " recipients" } }
                } };
                (message(session, entry, back, (shown, &rest)))
            }
            (pages(session, "cursor", found.next.as_deref()))
        }
    }
}

/// One message, with all recipients that wait.
async fn show(session: Session, Path(id): Path<String>) -> Result<Markup, Refusal> {
    let entry: Entry = session.api.get(to(["queue", &id])).await?;
    let (section, back) = match session.is_operator() {
        true => (Section::Operator, "/operator/queue"),
        false => (Section::Activity, "/activity/queue"),
    };
    let (shown, next) = page_of(&session, "recipients", &entry.deliveries, RECIPIENTS_OF_ONE);
    let body = html! {
        nav .crumbs aria-label="Breadcrumb" { a href=(back) { "Queue" } }
        h1 #recipients { "Message in the queue: " (entry.deliveries.len()) " recipients" }
        (message(&session, &entry, back, (shown, &pages(&session, "recipients", next.as_deref()))))
    };
    Ok(page(&session, Some(section), "Message in the queue", &body))
}

/// With these of its recipients, and how the others are reached.
fn message(session: &Session, entry: &Entry, back: &str, (shown, others): (&[Delivery], &Markup)) -> Markup {
    let is_on_hold = entry.deliveries.iter().all(|delivery| delivery.on_hold);
    let was_tried = entry.deliveries.iter().any(|delivery| delivery.attempts > 0);
    html! {
        article .card .stack aria-labelledby=(entry.id) {
            div .head {
                h2 id=(entry.id) { "From " bdi { (entry.mail_from) } }
                @if session.may(Permissions::MESSAGES_SEND) {
                    div .actions {
                        @if !is_on_hold && was_tried { (action(session, entry, "retry", "Try now", back)) }
                        @if session.is_operator() {
                            @if is_on_hold { (action(session, entry, "release", "Release", back)) }
                            @else { (action(session, entry, "hold", "Hold", back)) }
                        }
                        (action(session, entry, "drop", "Drop", back))
                    }
                }
            }
            p .hint {
                "accepted " (time(&entry.created_at)) ", " (octets(entry.size)) ", bounces after " (time(&entry.expires_at))
                @if let Some(inbox) = &entry.inbox_id {
                    " · " a id={"inbox-" (entry.id)} href={"/inboxes/" (inbox)} { "inbox" }
                    @if !session.is_operator() { " · " a id={"email-" (entry.id)} href={"/mail/" (inbox) "/" (entry.email_id)} { "email" } }
                }
                @if let Some(account) = entry.account_id.as_ref().filter(|_| session.is_operator()) {
                    " · " a href={"/operator/accounts/" (account)} { "account" }
                }
            }
            @if entry.held { p { (status("held")) " It waits until the domain of its sender is verified." } }
            @if let Some(fallback) = &entry.fallback { p { "It leaves under the platform's domain, since its own is " (fallback) "." } }
            div .table { table {
                thead { tr {
                    th scope="col" { "Recipient" } th scope="col" { "Attempts" } th scope="col" { "Next" } th scope="col" { "Last answer" }
                } }
                tbody { @for delivery in shown { tr {
                    th scope="row" { bdi { (delivery.rcpt_to) } }
                    td data-label="Attempts" { (delivery.attempts) }
                    td data-label="Next" {
                        @if delivery.on_hold { (status("on_hold")) } @else if delivery.in_progress { "now" }
                        @else if let Some(at) = &delivery.next_attempt_at { (time(at)) }
                    }
                    td .long data-label="Last answer" {
                        bdi { (delivery.last_reply.as_deref().unwrap_or("none yet")) }
                        @if let Some(mx) = &delivery.last_mx { " " span .hint { (mx) } }
                    }
                } } }
            } }
            (others)
        }
    }
}

fn action(session: &Session, entry: &Entry, action: &str, text: &str, back: &str) -> Markup {
    let class = if action == "drop" { "danger small" } else { "quiet small" };
    html! {
        form .one method="post" action={"/queue/" (entry.id) "/" (action)} {
            (csrf(session))
            input type="hidden" name="back" value=(back);
            button id={(action) "-" (entry.id)} class=(class) type="submit" aria-label={(text) " – from " (entry.mail_from)} { (text) }
        }
    }
}

async fn act(Path((id, action)): Path<(String, String)>, form: Form) -> Result<Redirect, Refusal> {
    let Form { session, fields } = form;
    let done = match action.as_str() {
        "retry" => {
            session.api.post::<Value>(to(["queue", &id, "retry"]), json!({})).await?;
            "retried"
        }
        "drop" => {
            session.api.delete(to(["queue", &id])).await?;
            "dropped"
        }
        "hold" | "release" => {
            session.api.post::<Value>(to(["queue", "actions"]), json!({"action": action, "id": id})).await?;
            if action == "hold" { "held" } else { "released" }
        }
        _ => return Err(Refusal::not_found()),
    };
    let back = if fields.text("back") == "/operator/queue" { "/operator/queue" } else { "/activity/queue" };
    Ok(Redirect::to(&format!("{back}?done={done}")))
}
