//! What has become of an email that was sent from here: when it was accepted, and recipient by recipient each attempt with its reply.

use super::messages::{Recipient, Sent};
use crate::auth::login::Permissions;
use crate::clock::Timestamp;
use crate::web::api::to;
use crate::web::docs::links::{Term, term};
use crate::web::layout::csrf;
use crate::web::parts::{status, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::{Path, Query};
use maud::{Markup, html};
use serde::Deserialize;
use std::time::Duration;

/// Attempts that are shown, of all recipients together.
const ATTEMPTS: u32 = 100;
/// By how much the log may be older than the time of the email.
const OVERLAP: Duration = Duration::from_secs(60);

/// What the queue has of an email: recipients that are not settled.
#[derive(Debug, Default, Deserialize)]
struct Queued {
    deliveries: Vec<Delivery>,
}

#[derive(Debug, Deserialize)]
struct Delivery {
    rcpt_to: String,
    attempts: u32,
    next_attempt_at: Option<String>,
    in_progress: bool,
}

/// An attempt for one recipient, as the log of events has it.
#[derive(Debug, Deserialize)]
struct Attempt {
    r#type: String,
    created_at: String,
    data: Outcome,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    recipient: String,
    reply: String,
    mx: Option<String>,
}

/// What is read of the email.
#[derive(Debug, Deserialize)]
struct Story {
    created_at: Timestamp,
    #[serde(flatten)]
    sent: Sent,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// The status that the page shows.
    #[serde(default)]
    seen: String,
}

/// The parts that change, and the status where it is another one.
pub(super) async fn show(
    session: Session,
    Path((inbox, email)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Markup, Refusal> {
    let Story { created_at, sent } = session.api.get(to(["emails", &email])).await?;
    let word = sent.status.as_deref().unwrap_or_default();
    let story = story(&session, &inbox, &email, created_at, &sent).await?;
    Ok(html! {
        (story)
        @if word != wanted.seen { p #delivery-status role="status" hx-swap-oob="innerHTML" { (status(word)) } }
    })
}

/// Empty for an email that was not sent from here. The status is announced, and so stays in place when the rest is replaced.
pub(super) async fn card(
    session: &Session,
    inbox: &str,
    email: &str,
    created_at: Timestamp,
    sent: &Sent,
) -> Result<Markup, Refusal> {
    let Some(word) = sent.status.as_deref() else { return Ok(html! {}) };
    let story = story(session, inbox, email, created_at, sent).await?;
    Ok(html! {
        section #delivery .card .stack aria-labelledby="delivery-head" {
            div .head {
                h2 #delivery-head { "Delivery" }
                p #delivery-status role="status" { (status(word)) }
            }
            (story)
        }
    })
}

async fn story(
    session: &Session,
    inbox: &str,
    email: &str,
    created_at: Timestamp,
    sent: &Sent,
) -> Result<Markup, Refusal> {
    let word = sent.status.as_deref().unwrap_or_default();
    let queued = if refresh(word).is_some() && session.is_of_account() {
        session.api.find::<Queued>(to(["queue", email])).await?.unwrap_or_default()
    } else {
        Queued::default()
    };
    let attempts = to(["events"]).with("inbox_id", inbox).with("email_id", email).with("limit", ATTEMPTS);
    let attempts = attempts.with("types", "email.delivered,email.deferred,email.bounced");
    let attempts = session.api.list::<Attempt>(attempts.with("after", created_at.before(OVERLAP))).await?.rows;
    let may_undo = session.may(Permissions::MESSAGES_SEND | Permissions::DRAFTS_WRITE);
    Ok(html! {
        div #story .stack hx-get={"/mail/" (inbox) "/" (email) "/delivery?seen=" (word)} hx-trigger=[refresh(word)] hx-swap="outerHTML" {
            @if word == "scheduled" {
                div .notice .undo {
                    p { "It leaves " @match &sent.send_at { Some(at) => { "at " (time(at)) }, None => "soon" } "." }
                    @if may_undo {
                        form method="post" action={"/mail/" (inbox) "/" (email) "/undo"} {
                            (csrf(session))
                            button #undo type="submit" data-key="z" { "Undo" }
                        }
                    }
                }
            }
            p .hint { "Accepted " (time(&created_at.to_string())) ". " (term(Term::Sending)) }
            ul .plain .stack {
                @for recipient in &sent.recipients {
                    @let of = attempts.iter().filter(|attempt| attempt.data.recipient == recipient.address).collect::<Vec<_>>();
                    (row(recipient, &of, queued.deliveries.iter().find(|one| one.rcpt_to == recipient.address)))
                }
            }
        }
    })
}

/// When to look again, where it is not settled.
fn refresh(status: &str) -> Option<&'static str> {
    match status {
        "scheduled" | "queued" => Some("every 2s"),
        "deferred" | "held" => Some("every 30s"),
        _ => None,
    }
}

fn row(recipient: &Recipient, attempts: &[&Attempt], queued: Option<&Delivery>) -> Markup {
    html! {
        li .delivery {
            p { bdi { (recipient.address) } " " (status(&recipient.status)) }
            @if attempts.is_empty() { @if let Some(reply) = &recipient.reply {
                p .hint { (replied(recipient.mx.as_deref(), reply)) @if let Some(at) = &recipient.at { " (" (time(at)) ")" } }
            } }
            ol .plain .hint { @for attempt in attempts { li {
                (time(&attempt.created_at)) " " (attempt.r#type.trim_start_matches("email.")) ": "
                (replied(attempt.data.mx.as_deref(), &attempt.data.reply))
            } } }
            @if let Some(queued) = queued {
                p .hint {
                    @match queued.attempts { 0 => "Not tried yet.", 1 => "Tried once.", n => { "Tried " (n) " times." } }
                    @if queued.in_progress { " An attempt is running." }
                    @else if let Some(next) = &queued.next_attempt_at { " Next attempt: " (time(next)) "." }
                    @else { " It is on hold." }
                }
            }
        }
    }
}

fn replied(mx: Option<&str>, reply: &str) -> Markup {
    html! { @if let Some(mx) = mx { bdi { (mx) } " replied: " } bdi { code { (reply) } } }
}
