//! Responses other than 200 with JSON.

use super::problem::Problem;
use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;

/// 201 with the new resource and its location (RFC 9110 §15.3.2).
#[derive(Debug)]
pub(super) struct Created<T> {
    pub(super) location: String,
    pub(super) body: T,
}

/// The same, where the body holds a secret.
#[derive(Debug)]
pub(super) struct CreatedSecret<T>(pub(super) Created<T>);

impl<T: Serialize> IntoResponse for CreatedSecret<T> {
    fn into_response(self) -> Response {
        let made = self.0.location.rsplit('/').next().map(str::to_owned);
        let mut response = self.0.into_response();
        response.extensions_mut().insert(HoldsSecret(made));
        response
    }
}

/// 200 with a body that holds a secret.
#[derive(Debug)]
pub(super) struct Secretive<T> {
    /// The id of what it is the secret of.
    pub(super) of: Option<String>,
    pub(super) body: T,
}

impl<T: Serialize> IntoResponse for Secretive<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        response.extensions_mut().insert(HoldsSecret(self.of));
        response
    }
}

/// JSON that an answer has under two names, made once.
#[derive(Clone, Debug)]
pub(super) struct Repeated(Arc<RawValue>);

impl Repeated {
    pub(super) fn new(value: &impl Serialize) -> Result<Self, Problem> {
        let json = to_raw_value(value).map_err(|error| {
            tracing::error!(listener = "http", %error, "cannot write an answer as JSON");
            Problem::unavailable()
        })?;
        Ok(Self(json.into()))
    }
}

impl Serialize for Repeated {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Marks an answer that holds a secret, with the id of what was made.
#[derive(Clone, Debug)]
pub(super) struct HoldsSecret(pub(super) Option<String>);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let mut response = (StatusCode::CREATED, Json(self.body)).into_response();
        put(&mut response, header::LOCATION, &self.location);
        response
    }
}

/// Sets a header if the value is valid.
pub(super) fn put(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
