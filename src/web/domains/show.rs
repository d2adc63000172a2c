//! The page of a domain: its verdict, its records, how to publish them; and the button that checks them.

use super::model::{Domain, Tab, framed, read};
use super::records::{sentence, table};
use crate::auth::login::Permissions;
use crate::web::WebContext;
use crate::web::api::to;
use crate::web::docs::links::{Term, term};
use crate::web::form::Form;
use crate::web::layout::{csrf, notice_of};
use crate::web::parts::{empty, status, time, with_times};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/domains/{id}", get(show))
        .route("/domains/{id}/verify", post(verify))
        .route("/domains/{id}/zone", get(zone))
}

/// How far a check is.
#[derive(Debug, Deserialize)]
pub(super) struct Progress {
    pub(super) state: String,
    pub(super) name_servers: Option<u32>,
    pub(super) queries: Option<u32>,
    pub(super) answers: Option<u32>,
}

pub(super) async fn progress(session: &Session, id: &str) -> Result<Progress, Refusal> {
    session.api.get(to(["custom_domains", id, "check"])).await
}

async fn show(session: Session, Path(id): Path<String>) -> Result<Markup, Refusal> {
    let domain = read(&session, &id).await?;
    let progress = progress(&session, &id).await?;
    let actions = html! {
        @if session.may(Permissions::DOMAINS_WRITE) {
            form method="post" action={"/domains/" (id) "/verify"} hx-post={"/domains/" (id) "/verify"} hx-swap="none" {
                (csrf(&session))
                button type="submit" id="verify" { "Check now" }
            }
        }
        a .button .quiet href={"/domains/" (id) "/zone"} download { "Download zone file" }
    };
    let body = html! {
        p .visually-hidden id="notice_of" role="status" sse-swap="notice_of" {}
        div id="progress" sse-swap="progress" { (progress_line(&progress)) }
        div id="state" .stack sse-swap="state" { (state(&session, &domain)) }
    };
    Ok(framed(&session, &domain, Some(Tab::Records), &actions, &body))
}

/// Starts a check. The stream shows it to a page with scripts, which stays as it is. Seconds after a check there is no other one, and
/// the page says so.
async fn verify(Path(id): Path<String>, headers: HeaderMap, form: Form) -> Result<Response, Refusal> {
    let done = match form.session.api.post::<Domain>(to(["custom_domains", &id, "verify"]), json!({})).await {
        Ok(_) => "checking",
        Err(refusal) if refusal.status() == StatusCode::TOO_MANY_REQUESTS => "checked",
        Err(refusal) => return Err(refusal),
    };
    if headers.contains_key("hx-request") {
        let notice = if done == "checked" {
            notice_of(done)
        } else {
            html! {}
        };
        let place = [("hx-retarget", "#notices"), ("hx-reswap", "innerHTML")];
        return Ok((place, notice).into_response());
    }
    Ok(Redirect::to(&format!("/domains/{id}?done={done}")).into_response())
}

