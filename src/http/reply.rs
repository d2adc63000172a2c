//! Answers that are more than 200 and JSON.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// 201 with the new thing and where it is from now on (RFC 9110 §15.3.2).
#[derive(Debug)]
pub(super) struct Created<T> {
    /// Its path.
    pub(super) location: String,
    /// It.
    pub(super) body: T,
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let mut response = (StatusCode::CREATED, Json(self.body)).into_response();
        put(&mut response, header::LOCATION, &self.location);
        response
    }
}

/// Sets a header, where the value can be one.
pub(super) fn put(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
