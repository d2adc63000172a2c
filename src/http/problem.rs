//! What every failure looks like: `application/problem+json` (RFC 9457) with a stable `code`, a sentence that says how to
//! put it right, and the fields it is about.
//!
//! Invariant: the public text gives nothing away; the cause of an unexpected failure is logged here, once.

use crate::resources::work::WorkError;
use crate::store::StoreError;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;

/// When to try again after a temporary fault.
const SOON: Duration = Duration::from_secs(5);

/// What is wrong with one field of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Its name; `to[0]`, `attachments[1].content` for those inside others.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// A failure, as it is answered. Boxed: results that carry one stay small.
#[derive(Clone, Debug)]
pub struct Problem(Box<Inner>);

/// The code of a problem, beside the response it became: for the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProblemCode(pub(super) &'static str);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    fix: String,
    errors: Vec<FieldError>,
    existing_id: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    fix: &'a str,
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    existing_id: Option<&'a str>,
}

impl Problem {
    /// A problem with its stable code, and sentences that say what is wrong and what to do.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self(Box::new(Inner {
            status,
            code,
            title,
            detail: detail.into(),
            fix: fix.into(),
            errors: Vec::new(),
            existing_id: None,
            headers: Vec::new(),
        }))
    }

    /// 400: the request cannot be read at all.
    pub fn malformed(detail: impl Into<String>) -> Self {
        let fix = "Send well-formed JSON in UTF-8.";
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", "The request cannot be read", detail, fix)
    }

    /// 401: no token, or one that opens nothing. RFC 6750 §3.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        let fix =
            "Send the header `Authorization: Bearer <API token>` with a token that is neither revoked nor expired.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "An API token is needed", detail, fix)
            .header(header::WWW_AUTHENTICATE, "Bearer realm=\"inboxlayer\"")
    }

    /// 403: the token is good, and not for this. Said without a look at what the request names.
    pub fn forbidden(needed: &'static str) -> Self {
        let detail = format!("This needs a token of scope {needed}.");
        let fix = "Use a token of that scope.";
        Self::new(StatusCode::FORBIDDEN, "insufficient_scope", "The token's scope is too small", detail, fix)
    }

    /// 404: there is no such thing, or it is another account's: one answer for both.
    pub fn not_found() -> Self {
        let detail = "There is nothing here under this name or id that the token may see.";
        let fix = "Check the path and the id; lists show the ids there are.";
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail, fix)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let detail = "This path does not know this method.";
        let fix = "Use one of the methods in the header `Allow`.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail, fix)
    }

    /// 408: the connection closes with it (RFC 9110 §15.5.9).
    pub fn too_slow() -> Self {
        let detail = "The body did not arrive in time.";
        let fix = "Send the request again, without pauses in its body.";
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "The request took too long", detail, fix)
            .header(header::CONNECTION, "close")
    }

    /// 409: there is one already. `existing` only when it is the caller's own.
    pub fn conflict(
        code: &'static str,
        detail: impl Into<String>,
        fix: impl Into<String>,
        existing: Option<&str>,
    ) -> Self {
        let mut problem = Self::new(StatusCode::CONFLICT, code, "There is one already", detail, fix);
        problem.0.existing_id = existing.map(str::to_owned);
        problem
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("The request has more than {limit} octets.");
        let fix = "Send less.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The request is too large", detail, fix)
    }

    /// 415.
    pub fn unsupported_media_type(expected: &str) -> Self {
        let detail = format!("The body must be {expected}.");
        let fix = format!("Send the header `Content-Type: {expected}` and a body of that type.");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "The body is of another type",
            detail,
            fix,
        )
    }

    /// 422: readable, and not right. One message for each field.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let named: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        let fix = "Put right what `errors` names, and send the request again.";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let mut problem = Self::new(status, "invalid_request", "The request is not right", named.join(". "), fix);
        problem.0.errors = errors;
        problem
    }

    /// 422 about one field.
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// 429, with `Retry-After` (RFC 6585 §4).
    pub fn too_many(detail: impl Into<String>, retry_after: Duration) -> Self {
        let fix = "Wait as long as the header `Retry-After` says.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests", detail, fix)
            .retry_after(retry_after)
    }

    /// 503: ours, and it will pass. Whoever calls this has logged the cause.
    pub fn unavailable() -> Self {
        let detail = "The service could not do this now; nothing is wrong with the request.";
        let fix = "Send the same request again after the time in `Retry-After`.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not possible now", detail, fix).retry_after(SOON)
    }

    /// The same with another code: for conditions that clients tell apart.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.0.code = code;
        self
    }

    /// The same with another way to put it right.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = fix.into();
        self
    }

    fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.0.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    fn retry_after(self, after: Duration) -> Self {
        // Rounded up: one who comes at that second is heard.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER, &seconds.max(1).to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(listener = "http", %error, "the store failed");
        Self::unavailable()
    }
}

impl From<WorkError> for Problem {
    fn from(error: WorkError) -> Self {
        tracing::error!(listener = "http", %error, "a message could not be worked on");
        Self::unavailable()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let body = Body {
            // RFC 4151: a name, not a place.
            r#type: format!("tag:inboxlayer.dev,2026:problem/{}", problem.code),
            title: problem.title,
            status: problem.status.as_u16(),
            detail: &problem.detail,
            code: problem.code,
            fix: &problem.fix,
            errors: &problem.errors,
            existing_id: problem.existing_id.as_deref(),
        };
        let mut response = (problem.status, axum::Json(body)).into_response();
        let content_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response.headers_mut().extend(problem.headers);
        response.extensions_mut().insert(ProblemCode(problem.code));
        response
    }
}
