//! What has become of an email that was sent from here, recipient by recipient.

use super::messages::{Recipient, Sent};
use crate::auth::login::Permissions;
use crate::web::api::to;
use crate::web::layout::csrf;
use crate::web::parts::{status, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::Path;
use maud::{Markup, html};
use serde::Deserialize;

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

pub(super) async fn show(session: Session, Path((inbox, email)): Path<(String, String)>) -> Result<Markup, Refusal> {
    let sent: Sent = session.api.get(to(["emails", &email])).await?;
    card(&session, &inbox, &email, &sent).await
}

/// Empty for an email that was not sent from here.
pub(super) async fn card(session: &Session, inbox: &str, email: &str, sent: &Sent) -> Result<Markup, Refusal> {
    let Some(word) = sent.status.as_deref() else { return Ok(html! {}) };
    let queued = if refresh(word).is_some() && session.is_of_account() {
        session.api.find::<Queued>(to(["queue", email])).await?.unwrap_or_default()
    } else {
        Queued::default()
    };
    let may_undo = session.may(Permissions::MESSAGES_SEND | Permissions::DRAFTS_WRITE);
    Ok(html! {
        section #delivery .card .stack aria-labelledby="delivery-head" hx-get={"/mail/" (inbox) "/" (email) "/delivery"}
            hx-trigger=[refresh(word)] hx-swap="outerHTML" {
            div .head {
                h2 #delivery-head { "Delivery" }
                p role="status" { (status(word)) }
            }
            @if word == "scheduled" {
                div .notice .undo {
                    p { "It leaves " @match &sent.send_at { Some(at) => { "at " (time(at)) }, None => "soon" } "." }
                    @if may_undo {
                        form method="post" action={"/mail/" (inbox) "/" (email) "/undo"} {
                            (csrf(session))
                            button type="submit" data-key="z" { "Undo" }
                        }
                    }
                }
            }
            ul .plain .stack {
                @for recipient in &sent.recipients {
                    (row(recipient, queued.deliveries.iter().find(|one| one.rcpt_to == recipient.address)))
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

fn row(recipient: &Recipient, queued: Option<&Delivery>) -> Markup {
    html! {
        li .delivery {
            p { bdi { (recipient.address) } " " (status(&recipient.status)) }
            @if let Some(reply) = &recipient.reply {
                p .hint {
                    @match &recipient.mx { Some(mx) => { bdi { (mx) } " replied: " }, None => "" }
                    bdi { code { (reply) } }
                    @if let Some(at) = &recipient.at { " (" (time(at)) ")" }
                }
            }
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
