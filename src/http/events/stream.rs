//! Streams of events: Server-Sent Events (WHATWG HTML §9.2), resumed from the log.
//!
//! Invariant: a client that resumes from the last id it received gets each event once. An idle stream is the connection's own task,
//! holds no buffer and reads nothing; one whose client reads slowly holds one group of events, which its memory is claimed for.

use super::{GROUP, Place, Streams, permitted, types};
use crate::events::{Cursor, EventId};
use crate::http::caller::Caller;
use crate::http::document::parameters::{AccountQuery, LastEventHeader, StreamQuery};
use crate::http::problem::Problem;
use crate::http::query::Parameters;
use crate::http::{Context, HttpContext, Id};
use crate::id::{AccountId, InboxId, TokenId};
use crate::net::request::Connection;
use crate::public_events::{Followed, Follower, PublicEvent, RenderError, Selection};
use crate::resources::memory::Buffer;
use crate::resources::permits::Permit;
use crate::resources::spool::ClientSpool;
use crate::store::events::LoggedEvent;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Seconds after which a stream ends at the latest.
pub(in crate::http) const LONGEST: u64 = 3600;
/// Between two pieces of a stream; shorter than the read time-outs of common clients (30 s).
pub(in crate::http) const HEARTBEAT: Duration =
    if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(15) };
/// How often the token is checked and the log read without a cause: an expired token publishes no event.
pub(in crate::http) const CHECK_EVERY: Duration =
    if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(300) };
/// After how many milliseconds a client connects again.
const RETRY: u32 = 1000;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx passes on what has this at once.
pub(in crate::http) const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// Events of the account as they happen
///
/// Server-Sent Events: `id`, `event` (the type) and `data` (the event as JSON). Too many open streams are 503 `too_many_streams`.
#[utoipa::path(
    get, path = "/api/v1/events/stream", tag = "Events", params(StreamQuery, AccountQuery, LastEventHeader),
    responses((status = 200, content_type = "text/event-stream", body = String))
)]
pub(in crate::http) async fn stream(
    caller: Caller,
    State(context): Context,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let account: Option<AccountId> = parameters.take("account_id");
    let wanted = Wanted::take(&headers, parameters)?;
    let account = caller.account(account)?;
    open_stream(caller, &context, connection, wanted, account, None).await
}

/// Events of an inbox as they happen
///
/// Server-Sent Events: `id`, `event` (the type) and `data` (the event as JSON). It ends when the inbox is deleted. Too many open streams
/// are 503 `too_many_streams`.
#[utoipa::path(
    get, path = "/api/v1/inboxes/{id}/stream", tag = "Events",
    params(("id" = InboxId, Path), StreamQuery, LastEventHeader),
    responses((status = 200, content_type = "text/event-stream", body = String))
)]
pub(in crate::http) async fn open(
    caller: Caller,
    State(context): Context,
    Extension(connection): Extension<Connection>,
    Path(id): Id,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let wanted = Wanted::take(&headers, parameters)?;
    let inbox = caller.inbox(&context, &id).await?;
    open_stream(caller, &context, connection, wanted, inbox.account, Some(inbox.id)).await
}

/// What a request asks for.
struct Wanted {
    types: Option<std::collections::BTreeSet<crate::events::PublicType>>,
    since: Option<Place>,
    timeout: Duration,
}

impl Wanted {
    fn take(headers: &HeaderMap, mut parameters: Parameters) -> Result<Self, Problem> {
        let types = types(&mut parameters);
        let since: Option<Place> = parameters.take("since");
        let timeout = parameters.number("timeout", 1..=LONGEST, " seconds").unwrap_or(LONGEST);
        let last = headers.get(LAST_EVENT_ID).filter(|last| !last.is_empty()).map(|last| {
            let id = last.to_str().ok().and_then(|text| text.parse().ok());
            id.map(Place::Event)
        });
        if last == Some(None) {
            parameters.fault("Last-Event-ID", "must be the id of an event (evt_…)");
        }
        parameters.finish()?;
        Ok(Self { types, since: last.flatten().or(since), timeout: Duration::from_secs(timeout) })
    }
}