async fn zone(session: Session, Path(id): Path<String>) -> Result<Response, Refusal> {
    let domain = read(&session, &id).await?;
    let mut response = session.api.forward(to(["custom_domains", &id, "zone_file"]), HeaderMap::new()).await?;
    let name = format!("attachment; filename=\"{}.zone\"", domain.domain);
    let name = HeaderValue::from_str(&name).unwrap_or_else(|_| HeaderValue::from_static("attachment"));
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// What the check is doing.
pub(super) fn progress_line(progress: &Progress) -> Markup {
    let Progress { state, name_servers, queries, answers } = progress;
    html! {
        @match state.as_str() {
            "waiting" => p .notice { "A check is due and begins in a moment." },
            "running" => div .notice {
                p {
                    "Checking: "
                    @match name_servers.filter(|servers| *servers > 0) {
                        Some(1) => "asking 1 name server",
                        Some(servers) => { "asking " (servers) " name servers" }
                        None => "looking for the name servers",
                    }
                    @if let (Some(queries), Some(answers)) = (queries, answers) { "; " (answers) " of " (queries) " queries answered" }
                    "."
                }
                @if let (Some(queries), Some(answers)) = (queries, answers) {
                    progress max=(queries.max(&1)) value=(answers) aria-label="Queries answered" {}
                }
            },
            _ => {}
        }
    }
}

/// What changes with a check.
pub(super) fn state(session: &Session, domain: &Domain) -> Markup {
    let kind = match domain.verified_status.as_str() {
        "verified" if domain.degraded_since.is_none() => "good",
        "failed" => "error",
        _ => "warn",
    };
    let (_, others): (Vec<_>, Vec<_>) = domain.records.iter().partition(|record| record.required);
    let has_required = others.len() < domain.records.len();
    html! {
        section .card .stack aria-labelledby="verdict-title" {
            h2 id="verdict-title" { "Status" }
            div class={"notice " (kind)} { p id="verdict" { (status(&domain.verified_status)) " " bdi { (with_times(&domain.verdict)) } } }
            (capabilities(domain))
            (dates(domain))
            p .hint { (term(Term::DomainStatus)) " · " (term(Term::Capabilities)) " · " (term(Term::WhileUnverified)) }
        }
        @for warning in &domain.warnings {
            section .notice .warn aria-label="Existing mail" {
                p { strong { "There is mail at this domain already. " } bdi { (sentence(&warning.message)) } }
                @if !warning.hosts.is_empty() {
                    p { "Its MX hosts: " @for (at, host) in warning.hosts.iter().enumerate() { @if at > 0 { ", " } code { bdi { (host) } } } }
                }
                @if session.may(Permissions::DOMAINS_WRITE) {
                    form method="post" action="/domains" {
                        (csrf(session))
                        input type="hidden" name="domain" value=(warning.subdomain);
                        button .quiet .small type="submit" { "Add " (warning.subdomain) " instead" }
                    }
                }
            }
        }
        section .stack aria-labelledby="publish-title" {
            h2 id="publish-title" { "How to publish the records" }
            (how_to(domain))
        }
        section .stack aria-labelledby="records-title" {
            h2 id="records-title" { "Records" }
            @if domain.records.is_empty() {
                (empty("No records are needed.", &html! {}))
            } @else {
                @if !has_required { p .hint { "None of them is required." } }
                (table(&domain.records, domain.dns_provider.name.as_deref()))
            }
        }
    }
}

/// In plain words.
fn capabilities(domain: &Domain) -> Markup {
    let sending = match (domain.capabilities.sending, domain.on_unverified.as_str()) {
        (true, _) => "Mail leaves under this domain.",
        (false, "hold") => "Mail from this domain is held until it is verified.",
        (false, "reject") => "Mail from this domain is refused until it is verified.",
        (false, _) => "Mail from this domain leaves under the platform's domain until it is verified.",
    };
    let receiving = match domain.capabilities.receiving {
        true => "Mail to this domain comes to your inboxes.",
        false => "Mail to this domain does not come here: that needs a verified domain and its MX record.",
    };
    html! {
        dl .facts {
            dt { "Sending" } dd { (sign(domain.capabilities.sending)) " " (sending) }
            dt { "Receiving" } dd { (sign(domain.capabilities.receiving)) " " (receiving) }
        }
    }
}

fn sign(can: bool) -> Markup {
    html! { @if can { span .badge .good { "Yes" } } @else { span .badge { "No" } } }
}

fn dates(domain: &Domain) -> Markup {
    html! {
        p .hint {
            "Last check: " @match &domain.last_checked_at { Some(at) => (time(at)), None => "none yet" } "."
            @if let Some(at) = &domain.next_check_at { " Next check: " (time(at)) "." }
            @if let Some(at) = &domain.window_ends_at { " The time for verification ends: " (time(at)) "." }
            @if let Some(at) = &domain.degraded_since { " A required record has been at fault since " (time(at)) "." }
        }
    }
}

/// At the provider that hosts the zone.
fn how_to(domain: &Domain) -> Markup {
    let is_open = domain.verified_status != "verified";
    html! {
        details .card id="steps" open[is_open] {
            summary {
                @match &domain.dns_provider.name {
                    Some(name) => { "The zone is at " (name) ": how records are entered there" }
                    None => "How records are entered at a DNS provider",
                }
            }
            div .stack {
                ol { @for step in &domain.dns_provider.steps { li { (step) } } }
                @if !domain.name_servers.is_empty() {
                    p .hint { "Name servers: " @for (at, host) in domain.name_servers.iter().enumerate() { @if at > 0 { ", " } code { bdi { (host) } } } }
                }
                p .hint {
                    "Many providers import the " a href={"/domains/" (domain.id) "/zone"} download { "zone file" } ". "
                    a href="/docs/verification#your-dns-provider" { "About DNS providers" }
                }
            }
        }
    }
}
