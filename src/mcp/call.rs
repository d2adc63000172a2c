//! A call of a tool: the request that it is of the API, and the result of the answer.
//!
//! Invariant: the API decides. Only what would be another request is refused here.

use super::failure::{Failure, Wrong};
use super::schema::{SHOWN_TEXT, WHOLE_EMAIL, object, pick};
use super::tool::{Kind, Parameter, Place, Shows, Tool};
use crate::net::request::{Client, Connection};
use crate::resources::spool::ClientSpool;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use hyper::body::Body as _;
use rmcp::model::JsonObject;
use serde_json::{Value, json};
use tower_service::Service;
use tracing::{Instrument, Span};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// For the checks of a domain; other operations do not wait.
const WAIT: HeaderValue = HeaderValue::from_static("wait=30");
/// Maximum octets of an answer: an email with all of its texts is shorter.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;
/// Memory for a result, as a multiple of the answer.
const FACTOR: usize = 4;

/// Who calls, as the API takes it.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) authorization: Option<HeaderValue>,
    pub(super) client: Option<Client>,
    pub(super) connection: Option<Connection>,
    pub(super) spool: ClientSpool,
    pub(super) span: Span,
}

/// Runs a tool.
pub(super) async fn call(tool: &Tool, mut given: JsonObject, caller: Caller, api: &Router) -> Result<Value, Failure> {
    // What is null is left out.
    given.retain(|_, value| !value.is_null());
    let offset = check(tool, &mut given)?;
    let mut request = request(tool, given)?;
    if let Some(authorization) = caller.authorization {
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
    }
    request.extensions_mut().extend(extensions(caller.client, caller.connection));
    let answer = async { api.clone().call(request).await.unwrap_or_else(|never| match never {}) };
    let (head, body) = answer.instrument(caller.span).await.into_parts();
    let size = body.size_hint().exact().and_then(|octets| usize::try_from(octets).ok());
    let mut work = caller.spool.claim();
    if size.is_none_or(|octets| work.grow_to(octets.saturating_mul(FACTOR)).is_err()) {
        return Err(Failure::unavailable());
    }
    let octets = to_bytes(body, LARGEST_ANSWER).await.map_err(|error| {
        tracing::error!(listener = "mcp", %error, tool = tool.name, "cannot read the answer of the API");
        Failure::unavailable()
    })?;
    let body: Value = if octets.is_empty() { Value::Null } else { serde_json::from_slice(&octets).unwrap_or_default() };
    if !head.status.is_success() {
        let retry_after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        return Err(Failure::of_problem(&body, retry_after));
    }
    Ok(result(&tool.shows, body, &head.headers, offset))
}

fn extensions(client: Option<Client>, connection: Option<Connection>) -> Extensions {
    let mut extensions = Extensions::new();
    client.map(|client| extensions.insert(client));
    connection.map(|connection| extensions.insert(connection));
    extensions
}

/// Refuses arguments that are unknown, missing or of another type than the schema says; takes the offset.
fn check(tool: &Tool, given: &mut JsonObject) -> Result<usize, Failure> {
    let mut wrong = Vec::new();
    let mut fault = |field: &str, message: String| wrong.push(Wrong { field: field.to_owned(), message });
    for name in given.keys().filter(|name| !tool.parameters().any(|parameter| parameter.name == name.as_str())) {
        let known: Vec<_> = tool.parameters().map(|parameter| parameter.name).collect();
        fault(name, format!("is not an argument of {}, which takes {}", tool.name, known.join(", ")));
    }
    for parameter in tool.parameters() {
        match given.get(parameter.name) {
            None if parameter.is_required => fault(parameter.name, format!("is required: {}", parameter.about)),
            None => {}
            Some(value) => {
                if let Err(message) = fits(parameter, value) {
                    fault(parameter.name, message);
                }
            }
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::invalid(wrong));
    }
    let offset = tool.parameters().find(|parameter| parameter.place == Place::Offset);
    let offset = offset.and_then(|parameter| given.remove(parameter.name)?.as_u64());
    Ok(offset.and_then(|offset| usize::try_from(offset).ok()).unwrap_or_default())
}

fn fits(parameter: &Parameter, value: &Value) -> Result<(), String> {
    let is = |fits: bool, what: &str| if fits { Ok(()) } else { Err(format!("must be {what}")) };
    match parameter.kind {
        Kind::Text => is(value.is_string(), "a string"),
        // In a path, another word could be another route.
        Kind::Id(prefix) => {
            is(value.as_str().is_some_and(|id| id.starts_with(prefix)), &format!("an id that begins with {prefix}"))
        }
        Kind::Texts | Kind::Listed => {
            let are_texts = value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
            is(are_texts || value.is_string(), "an array of strings")
        }
        Kind::Flag => is(value.is_boolean(), "true or false"),
        Kind::Number { min, max } => {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            is(number.is_some_and(|number| (min..=max).contains(&number)), &format!("{min} to {max}"))
        }
        Kind::OneOf(words) => {
            is(value.as_str().is_some_and(|word| words.contains(&word)), &format!("one of {}", words.join(", ")))
        }
        Kind::Files => is(value.is_array(), "an array of files"),
    }
}

