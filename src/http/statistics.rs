//! `/api/v1/statistics`: how many emails were sent, delivered, deferred, bounced and received over time.

use super::Context;
use super::caller::Caller;
use super::document::parameters::{AccountQuery, Interval, StatisticsQuery};
use super::problem::Problem;
use super::query::Parameters;
use crate::clock::Timestamp;
use crate::id::AccountId;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// Spans of an answer.
const MOST_SPANS: i64 = 400;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Interval {
    fn length(self) -> Duration {
        match self {
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }

    /// How far an answer goes back where `since` is left out.
    fn default_time(self) -> Duration {
        match self {
            Self::Hour => DAY,
            Self::Day => 30 * DAY,
        }
    }
}

/// Emails counted.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
#[schema(as = EmailCounts)]
pub(super) struct CountsJson {
    /// Messages accepted for sending.
    sent: u64,
    /// Recipients elsewhere whose host has accepted a message.
    delivered: u64,
    /// Attempts that are made again later.
    deferred: u64,
    /// Recipients elsewhere that a message could not be delivered to.
    bounced: u64,
    received: u64,
}

impl CountsJson {
    fn of([sent, delivered, deferred, bounced, received]: [u64; 5]) -> Self {
        Self { sent, delivered, deferred, bounced, received }
    }
}

/// A span of time.
#[derive(Serialize, ToSchema)]
#[schema(as = StatisticsSpan)]
pub(super) struct SpanJson {
    /// When it begins.
    at: Timestamp,
    #[serde(flatten)]
    counts: CountsJson,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Statistics {
    interval: Interval,
    /// When the first span begins.
    since: Timestamp,
    /// When the last one ends.
    until: Timestamp,
    /// Emails before this time are not all counted; null where it is not after `since`. Events are kept for `store.event_retention`, and
    /// of each kind the newest 500,000 are counted.
    complete_since: Option<Timestamp>,
    total: CountsJson,
    /// The oldest first, also those without any.
    data: Vec<SpanJson>,
}

/// Emails over time
///
/// Counted in the log of events, by hours or days (UTC), for at most 400 of them.
#[utoipa::path(
    get, path = "/api/v1/statistics", tag = "Events", params(StatisticsQuery, AccountQuery),
    responses((status = 200, body = Statistics))
)]
pub(super) async fn show(
    caller: Caller,
    State(context): Context,
    mut parameters: Parameters,
) -> Result<Json<Statistics>, Problem> {
    let account = parameters.take::<AccountId>("account_id");
    let interval = parameters.take::<Interval>("interval").unwrap_or_default();
    // The log has real time.
    let now = Timestamp::real();
    let until = parameters.take::<Timestamp>("until").unwrap_or(now);
    let since = parameters.take::<Timestamp>("since");
    let since = since.unwrap_or_else(|| until.before(interval.default_time()));
    let length = i64::try_from(interval.length().as_millis()).unwrap_or(i64::MAX);
    let [first, last] = [since, until.before(Duration::from_millis(1))].map(|at| at.millis().div_euclid(length));
    let spans = last.saturating_sub(first).saturating_add(1);
    if since >= until {
        parameters.fault("since", "must be before until");
    } else if spans > MOST_SPANS {
        parameters.fault("since", format!("is {spans} spans before until; an answer has at most {MOST_SPANS}"));
    }
    parameters.finish()?;
    let account = caller.account(account)?;
    let begin = |span: i64| Timestamp::from_millis(span.saturating_mul(length));
    let (since, end) = (begin(first), begin(last.saturating_add(1)));
    let counts = caller.store(&context).email_counts(&account, since..end, interval.length()).await?;
    // The first span that is kept as a whole.
    let kept = now.before(context.config.store.event_retention.0).millis().div_euclid(length).saturating_add(1);
    let complete = counts.complete_from.map_or(kept, |span| kept.max(span));
    let complete_since = Some(begin(complete)).filter(|complete| *complete > since);
    let mut total = [0_u64; 5];
    let mut data = Vec::new();
    for span in first..=last {
        let counted = counts.spans.get(&span).copied().unwrap_or_default();
        total.iter_mut().zip(counted).for_each(|(total, count)| *total = total.saturating_add(count));
        data.push(SpanJson { at: begin(span), counts: CountsJson::of(counted) });
    }
    Ok(Json(Statistics { interval, since, until: end, complete_since, total: CountsJson::of(total), data }))
}
