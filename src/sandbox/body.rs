//! The JSON body of a request to the sandbox.

use crate::http::Problem;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use bytes::Bytes;
use serde::de::DeserializeOwned;

/// Maximum octets of a request: a message in JSON with its escapes.
pub(super) const LIMIT: usize = 96 * 1024 * 1024;

/// A JSON body. Requiring the JSON content type keeps out forms of other sites.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Problem::unsupported_media_type("application/json"));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|refused| match refused.status().as_u16() {
            413 => Problem::too_large(LIMIT),
            _ => Problem::malformed(refused.body_text()),
        })?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => about_field(&error.to_string()),
            _ => Problem::malformed(error.to_string()),
        })
    }
}

/// The field named in a serde error, if any.
fn about_field(message: &str) -> Problem {
    let names_field = message.starts_with("unknown field") || message.starts_with("missing field");
    let field = message.split('`').nth(1).filter(|_| names_field).unwrap_or("body");
    Problem::invalid_field(field, message)
}
