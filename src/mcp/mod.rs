//! The Model Context Protocol over streamable HTTP: tools for agents.
//!
//! A tool is an operation of the REST API, called in the process with the caller's token: permissions, limits, idempotency and refusals are
//! the API's. Invariant: there are no sessions; a request needs no other before it, so that any daemon answers it.

mod call;
mod failure;
mod schema;
mod server;
#[cfg(test)]
mod tests;
mod tool;
mod tools;

use crate::auth::login::Permissions;
use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::any_service;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::tower::StreamableHttpServerConfig;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use server::Server;
use tracing::Span;

/// The REST API, as tools call it.
#[derive(Clone, Debug)]
pub struct Api {
    pub router: Router,
    /// Describes its operations.
    pub document: fn() -> Value,
    /// Which permissions an operation needs.
    pub needed: fn(&Method, &str) -> Permissions,
}

/// The server at a path. Requests come with the caller's [`Principal`](crate::auth::login::Principal) and
/// [`ClientSpool`](crate::resources::spool::ClientSpool) in their extensions, and with a body within its limit.
pub fn router(path: &str, api: Api) -> Router {
    let server = Server::new(api);
    // Bodies are limited, hosts and origins checked, before.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .disable_allowed_hosts()
        .with_max_request_body_bytes(usize::MAX);
    let service = StreamableHttpService::new(move || Ok(server.clone()), NeverSessionManager::default().into(), config);
    Router::new().route(path, any_service(service)).layer(from_fn(well_formed))
}

/// Refuses what is not one JSON value, and calls of tools with parameters of other types.
async fn well_formed(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return refused(-32700, "The body cannot be read.");
    };
    let is_array = body.iter().find(|octet| !octet.is_ascii_whitespace()) == Some(&b'[');
    if serde_json::from_slice::<IgnoredAny>(&body).is_err() {
        return refused(-32700, "The body is not JSON.");
    }
    if is_array {
        return refused(-32600, "Batches are not supported: send one message.");
    }
    if let Some((id, message)) = malformed_call(&body) {
        return error(StatusCode::OK, &id, -32602, message);
    }
    let mut request = Request::from_parts(head, Bytes::into(body));
    // Calls run in tasks of their own.
    request.extensions_mut().insert(Span::current());
    next.run(request).await
}

/// A message as far as a call is looked at before it is parsed.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// The id of a `tools/call` whose parameters have other types than the protocol's, and what is wrong.
fn malformed_call(body: &[u8]) -> Option<(Value, &'static str)> {
    let is_object = |value: &RawValue| value.get().starts_with('{');
    let Message { id, method, params } = serde_json::from_slice(body).ok()?;
    if method?.get() != "\"tools/call\"" {
        return None;
    }
    let id = serde_json::from_str(id?.get()).ok()?;
    let Some(params) = params.filter(|params| is_object(params)) else {
        return Some((id, "`params` must be an object with the `name` of a tool."));
    };
    let Ok(Params { name, arguments }) = serde_json::from_str(params.get()) else {
        return Some((id, "`params` has a member twice."));
    };
    if !name.is_some_and(|name| name.get().starts_with('"')) {
        return Some((id, "`params.name` must be a string, the name of a tool."));
    }
    let is_wrong = |arguments: &RawValue| !is_object(arguments) && arguments.get() != "null";
    arguments.is_some_and(is_wrong).then_some((id, "`params.arguments` must be an object."))
}

/// A JSON-RPC error of a request whose id is not known.
fn refused(code: i32, message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, &Value::Null, code, message)
}

fn error(status: StatusCode, id: &Value, code: i32, message: &str) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}});
    (status, axum::Json(body)).into_response()
}
