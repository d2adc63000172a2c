//! Mail of the simulated outside world: what was sent to it, and the form that sends some in.

use super::{Given, ROWS, sandbox};
use crate::web::api::to_sandbox;
use crate::web::layout::{Section, csrf, page};
use crate::web::mail::document;
use crate::web::parts::{Field, empty, page_of, pages, refused, time};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Received {
    id: String,
    from: String,
    rcpt_to: Vec<String>,
    subject: String,
    received_at: String,
}

pub(super) fn sent_section(session: &Session, mail: &[Received]) -> Markup {
    let (rows, next) = page_of(session, "sent", mail, ROWS);
    html! {
        section .stack aria-labelledby="sent" {
            div .head {
                h2 id="sent" { "Mail sent to the outside" }
                @if !mail.is_empty() {
                    form method="post" action="/sandbox/internet/mail/clear" { (csrf(session)) button .quiet type="submit" { "Delete all" } }
                }
            }
            @if mail.is_empty() {
                (empty("Nothing has been sent to the outside world.", &html! { p { a href="/mail" { "Send an email" } " to any address, like ann@example.org." } }))
            } @else {
                div .table { table {
                    thead { tr { th scope="col" { "Subject" } th scope="col" { "From" } th scope="col" { "To" } th scope="col" { "Received" } } }
                    tbody { @for one in rows { tr {
                        th scope="row" { a href={"/sandbox/internet/mail/" (one.id)} { bdi { @if one.subject.is_empty() { "(no subject)" } @else { (one.subject) } } } }
                        td data-label="From" { bdi { (one.from) } }
                        td data-label="To" { bdi { (one.rcpt_to.join(", ")) } }
                        td data-label="Received" { (time(&one.received_at)) }
                    } } }
                } }
                (pages(session, "sent", next.as_deref()))
            }
        }
    }
}

pub(super) fn inbound_section(session: &Session, recipient: &str, given: Given<'_>) -> Markup {
    let field = |name: &'static str, label: &'static str, otherwise: &str, is_required: bool| {
        Field { value: given.text(name, otherwise), is_required, ..Field::new(name, label) }.show(given.refusal())
    };
    html! {
        section .stack aria-labelledby="inbound" {
            h2 id="inbound" { "Receive mail from the outside" }
            form .card method="post" action="/sandbox/internet/inbound" {
                (csrf(session))
                div .inline {
                    (field("mail_from", "From", "ann@example.org", true))
                    (field("rcpt_to", "To", recipient, true))
                    (field("subject", "Subject", "Hello", false))
                }
                div .field { label for="text" { "Text" } textarea id="text" name="text" { "\n" (given.text("text", "Hi!")) } }
                (refused(given.refusal(), &["mail_from", "rcpt_to", "subject"]))
                div .actions { button type="submit" { "Send" } }
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Message {
    mail_from: String,
    rcpt_to: Vec<String>,
    from: String,
    subject: String,
    received_at: String,
    headers: Vec<HeaderField>,
    text_body: Option<String>,
    html_body: Option<String>,
}

#[derive(Debug, Deserialize)]
struct HeaderField {
    name: String,
    value: String,
}

pub(super) async fn mail(session: Session, Path(id): Path<String>) -> Result<Markup, Refusal> {
    let message: Message = sandbox(&session)?.get(to_sandbox(["mail", &id])).await?;
    let subject = if message.subject.is_empty() { "(no subject)" } else { &message.subject };
    let body = html! {
        p .crumbs { a href="/sandbox/internet" { "Internet" } }
        h1 { bdi { (subject) } }
        dl .card .facts {
            dt { "From" } dd { bdi { (message.from) } }
            dt { "Envelope sender" } dd { bdi { (message.mail_from) } }
            dt { "Recipients" } dd { bdi { (message.rcpt_to.join(", ")) } }
            dt { "Received" } dd { (time(&message.received_at)) }
        }
        @if message.html_body.is_some() {
            iframe .mail-html title="HTML of the email" sandbox="allow-popups allow-popups-to-escape-sandbox"
                src={"/sandbox/internet/mail/" (id) "/html"} {}
        }
        @if let Some(text) = &message.text_body { pre .wrapped tabindex="0" aria-label="Text" { (text) } }
        details .card { summary { "Header fields" } dl .facts {
            @for field in &message.headers { dt { (field.name) } dd { code { (field.value) } } }
        } }
    };
    Ok(page(&session, Some(Section::Internet), subject, &body))
}

pub(super) async fn mail_html(session: Session, Path(id): Path<String>) -> Result<Response, Refusal> {
    let message: Message = sandbox(&session)?.get(to_sandbox(["mail", &id])).await?;
    let html = message.html_body.ok_or_else(Refusal::not_found)?;
    document(&session, html, Vec::new(), false).await
}
