//! The sandbox's simulated internet: DNS records and faults, outgoing and incoming mail, the clock. Each form is a verb of the sandbox.

mod dns;
mod mail;

use super::WebContext;
use super::api::{Api, Listed, to, to_sandbox};
use super::form::{Fields, Form};
use super::layout::{Section, csrf, page};
use super::parts::{empty, pages, refused, status, time};
use super::refusal::Refusal;
use super::session::Session;
use axum::Router;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use dns::{Faults, RecordSet, dns_section, fault_section};
use mail::{Received, inbound_section, sent_section};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

/// Rows of a page of a table.
const ROWS: usize = 50;
/// Domains of a page, whose records are shown.
const DOMAINS: usize = 10;

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/sandbox/internet", get(show))
        .route("/sandbox/internet/publish", post(publish))
        .route("/sandbox/internet/records", post(set_records))
        .route("/sandbox/internet/faults", post(set_fault))
        .route("/sandbox/internet/inbound", post(inbound))
        .route("/sandbox/internet/clock", post(advance))
        .route("/sandbox/internet/mail/{id}", get(mail::mail))
        .route("/sandbox/internet/mail/{id}/html", get(mail::mail_html))
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

/// A form that was refused: what it is called, what was sent, and why.
#[derive(Clone, Copy)]
struct Tried<'a> {
    form: &'a str,
    fields: &'a Fields,
    refusal: &'a Refusal,
}

/// What was sent in a field of this form, and why it was refused.
#[derive(Clone, Copy)]
struct Given<'a>(Option<Tried<'a>>);

impl<'a> Given<'a> {
    fn of(tried: Option<Tried<'a>>, form: &str) -> Self {
        Self(tried.filter(|tried| tried.form == form))
    }

    fn text(&self, name: &str, otherwise: &'a str) -> &'a str {
        self.0.map_or(otherwise, |tried| tried.fields.raw(name))
    }

    fn refusal(&self) -> Option<&'a Refusal> {
        self.0.map(|tried| tried.refusal)
    }
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

/// The page, with what a form was refused for.
async fn shown(session: &Session, tried: Option<Tried<'_>>) -> Result<Markup, Refusal> {
    let sandbox = sandbox(session)?;
    let of_account = session.is_of_account();
    let domains = match of_account {
        true => {
            let page = to(["custom_domains"]).with("per_page", DOMAINS).with_some("cursor", session.query("domains"));
            session.api.list::<Domain>(page).await?
        }
        false => Listed { rows: Vec::new(), next: None },
    };
    let inboxes = match session.is_operator() {
        true => Vec::new(),
        false => session.api.list::<Inbox>(to(["inboxes"]).with("per_page", 1)).await?.rows,
    };
    let records = sandbox.list::<RecordSet>(to_sandbox(["dns", "records"])).await?.rows;
    let faults: Faults = sandbox.get(to_sandbox(["dns", "faults"])).await?;
    let mut mail = sandbox.list::<Received>(to_sandbox(["mail"])).await?.rows;
    mail.reverse();
    let clock: Clock = sandbox.get(to_sandbox(["clock"])).await?;
    let recipient = inboxes.first().map_or("", |inbox| inbox.email_address.as_str());
    let body = html! {
        div .head { h1 { "Internet" } }
        p .hint { "The simulated internet of this sandbox: nothing leaves this machine. The same is available as JSON under " code { "/sandbox" } "." }
        (refused(Given::of(tried, "").refusal(), &[]))
        div #domains .stack { @for domain in &domains.rows { (domain_section(session, domain)) } }
        (pages(session, "domains", domains.next.as_deref()))
        @if of_account && domains.rows.is_empty() {
            (empty("No domain yet.", &html! { p { a href="/domains" { "Add a domain" } ", then publish its records here." } }))
        }
        (sent_section(session, &mail))
        (inbound_section(session, recipient, Given::of(tried, "inbound")))
        (dns_section(session, &records, Given::of(tried, "records")))
        (fault_section(session, &faults, Given::of(tried, "faults")))
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

/// Back to the page, or the page with the refusal of this form.
async fn back(
    session: &Session,
    form: &str,
    fields: &Fields,
    result: Result<(), Refusal>,
) -> Result<Response, Refusal> {
    match result {
        Ok(()) => Ok(Redirect::to("/sandbox/internet?done=done").into_response()),
        Err(refusal) if refusal.is_of_input() => {
            let tried = Tried { form, fields, refusal: &refusal };
            Ok((refusal.status(), shown(session, Some(tried)).await?).into_response())
        }
        Err(refusal) => Err(refusal),
    }
}

async fn publish(Form { session, fields }: Form) -> Result<Response, Refusal> {
    // Only one that the session sees.
    let _: Value = session.api.get(to(["custom_domains", fields.text("domain")])).await?;
    let path = to_sandbox(["domains", fields.text("domain"), "publish"]);
    let result = sandbox(&session)?.post::<Value>(path, json!({})).await.map(drop);
    back(&session, "", &fields, result).await
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
    back(&session, "records", &fields, result).await
}

async fn set_fault(Form { session, fields }: Form) -> Result<Response, Refusal> {
    let server = fields.text("server").parse::<u8>().ok();
    let body = json!({"name": fields.text("fault-name"), "server": server, "fault": fields.text("fault")});
    let result = sandbox(&session)?.post::<Value>(to_sandbox(["dns", "faults"]), body).await.map(drop);
    back(&session, "faults", &fields, result).await
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
    back(&session, "inbound", &fields, result).await
}

async fn advance(Form { session, fields }: Form) -> Result<Response, Refusal> {
    let seconds: u64 = fields.text("seconds").parse().unwrap_or_default();
    let body = json!({"advance_seconds": seconds});
    let result = sandbox(&session)?.post::<Value>(to_sandbox(["clock"]), body).await.map(drop);
    back(&session, "", &fields, result).await
}

async fn clear(Form { session, fields }: Form) -> Result<Response, Refusal> {
    let result = sandbox(&session)?.delete(to_sandbox(["mail"])).await;
    back(&session, "", &fields, result).await
}