async fn open_stream(
    caller: Caller,
    context: &HttpContext,
    connection: Connection,
    wanted: Wanted,
    account: AccountId,
    inbox: Option<InboxId>,
) -> Result<Response, Problem> {
    let of = Selection { account, inbox, email: None, types: permitted(wanted.types, caller.principal.permissions)? };
    let permit = context.streams.permit(&of.account)?;
    let from = match wanted.since {
        Some(place) => place.cursor(context, &of).await?,
        None => context.public_events.end().await?,
    };
    if let Some(inbox) = &of.inbox {
        // Deleted before its place was known; its end is in the log otherwise.
        caller.inbox(context, inbox.as_str()).await?;
    }
    let now = Instant::now();
    let stream = EventStream {
        streams: context.streams.clone(),
        follower: context.public_events.follow(of, from),
        token: caller.principal.token,
        spool: caller.spool,
        connection,
        pending: VecDeque::new(),
        is_open: false,
        is_over: false,
        ends_at: now + wanted.timeout,
        beat_at: now + HEARTBEAT,
        check_at: now + CHECK_EVERY,
        _permit: permit,
    };
    let pieces = unfold(stream, |mut stream| async move {
        let piece = stream.piece().await?;
        Some((Ok::<_, Infallible>(piece), stream))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), UNBUFFERED];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// An open stream.
struct EventStream {
    streams: Streams,
    follower: Follower,
    token: TokenId,
    /// What is on the way to the client is claimed from it.
    spool: ClientSpool,
    connection: Connection,
    /// Events that were read and not sent.
    pending: VecDeque<LoggedEvent>,
    is_open: bool,
    /// Its inbox is deleted: it ends after the pending events.
    is_over: bool,
    ends_at: Instant,
    beat_at: Instant,
    check_at: Instant,
    _permit: Permit,
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.connection.activity.waits();
    }
}

impl EventStream {
    /// The next octets for the client; `None`: the stream ends, and the client may connect again.
    async fn piece(&mut self) -> Option<Bytes> {
        if !self.is_open {
            self.is_open = true;
            // The client waits for the server, and not the other way round: its connection is not closed for another one.
            self.connection.activity.works();
            return Some(opening(self.follower.cursor()));
        }
        loop {
            if !self.pending.is_empty() {
                self.beat_at = Instant::now() + HEARTBEAT;
                return Box::pin(self.group()).await;
            }
            if self.is_over {
                return None;
            }
            tokio::select! {
                biased;
                () = self.connection.shutdown.requested() => return None,
                followed = self.follower.next() => match followed {
                    Ok(Followed::Page(page)) => {
                        self.pending.extend(page.events);
                        self.is_over = page.is_over;
                        if page.has_gap {
                            return Some(Bytes::from_static(GAP));
                        }
                    }
                    Ok(Followed::CheckToken) => self.streams.check(&self.token).await?,
                    Err(error) => {
                        tracing::error!(listener = "http", %error, "a stream of events ends: cannot read the log");
                        return None;
                    }
                },
                () = sleep_until(self.beat_at.min(self.ends_at)) => {
                    let now = Instant::now();
                    if now >= self.ends_at {
                        return None;
                    }
                    if now >= self.check_at {
                        self.streams.check(&self.token).await?;
                        self.follower.look();
                        self.check_at = now + CHECK_EVERY;
                    }
                    self.beat_at = now + HEARTBEAT;
                    return Some(heartbeat(self.follower.cursor()));
                }
            }
        }
    }

    /// The next pending events.
    async fn group(&mut self) -> Option<Bytes> {
        let group: Vec<LoggedEvent> = self.pending.drain(..self.pending.len().min(GROUP)).collect();
        let of = self.follower.selection();
        let shown = self.streams.0.events.render(&of.account, &group).await;
        match shown.and_then(|shown| written(&shown, Buffer::new(self.spool.claim()))) {
            Ok(piece) => Some(piece),
            Err(error) => {
                tracing::warn!(listener = "http", %error, "a stream of events ends: cannot show events");
                None
            }
        }
    }
}

/// Sent where events that the client has not got are no longer kept.
const GAP: &[u8] = b"event: events.gap\ndata: {\"type\":\"events.gap\",\"detail\":\"Events since the last one you got are no longer kept: read the present state.\"}\n\n";

/// With an id, so that a client whose connection is lost before the first event resumes from here.
fn opening(cursor: Cursor) -> Bytes {
    format!("retry: {RETRY}\nid: {}\n\n", EventId(cursor)).into()
}

/// A comment, and the id to go on from, without an event.
fn heartbeat(cursor: Cursor) -> Bytes {
    format!(":\nid: {}\n\n", EventId(cursor)).into()
}

fn written(events: &[PublicEvent], mut buffer: Buffer) -> Result<Bytes, RenderError> {
    for event in events {
        // JSON has no line ends.
        let json = serde_json::to_string(event)?;
        buffer.extend(format!("id: {}\nevent: {}\ndata: {json}\n\n", event.id, event.r#type).as_bytes())?;
    }
    Ok(buffer.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_goes_without_an_event() {
        let cursor = Cursor { position: 3, number: 4 };
        assert_eq!(opening(cursor), "retry: 1000\nid: evt_3-4\n\n");
        assert_eq!(heartbeat(cursor), ":\nid: evt_3-4\n\n");
    }
}