/// The request of the API; the arguments have been checked.
fn request(tool: &Tool, mut given: JsonObject) -> Result<Request<Body>, Failure> {
    let (mut path, mut query, mut body) = (tool.path.to_owned(), String::new(), JsonObject::new());
    let mut headers = HeaderMap::new();
    for parameter in tool.parameters() {
        let Some(value) = given.remove(parameter.name) else { continue };
        match parameter.place {
            Place::Path => path = path.replace("{id}", &encoded(&plain(&value))),
            Place::Query(under) => {
                query.push(if query.is_empty() { '?' } else { '&' });
                query.push_str(&format!("{under}={}", encoded(&plain(&value))));
            }
            Place::Body => {
                body.insert(parameter.name.to_owned(), value);
            }
            Place::IdempotencyKey => {
                let key = HeaderValue::from_str(&plain(&value)).map_err(|_| {
                    let message = "must have 1 to 255 characters, all ASCII".to_owned();
                    Failure::invalid(vec![Wrong { field: parameter.name.to_owned(), message }])
                })?;
                headers.insert(IDEMPOTENCY_KEY, key);
            }
            Place::Offset => {}
        }
    }
    let octets = if tool.method == Method::GET || body.is_empty() && tool.parameters().all(|p| p.place != Place::Body) {
        Body::empty()
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Body::from(Value::Object(body).to_string())
    };
    if tool.path.ends_with("/verify") {
        headers.insert(PREFER, WAIT);
    }
    let mut request =
        Request::builder().method(tool.method.clone()).uri(format!("{path}{query}")).body(octets).map_err(|error| {
            tracing::error!(listener = "mcp", %error, tool = tool.name, "an argument makes no request");
            Failure::unavailable()
        })?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// A value in a path or query.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// RFC 3986 §2.1.
fn encoded(text: &str) -> String {
    let octet = |octet: u8| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    text.bytes().map(octet).collect()
}

fn result(shows: &Shows, mut body: Value, headers: &HeaderMap, offset: usize) -> Value {
    match shows {
        Shows::One(fields) => Value::Object(pick(fields, body)),
        Shows::Page(name, fields) => {
            let rows = if body.is_array() { body } else { body.get_mut("data").map(Value::take).unwrap_or_default() };
            let rows = if let Value::Array(rows) = rows { rows } else { Vec::new() };
            let rows: Vec<Value> = rows.into_iter().map(|row| Value::Object(pick(fields, row))).collect();
            json!({*name: rows, "next_cursor": next(headers)})
        }
        Shows::Email => email(body, offset),
        Shows::Waited => {
            let email = if body.is_null() { Value::Null } else { email(body, 0) };
            json!({"email": email, "since": next(headers).unwrap_or_default()})
        }
    }
}

/// The last parameter of the link to what comes next: where to go on.
fn next(headers: &HeaderMap) -> Option<String> {
    let link = headers.get(header::LINK)?.to_str().ok()?;
    let (_, target) = link.strip_suffix(">; rel=\"next\"")?.rsplit_once('=')?;
    Some(target.to_owned())
}

/// An email with a part of its text.
fn email(mut whole: Value, offset: usize) -> Value {
    let mut take = |name: &str| whole.get_mut(name).map(Value::take).unwrap_or_default();
    let truncated = take("truncated");
    let extracted = if let Value::String(text) = take("extracted_text") { text } else { String::new() };
    let text = if let Value::String(text) = take("text_body") { text } else { extracted.clone() };
    let length = text.chars().count();
    let part: String = text.chars().skip(offset).take(SHOWN_TEXT).collect();
    let end = offset.saturating_add(SHOWN_TEXT);
    let shown = (extracted != text).then(|| extracted.chars().take(SHOWN_TEXT).collect::<String>());
    let mut made = pick(&WHOLE_EMAIL, whole);
    made.extend(object(json!({
        "text": part,
        "text_length": length,
        "next_offset": (end < length).then_some(end),
        "extracted_text": shown,
        "truncated": truncated,
    })));
    Value::Object(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str, extracted: &str) -> Value {
        json!({"id": "msg_1", "text_body": text, "extracted_text": extracted, "truncated": false})
    }

    #[test]
    fn a_long_text_is_read_part_by_part() {
        let text: String = (0..45_000).map(|number| if number % 7 == 0 { 'é' } else { 'a' }).collect();
        let (mut read, mut offset) = (String::new(), 0);
        for (end, next) in [(20_000, json!(20_000)), (40_000, json!(40_000)), (45_000, json!(null))] {
            let part = email(whole(&text, ""), offset);
            read.push_str(part["text"].as_str().unwrap());
            assert_eq!((read.chars().count(), &part["next_offset"]), (end, &next));
            assert_eq!((&part["text_length"], &part["id"]), (&json!(45_000), &json!("msg_1")));
            offset = end;
        }
        assert_eq!(read, text);
        assert_eq!(email(whole(&text, ""), 50_000)["text"], "");
    }

    #[test]
    fn the_extracted_text_is_shown_where_it_differs() {
        assert_eq!(email(whole("a", "a"), 0)["extracted_text"], Value::Null);
        assert_eq!(email(whole("a > b", "a"), 0)["extracted_text"], "a");
        // All of it is HTML.
        let html = email(json!({"text_body": null, "extracted_text": "a"}), 0);
        assert_eq!((&html["text"], &html["extracted_text"]), (&json!("a"), &Value::Null));
    }

    #[test]
    fn the_link_says_where_to_go_on() {
        let of = |link: &'static str| next(&[(header::LINK, HeaderValue::from_static(link))].into_iter().collect());
        assert_eq!(of("</api/v1/emails?inbox=inb_1&cursor=msg_2>; rel=\"next\""), Some("msg_2".to_owned()));
        assert_eq!(of("</api/v1/emails>"), None);
        assert_eq!(next(&HeaderMap::new()), None);
    }
}
