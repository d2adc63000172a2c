//! `Idempotency-Key`: a POST with a token and a key runs once, and its repetition gets the first one's answer
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! Invariant: only an answer that says success is kept; after any other the request may be sent again under its key.

use super::HttpContext;
use super::body::read_body;
use super::caller::Caller;
use super::problem::Problem;
use super::reply::HoldsSecret;
use crate::auth::token::hash_of;
use crate::store::idempotency::{Begun, KeyedRequest, Outcome, StoredResponse};
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::time::Duration;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Maximum octets of a key.
const LONGEST_KEY: usize = 255;
/// Maximum octets of an answer that is kept.
const LARGEST_ANSWER: usize = 64 * 1024;
/// How much larger than a message the body of a request may be.
const BODY_FACTOR: usize = 2;
/// `Retry-After` while the first request runs.
const SOON: Duration = Duration::from_secs(1);
/// Header fields that are kept with an answer.
const KEPT_FIELDS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];

/// The key of a request that has one.
fn key(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if (1..=LONGEST_KEY).contains(&text.len()) => Ok(Some(hash_of(text))),
        _ => Err(Problem::malformed(format!("Idempotency-Key must have 1 to {LONGEST_KEY} characters, all ASCII."))
            .with_code("invalid_idempotency_key")
            .with_fix("Send a random UUID, the same for each repetition of a request.")),
    }
}

/// Runs a POST with a key once.
pub(super) async fn idempotent(State(context): State<HttpContext>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    match key(request.headers()) {
        Ok(None) => next.run(request).await,
        Ok(Some(key)) => once(&context, key, request, next).await.unwrap_or_else(IntoResponse::into_response),
        Err(problem) => problem.into_response(),
    }
}

async fn once(context: &HttpContext, key: [u8; 32], request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, context).await?;
    let limits = &context.config.limits;
    let body = read_body(&caller.spool, body, limits.message_size.saturating_mul(BODY_FACTOR)).await?;
    let mut hash = Context::new(&SHA256);
    let media_type = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    for part in [parts.uri.to_string().as_bytes(), media_type, &body] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let token = caller.principal.token.clone();
    let owner = caller.principal.scope.account().map_or_else(|| token.to_string(), ToString::to_string);
    let mut digest = [0; 32];
    digest.iter_mut().zip(hash.finish().as_ref()).for_each(|(to, from)| *to = *from);
    let keyed = KeyedRequest { token, owner, key, request: digest };

    let (store, now) = (caller.store(context), context.clock.now());
    let begun = store.idempotency_begin(keyed.clone(), limits.idempotency_keys, now).await?;
    match begun {
        Begun::New => {}
        Begun::Completed(answer) => return Ok(again(answer)),
        Begun::LimitReached { until } => {
            let detail =
                format!("{} idempotency keys were used in a day, which is the limit.", limits.idempotency_keys);
            return Err(Problem::too_many(detail, until.since(now)));
        }
        refused => return Err(conflict(refused)),
    }
    // Without the key: what this request calls in its turn is no repetition.
    parts.extensions.insert(caller);
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (outcome, response) = outcome(response).await;
    let kept = match outcome {
        Some(outcome) => store.idempotency_end(&keyed, outcome).await,
        None => store.idempotency_forget(&keyed).await,
    };
    if let Err(error) = kept {
        // The request itself is done: its repetition is refused as cut off.
        tracing::error!(listener = "http", %error, "the answer to a request with an idempotency key was not kept");
    }
    Ok(response)
}

/// What to keep of an answer; `None` unless it says success.
async fn outcome(response: Response) -> (Option<Outcome>, Response) {
    if !response.status().is_success() {
        return (None, response);
    }
    let status = response.status().as_u16();
    if let Some(HoldsSecret(created)) = response.extensions().get() {
        let created = created.clone();
        return (Some(Outcome::Discarded { status, created }), response);
    }
    let (head, body) = response.into_parts();
    let created = head.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
    let created = created.and_then(|location| location.rsplit('/').next()).map(str::to_owned);
    let length = hyper::body::Body::size_hint(&body).exact().and_then(|length| usize::try_from(length).ok());
    if length.is_none_or(|length| length > LARGEST_ANSWER) {
        return (Some(Outcome::Discarded { status, created }), Response::from_parts(head, body));
    }
    let octets = match to_bytes(body, LARGEST_ANSWER).await {
        Ok(octets) => octets,
        Err(error) => {
            tracing::error!(listener = "http", %error, "cannot read a response body");
            return (Some(Outcome::Discarded { status, created }), Problem::unavailable().into_response());
        }
    };
    let fields: BTreeMap<&str, &str> =
        KEPT_FIELDS.iter().filter_map(|name| Some((name.as_str(), head.headers.get(name)?.to_str().ok()?))).collect();
    let fields = serde_json::to_string(&fields).unwrap_or_default();
    let response = StoredResponse { status, head: fields, body: octets.to_vec() };
    (Some(Outcome::Stored { response, created }), Response::from_parts(head, Body::from(octets)))
}

/// The first answer once more.
fn again(StoredResponse { status, head, body }: StoredResponse) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let fields: BTreeMap<String, String> = serde_json::from_str(&head).unwrap_or_default();
    for (name, value) in fields {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn conflict(begun: Begun) -> Problem {
    match begun {
        Begun::Running => Problem::conflict(
            "idempotency_key_in_use",
            "The first request with this Idempotency-Key is still running.",
            "Send the same request again after the time in `Retry-After`.",
            None,
        )
        .retry_after(SOON),
        Begun::Mismatch => Problem::conflict(
            "idempotency_key_reused",
            "This Idempotency-Key was used for another request in the last 24 hours.",
            "Use a new key for each request, and the same only for its repetition.",
            None,
        ),
        Begun::Interrupted => Problem::conflict(
            "idempotency_outcome_unknown",
            "The first request with this Idempotency-Key was cut off, and its outcome is not known.",
            "Look whether it was done, and send it with a new key if not.",
            None,
        ),
        Begun::Discarded { created } => Problem::conflict(
            "idempotency_answer_not_kept",
            "The first request with this Idempotency-Key was done. Its answer is not kept, since it holds a secret or is large.",
            "Use what `existing_id` names, or delete it and create another one with a new key.",
            created.as_deref(),
        ),
        Begun::New | Begun::Completed(_) | Begun::LimitReached { .. } => Problem::unavailable(),
    }
}
