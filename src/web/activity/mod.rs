//! Activity of an account: emails over time, the health of its domains, events, the queue, suppressions, webhooks.

mod domains;
mod events;
mod live;
mod plot;
mod suppressions;
mod webhook;
mod webhooks;

use super::WebContext;
use super::api::to;
use super::docs::links::{Term, term};
use super::layout::{Section, page};
use super::parts::{short_time, time};
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
        .route("/activity/suppressions", get(suppressions::list).post(suppressions::create))
        .route("/activity/suppressions/{id}/delete", post(suppressions::delete))
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
        ("/activity/events?type=email.sent", "Sent", true),
        ("/activity/events?type=email.bounced", "Bounces", true),
        ("/activity/queue", "Queue", true),
        ("/activity/events", "Events", true),
        ("/activity/suppressions", "Suppressions", session.may(Permissions::INBOXES_READ)),
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
    fn key(&self, is_by_day: bool) -> &str {
        self.at.get(..10).filter(|_| is_by_day).unwrap_or(&self.at)
    }

    /// When it begins: the day in UTC, or the hour.
    fn begins(&self, is_by_day: bool) -> Markup {
        if is_by_day {
            html! { (self.key(true)) }
        } else {
            short_time(&self.at)
        }
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
    let health = if session.may(Permissions::DOMAINS_READ) {
        Some(domains::health(&session, context.clock.now()).await?)
    } else {
        None
    };
    let here = if is_by_day { "/activity?interval=day" } else { "/activity" };
    let overview = html! { div #overview .stack {
        (mail(&statistics, is_by_day))
        @if let Some(health) = health { (health) }
    } };
    let body = html! {
        h1 { "Activity" }
        (parts(&session, "/activity"))
        (live::updated(here, "overview", &overview))
    };
    Ok(page(&session, Some(Section::Activity), "Activity", &body))
}

/// The counts of emails, plotted and as a table.
fn mail(statistics: &Statistics, is_by_day: bool) -> Markup {
    let begins: Vec<Markup> = statistics.data.iter().map(|span| span.begins(is_by_day)).collect();
    html! {
        section .card .stack aria-labelledby="mail" {
            div .head {
                h2 id="mail" { "Mail" }
                div .actions {
                    a .button .quiet .small #by-hour href="/activity" aria-current=[(!is_by_day).then_some("true")] { "By hour" }
                    a .button .quiet .small #by-day href="/activity?interval=day" aria-current=[is_by_day.then_some("true")] { "By day" }
                }
            }
            div .plots { @for (name, class, count) in SERIES {
                @let values: Vec<_> = statistics.data.iter().map(|span| (span.key(is_by_day), count(span))).collect();
                (plot::bars(&format!("plot-{class}"), name, class, &values, (begins.first(), begins.last())))
            } }
            p .hint {
                @if is_by_day { "Days are those of UTC. " }
                "Sent counts messages; delivered, deferred and bounced count attempts for one recipient elsewhere."
            }
            @if let Some(since) = &statistics.complete_since { p .hint { "Complete since " (time(since)) "." } }
            (table(statistics, is_by_day))
        }
    }
}

/// The same numbers for those who do not see plots.
fn table(statistics: &Statistics, is_by_day: bool) -> Markup {
    html! {
        details #numbers {
            summary { "The numbers as a table" }
            div .table { table {
                thead { tr {
                    th scope="col" { @if is_by_day { "Day" } @else { "Hour" } }
                    @for (name, _, _) in SERIES { th .number scope="col" { (name) } }
                } }
                tbody { @for span in statistics.data.iter().rev() { tr {
                    th scope="row" { (span.begins(is_by_day)) }
                    @for (name, _, count) in SERIES { td .number data-label=(name) { (count(span)) } }
                } } }
            } }
        }
    }
}

async fn queued(session: Session, Query(wanted): Query<queue::Wanted>) -> Result<Markup, Refusal> {
    let found = queue::found(&session, &wanted).await?;
    let list = html! { div #queue .stack { (queue::list(&session, &found, "/activity/queue")) } };
    let here = session.uri.path_and_query().map_or("/activity/queue", |here| here.as_str());
    let body = html! {
        h1 { "Queue" }
        (parts(&session, "/activity/queue"))
        p .hint { "Mail that waits for an attempt, a time or its domain. " (term(Term::Sending)) }
        (live::updated(here, "queue", &list))
    };
    Ok(page(&session, Some(Section::Activity), "Queue", &body))
}
