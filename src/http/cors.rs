//! Which pages of other origins may call the API (`[http] cors_origins`): the CORS protocol of the Fetch standard.
//!
//! Invariant: without configured origins nothing is allowed. Tokens are sent in a header field, so no request has credentials of a browser.

use super::exchange::REQUEST_ID;
use axum::http::{HeaderName, HeaderValue, Method, header};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser need not ask again.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// True if a page of the origin may call the API.
pub(super) fn allows(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes())
}

/// `None` if no origin is allowed.
pub(super) fn layer(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    if origins.is_empty() {
        return None;
    }
    let allowed =
        if origins.iter().any(|origin| origin == "*") { AllowOrigin::any() } else { AllowOrigin::list(origins) };
    let of = |names: &[&'static str]| names.iter().map(|name| HeaderName::from_static(name)).collect::<Vec<_>>();
    let mut sent =
        of(&["idempotency-key", "last-event-id", "mcp-method", "mcp-name", "mcp-protocol-version", "prefer"]);
    sent.extend([
        header::ACCEPT,
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_MATCH,
        header::RANGE,
        REQUEST_ID,
    ]);
    let mut shown = of(&["idempotency-replayed", "preference-applied", "ratelimit", "ratelimit-policy"]);
    shown.extend([
        header::ACCEPT_RANGES,
        header::CONTENT_DISPOSITION,
        header::CONTENT_RANGE,
        header::ETAG,
        header::LINK,
        header::LOCATION,
        header::RETRY_AFTER,
        REQUEST_ID,
    ]);
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods(methods)
            .allow_headers(sent)
            .expose_headers(shown)
            .max_age(MAX_AGE),
    )
}
