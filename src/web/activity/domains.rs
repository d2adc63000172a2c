//! The health of domains over the last weeks.

use super::plot::{Since, described, parts, strip};
use crate::clock::Timestamp;
use crate::web::api::{Listed, to};
use crate::web::parts::{pages, status, time, with_times};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use futures_util::future::join_all;
use maud::{Markup, html};
use serde::Deserialize;
use std::time::Duration;

/// Domains that are shown, and changes of each that are read.
const DOMAINS: u32 = 10;
const CHANGES: u32 = 50;
const BACK: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Debug, Deserialize)]
struct Domain {
    id: String,
    domain: String,
    verified_status: String,
    degraded_since: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Change {
    at: Timestamp,
    to: String,
    message: String,
}

pub(super) async fn health(session: &Session, now: Timestamp) -> Result<Markup, Refusal> {
    let domains: Listed<Domain> = session
        .api
        .list(to(["custom_domains"]).with("per_page", DOMAINS).with_some("cursor", session.query("health")))
        .await?;
    let changes = join_all(domains.rows.iter().map(|domain| {
        session.api.list::<Change>(to(["custom_domains", &domain.id, "events"]).with("per_page", CHANGES))
    }));
    let changes = changes.await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(html! {
        section .stack aria-labelledby="health" {
            h2 id="health" { "Domains in the last 30 days" }
            @if domains.rows.is_empty() { p { "No domain yet. " a href="/domains" { "Add one" } "." } }
            @else { div .table { table {
                thead { tr {
                    th scope="col" { "Domain" } th scope="col" { "Status" } th scope="col" { "30 days" } th scope="col" { "Last change" }
                } }
                tbody { @for (domain, changes) in domains.rows.iter().zip(&changes) { (row(domain, &changes.rows, now)) } }
            } } }
            (pages(session, "health", domains.next.as_deref()))
        }
    })
}

fn row(domain: &Domain, changes: &[Change], now: Timestamp) -> Markup {
    // The newest is first in the list.
    let in_order: Vec<Since> =
        changes.iter().rev().map(|change| Since { at: change.at, status: change.to.clone() }).collect();
    let all = parts(&in_order, now.before(BACK), now);
    let text = format!("{} in the last 30 days: {}", domain.domain, described(&all));
    html! {
        tr {
            th scope="row" { a id={"health-" (domain.id)} href={"/domains/" (domain.id)} { (domain.domain) } }
            td data-label="Status" {
                (status(&domain.verified_status))
                @if let Some(since) = &domain.degraded_since { " " (status("degraded")) " since " (time(since)) }
            }
            td data-label="30 days" { (strip(&format!("strip-{}", domain.id), &text, &all)) }
            td .long data-label="Last change" {
                @if let Some(last) = changes.first() { (with_times(&last.message)) " " span .hint { (time(&last.at.to_string())) } }
            }
        }
    }
}
