//! A webhook subscription: what was sent to it, sending it again, testing it, its secret, changing and deleting it.

use super::webhooks::{Webhook, WithSecret, body, fields, secret};
use crate::auth::login::Permissions;
use crate::clock::Timestamp;
use crate::web::api::{Listed, to};
use crate::web::controls::{button, select};
use crate::web::form::Form;
use crate::web::layout::{Section, csrf, page};
use crate::web::parts::{Field, empty, pages, refused, status, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

const STATES: [(&str, &str); 4] =
    [("", "all"), ("waiting", "waiting"), ("delivered", "delivered"), ("failed", "failed")];
/// Attempts of a delivery that are shown at once; the earlier ones are opened.
const ATTEMPTS: usize = 5;

#[derive(Debug, Deserialize)]
struct Delivery {
    id: String,
    event_type: String,
    state: String,
    created_at: String,
    next_attempt_at: Option<String>,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    at: String,
    status: Option<u16>,
    error: Option<String>,
    duration_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Tested {
    success: bool,
    status: Option<u16>,
    error: Option<String>,
    duration_ms: u64,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    cursor: Option<String>,
    #[serde(default)]
    state: String,
}

/// What the page says beside the subscription.
#[derive(Debug, Default)]
struct Notices<'a> {
    refusal: Option<&'a Refusal>,
    /// Of the form that sends events again.
    since: Option<&'a Refusal>,
    tested: Option<&'a Tested>,
}

fn subscription(id: &str) -> [&str; 2] {
    ["webhook_subscriptions", id]
}

pub(super) async fn show(
    session: Session,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Markup, Refusal> {
    shown(&session, &id, &wanted, Notices::default()).await
}

async fn shown(session: &Session, id: &str, wanted: &Wanted, notices: Notices<'_>) -> Result<Markup, Refusal> {
    let webhook: Webhook = session.api.get(to(subscription(id))).await?;
    let state = STATES.iter().map(|(state, _)| *state).find(|state| !state.is_empty() && *state == wanted.state);
    let deliveries = to(["webhook_subscriptions", id, "deliveries"]).with("per_page", 20).with_some("state", state);
    let deliveries: Listed<Delivery> =
        session.api.list(deliveries.with_some("cursor", wanted.cursor.as_deref())).await?;
    let may_change = session.may(Permissions::WEBHOOKS_WRITE);
    let action = |name: &str| format!("/activity/webhooks/{id}/{name}");
    let body = html! {
        p .crumbs { a href="/activity/webhooks" { "Webhooks" } }
        div .head {
            h1 .url { (webhook.url) }
            (status(webhook.status()))
        }
        @if let Some(reason) = &webhook.disabled_reason { div .notice .error { p { "Nothing is sent: " (reason) } } }
        @if let Some(since) = &webhook.failing_since { div .notice .warn { p { "No success since " (time(since)) "." } } }
        @if let Some(tested) = notices.tested { (outcome(tested)) }
        @if may_change {
            div .actions {
                (button(session, &action("test"), "quiet", "Send a test", None))
                (button(session, &action(if webhook.active { "active?to=off" } else { "active?to=on" }), "quiet",
                    if webhook.active { "Deactivate" } else { "Activate" }, None))
                (button(session, &action("rotate"), "quiet", "Rotate the secret", None))
                a .button .danger href=(action("delete")) { "Delete" }
            }
            @if let Some(until) = &webhook.previous_secret_expires_at {
                p .hint { "The previous secret also signs until " (time(until)) "." }
            }
        }
        section .stack aria-labelledby="deliveries" {
            h2 id="deliveries" { "Deliveries" }
            form .inline method="get" action={"/activity/webhooks/" (id)} {
                (select("state", "State", &STATES, state.unwrap_or_default()))
                button .quiet type="submit" { "Show" }
            }
            @if deliveries.rows.is_empty() {
                (empty("No delivery.", &html! { p { "What was sent in the last four days is listed here." } }))
            } @else {
                div .table { table {
                    thead { tr {
                        th scope="col" { "Event" } th scope="col" { "State" } th scope="col" { "Attempts" }
                        th scope="col" { span .visually-hidden { "Send again" } }
                    } }
                    tbody { @for delivery in &deliveries.rows { (row(session, id, delivery, may_change && webhook.active)) } }
                } }
                (pages(session, "cursor", deliveries.next.as_deref()))
            }
        }
        @if may_change && webhook.active { (redeliver_since(session, &action("redeliver"), notices.since)) }
        @if may_change {
            details .card open[notices.refusal.is_some()] {
                summary { "Change the URL or the events" }
                form .stack method="post" action={"/activity/webhooks/" (id)} {
                    (csrf(session))
                    (fields(&webhook.url, &webhook.events, notices.refusal))
                    div .actions { button type="submit" { "Save" } }
                }
            }
        }
    };
    Ok(page(session, Some(Section::Activity), "Webhook", &body))
}

fn outcome(tested: &Tested) -> Markup {
    let answer = tested.status.map_or_else(|| "no status".to_owned(), |status| format!("status {status}"));
    html! {
        div class={"notice " (if tested.success { "good" } else { "error" })} role="status" {
            p { "The test " @if tested.success { "succeeded" } @else { "failed" } ": " (answer) " after " (tested.duration_ms) " ms." }
            @if let Some(error) = &tested.error { p { (error) } }
        }
    }
}

fn row(session: &Session, id: &str, delivery: &Delivery, may_send: bool) -> Markup {
    html! {
        tr {
            th scope="row" { (delivery.event_type) p .hint { (time(&delivery.created_at)) } }
            td data-label="State" {
                (status(&delivery.state))
                @if let Some(at) = &delivery.next_attempt_at { p .hint { "next " (time(at)) } }
            }
            td .long data-label="Attempts" {
                @if delivery.attempts.is_empty() { "none yet" }
                @let (newest, earlier): (Vec<_>, Vec<_>) = delivery.attempts.iter().rev().enumerate().partition(|(at, _)| *at < ATTEMPTS);
                (attempts(&newest))
                @if !earlier.is_empty() { details { summary { (earlier.len()) " earlier" } (attempts(&earlier)) } }
            }
            td {
                @if may_send {
                    form .one method="post" action={"/activity/webhooks/" (id) "/redeliver"} {
                        (csrf(session))
                        input type="hidden" name="delivery_id" value=(delivery.id);
                        button .quiet .small type="submit" aria-label={"Send again: " (delivery.event_type)} { "Send again" }
                    }
                }
            }
        }
    }
}

fn attempts(shown: &[(usize, &Attempt)]) -> Markup {
    html! {
        ol .plain { @for (_, attempt) in shown { li {
            (time(&attempt.at)) " "
            @if let Some(status) = attempt.status { "status " (status) " " }
            @if let Some(error) = &attempt.error { (error) " " }
            span .hint { (attempt.duration_ms) " ms" }
        } } }
    }
}

/// The time is of the reader's zone where a script tells its offset, else of UTC.
fn redeliver_since(session: &Session, action: &str, refusal: Option<&Refusal>) -> Markup {
    let field = Field { kind: "datetime-local", is_required: true, ..Field::new("since", "Since") };
    html! {
        details .card open[refusal.is_some()] {
            summary { "Send again all events since a time" }
            form .inline method="post" action=(action) data-offset {
                (csrf(session))
                input type="hidden" name="offset" value="0";
                (field.show(refusal))
                button type="submit" { "Send again" }
            }
            p .hint data-without-script { "The time is in UTC." }
            (refused(refusal, &["since"]))
        }
    }
}

/// The time in a `datetime-local` field, whose time zone is `minutes_behind` UTC.
fn local_time(text: &str, minutes_behind: &str) -> Option<Timestamp> {
    // Browsers leave the seconds out where they are 0.
    let seconds = if text.len() == "2026-01-01T00:00".len() { ":00" } else { "" };
    let at: Timestamp = format!("{text}{seconds}Z").parse().ok()?;
    let behind: i64 = minutes_behind.parse().ok().filter(|minutes: &i64| minutes.abs() <= 24 * 60)?;
    Some(Timestamp::from_millis(at.millis().checked_add(behind * 60_000)?))
}

fn to_page(id: &str, done: &str) -> Redirect {
    Redirect::to(&format!("/activity/webhooks/{id}?done={done}"))
}

pub(super) async fn change(Path(id): Path<String>, form: Form) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    match session.api.patch::<Value>(to(subscription(&id)), body(&fields)).await {
        Ok(_) => Ok(to_page(&id, "saved").into_response()),
        Err(refusal) if refusal.is_of_input() => {
            let notices = Notices { refusal: Some(&refusal), ..Notices::default() };
            Ok((refusal.status(), shown(&session, &id, &Wanted::default(), notices).await?).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn activate(Path(id): Path<String>, form: Form) -> Result<Redirect, Refusal> {
    let active = form.session.uri.query() == Some("to=on");
    form.session.api.patch::<Value>(to(subscription(&id)), json!({"active": active})).await?;
    Ok(to_page(&id, "saved"))
}

pub(super) async fn test(Path(id): Path<String>, form: Form) -> Result<Markup, Refusal> {
    let session = form.session;
    let tested: Tested = session.api.post(to(["webhook_subscriptions", &id, "test"]), json!({})).await?;
    shown(&session, &id, &Wanted::default(), Notices { tested: Some(&tested), ..Notices::default() }).await
}

pub(super) async fn rotate(Path(id): Path<String>, form: Form) -> Result<Markup, Refusal> {
    let session = form.session;
    let made: WithSecret = session.api.post(to(["webhook_subscriptions", &id, "rotate_secret"]), json!({})).await?;
    Ok(secret(&session, "The new secret", &made))
}

/// One delivery, or all of events since a time.
pub(super) async fn redeliver(Path(id): Path<String>, form: Form) -> Result<Response, Refusal> {
    let Form { session, fields } = form;
    let delivery = fields.some("delivery_id");
    let since = local_time(fields.text("since"), fields.some("offset").unwrap_or("0"));
    let body = match (delivery, since) {
        (Some(delivery), _) => Ok(json!({"delivery_id": delivery})),
        (None, Some(since)) => Ok(json!({"since": since})),
        (None, None) => Err(Refusal::of_field("since", "has to be a date and a time")),
    };
    let path = to(["webhook_subscriptions", &id, "redeliver"]);
    let sent = match body {
        Ok(body) => session.api.post::<Value>(path, body).await.map(drop),
        Err(refusal) => Err(refusal),
    };
    match sent {
        Ok(()) => Ok(to_page(&id, "redelivered").into_response()),
        Err(refusal) if refusal.is_of_input() && delivery.is_none() => {
            let notices = Notices { since: Some(&refusal), ..Notices::default() };
            Ok((refusal.status(), shown(&session, &id, &Wanted::default(), notices).await?).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) async fn ask(session: Session, Path(id): Path<String>) -> Result<Markup, Refusal> {
    let webhook: Webhook = session.api.get(to(subscription(&id))).await?;
    let body = html! {
        p .crumbs { a href={"/activity/webhooks/" (id)} { "Webhook" } }
        h1 { "Delete the webhook?" }
        div .card .stack {
            p .url { (webhook.url) }
            p { "Nothing more is sent to it. Waiting deliveries are cancelled, and the record of deliveries is deleted." }
            div .actions {
                (button(&session, &format!("/activity/webhooks/{id}/delete"), "danger", "Delete webhook", None))
                a .button .quiet href={"/activity/webhooks/" (id)} { "Cancel" }
            }
        }
    };
    Ok(page(&session, Some(Section::Activity), "Delete the webhook", &body))
}

pub(super) async fn delete(Path(id): Path<String>, form: Form) -> Result<Redirect, Refusal> {
    form.session.api.delete(to(subscription(&id))).await?;
    Ok(Redirect::to("/activity/webhooks?done=deleted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_time_is_read_with_its_offset() {
        let is = |text: &str, behind: &str| local_time(text, behind).map(|at| at.to_string());
        assert_eq!(is("2026-11-30T21:00", "0").as_deref(), Some("2026-11-30T21:00:00.000Z"));
        assert_eq!(is("2026-11-30T21:00:30", "-60").as_deref(), Some("2026-11-30T20:00:30.000Z"));
        for (text, behind) in [("", "0"), ("2026-11-30", "0"), ("2026-11-30T21:00", "x"), ("2026-11-30T21:00", "9999")]
        {
            assert_eq!(is(text, behind), None, "{text} {behind}");
        }
    }
}
