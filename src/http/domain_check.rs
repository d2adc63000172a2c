//! `/api/v1/custom_domains/{id}/check` and `…/stream`: how far the check of a domain is, once and as it goes on.
//!
//! Invariant: a stream counts among the account's streams, and ends with its token, its domain or the daemon.

use super::caller::Caller;
use super::custom_domains::claim;
use super::document::parameters::TimeoutQuery;
use super::events::stream::{CHECK_EVERY, HEARTBEAT, LONGEST, UNBUFFERED};
use super::problem::Problem;
use super::query::Parameters;
use super::{Context, HttpContext, Id};
use crate::id::{AccountId, DomainId, TokenId};
use crate::net::request::Connection;
use crate::registry::{CheckProgress, Seen, Watched};
use crate::resources::permits::Permit;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::json;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How far its check is
#[utoipa::path(
    get, path = "/api/v1/custom_domains/{id}/check", tag = "Custom domains", params(("id" = DomainId, Path)),
    responses((status = 200, body = CheckProgress))
)]
pub(super) async fn show(
    caller: Caller,
    State(context): Context,
    Path(id): Id,
) -> Result<Json<CheckProgress>, Problem> {
    let (account, id) = claim(&caller, &context, &id).await?;
    context.registry.check_progress(&account, &id).await?.map(Json).ok_or_else(Problem::not_found)
}

/// Its checks and changes as they happen
///
/// Server-Sent Events. `check`: how far its check is, as `…/check` shows it, at first and whenever that changes. `custom_domain`: the
/// domain has changed, or a check has settled: `{"id"}`; read it. It ends when the domain is deleted. Too many open streams are 503
/// `too_many_streams`.
#[utoipa::path(
    get, path = "/api/v1/custom_domains/{id}/stream", tag = "Custom domains", params(("id" = DomainId, Path), TimeoutQuery),
    responses((status = 200, content_type = "text/event-stream", body = String))
)]
pub(super) async fn stream(
    caller: Caller,
    State(context): Context,
    Extension(connection): Extension<Connection>,
    Path(id): Id,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let timeout = parameters.number("timeout", 1..=LONGEST, " seconds").unwrap_or(LONGEST);
    parameters.finish()?;
    let (account, id) = claim(&caller, &context, &id).await?;
    let permit = context.streams.permit(&account)?;
    // Before the domain is read, so that no change is missed.
    let watched = context.registry.watch(&account, &id);
    let progress = context.registry.check_progress(&account, &id).await?.ok_or_else(Problem::not_found)?;
    let now = Instant::now();
    let stream = DomainStream {
        context,
        account,
        id,
        token: caller.principal.token,
        connection,
        watched,
        sent: None,
        next: Some(progress),
        ends_at: now + Duration::from_secs(timeout),
        beat_at: now + HEARTBEAT,
        check_at: now + CHECK_EVERY,
        _permit: permit,
    };
    // The client waits for the server, and not the other way round: its connection is not closed for another one.
    stream.connection.activity.works();
    let pieces = unfold(stream, |mut stream| async move {
        let piece = stream.piece().await?;
        Some((Ok::<_, Infallible>(piece), stream))
    });
    Ok(([(header::CONTENT_TYPE, "text/event-stream"), UNBUFFERED], Body::from_stream(pieces)).into_response())
}

/// An open stream.
struct DomainStream {
    context: HttpContext,
    account: AccountId,
    id: DomainId,
    token: TokenId,
    connection: Connection,
    watched: Watched,
    /// The progress that was sent last.
    sent: Option<CheckProgress>,
    /// What is to be sent, if it is not the same.
    next: Option<CheckProgress>,
    ends_at: Instant,
    beat_at: Instant,
    check_at: Instant,
    _permit: Permit,
}

impl Drop for DomainStream {
    fn drop(&mut self) {
        self.connection.activity.waits();
    }
}

impl DomainStream {
    /// The next octets for the client; `None`: the stream ends, and the client may connect again.
    async fn piece(&mut self) -> Option<Bytes> {
        loop {
            if let Some(progress) = self.next.take().filter(|next| self.sent != Some(*next)) {
                self.sent = Some(progress);
                self.beat_at = Instant::now() + HEARTBEAT;
                return event("check", &json!(progress));
            }
            tokio::select! {
                biased;
                () = self.connection.shutdown.requested() => return None,
                seen = self.watched.next() => match seen {
                    Seen::Check => self.next = Some(self.progress().await?),
                    Seen::Domain => {
                        self.next = Some(self.progress().await?);
                        return event("custom_domain", &json!({"id": self.id}));
                    }
                    Seen::CheckToken => self.context.streams.check(&self.token).await?,
                },
                () = sleep_until(self.beat_at.min(self.ends_at)) => {
                    let now = Instant::now();
                    if now >= self.ends_at {
                        return None;
                    }
                    if now >= self.check_at {
                        self.context.streams.check(&self.token).await?;
                        self.check_at = now + CHECK_EVERY;
                    }
                    self.beat_at = now + HEARTBEAT;
                    // A check may have become due, or run in another daemon.
                    self.next = Some(self.progress().await?);
                    return Some(Bytes::from_static(b":\n\n"));
                }
            }
        }
    }

    /// `None` if the domain is deleted, or the store fails.
    async fn progress(&self) -> Option<CheckProgress> {
        if let Some(progress) = self.context.registry.check_counts(&self.id) {
            return Some(progress);
        }
        let read = self.context.registry.check_progress(&self.account, &self.id).await;
        read.inspect_err(
            |error| tracing::error!(listener = "http", %error, "a stream of a domain ends: cannot read it"),
        )
        .ok()?
    }
}

/// JSON has no line ends.
fn event(name: &str, data: &serde_json::Value) -> Option<Bytes> {
    Some(format!("event: {name}\ndata: {data}\n\n").into())
}
