//! A call of a tool: the request that it is of the API, and the result of the answer.
//!
//! Invariant: the API decides. Only what would be another request is refused here.

use super::failure::{Failure, Wrong};
use super::schema::{SHOWN_TEXT, WHOLE_EMAIL, object, pick};
use super::tool::{Kind, Parameter, Place, Shows, Tool};
use crate::in_process::{OnBehalf, encoded, next};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use rmcp::model::JsonObject;
use serde_json::{Value, json};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// For the checks of a domain; other operations do not wait.
const WAIT: HeaderValue = HeaderValue::from_static("wait=30");

/// Runs a tool.
pub(super) async fn call(tool: &Tool, mut given: JsonObject, caller: OnBehalf, api: &Router) -> Result<Value, Failure> {
    // What is null is left out.
    given.retain(|_, value| !value.is_null());
    let offset = check(tool, &mut given)?;
    let answer = caller.json(api, request(tool, given)?).await.map_err(|error| {
        tracing::error!(listener = "mcp", %error, tool = tool.name, "cannot read the answer of the API");
        Failure::unavailable()
    })?;
    if !answer.status.is_success() {
        let retry_after = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        return Err(Failure::of_problem(&answer.body, retry_after));
    }
    Ok(result(&tool.shows, answer.body, &answer.headers, offset))
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
}
