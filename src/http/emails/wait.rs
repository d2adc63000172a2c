//! `GET /inboxes/{id}/wait`: the first email that fits, once it has arrived.
//!
//! Invariant: a client that follows the response's link gets each email that fits once, in the order of arrival.

use super::search::{FoundEmail, by_body, by_header};
use super::terms::{Terms, parse};
use super::{Damaged, whole};
use crate::events::{Cursor, Event, EventId, PublicType};
use crate::http::caller::Caller;
use crate::http::document::parameters::WaitQuery;
use crate::http::events::Place;
use crate::http::problem::Problem;
use crate::http::query::{Linked, Parameters};
use crate::http::{Context, HttpContext, Id};
use crate::id::InboxId;
use crate::message::searched::lower;
use crate::net::request::Connection;
use crate::public_events::{Followed, Selection};
use crate::store::emails::EmailFilter;
use crate::store::events::LoggedEvent;
use crate::store::inboxes::Inbox;
use crate::views::email::WholeJson;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Seconds to wait at most, and by default: shorter than the read time-outs of common clients (30 s).
const LONGEST: u64 = 60;
const SECONDS: u64 = 25;

/// What an email has to be.
struct Wanted {
    terms: Arc<Terms>,
    has_code: bool,
}

/// The first email that fits, once it has arrived
///
/// 404 at once where the inbox is deleted; 204 where none has arrived in time: send the same request again, with the same `since`, or the request of the `Link`. Mail that a list
/// blocks does not count.
#[utoipa::path(
    get, path = "/api/v1/inboxes/{id}/wait", tag = "Emails", params(("id" = InboxId, Path), WaitQuery),
    responses((status = 200, body = WholeJson), (status = 204), (status = 410))
)]
pub(in crate::http) async fn wait(
    caller: Caller,
    State(context): Context,
    Extension(connection): Extension<Connection>,
    Path(id): Id,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let wanted = Wanted::take(&mut parameters, context.config.limits.keyword_length);
    let since: Option<Place> = parameters.take("since");
    let timeout = parameters.number("timeout", 1..=LONGEST, " seconds").unwrap_or(SECONDS);
    let target = parameters.target_up_to("since");
    parameters.finish()?;
    let inbox = caller.inbox(&context, &id).await?;
    let _permit = context.streams.permit(&inbox.account)?;
    let of = Selection {
        account: inbox.account.clone(),
        inbox: Some(inbox.id.clone()),
        email: None,
        types: [PublicType::EmailReceived].into(),
    };
    let from = match since {
        Some(place) => place.cursor(&context, &of).await?,
        None => context.public_events.end().await?,
    };
    // Deleted before its place was known; its end is in the log otherwise.
    caller.inbox(&context, &id).await?;
    let ends_at = Instant::now() + Duration::from_secs(timeout);
    let mut follower = context.public_events.follow(of, from);
    loop {
        let followed = tokio::select! {
            followed = follower.next() => followed?,
            () = sleep_until(ends_at) => return Ok(nothing(&target, follower.cursor())),
            // The next request reaches another daemon, or this one after its start.
            () = connection.shutdown.requested() => return Ok(nothing(&target, follower.cursor())),
        };
        match followed {
            Followed::Page(page) if page.has_gap => return Err(no_longer_kept()),
            Followed::Page(page) => {
                for logged in page.events {
                    if let Some(email) = fitting(&caller, &context, &inbox, &logged, &wanted).await? {
                        return Ok(Linked::new(email, &target, Some(&EventId(logged.cursor))).into_response());
                    }
                    // There may be many from before that do not fit.
                    if Instant::now() >= ends_at {
                        return Ok(nothing(&target, logged.cursor));
                    }
                }
                if page.is_over {
                    return Err(Problem::not_found());
                }
            }
            Followed::CheckToken => {
                if !context.streams.may_go_on(&caller.principal.token).await? {
                    return Err(Problem::unauthorized("The API token has been revoked."));
                }
            }
        }
    }
}

impl Wanted {
    fn take(parameters: &mut Parameters, longest_label: usize) -> Self {
        let mut terms = Terms::default();
        if let Some(q) = parameters.take::<String>("q") {
            let mut filter = EmailFilter::default();
            match parse(&q, longest_label, &mut filter) {
                Ok(parsed) if filter == EmailFilter::default() => terms = parsed,
                Ok(_) => parameters.fault("q", "takes words, from:, to:, subject: and has:attachment alone"),
                Err(error) => parameters.fault("q", error),
            }
        }
        let mut word = |name| parameters.take::<String>(name).map(lower).filter(|word| !word.is_empty());
        terms.from.extend(word("from"));
        terms.to.extend(word("to"));
        terms.subject.extend(word("subject"));
        let mut has_code = false;
        match parameters.take::<String>("has").as_deref() {
            None => {}
            Some("code") => has_code = true,
            Some("attachment") => terms.has_attachment = true,
            Some(_) => parameters.fault("has", "must be code or attachment"),
        }
        Self { terms: Arc::new(terms), has_code }
    }
}

/// 410: emails may have arrived of which the log knows nothing any more.
fn no_longer_kept() -> Problem {
    let detail =
        "The log no longer has all events after `since`: emails that have arrived since then may be missing from it.";
    let fix = "List the emails of the inbox, then wait with the present time as `since`.";
    Problem::new(StatusCode::GONE, "events_gone", "Events are no longer kept", detail, fix)
}

/// 204, with a link that misses no email.
fn nothing(target: &str, cursor: Cursor) -> Response {
    let link = format!("<{target}{}>; rel=\"next\"", EventId(cursor));
    (StatusCode::NO_CONTENT, [(header::LINK, link)]).into_response()
}

/// The email of an event, if it fits and has not been deleted.
async fn fitting(
    caller: &Caller,
    context: &HttpContext,
    inbox: &Inbox,
    logged: &LoggedEvent,
    wanted: &Wanted,
) -> Result<Option<WholeJson>, Problem> {
    let Event::MessageReceived { message_id, .. } = &logged.event else { return Ok(None) };
    let found = caller.store(context).message_with_header(&inbox.id, message_id).await?;
    let Some(found) = found else { return Ok(None) };
    let Some(found) = by_header(caller, context, vec![found], &wanted.terms).await?.pop() else { return Ok(None) };
    let found =
        if wanted.terms.needs_body() { by_body(caller, context, found, &wanted.terms).await? } else { Some(found) };
    let Some(FoundEmail { row, .. }) = found else { return Ok(None) };
    let email = whole(caller, context, inbox, row.message, Damaged::IsSkipped).await?;
    Ok(email.filter(|email| !wanted.has_code || email.has_codes()))
}
