//! The sandbox's simulated internet: DNS records and faults, outgoing and incoming mail, the clock. Each form is a verb of the sandbox.

use super::WebContext;
use super::api::{Api, to, to_sandbox};
use super::form::Form;
use super::layout::{Section, csrf, page};
use super::mail::document;
use super::parts::{Field, empty, refused, status, time};
use super::refusal::Refusal;
use super::session::Session;
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

/// Rows of a table.
const SHOWN: usize = 50;
/// Domains whose records are shown.
const DOMAINS: usize = 10;

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/sandbox/internet", get(show))
        .route("/sandbox/internet/publish", post(publish))
        .route("/sandbox/internet/records", post(set_records))
        .route("/sandbox/internet/faults", post(set_fault))
        .route("/sandbox/internet/inbound", post(inbound))
        .route("/sandbox/internet/clock", post(advance))
        .route("/sandbox/internet/mail/{id}", get(mail))
        .route("/sandbox/internet/mail/{id}/html", get(mail_html))
        .route("/sandbox/internet/mail/clear", post(clear))
}

#[derive(Debug, Deserialize)]
struct Domain {
    id: String,
    domain: String,
    verified_status: String,
    records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
struct Record {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    value: String,
    priority: Option<u16>,
    status: String,
}

#[derive(Debug, Deserialize)]
struct RecordSet {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    values: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    name: String,
    fault: String,
}

#[derive(Debug, Deserialize)]
struct Received {
    id: String,
    from: String,
    rcpt_to: Vec<String>,
    subject: String,
    received_at: String,
}

#[derive(Debug, Deserialize)]
struct Clock {
    now: String,
}

#[derive(Debug, Deserialize)]
struct Inbox {
    email_address: String,
}

fn sandbox(session: &Session) -> Result<&Api, Refusal> {
    session.sandbox.as_ref().ok_or_else(Refusal::not_found)
}

async fn show(session: Session) -> Result<Markup, Refusal> {
    shown(&session, None).await
}

/// The page, with what a refused form was refused for above it.
async fn shown(session: &Session, refusal: Option<&Refusal>) -> Result<Markup, Refusal> {
    let sandbox = sandbox(session)?;
    let of_account = session.is_of_account();
    let domains = match of_account {
        true => session.api.list::<Domain>(to(["custom_domains"]).with("per_page", DOMAINS)).await?.rows,
        false => Vec::new(),
    };
    let inboxes = match session.is_operator() {
        true => Vec::new(),
        false => session.api.list::<Inbox>(to(["inboxes"]).with("per_page", 1)).await?.rows,
    };
    let records = sandbox.list::<RecordSet>(to_sandbox(["dns", "records"])).await?.rows;
    let faults = sandbox.list::<Fault>(to_sandbox(["dns", "faults"])).await?.rows;
    let mail = sandbox.list::<Received>(to_sandbox(["mail"])).await?.rows;
    let clock: Clock = sandbox.get(to_sandbox(["clock"])).await?;
    let recipient = inboxes.first().map_or("", |inbox| inbox.email_address.as_str());
    let body = html! {
        div .head { h1 { "Internet" } }
        p .hint { "The simulated internet of this sandbox: nothing leaves this machine. The same is available as JSON under " code { "/sandbox" } "." }
        (refused(refusal))
        @for domain in &domains { (domain_section(session, domain)) }
        @if of_account && domains.is_empty() {
            (empty("No domain yet.", &html! { p { a href="/domains" { "Add a domain" } ", then publish its records here." } }))
        }
        (sent_section(session, &mail))
        (inbound_section(session, recipient))
        (dns_section(session, &records))
        (fault_section(session, &faults))
        (clock_section(session, &clock.now))
    };
    Ok(page(session, Some(Section::Internet), "Internet", &body))
}

fn domain_section(session: &Session, domain: &Domain) -> Markup {
    html! {
        section .stack aria-labelledby={"domain-" (domain.id)} {
            div .head {
                h2 id={"domain-" (domain.id)} { a href={"/domains/" (domain.id)} { (domain.domain) } " " (status(&domain.verified_status)) }
                form method="post" action="/sandbox/internet/publish" {
                    (csrf(session))
                    input type="hidden" name="domain" value=(domain.id);
                    button type="submit" { "Publish all records" }
                }
            }
            div .table { table {
                thead { tr { th scope="col" { "Type" } th scope="col" { "Name" } th scope="col" { "Last found" } th scope="col" { "Change" } } }
                tbody { @for record in &domain.records { (record_row(session, record)) } }
            } }
        }
    }
}

fn record_row(session: &Session, record: &Record) -> Markup {
    let right = match record.priority {
        Some(priority) => format!("{priority} {}", record.value),
        None => record.value.clone(),
    };
    let change = |word: &str, value: &str, quiet: &str| {
        html! {
            form method="post" action="/sandbox/internet/records" {
                (csrf(session))
                input type="hidden" name="name" value=(record.name);
                input type="hidden" name="type" value=(record.kind);
                input type="hidden" name="values" value=(value);
                button class={"small " (quiet)} type="submit" aria-label={(word) " the " (record.kind) " record of " (record.name)} { (word) }
            }
        }
    };
    html! {
        tr {
            td data-label="Type" { (record.kind) }
            th scope="row" { code { (record.name) } }
            td data-label="Last found" { (status(&record.status)) }
            td { div .actions {
                (change("Publish", &right, "quiet"))
                (change("Break", wrong_value(&record.kind), "danger"))
                (change("Remove", "", "danger"))
            } }
        }
    }
}

/// A value that is well-formed, and wrong.
fn wrong_value(kind: &str) -> &'static str {
    match kind {
        "MX" => "10 mx.elsewhere.test.",
        "TXT" => "v=nonsense",
        _ => "wrong.elsewhere.test.",
    }
}

