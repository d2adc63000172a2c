//! The settings of mail clients, as clients ask for them: for everybody, without signing in, under whatever host name.
//!
//! Nothing is looked up: an answer does not show which addresses exist.

mod formats;
mod servers;
mod xml;

pub use servers::MailPorts;
pub(super) use servers::{Protocol, srv_records};

use super::WebContext;
use crate::address::{Address, DomainName};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

/// Octets of a request of Outlook.
const LARGEST: usize = 16 * 1024;

pub(super) fn routes() -> Router<WebContext> {
    Router::new()
        .route("/mail/config-v1.1.xml", get(thunderbird))
        .route("/.well-known/autoconfig/mail/config-v1.1.xml", get(thunderbird))
        .route("/autodiscover/autodiscover.xml", post(outlook))
        .route("/Autodiscover/Autodiscover.xml", post(outlook))
        .route("/AutoDiscover/AutoDiscover.xml", post(outlook))
}

#[derive(Debug, Default, Deserialize)]
struct Lookup {
    #[serde(default)]
    emailaddress: String,
}

fn xml(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], text).into_response()
}

async fn thunderbird(State(context): State<WebContext>, Query(lookup): Query<Lookup>) -> Response {
    let platform = &context.config.platform;
    let address = Address::parse(lookup.emailaddress.trim()).ok();
    let domain = address.as_ref().map_or(&platform.domain, |address| &address.domain);
    xml(formats::thunderbird(context.ports, &platform.hostname, domain))
}

async fn outlook(State(context): State<WebContext>, body: Body) -> Response {
    let Ok(octets) = to_bytes(body, LARGEST).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, format!("A request has at most {LARGEST} octets.\n")).into_response();
    };
    let address = std::str::from_utf8(&octets).ok().and_then(|text| xml::text_of(text, "EMailAddress"));
    let address = address.and_then(|text| Address::parse(&text).ok());
    xml(match address {
        Some(address) => formats::outlook(context.ports, &context.config.platform.hostname, &address),
        None => formats::outlook_error(),
    })
}

/// A configuration profile for Apple's mail clients. `None` where a server that it needs does not listen.
pub(super) fn profile(context: &WebContext, inbox: &str, address: &str) -> Option<Response> {
    let text = formats::apple(context.ports, &context.config.platform.hostname, inbox, address)?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-apple-aspen-config"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"mail.mobileconfig\""),
    ];
    Some((headers, text).into_response())
}

/// The host that mail clients connect to.
pub(super) fn host(context: &WebContext) -> &DomainName {
    &context.config.platform.hostname
}
