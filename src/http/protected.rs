//! The routes of another server on the API's listener, for callers with an API token.
//!
//! Invariant: who has no valid token, or is a page of an origin that may not call the API, reaches none of them; a body is read here,
//! within its limit and counted.

use super::body::{counted, no_room, read_body};
use super::caller::Caller;
use super::problem::Problem;
use super::router::{log_refusal, never_cached};
use super::{HttpContext, cors};
use crate::auth::login::Scope;
use crate::net::request::Client;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};

/// Maximum octets of a body.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// Memory for a request, as a multiple of its body: parsed, and written again for the API.
const FACTOR: usize = 4;

/// The routes find the caller's [`Principal`](crate::auth::login::Principal) and
/// [`ClientSpool`](crate::resources::spool::ClientSpool) in a request's extensions.
pub fn behind_token(routes: Router, context: &HttpContext) -> Router {
    let routes = routes
        .layer(from_fn_with_state(context.clone(), authenticated))
        .layer(from_fn(never_cached))
        .layer(from_fn(counted));
    match cors::layer(&context.config.http.cors_origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    }
}

async fn authenticated(State(context): State<HttpContext>, request: Request, next: Next) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    let client = request.extensions().get::<Client>().map(|Client(address)| address.to_string()).unwrap_or_default();
    let response = pass(&context, request, next).await.unwrap_or_else(IntoResponse::into_response);
    log_refusal(&client, &what, &response);
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(listener = "http", what, "internal error: a server on the API's listener has failed");
        return Problem::unavailable().into_response();
    }
    response
}

async fn pass(context: &HttpContext, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    // DNS rebinding: the page's origin stays, whatever its host name leads to.
    if let Some(origin) = parts.headers.get(header::ORIGIN)
        && !cors::allows(&context.config.http.cors_origins, origin)
    {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "The origin is not allowed",
            "Pages of this origin may not call the daemon.",
            "Add the origin to `[http] cors_origins`, or send the request without the header `Origin`.",
        ));
    }
    let caller = Caller::from_request_parts(&mut parts, context).await?;
    if caller.principal.scope == Scope::Operator {
        return Err(Problem::forbidden("account or inboxes"));
    }
    let mut work = caller.spool.claim();
    let body = read_body(&caller.spool, body, LARGEST_BODY).await?;
    work.grow_to(body.len().saturating_mul(FACTOR)).map_err(no_room)?;
    parts.extensions.insert(caller.principal);
    parts.extensions.insert(caller.spool);
    Ok(next.run(Request::from_parts(parts, Body::from(body))).await)
}