fn sent_section(session: &Session, mail: &[Received]) -> Markup {
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
                    tbody { @for one in mail.iter().rev().take(SHOWN) { tr {
                        th scope="row" { a href={"/sandbox/internet/mail/" (one.id)} { bdi { @if one.subject.is_empty() { "(no subject)" } @else { (one.subject) } } } }
                        td data-label="From" { bdi { (one.from) } }
                        td data-label="To" { bdi { (one.rcpt_to.join(", ")) } }
                        td data-label="Received" { (time(&one.received_at)) }
                    } } }
                } }
                @if mail.len() > SHOWN { p .hint { "The newest " (SHOWN) " of " (mail.len()) "." } }
            }
        }
    }
}

fn inbound_section(session: &Session, recipient: &str) -> Markup {
    let from = Field { value: "ann@example.org", is_required: true, ..Field::new("mail_from", "From") };
    let rcpt = Field { value: recipient, is_required: true, ..Field::new("rcpt_to", "To") };
    let subject = Field { value: "Hello", ..Field::new("subject", "Subject") };
    html! {
        section .stack aria-labelledby="inbound" {
            h2 id="inbound" { "Receive mail from the outside" }
            form .card method="post" action="/sandbox/internet/inbound" {
                (csrf(session))
                div .inline { (from.show(None)) (rcpt.show(None)) (subject.show(None)) }
                div .field { label for="text" { "Text" } textarea id="text" name="text" { "Hi!" } }
                div .actions { button type="submit" { "Send" } }
            }
        }
    }
}

fn dns_section(session: &Session, records: &[RecordSet]) -> Markup {
    let name = Field { is_required: true, ..Field::new("name", "Name") };
    html! {
        section .stack aria-labelledby="dns" {
            h2 id="dns" { "DNS records" }
            form .card method="post" action="/sandbox/internet/records" {
                (csrf(session))
                div .inline {
                    (name.show(None))
                    div .field { label for="type" { "Type" } select id="type" name="type" {
                        @for kind in ["TXT", "CNAME", "MX", "A", "AAAA", "NS", "PTR"] { option { (kind) } }
                    } }
                }
                div .field {
                    label for="values" { "Values" }
                    textarea id="values" name="values" aria-describedby="values-hint" {}
                    p .hint id="values-hint" { "One in each line; an MX is like 10 mx.example.org. Without a value the record set is removed." }
                }
                div .actions { button type="submit" { "Set" } }
            }
            @if !records.is_empty() {
                div .table { table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Type" } th scope="col" { "Values" } th scope="col" { "Change" } } }
                    tbody { @for set in records.iter().take(SHOWN) { tr {
                        th scope="row" { code { (set.name) } }
                        td data-label="Type" { (set.kind) }
                        td { @for value in &set.values { div { code { (value) } } } }
                        td { form method="post" action="/sandbox/internet/records" {
                            (csrf(session))
                            input type="hidden" name="name" value=(set.name);
                            input type="hidden" name="type" value=(set.kind);
                            button .small .danger type="submit" aria-label={"Remove the " (set.kind) " records of " (set.name)} { "Remove" }
                        } }
                    } } }
                } }
                @if records.len() > SHOWN { p .hint { "The first " (SHOWN) " of " (records.len()) "." } }
            }
        }
    }
}

fn fault_section(session: &Session, faults: &[Fault]) -> Markup {
    let hint = "The name and everything below it.";
    let name = Field { hint, is_required: true, ..Field::new("fault-name", "Name") };
    html! {
        section .stack aria-labelledby="faults" {
            h2 id="faults" { "Faults of name servers" }
            form .card .inline method="post" action="/sandbox/internet/faults" {
                (csrf(session))
                (name.show(None))
                div .field { label for="fault" { "Answer" } select id="fault" name="fault" {
                    option value="servfail" { "SERVFAIL" } option value="refused" { "REFUSED" } option value="timeout" { "no answer" }
                } }
                button type="submit" { "Break" }
            }
            @if !faults.is_empty() {
                div .table { table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Answer" } th scope="col" { "Change" } } }
                    tbody { @for one in faults.iter().take(SHOWN) { tr {
                        th scope="row" { code { (one.name) } }
                        td data-label="Answer" { (one.fault) }
                        td { form method="post" action="/sandbox/internet/faults" {
                            (csrf(session))
                            input type="hidden" name="fault-name" value=(one.name);
                            input type="hidden" name="fault" value="none";
                            button .small .quiet type="submit" aria-label={"Remove the fault of " (one.name)} { "Remove" }
                        } }
                    } } }
                } }
            }
        }
    }
}

