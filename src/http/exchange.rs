//! What every request and its response have: the request's id, and the form of a refusal.

use super::problem::PROBLEM_JSON;
use crate::id::RequestId;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum octets of a client's own request id.
const LONGEST_ID: usize = 128;

/// Names the request in the response and in every log line about it, and gives a refusal the type that the client accepts.
pub(super) async fn exchange(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let wants_json = accepts_json_alone(request.headers());
    // Of the highest level, so that the lines of all levels have it.
    let span = tracing::error_span!("request", id = id.to_str().unwrap_or_default());
    let mut response = next.run(request).instrument(span).await;
    let headers = response.headers_mut();
    if wants_json && headers.get(header::CONTENT_TYPE) == Some(&PROBLEM_JSON) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.insert(REQUEST_ID, id);
    response
}

/// The client's own id if it is of letters, digits and `-._~:+/=@`, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_safe = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~:+/=@".contains(octet);
    let sent = headers.get(REQUEST_ID).filter(|id| {
        let octets = id.as_bytes();
        (1..=LONGEST_ID).contains(&octets.len()) && octets.iter().all(is_safe)
    });
    sent.cloned().unwrap_or_else(|| {
        HeaderValue::from_str(RequestId::new().as_str()).unwrap_or_else(|_| HeaderValue::from_static("req_"))
    })
}

/// True if `Accept` names `application/json`, and not `application/problem+json` (RFC 9110 §12.5.1).
fn accepts_json_alone(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = lines.flat_map(|line| line.split(',')).filter_map(|range| range.split(';').next());
    let (mut json, mut problem) = (false, false);
    for range in ranges.map(str::trim) {
        json |= range.eq_ignore_ascii_case("application/json");
        problem |= range.eq_ignore_ascii_case("application/problem+json");
    }
    json && !problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        [(name, HeaderValue::from_bytes(value.as_bytes()).unwrap())].into_iter().collect()
    }

    #[test]
    fn a_clients_own_id_is_kept_if_it_is_safe_in_a_log() {
        for kept in ["a", "0f8fad5b-d9cb-469f-a165-70867728950e", "Root=1-5f84c7a5:x/y+z", &"x".repeat(128)] {
            assert_eq!(request_id(&headers(REQUEST_ID, kept)), kept);
        }
        for replaced in ["", "a b", "a\tb", "é", "a\"b", "id=1;forged", &"x".repeat(129)] {
            let id = request_id(&headers(REQUEST_ID, replaced));
            assert!(id.to_str().unwrap().parse::<RequestId>().is_ok(), "{replaced:?}: {id:?}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn a_problem_is_plain_json_for_clients_that_know_nothing_else() {
        for (accept, plain) in [
            ("application/json", true),
            ("text/html, Application/JSON;q=0.9", true),
            ("application/json, application/problem+json", false),
            ("application/problem+json", false),
            ("*/*", false),
            ("application/*", false),
            ("", false),
        ] {
            assert_eq!(accepts_json_alone(&headers(header::ACCEPT, accept)), plain, "{accept}");
        }
    }
}
