//! Request and response bodies, charged to the memory budget. Invariant: of an incoming body only a bounded part is in
//! memory, the rest is in the spool; a response waiting for its client is charged, or read from the store piece by
//! piece.

use super::problem::Problem;
use crate::resources::memory::{Claim, NoRoom, UNCOUNTED};
use crate::resources::spool::{ClientSpool, SpoolError};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::body::Body as _;
use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Time limit for receiving a body.
const LONGEST: Duration = Duration::from_secs(3600);

/// Reads the body, up to `limit` octets.
pub(super) async fn read_body(spool: &ClientSpool, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let announced = body.size_hint().exact().map_or(0, |octets| usize::try_from(octets).unwrap_or(usize::MAX));
    if announced > limit {
        return Err(Problem::too_large(limit));
    }
    let mut incoming = spool.begin();
    incoming.reserve(announced).map_err(no_room)?;
    let mut pieces = body.into_data_stream();
    let (begin, mut progress) = (Instant::now(), spool.progress());
    let last = begin + LONGEST;
    loop {
        let piece = match timeout_at(progress.period_ends().min(last), pieces.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) if is_time_out(&error) => return Err(Problem::too_slow()),
            Ok(Some(Err(_))) => return Err(Problem::malformed("The connection closed before the end of the body.")),
            Ok(None) => break,
            Err(_) if Instant::now() >= last || progress.is_too_slow(Instant::now()) => {
                return Err(Problem::too_slow());
            }
            Err(_) => continue,
        };
        if piece.len() > limit.saturating_sub(incoming.len()) {
            return Err(Problem::too_large(limit));
        }
        progress.received(piece.len());
        incoming.push(&piece).map_err(no_room)?;
        incoming.spill().await.map_err(|error| spool_failed(SpoolError::Disk(error)))?;
    }
    incoming.into_bytes().await.map_err(spool_failed)
}

/// True if the error, or one of its sources, is the time-out between two pieces.
fn is_time_out(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<tower_http::timeout::TimeoutError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn spool_failed(error: SpoolError) -> Problem {
    match error {
        SpoolError::NoRoom(full) => no_room(full),
        SpoolError::Disk(error) => {
            tracing::error!(listener = "http", %error, "cannot write a request body to the spool");
            Problem::unavailable()
        }
    }
}

/// 503: a budget is exhausted.
pub(super) fn no_room(full: NoRoom) -> Problem {
    tracing::info!(listener = "http", %full, "no memory for a request or its response");
    Problem::unavailable()
}

/// The share that a response is charged to, set once the request's token is known.
pub(super) type AnswerOwner = Arc<OnceLock<ClientSpool>>;

/// Charges each response until its client has read it.
pub(super) async fn counted(mut request: Request, next: Next) -> Response {
    let owner = AnswerOwner::default();
    request.extensions_mut().insert(Arc::clone(&owner));
    let response = next.run(request).await;
    let length = response.body().size_hint().exact().and_then(|octets| usize::try_from(octets).ok());
    let (Some(owner), Some(length)) = (owner.get(), length) else { return response };
    if length <= UNCOUNTED {
        return response;
    }
    let mut claim = owner.claim();
    if let Err(full) = claim.grow_to(length) {
        return no_room(full).into_response();
    }
    let (head, body) = response.into_parts();
    match to_bytes(body, length).await {
        Ok(octets) => Response::from_parts(head, Body::from(Bytes::from_owner(Counted { octets, _claim: claim }))),
        Err(error) => {
            tracing::error!(listener = "http", %error, "cannot read a response body");
            Problem::unavailable().into_response()
        }
    }
}

/// A response body in memory.
struct Counted {
    octets: Bytes,
    _claim: Claim,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}
