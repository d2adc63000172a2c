//! The HTTP client of deliveries.
//!
//! Invariant: a request takes at most [`TIME_LIMIT`], and of its answer a bounded number of octets is read, whatever the endpoint
//! sends ([`super::connection`], [`BODY_LIMIT`]); redirects are not followed, and no proxy is used.

use super::connection::{Allowance, Connector};
use super::endpoint::{Guard, Scheme, check};
use super::outcome::{Answer, retry_after};
use super::signature::Signed;
use crate::clock::Timestamp;
use crate::dns::Resolver;
use crate::net::client_tls::ClientTls;
use crate::net::ranges::AllowedNetworks;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of a request, from the look-up of the name to the end of the answer's header.
pub const TIME_LIMIT: Duration = Duration::from_secs(15);
/// Octets read of an answer's body, so that its connection can be used again.
const BODY_LIMIT: usize = 16 * 1024;
/// Time for that.
const BODY_TIME: Duration = Duration::from_secs(1);
/// How long a connection stays open between requests.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Idle connections to an endpoint.
const IDLE_PER_HOST: usize = 2;
/// Maximum octets of an error in the log of attempts.
const LONGEST_ERROR: usize = 500;

const AGENT: &str = concat!("Inboxlayer/", env!("CARGO_PKG_VERSION"), " (webhooks)");

/// Clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    https: legacy::Client<Connector, Full<Bytes>>,
    http: legacy::Client<Connector, Full<Bytes>>,
    allowed: AllowedNetworks,
}

impl Client {
    pub fn new(tls: &ClientTls, resolver: &Resolver, allowed: &AllowedNetworks) -> Self {
        let client = |scheme| {
            let guard = Guard { resolver: resolver.clone(), allowed: allowed.clone(), scheme };
            legacy::Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_LIMIT)
                .pool_max_idle_per_host(IDLE_PER_HOST)
                .build(Connector::new(Arc::clone(tls.verifying().config()), guard))
        };
        Self { https: client(Scheme::Https), http: client(Scheme::Http), allowed: allowed.clone() }
    }

    /// Sends a signed body. The time is that until the answer.
    pub async fn post(&self, url: &str, signed: Signed, body: Bytes) -> (Answer, Duration) {
        let began = Instant::now();
        let answer = match tokio::time::timeout(TIME_LIMIT, self.answer(url, signed, body)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Failed(format!("no answer within {} s", TIME_LIMIT.as_secs())),
        };
        (answer, began.elapsed())
    }

    async fn answer(&self, url: &str, signed: Signed, body: Bytes) -> Answer {
        // An address in the URL is not resolved, and the configuration may have changed since it was checked.
        let (url, client) = match check(url, &self.allowed) {
            Ok((url, Scheme::Https)) => (url, &self.https),
            Ok((url, Scheme::Http)) => (url, &self.http),
            Err(error) => return Answer::Failed(format!("the URL {error}")),
        };
        let request = Uri::try_from(url.as_str()).map_err(hyper::http::Error::from).and_then(|uri| {
            Request::post(uri)
                .header(USER_AGENT, AGENT)
                .header(CONTENT_TYPE, "application/json")
                .header("webhook-id", signed.id)
                .header("webhook-timestamp", signed.timestamp)
                .header("webhook-signature", signed.signatures)
                .header("x-signature", signed.x_signature)
                .body(Full::new(body))
        });
        let request = match request {
            Ok(request) => request,
            Err(error) => return Answer::Failed(format!("the URL cannot be requested: {error}")),
        };
        let mut response = match client.request(request).await {
            Ok(response) => response,
            Err(error) => return Answer::Failed(in_words(&error)),
        };
        let allowance = response.extensions().get::<Allowance>().cloned();
        allowance.iter().for_each(Allowance::renew);
        let field = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = field.and_then(|value| retry_after(value, Timestamp::real()));
        let code = response.status().as_u16();
        // The status is the answer, whatever becomes of the body.
        let _ = tokio::time::timeout(BODY_TIME, async {
            let mut left = BODY_LIMIT;
            while let Some(Ok(frame)) = response.frame().await {
                left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
                if left == 0 {
                    break;
                }
            }
        })
        .await;
        allowance.iter().for_each(Allowance::renew);
        Answer::Status { code, retry_after }
    }
}

/// The innermost cause, which names the fault.
fn in_words(error: &legacy::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let mut text = cause.to_string();
    text.truncate(text.floor_char_boundary(LONGEST_ERROR));
    text
}
