//! Requests to the API that another server makes in the process, on behalf of a request of its own.
//!
//! Invariant: the API authenticates, limits and logs them like all others; memory that their answers take is charged to the client.

use crate::net::request::{Client, Connection};
use crate::resources::memory::Claim;
use crate::resources::spool::ClientSpool;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use hyper::body::Body as _;
use serde_json::Value;
use tower_service::Service;
use tracing::{Instrument, Span};

/// Maximum octets of an answer: an email with all of its texts is shorter.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;
/// Memory for what is made of an answer, as a multiple of it.
const FACTOR: usize = 4;

/// The client that a request is made for.
#[derive(Clone, Debug)]
pub(crate) struct OnBehalf {
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) client: Option<Client>,
    pub(crate) connection: Option<Connection>,
    pub(crate) spool: ClientSpool,
    /// Of the request that it is made for.
    pub(crate) span: Span,
}

/// An answer of the API. Its memory is charged to the client until it is dropped.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Null if there is none.
    pub(crate) body: Value,
    _memory: Claim,
}

/// Why an answer cannot be read: a temporary fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the client's share of memory is in use")]
    NoMemory,
    #[error(transparent)]
    Body(#[from] axum::Error),
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl OnBehalf {
    pub(crate) async fn response(&self, api: &Router, mut request: Request<Body>) -> Response {
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        }
        self.client.map(|client| request.extensions_mut().insert(client));
        self.connection.clone().map(|connection| request.extensions_mut().insert(connection));
        let answer = async { api.clone().call(request).await.unwrap_or_else(|never| match never {}) };
        answer.instrument(self.span.clone()).await
    }

    pub(crate) async fn json(&self, api: &Router, request: Request<Body>) -> Result<Answer, AnswerError> {
        let (head, body) = self.response(api, request).await.into_parts();
        let size = body.size_hint().exact().and_then(|octets| usize::try_from(octets).ok());
        let mut memory = self.spool.claim();
        let size = size.ok_or(AnswerError::NoMemory)?;
        memory.grow_to(size.saturating_mul(FACTOR)).map_err(|_| AnswerError::NoMemory)?;
        let octets = to_bytes(body, LARGEST_ANSWER).await?;
        let body = if octets.is_empty() { Value::Null } else { serde_json::from_slice(&octets)? };
        Ok(Answer { status: head.status, headers: head.headers, body, _memory: memory })
    }
}

impl Answer {
    /// Where the next page of a list begins: the last parameter of the link to it.
    pub(crate) fn next(&self) -> Option<String> {
        next(&self.headers)
    }
}

pub(crate) fn next(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let (_, target) = link.strip_suffix(">; rel=\"next\"")?.rsplit_once('=')?;
    Some(target.to_owned())
}

/// Percent-encodes a segment of a path, or the value of a parameter. RFC 3986 §2.1.
pub(crate) fn encoded(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    text.bytes().map(octet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_says_where_to_go_on() {
        let of = |link: &'static str| next(&[(header::LINK, HeaderValue::from_static(link))].into_iter().collect());
        assert_eq!(of("</api/v1/emails?inbox=inb_1&cursor=msg_2>; rel=\"next\""), Some("msg_2".to_owned()));
        assert_eq!(of("</api/v1/emails>"), None);
        assert_eq!(next(&HeaderMap::new()), None);
    }
}