fn clock_section(session: &Session, now: &str) -> Markup {
    html! {
        section .stack aria-labelledby="clock" {
            h2 id="clock" { "Clock" }
            form .card method="post" action="/sandbox/internet/clock" {
                (csrf(session))
                p { "It is " (time(now)) ". Work that falls due meanwhile is done in order." }
                div .actions { @for (seconds, word) in [(600, "10 minutes"), (3600, "1 hour"), (86_400, "1 day"), (259_200, "3 days")] {
                    button .quiet type="submit" name="seconds" value=(seconds) { "Advance by " (word) }
                } }
            }
        }
    }
}

/// Back to the page, or the page with the refusal.
async fn back(session: &Session, result: Result<(), Refusal>) -> Result<Response, Refusal> {
    match result {
        Ok(()) => Ok(Redirect::to("/sandbox/internet?done=done").into_response()),
        Err(refusal) if refusal.is_of_input() => {
            Ok((refusal.status(), shown(session, Some(&refusal)).await?).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

async fn publish(Form { session, fields }: Form) -> Result<Response, Refusal> {
    // Only one that the session sees.
    let _: Value = session.api.get(to(["custom_domains", fields.text("domain")])).await?;
    let path = to_sandbox(["domains", fields.text("domain"), "publish"]);
    let result = sandbox(&session)?.post::<Value>(path, json!({})).await.map(drop);
    back(&session, result).await
}

async fn set_records(Form { session, fields }: Form) -> Result<Response, Refusal> {
    let (name, kind) = (fields.text("name"), fields.text("type"));
    let values: Vec<&str> = fields.text("values").lines().map(str::trim).filter(|value| !value.is_empty()).collect();
    let (sandbox, path) = (sandbox(&session)?, to_sandbox(["dns", "records"]));
    let result = if values.is_empty() {
        match sandbox.delete(path.with("name", name).with("type", kind)).await {
            Err(refusal) if refusal.is_not_found() => Ok(()),
            result => result,
        }
    } else {
        sandbox.put::<Value>(path, json!({"name": name, "type": kind, "values": values})).await.map(drop)
    };
    back(&session, result).await
}

async fn set_fault(Form { session, fields }: Form) -> Result<Response, Refusal> {
    let body = json!({"name": fields.text("fault-name"), "fault": fields.text("fault")});
    let result = sandbox(&session)?.post::<Value>(to_sandbox(["dns", "faults"]), body).await.map(drop);
    back(&session, result).await
}

async fn inbound(Form { session, fields }: Form) -> Result<Response, Refusal> {
    let (from, to) = (fields.text("mail_from"), fields.text("rcpt_to"));
    // A header field has one line.
    let subject = fields.text("subject").replace(['\r', '\n'], " ");
    let text = fields.raw("text").replace("\r\n", "\n");
    let raw = format!(
        "From: {from}\nTo: {to}\nSubject: {subject}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n{text}\n"
    );
    let body = json!({"mail_from": from, "rcpt_to": to, "raw": raw});
    let result = sandbox(&session)?.post::<Value>(to_sandbox(["inbound"]), body).await;
    let result = result.and_then(|answer| match answer.get("code").and_then(Value::as_u64) {
        Some(200..300) => Ok(()),
        _ => Err(Refusal::of_mx(answer.get("reply").and_then(Value::as_str).unwrap_or_default())),
    });
    back(&session, result).await
}

async fn advance(Form { session, fields }: Form) -> Result<Response, Refusal> {
    let seconds: u64 = fields.text("seconds").parse().unwrap_or_default();
    let body = json!({"advance_seconds": seconds});
    let result = sandbox(&session)?.post::<Value>(to_sandbox(["clock"]), body).await.map(drop);
    back(&session, result).await
}

async fn clear(Form { session, .. }: Form) -> Result<Response, Refusal> {
    let result = sandbox(&session)?.delete(to_sandbox(["mail"])).await;
    back(&session, result).await
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

async fn mail(session: Session, Path(id): Path<String>) -> Result<Markup, Refusal> {
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

async fn mail_html(session: Session, Path(id): Path<String>) -> Result<Response, Refusal> {
    let message: Message = sandbox(&session)?.get(to_sandbox(["mail", &id])).await?;
    let html = message.html_body.ok_or_else(Refusal::not_found)?;
    document(&session, html, Vec::new(), false).await
}
