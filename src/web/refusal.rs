//! Why a request is refused: by the API, or by the page itself.

use crate::in_process::Answer;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::time::Duration;

/// Why a page cannot be shown, or a change was not made.
#[derive(Clone, Debug)]
pub(super) struct Refusal(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    problem: Problem,
    retry_after: Option<u64>,
    /// Where to go instead.
    elsewhere: Option<String>,
}

/// What is read of a problem document.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    code: String,
    detail: String,
    fix: String,
    errors: Vec<FieldError>,
    existing_id: Option<String>,
}

/// An error in a field of the API.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct FieldError {
    pub(super) field: String,
    pub(super) message: String,
}

impl Refusal {
    fn new(status: StatusCode, title: &str, detail: &str, fix: &str) -> Self {
        let problem = Problem { title: title.into(), detail: detail.into(), fix: fix.into(), ..Problem::default() };
        Self(Box::new(Inner { status, problem, retry_after: None, elsewhere: None }))
    }

    pub(super) fn of_answer(answer: &Answer) -> Self {
        let Ok(problem) = Problem::deserialize(&answer.body) else { return Self::unavailable() };
        let retry_after = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Self(Box::new(Inner { status: answer.status, problem, retry_after, elsewhere: None }))
    }

    pub(super) fn not_found() -> Self {
        let detail = "There is no such page, or you may not see it.";
        Self::new(StatusCode::NOT_FOUND, "Not found", detail, "Check the address, or go back to the list.")
    }

    pub(super) fn unavailable() -> Self {
        let detail = "A temporary fault of the server.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Temporary fault", detail, "Try again in a few seconds.")
    }

    pub(super) fn too_many(retry_after: Duration) -> Self {
        let detail = "Too many failed attempts from this network.";
        let fix = format!("Try again in {} seconds.", retry_after.as_secs().max(1));
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many attempts", detail, &fix)
    }

    pub(super) fn invalid_token() -> Self {
        let fix = "Paste the whole token, or create a new one.";
        let mut refusal =
            Self::new(StatusCode::UNAUTHORIZED, "Not signed in", "The API token is invalid, expired or revoked.", fix);
        refusal.0.problem.code = "invalid_token".to_owned();
        refusal
    }

    /// A request that did not come from a page of this session.
    pub(super) fn foreign() -> Self {
        let detail = "The session of the form has ended, or the form was sent from another site.";
        Self::new(StatusCode::FORBIDDEN, "Not sent", detail, "Go back, reload the page, and send the form again.")
    }

    pub(super) fn malformed(detail: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "The form cannot be read",
            detail,
            "Go back, reload the page, and send it again.",
        )
    }

    /// The MX has refused a message.
    pub(super) fn of_mx(reply: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Refused", &format!("The MX has replied: {reply}"), "")
    }

    /// Of a field that the page itself checks.
    pub(super) fn of_field(field: &str, message: &str) -> Self {
        let mut refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Not valid", "", "");
        refusal.0.problem.errors = vec![FieldError { field: field.to_owned(), message: message.to_owned() }];
        refusal
    }

    pub(super) fn too_large(detail: &str, fix: &str) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Too large", detail, fix)
    }

    /// A draft that was sent or deleted meanwhile.
    pub(super) fn gone() -> Self {
        let detail = "The draft is no longer there: it was sent or deleted, perhaps in another window.";
        Self::new(
            StatusCode::GONE,
            "Not sent",
            detail,
            "Check Sent first. The text below is kept and can be sent as a new email.",
        )
    }

    /// A draft that was changed meanwhile.
    pub(super) fn changed_elsewhere() -> Self {
        let detail = "The draft was changed in another window or program, so nothing was saved or sent.";
        Self::new(StatusCode::CONFLICT, "Not saved", detail, "Save or send again to replace it with the text below.")
    }

    /// Leads to the sign-in page.
    pub(super) fn sign_in(target: String) -> Self {
        let mut refusal = Self::new(StatusCode::UNAUTHORIZED, "Sign in", "You are not signed in.", "Sign in.");
        refusal.0.elsewhere = Some(target);
        refusal
    }

    /// Where to go instead.
    pub(super) fn elsewhere(&self) -> Option<&str> {
        self.0.elsewhere.as_deref()
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.0.status == StatusCode::NOT_FOUND
    }

    /// Refuses what was given, so that the form can be shown again.
    pub(super) fn is_of_input(&self) -> bool {
        self.0.status.is_client_error() && self.0.elsewhere.is_none() && !self.is_not_found()
    }

    pub(super) fn status(&self) -> StatusCode {
        self.0.status
    }

    pub(super) fn code(&self) -> &str {
        &self.0.problem.code
    }

    pub(super) fn title(&self) -> &str {
        &self.0.problem.title
    }

    pub(super) fn detail(&self) -> &str {
        &self.0.problem.detail
    }

    /// What to do.
    pub(super) fn fix(&self) -> &str {
        &self.0.problem.fix
    }

    pub(super) fn errors(&self) -> &[FieldError] {
        &self.0.problem.errors
    }

    /// What is there already.
    pub(super) fn existing_id(&self) -> Option<&str> {
        self.0.problem.existing_id.as_deref()
    }
}

/// The response has the refusal in its extensions, of which a layer makes a page.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        if let Some(seconds) = self.0.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}
