//! The refusals that any route may answer with, as the document has them. A handler lists those of its own.

use crate::http::problem::ProblemJson;
use axum::http::{Method, StatusCode};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

/// Each status that a refusal may have, the name of its response in the document, and when it is given.
const REFUSALS: [(u16, &str, &str); 15] = [
    (400, "BadRequest", "The request cannot be read, or the published API names this status for what is wrong."),
    (401, "Unauthorized", "The request has no valid token, or the email and the password are wrong."),
    (403, "Forbidden", "The token's scope or permissions are not enough, or a limit of the account is reached."),
    (404, "NotFound", "It does not exist, or belongs to another account."),
    (408, "RequestTimeout", "The body did not arrive in time."),
    (409, "Conflict", "It exists already, or the `Idempotency-Key` was used for something else."),
    (410, "Gone", "The log no longer has all events after `since`."),
    (412, "PreconditionFailed", "The resource has another version than `If-Match` names."),
    (413, "ContentTooLarge", "The body is too large."),
    (415, "UnsupportedMediaType", "The body has another media type than those of this request."),
    (416, "RangeNotSatisfiable", "The range has no octet."),
    (422, "UnprocessableContent", "A field or parameter is wrong or unknown: `errors` names each."),
    (429, "TooManyRequests", "A limit per time is reached. `Retry-After` says when to try again."),
    (503, "ServiceUnavailable", "A temporary fault. `Retry-After` says when to try again."),
    (507, "InsufficientStorage", "An inbox is full."),
];

/// Those of every request.
const ALWAYS: &[u16] = &[400, 503];
const WITH_TOKEN: &[u16] = &[401, 403, 404, 429];
const WITH_BODY: &[u16] = &[408, 413, 415, 422];

pub(super) fn schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut all = vec![(ProblemJson::name().into_owned(), ProblemJson::schema())];
    ProblemJson::schemas(&mut all);
    all
}

pub(super) fn responses() -> impl Iterator<Item = (&'static str, Response)> {
    REFUSALS.into_iter().map(|(_, name, when)| {
        let content = || Content::new(Some(Ref::from_schema_name(ProblemJson::name())));
        let response = ResponseBuilder::new().description(when);
        (name, response.content("application/problem+json", content()).content("application/json", content()).build())
    })
}

/// Adds the refusals of any request, and describes all responses.
pub(super) fn add(method: &Method, operation: &mut Operation, is_open: bool) {
    let has_query = operation.parameters.iter().flatten().any(|parameter| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == utoipa::openapi::path::ParameterIn::Query,
        RefOr::Ref(_) => false,
    });
    let sets = [
        (true, ALWAYS),
        (!is_open, WITH_TOKEN),
        (operation.request_body.is_some(), WITH_BODY),
        (has_query, &[422]),
        (*method == Method::POST && !is_open, &[409]),
    ];
    let all = &mut operation.responses.responses;
    for status in sets.into_iter().filter(|(holds, _)| *holds).flat_map(|(_, set)| set) {
        all.entry(status.to_string()).or_insert_with(|| Response::default().into());
    }
    for (status, response) in all {
        let RefOr::T(own) = response else { continue };
        let code = status.parse().unwrap_or_default();
        match REFUSALS.iter().find(|(refusal, ..)| *refusal == code) {
            Some((_, name, _)) => *response = RefOr::Ref(Ref::from_response_name(*name)),
            None if own.description.is_empty() => {
                let reason = StatusCode::from_u16(code).ok().and_then(|status| status.canonical_reason());
                reason.unwrap_or_default().clone_into(&mut own.description);
            }
            None => {}
        }
    }
}
