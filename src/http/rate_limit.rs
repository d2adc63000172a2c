//! `RateLimit` and `RateLimit-Policy`: what is left of the hourly limit that a request was charged to
//! (draft-ietf-httpapi-ratelimit-headers-10).

use super::reply::put;
use crate::rates::Quota;
use axum::extract::Request;
use axum::http::HeaderName;
use axum::middleware::Next;
use axum::response::Response;
use std::sync::{Arc, OnceLock};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The limit that a request was charged to, set while it runs.
pub(super) type Charged = Arc<OnceLock<Quota>>;

pub(super) async fn rate_limited(mut request: Request, next: Next) -> Response {
    let charged = Charged::default();
    request.extensions_mut().insert(Arc::clone(&charged));
    let mut response = next.run(request).await;
    if let Some(Quota { key, limit, window, left, resets_in }) = charged.get() {
        put(&mut response, POLICY, &format!("\"{key}\";q={limit};w={}", window.as_secs()));
        if let Some(left) = left {
            put(&mut response, RATE_LIMIT, &format!("\"{key}\";r={left};t={}", resets_in.as_secs()));
        }
    }
    response
}
