//! `RateLimit` and `RateLimit-Policy`: what is left of the hourly limits that a request was charged to
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

/// The limits that a request was charged to, set while it runs.
pub(super) type Charged = Arc<OnceLock<Vec<Quota>>>;

pub(super) async fn rate_limited(mut request: Request, next: Next) -> Response {
    let charged = Charged::default();
    request.extensions_mut().insert(Arc::clone(&charged));
    let mut response = next.run(request).await;
    let Some(quotas) = charged.get() else { return response };
    let policy = |quota: &Quota| format!("\"{}\";q={};w={}", quota.key, quota.limit, quota.window.as_secs());
    let left =
        |quota: &Quota| quota.left.map(|left| format!("\"{}\";r={left};t={}", quota.key, quota.resets_in.as_secs()));
    for (name, items) in [
        (POLICY, quotas.iter().map(policy).collect::<Vec<_>>()),
        (RATE_LIMIT, quotas.iter().filter_map(left).collect()),
    ] {
        if !items.is_empty() {
            put(&mut response, name, &items.join(", "));
        }
    }
    response
}
