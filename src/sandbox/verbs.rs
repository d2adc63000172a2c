//! The sandbox's own HTTP routes: DNS, the outside mailbox, publishing. Invariant: a browser is served only for pages
//! of this machine: a name pointing at 127.0.0.1 (DNS rebinding) or a form on another site gets 403. The Host is
//! compared as a whole (RFC 9110 §7.2, RFC 3986 §3.2).

use super::body::{Body, LIMIT};
use super::outside::ShownMessage;
use super::state::RecordSet;
use super::world::World;
use super::{inbound, publish, time};
use crate::dns::authority::play::{Fault, Kind};
use crate::http::Problem;
use axum::extract::{Path, Query, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Default TTL of a record set.
const TTL: u32 = 5;

pub(super) fn router(world: World) -> Router {
    Router::new()
        .route("/sandbox/dns/records", get(list_records).put(set_records).delete(remove_records))
        .route("/sandbox/dns/faults", get(list_faults).post(set_fault))
        .route("/sandbox/domains/{id}/publish", post(publish::publish))
        .route("/sandbox/mail", get(list_mail).delete(clear_mail))
        .route("/sandbox/mail/{id}", get(show_mail))
        .route("/sandbox/mail/{id}/raw", get(raw_mail))
        .route("/sandbox/inbound", post(inbound::deliver))
        .route("/sandbox/clock", get(time::show).post(time::advance))
        .layer(axum::extract::DefaultBodyLimit::max(LIMIT))
        .layer(from_fn(from_this_machine))
        .with_state(world)
}

async fn from_this_machine(request: Request, next: Next) -> Response {
    if !names_this_machine(&request) {
        let fix = "Use http://127.0.0.1 or http://localhost, and not a page of another site.";
        let detail = "The sandbox's own routes serve this machine only.";
        return Problem::new(StatusCode::FORBIDDEN, "not_loopback", "Not from this machine", detail, fix)
            .into_response();
    }
    next.run(request).await
}

/// True if every indication of the target and of the origin is this machine. Browsers send Origin with every request
/// that another site could cause.
fn names_this_machine(request: &Request) -> bool {
    // HTTP/2 has the host in the URI, HTTP/1.1 in the header; both may be present.
    let headers = request.headers();
    let hosts = headers.get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or_default());
    let mut hosts = hosts.chain(request.uri().authority().map(Authority::as_str)).peekable();
    let is_origin = |origin: &HeaderValue| {
        let uri = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
        uri.as_ref().and_then(Uri::authority).is_some_and(|authority| is_loopback(authority.as_str()))
    };
    hosts.peek().is_some() && hosts.all(is_loopback) && headers.get_all(header::ORIGIN).iter().all(is_origin)
}

/// `localhost` or a loopback address, with or without a port.
fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.to_canonical().is_loopback()), port),
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let is_address = host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
            (is_address || host.eq_ignore_ascii_case("localhost"), port)
        }
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit());
    host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
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

/// What requests have set.
async fn list_records(State(world): State<World>) -> Json<Value> {
    Json(json!({"data": world.state.records(), "meta": {"next_cursor": null}}))
}

async fn list_faults(State(world): State<World>) -> Json<Value> {
    Json(json!({"data": world.state.faults(), "servers": world.play.servers(), "meta": {"next_cursor": null}}))
}

async fn set_records(State(world): State<World>, Body(request): Body<Records>) -> Result<Json<Value>, Problem> {
    let kind = Kind::parse(&request.kind)?;
    let set = RecordSet { values: request.values, ttl: request.ttl.unwrap_or(TTL) };
    world.play.set(&request.name, kind, &set.values, set.ttl)?;
    let shown = json!({"name": request.name, "type": kind.to_string(), "values": set.values, "ttl": set.ttl});
    world.state.note_records([(request.name, kind, Some(set))]).await?;
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
    let kind = Kind::parse(&which.kind)?;
    if !world.play.remove(&which.name, kind)? {
        return Err(Problem::not_found());
    }
    world.state.note_records([(which.name, kind, None)]).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Break {
    name: String,
    /// A name server, numbered from 1; all of them, and the resolver, where it is left out.
    server: Option<u8>,
    fault: Choice,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Servfail,
    Timeout,
    Refused,
    Missing,
    None,
}

async fn set_fault(State(world): State<World>, Body(request): Body<Break>) -> Result<StatusCode, Problem> {
    let fault = match request.fault {
        Choice::Servfail => Some(Fault::Servfail),
        Choice::Timeout => Some(Fault::Timeout),
        Choice::Refused => Some(Fault::Refused),
        Choice::Missing => Some(Fault::Missing),
        Choice::None => None,
    };
    world.play.set_fault_at(&request.name, request.server, fault)?;
    world.state.note_fault(&request.name, request.server, fault).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_mail(State(world): State<World>) -> Json<Value> {
    Json(json!({"data": world.outside.list(), "meta": {"next_cursor": null}}))
}

async fn show_mail(State(world): State<World>, Path(id): Path<String>) -> Result<Json<ShownMessage>, Problem> {
    world.outside.show(&id).await.map(Json).ok_or_else(Problem::not_found)
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
