//! The history of a domain: its checks with their evidence, and the changes of its status with their causes.

use super::model::{Fault, Record, Tab, framed, read};
use super::records::{finding, purpose};
use crate::web::WebContext;
use crate::web::api::to;
use crate::web::docs::links;
use crate::web::parts::{empty, pages, status, time, with_times};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::Router;
use axum::extract::{Path, Query};
use axum::routing::get;
use maud::{Markup, html};
use serde::Deserialize;

pub(super) fn routes() -> Router<WebContext> {
    Router::new().route("/domains/{id}/checks", get(checks)).route("/domains/{id}/events", get(events))
}

/// Checks and changes of one page.
const ROWS: u32 = 20;

#[derive(Debug, Deserialize)]
struct Page {
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Check {
    number: u32,
    checked_at: String,
    verified_status: String,
    records: Vec<Record>,
}

async fn checks(session: Session, Path(id): Path<String>, Query(wanted): Query<Page>) -> Result<Markup, Refusal> {
    let domain = read(&session, &id).await?;
    let path = to(["custom_domains", &id, "checks"]).with("per_page", ROWS).with_some("cursor", wanted.cursor);
    let checks = session.api.list::<Check>(path).await?;
    let body = html! {
        p .hint { "The last 50 checks of at most 90 days, the newest first." }
        @if checks.rows.is_empty() {
            (empty("No check has settled yet.", &html! { p { a href={"/domains/" (id)} { "Publish the records, and check them" } "." } }))
        } @else {
            ol .timeline .plain {
                @for check in &checks.rows { li { (shown(check)) } }
            }
        }
        (pages(&session, "cursor", checks.next.as_deref()))
    };
    Ok(framed(&session, &domain, Some(Tab::Checks), &html! {}, &body))
}

fn shown(check: &Check) -> Markup {
    let valid = check.records.iter().filter(|record| record.status == "valid").count();
    html! {
        article .card .stack aria-label={"Check " (check.number)} {
            div .head {
                h2 { (time(&check.checked_at)) }
                span { "Status afterwards: " (status(&check.verified_status)) }
            }
            p { (valid) " of " (check.records.len()) " records were valid." }
            details {
                summary { "Records and evidence" }
                ul .plain .stack {
                    @for record in &check.records {
                        li .stack {
                            p {
                                strong { a href=(links::purpose(&record.purpose)) { (purpose(&record.purpose)) } } " "
                                code { (record.name) " " (record.record_type) } " " (status(&record.status))
                            }
                            (finding(record, &format!("check-{}-", check.number)))
                        }
                    }
                }
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Change {
    at: String,
    from: Option<String>,
    to: String,
    message: String,
    records: Vec<Cause>,
}

/// A record that has caused a change.
#[derive(Debug, Deserialize)]
struct Cause {
    record: String,
    expected: String,
    status: String,
    found: Vec<String>,
    error: Option<Fault>,
    server: Option<String>,
}

async fn events(session: Session, Path(id): Path<String>, Query(wanted): Query<Page>) -> Result<Markup, Refusal> {
    let domain = read(&session, &id).await?;
    let path = to(["custom_domains", &id, "events"]).with("per_page", ROWS).with_some("cursor", wanted.cursor);
    let changes = session.api.list::<Change>(path).await?;
    let body = html! {
        ol .timeline .plain {
            @for change in &changes.rows {
                li {
                    article .card .stack aria-label={"Change to " (change.to)} {
                        div .head {
                            h2 { (time(&change.at)) }
                            span { @if let Some(from) = &change.from { (status(from)) " to " } (status(&change.to)) }
                        }
                        p { (with_times(&change.message)) }
                        @if !change.records.is_empty() { (causes(&change.records)) }
                    }
                }
            }
        }
        (pages(&session, "cursor", changes.next.as_deref()))
    };
    Ok(framed(&session, &domain, Some(Tab::Changes), &html! {}, &body))
}

fn causes(records: &[Cause]) -> Markup {
    html! {
        details {
            summary { "Evidence" }
            ul .plain .stack {
                @for cause in records {
                    li .stack {
                        p { code { (cause.record) } " " (status(&cause.status)) }
                        dl .facts {
                            dt { "Expected" } dd { code { (cause.expected) } }
                            dt { "Found" } dd {
                                @if cause.found.is_empty() { "nothing" }
                                @for (at, value) in cause.found.iter().enumerate() { @if at > 0 { ", " } code { bdi { (value) } } }
                            }
                            @if let Some(server) = &cause.server { dt { "Server" } dd { (server) } }
                            @if let Some(fault) = &cause.error {
                                dt { "Fault" } dd { bdi { (fault.message) } " (" a href=(links::code(&fault.code)) { (fault.code) } ")" }
                            }
                        }
                    }
                }
            }
        }
    }
}
