//! The sandbox's own HTTP verbs: DNS, the outside mailbox, publishing.
//!
//! Invariant: they answer a browser only when its page is from this machine: a name that somebody points at 127.0.0.1,
//! or a form on another site, gets 403.

use super::body::{Body, LIMIT};
use super::state::RecordSet;
use super::world::World;
use super::{inbound, publish, time};
use crate::dns::authority::play::{Fault, Kind, PlayError};
use crate::http::Problem;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

/// Of a record set that does not say.
const TTL: u32 = 5;

/// All of them.
pub(super) fn router(world: World) -> Router {
    Router::new()
        .route("/sandbox/dns/records", put(set_records).delete(remove_records))
        .route("/sandbox/dns/faults", post(set_fault))
        .route("/sandbox/domains/{id}/publish", post(publish::publish))
        .route("/sandbox/mail", get(list_mail).delete(clear_mail))
        .route("/sandbox/mail/{id}/raw", get(raw_mail))
        .route("/sandbox/inbound", post(inbound::deliver))
        .route("/sandbox/clock", post(time::advance))
        .layer(axum::extract::DefaultBodyLimit::max(LIMIT))
        .layer(from_fn(from_this_machine))
        .with_state(world)
}

async fn from_this_machine(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok()).or(request.uri().host());
    if !host.is_some_and(is_loopback) || !origin_is_loopback(headers) {
        let fix = "Ask for http://127.0.0.1 or http://localhost, and not from another site's page.";
        let detail = "The sandbox's own verbs answer this machine only.";
        return Problem::new(StatusCode::FORBIDDEN, "not_loopback", "Not from this machine", detail, fix)
            .into_response();
    }
    next.run(request).await
}

/// `host` or `host:port`.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A browser names the page's origin in every request that another site could make it send.
fn origin_is_loopback(headers: &HeaderMap) -> bool {
    match headers.get(header::ORIGIN) {
        None => true,
        Some(origin) => {
            let uri = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
            uri.as_ref().and_then(Uri::authority).is_some_and(|authority| is_loopback(authority.as_str()))
        }
    }
}

/// What the play internet would not take.
pub(super) fn refused(error: PlayError) -> Problem {
    let field = match error {
        PlayError::Name(_) => "name",
        PlayError::Type(_) => "type",
        PlayError::Value { .. } | PlayError::Size | PlayError::Full => "values",
    };
    Problem::invalid_field(field, error.to_string())
}

/// The sandbox's own file could not be written.
pub(super) fn failed(error: super::SandboxError) -> Problem {
    tracing::error!(%error, "a request to the sandbox failed");
    Problem::unavailable()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Records {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    values: Vec<String>,
    ttl: Option<u32>,
}

async fn set_records(State(world): State<World>, Body(asked): Body<Records>) -> Result<Json<Value>, Problem> {
    let kind = Kind::parse(&asked.kind).map_err(refused)?;
    let set = RecordSet { values: asked.values, ttl: asked.ttl.unwrap_or(TTL) };
    world.play.set(&asked.name, kind, &set.values, set.ttl).map_err(refused)?;
    let shown = json!({"name": asked.name, "type": kind.to_string(), "values": set.values, "ttl": set.ttl});
    world.state.note_records([(asked.name, kind, Some(set))]).await.map_err(failed)?;
    Ok(Json(shown))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

async fn remove_records(
    State(world): State<World>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<StatusCode, Problem> {
    let Query(which) =
        which.map_err(|e| Problem::malformed(e.body_text()).with_fix("Write ?name=acme.test&type=MX."))?;
    let kind = Kind::parse(&which.kind).map_err(refused)?;
    if !world.play.remove(&which.name, kind).map_err(refused)? {
        return Err(Problem::not_found());
    }
    world.state.note_records([(which.name, kind, None)]).await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Break {
    name: String,
    fault: Choice,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Servfail,
    Timeout,
    Refused,
    None,
}

async fn set_fault(State(world): State<World>, Body(asked): Body<Break>) -> Result<StatusCode, Problem> {
    let fault = match asked.fault {
        Choice::Servfail => Some(Fault::Servfail),
        Choice::Timeout => Some(Fault::Timeout),
        Choice::Refused => Some(Fault::Refused),
        Choice::None => None,
    };
    world.play.set_fault(&asked.name, fault).map_err(refused)?;
    world.state.note_fault(&asked.name, fault).await.map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_mail(State(world): State<World>) -> Json<Value> {
    Json(json!({"data": world.outside.list(), "next_cursor": null}))
}

async fn raw_mail(State(world): State<World>, Path(id): Path<String>) -> Result<Response, Problem> {
    let raw = world.outside.raw(&id).await.ok_or_else(Problem::not_found)?;
    Ok(([(header::CONTENT_TYPE, "message/rfc822")], raw).into_response())
}

async fn clear_mail(State(world): State<World>) -> StatusCode {
    world.outside.clear().await;
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests;
