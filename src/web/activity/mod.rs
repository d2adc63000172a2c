//! Activity of an account: emails over time, the health of its domains, events, the queue, webhooks.

mod domains;
mod events;
mod live;
mod plot;
mod webhook;
mod webhooks;

use super::WebContext;
use super::api::to;
use super::layout::{Section, page};
use super::parts::time;
use super::queue;
use super::refusal::Refusal;
use super::session::Session;
use crate::auth::login::Permissions;
use crate::clock::Timestamp;
use axum::Router;
use axum::extract::{Query, State};
use axum::routing::{get, post};
use maud::{Markup, html};
use serde::Deserialize;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How far days go back, where events are kept for so long.
const LONGEST: Duration = Duration::from_secs(90 * 24 * 3600);

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/activity", get(show))
        .route("/activity/events", get(events::list))
        .route("/activity/live", get(live::live))
        .route("/activity/queue", get(queued))
        .route("/activity/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/activity/webhooks/{id}", get(webhook::show).post(webhook::change))
        .route("/activity/webhooks/{id}/active", post(webhook::activate))
        .route("/activity/webhooks/{id}/test", post(webhook::test))
        .route("/activity/webhooks/{id}/rotate", post(webhook::rotate))
        .route("/activity/webhooks/{id}/redeliver", post(webhook::redeliver))
        .route("/activity/webhooks/{id}/delete", get(webhook::ask).post(webhook::delete))
}

/// Links to the parts of the section.
fn parts(session: &Session, current: &str) -> Markup {
    let all = [
        ("/activity", "Overview", true),
        ("/activity/events", "Events", true),
        ("/activity/queue", "Queue", true),
        ("/activity/webhooks", "Webhooks", session.may(Permissions::WEBHOOKS_READ)),
    ];
    html! {
        nav .parts aria-label="Activity" { ul {
            @for (path, name, _) in all.into_iter().filter(|(_, _, may)| *may) {
                li { a href=(path) aria-current=[(path == current).then_some("page")] { (name) } }
            }
        } }
    }
}

#[derive(Debug, Deserialize)]
struct Statistics {
    complete_since: Option<String>,
    data: Vec<Span>,
}

#[derive(Debug, Deserialize)]
struct Span {
    at: String,
    sent: u64,
    delivered: u64,
    deferred: u64,
    bounced: u64,
    received: u64,
}

impl Span {
    /// The day, and the hour.
    fn label(&self, is_by_day: bool) -> String {
        self.at.get(if is_by_day { 5..10 } else { 5..16 }).unwrap_or(&self.at).replace('T', " ")
    }
}

/// A count that is plotted: its name, its class, where it is.
type Series = (&'static str, &'static str, fn(&Span) -> u64);

const SERIES: [Series; 5] = [
    ("Sent", "sent", |span| span.sent),
    ("Delivered", "delivered", |span| span.delivered),
    ("Deferred", "deferred", |span| span.deferred),
    ("Bounced", "bounced", |span| span.bounced),
    ("Received", "received", |span| span.received),
];

#[derive(Debug, Default, Deserialize)]
struct Wanted {
    #[serde(default)]
    interval: String,
}

async fn show(
    session: Session,
    State(context): State<WebContext>,
    Query(wanted): Query<Wanted>,
) -> Result<Markup, Refusal> {
    let is_by_day = wanted.interval == "day";
    let kept = context.config.store.event_retention.0;
    let (interval, back) = if is_by_day { ("day", kept.min(LONGEST)) } else { ("hour", kept.min(DAY)) };
    let request = to(["statistics"]).with("interval", interval).with("since", Timestamp::real().before(back));
    let statistics: Statistics = session.api.get(request).await?;
    let labels: Vec<String> = statistics.data.iter().map(|span| span.label(is_by_day)).collect();
    let health = if session.may(Permissions::DOMAINS_READ) {
        Some(domains::health(&session, context.clock.now()).await?)
    } else {
        None
    };
    let body = html! {
        h1 { "Activity" }
        (parts(&session, "/activity"))
        section .card .stack aria-labelledby="mail" {
            div .head {
                h2 id="mail" { "Mail" }
                div .actions {
                    a .button .quiet .small href="/activity" aria-current=[(!is_by_day).then_some("true")] { "By hour" }
                    a .button .quiet .small href="/activity?interval=day" aria-current=[is_by_day.then_some("true")] { "By day" }
                }
            }
            div .plots { @for (name, class, count) in SERIES {
                @let values: Vec<_> = labels.iter().map(String::as_str).zip(statistics.data.iter().map(count)).collect();
                (plot::bars(&format!("plot-{class}"), name, class, &values))
            } }
            p .hint { "Times are in UTC. Sent counts messages; delivered, deferred and bounced count attempts for one recipient elsewhere." }
            @if let Some(since) = &statistics.complete_since { p .hint { "Complete since " (time(since)) "." } }
            (table(&statistics, is_by_day))
        }
        @if let Some(health) = health { (health) }
    };
    Ok(page(&session, Some(Section::Activity), "Activity", &body))
}

/// The same numbers for those who do not see plots.
fn table(statistics: &Statistics, is_by_day: bool) -> Markup {
    html! {
        details {
            summary { "The numbers as a table" }
            div .table { table {
                thead { tr {
                    th scope="col" { @if is_by_day { "Day" } @else { "Hour" } }
                    @for (name, _, _) in SERIES { th .number scope="col" { (name) } }
                } }
                tbody { @for span in statistics.data.iter().rev() { tr {
                    th scope="row" { (span.label(is_by_day)) }
                    @for (name, _, count) in SERIES { td .number data-label=(name) { (count(span)) } }
                } } }
            } }
        }
    }
}

async fn queued(session: Session, Query(wanted): Query<queue::Wanted>) -> Result<Markup, Refusal> {
    let found = queue::found(&session, &wanted).await?;
    let body = html! {
        h1 { "Queue" }
        (parts(&session, "/activity/queue"))
        (queue::list(&session, &found, "/activity/queue"))
    };
    Ok(page(&session, Some(Section::Activity), "Queue", &body))
}
