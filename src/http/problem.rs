//! Error responses: a problem document (RFC 9457) with a stable `code`, a sentence that says how to fix the request, and the
//! fields in error; `error` and `error_code` repeat the detail and the code, as the published API names them. Invariant: the public
//! text reveals no internals; the cause of an unexpected failure is logged here, once.

use crate::rates::Exceeded;
use crate::resources::work::WorkError;
use crate::store::StoreError;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// What a problem is sent as, unless the request accepts `application/json` alone.
pub(super) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// `Retry-After` of a temporary fault.
const SOON: Duration = Duration::from_secs(5);

/// An error in one field of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field's name; nested fields as `to[0]` or `attachments[1].content`.
    pub field: String,
    pub message: String,
}

/// An error response. Boxed to keep results small.
#[derive(Clone, Debug)]
pub struct Problem(Box<Inner>);

/// The code of a problem, attached to the response for the log.
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

/// A refusal (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemJson<'a> {
    /// A name of the code: `tag:inboxlayer.dev,2026:problem/<code>`.
    r#type: String,
    title: &'a str,
    status: u16,
    /// What is wrong.
    detail: &'a str,
    /// The same as `detail`.
    error: &'a str,
    /// Stable, for programs.
    code: &'a str,
    /// The same as `code`.
    error_code: &'a str,
    /// What to do.
    fix: &'a str,
    /// Each field that is wrong.
    errors: &'a [FieldError],
    /// What is there already, where it is the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    existing_id: Option<&'a str>,
}

impl Problem {
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

    /// 400: the request cannot be parsed.
    pub fn malformed(detail: impl Into<String>) -> Self {
        let fix = "Send well-formed JSON in UTF-8.";
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", "The request cannot be read", detail, fix)
    }

    /// 401: no token, or an invalid one. RFC 6750 §3.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        let fix =
            "Send the header `Authorization: Bearer <API token>` with a token that is neither revoked nor expired.";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "An API token is needed", detail, fix)
            .header(header::WWW_AUTHENTICATE, "Bearer realm=\"inboxlayer\"")
    }

    /// 403: a valid token without the scope. Decided before the request's target is looked up.
    pub fn forbidden(needed: &'static str) -> Self {
        let detail = format!("This request needs a token of scope {needed}.");
        let fix = "Use a token of that scope.";
        Self::new(StatusCode::FORBIDDEN, "insufficient_scope", "The token's scope is insufficient", detail, fix)
    }

    /// 404: it does not exist, or belongs to another account; the response is the same.
    pub fn not_found() -> Self {
        let detail = "Nothing with this name or id is visible to the token.";
        let fix = "Check the path and the id; list the collection to see valid ids.";
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", detail, fix)
    }

    pub fn method_not_allowed() -> Self {
        let detail = "This path does not support this method.";
        let fix = "Use one of the methods in the header `Allow`.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed", detail, fix)
    }

    /// 408; the connection is closed (RFC 9110 §15.5.9).
    pub fn too_slow() -> Self {
        let detail = "The body did not arrive in time.";
        let fix = "Send the request again, without pauses in its body.";
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "The request took too long", detail, fix)
            .header(header::CONNECTION, "close")
    }

    /// 409: it already exists. `existing` is set only if the caller owns it.
    pub fn conflict(
        code: &'static str,
        detail: impl Into<String>,
        fix: impl Into<String>,
        existing: Option<&str>,
    ) -> Self {
        let mut problem = Self::new(StatusCode::CONFLICT, code, "Already exists", detail, fix);
        problem.0.existing_id = existing.map(str::to_owned);
        problem
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("The request body is larger than {limit} octets.");
        let fix = "Send a smaller request.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The request is too large", detail, fix)
    }

    /// 415.
    pub fn unsupported_media_type(expected: &str) -> Self {
        let detail = format!("The body must be {expected}.");
        let fix = format!("Send the header `Content-Type: {expected}` and a body of that type.");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Unsupported media type", detail, fix)
    }

    /// 422: parsed, but invalid. One message per field.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let named: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        let fix = "Correct the fields listed in `errors` and send the request again.";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let mut problem = Self::new(status, "invalid_request", "The request is invalid", named.join(". "), fix);
        problem.0.errors = errors;
        problem
    }

    /// 422 for one field.
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// 429, with `Retry-After` (RFC 6585 §4).
    pub fn too_many(detail: impl Into<String>, retry_after: Duration) -> Self {
        let fix = "Wait as long as the header `Retry-After` says.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "Too many requests", detail, fix)
            .retry_after(retry_after)
    }

    /// 503: a temporary fault of the server. The caller has logged the cause.
    pub fn unavailable() -> Self {
        let detail = "A temporary fault of the server; the request itself is valid.";
        let fix = "Send the same request again after the time in `Retry-After`.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable", detail, fix)
            .retry_after(SOON)
    }

    /// Replaces the code, for conditions that clients distinguish.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.0.code = code;
        self
    }

    /// Replaces the status, where the published contract names another one.
    #[must_use]
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// Replaces the suggested fix.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = fix.into();
        self
    }

    fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.0.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    #[must_use]
    pub(super) fn retry_after(self, after: Duration) -> Self {
        // Rounded up, so that a client retrying at that second succeeds.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER, &seconds.max(1).to_string())
    }
}

impl From<Exceeded> for Problem {
    fn from(Exceeded { what, limit, retry_after }: Exceeded) -> Self {
        let detail = format!("The account has created {limit} {what} in the last hour, which is the limit.");
        Self::too_many(detail, retry_after)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(listener = "http", %error, "store error");
        Self::unavailable()
    }
}

impl From<WorkError> for Problem {
    fn from(error: WorkError) -> Self {
        tracing::error!(listener = "http", %error, "cannot process a message");
        Self::unavailable()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let body = ProblemJson {
            // RFC 4151: a name, not a location.
            r#type: format!("tag:inboxlayer.dev,2026:problem/{}", problem.code),
            title: problem.title,
            status: problem.status.as_u16(),
            detail: &problem.detail,
            error: &problem.detail,
            code: problem.code,
            error_code: problem.code,
            fix: &problem.fix,
            errors: &problem.errors,
            existing_id: problem.existing_id.as_deref(),
        };
        let mut response = (problem.status, axum::Json(body)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
        response.headers_mut().extend(problem.headers);
        response.extensions_mut().insert(ProblemCode(problem.code));
        response
    }
}
