//! Reads JSON bodies field by field, so that a response names every invalid field, not only the first. Invariant: an
//! unknown field is an error that names it. RFC 8259; content types by RFC 9110 §8.3.

use super::body::read_body;
use super::problem::{FieldError, Problem};
use crate::resources::spool::ClientSpool;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;

/// Maximum octets of a body without a message.
pub(super) const SMALL: usize = 64 * 1024;
/// Maximum JSON values in a body of any size: a message has few parts, though they may be large.
const MAX_VALUES: usize = 10_000;
/// Maximum errors in a response.
pub(super) const MAX_ERRORS: usize = 100;

/// The media type of the body, lower case, without parameters; empty if absent.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// 415 unless the body is declared as JSON.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let media_type = media_type(headers);
    let good = media_type == "application/json" || media_type.ends_with("+json");
    if good { Ok(()) } else { Err(Problem::unsupported_media_type("application/json")) }
}

/// A body of JSON that is not read yet.
#[derive(Debug)]
pub(super) struct JsonBody {
    headers: HeaderMap,
    body: Body,
}

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        let (parts, body) = request.into_parts();
        Ok(Self { headers: parts.headers, body })
    }
}

impl JsonBody {
    /// The octets, at most `limit`.
    pub(super) async fn octets(self, spool: &ClientSpool, limit: usize) -> Result<Bytes, Problem> {
        is_json(&self.headers)?;
        read_body(spool, self.body, limit).await
    }

    /// An object, which may be wrapped in this name.
    pub(super) async fn fields(self, spool: &ClientSpool, name: &str) -> Result<Fields, Problem> {
        self.large(spool, SMALL, name).await
    }

    /// The same, with messages in it.
    pub(super) async fn large(self, spool: &ClientSpool, limit: usize, name: &str) -> Result<Fields, Problem> {
        Ok(Fields::parse(&self.octets(spool, limit).await?)?.unwrapped(name))
    }

    /// An object that is not wrapped.
    pub(super) async fn object(self, spool: &ClientSpool) -> Result<Fields, Problem> {
        Fields::parse(&self.octets(spool, SMALL).await?)
    }

    /// An empty body is an empty object, whatever its content type, since many clients send one with every request.
    pub(super) async fn optional(self, spool: &ClientSpool) -> Result<Fields, Problem> {
        let Self { headers, body } = self;
        let octets = read_body(spool, body, SMALL).await?;
        if octets.is_empty() {
            return Ok(Fields::of(Map::new()));
        }
        is_json(&headers)?;
        Fields::parse(&octets)
    }
}

/// A JSON object whose fields are taken out one by one; [`Fields::finish`] returns the errors.
#[derive(Debug)]
pub(super) struct Fields {
    prefix: String,
    map: Map<String, Value>,
    /// The fields that were asked for.
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
    /// There are unknown ones among them.
    has_unknown: bool,
}

impl Fields {
    /// Parses a body in memory.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        if values(bytes) > MAX_VALUES {
            return Err(Problem::malformed(format!("The body has more than {MAX_VALUES} values.")));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self::of(map)),
            Ok(_) => Err(Problem::malformed("The body must be a JSON object.")),
            Err(error) => Err(Problem::malformed(format!("The body is not JSON: {error}."))),
        }
    }

    /// Takes the fields out of an object of this name, where the body wraps them: `{"inbox": {"name": …}}` is
    /// `{"name": …}`. Fields beside the object count too.
    pub(super) fn unwrapped(mut self, name: &str) -> Self {
        match self.map.remove(name) {
            None => {}
            Some(Value::Object(inner)) => {
                for (field, value) in inner {
                    let other = self.map.insert(field.clone(), value.clone());
                    if other.is_some_and(|other| other != value) {
                        self.fault(&field, "is given twice, with different values");
                    }
                }
            }
            Some(_) => self.fault(name, "must be an object"),
        }
        self
    }

    fn of(map: Map<String, Value>) -> Self {
        Self { prefix: String::new(), map, known: Vec::new(), errors: Vec::new(), has_unknown: false }
    }

    fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.map.remove(field)
    }

    /// Records an error of a field.
    pub(super) fn fault(&mut self, field: &str, message: impl Display) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(FieldError { field: format!("{}{field}", self.prefix), message: message.to_string() });
        }
    }

    /// True if the body has the field, even as null.
    pub(super) fn has(&mut self, field: &'static str) -> bool {
        self.known.push(field);
        self.map.contains_key(field)
    }

    /// A string; `None` if absent or null.
    pub(super) fn text(&mut self, field: &'static str) -> Option<String> {
        match self.take(field)? {
            Value::Null => None,
            Value::String(text) => Some(text),
            _ => {
                self.fault(field, "must be a string");
                None
            }
        }
    }

    /// A string that is required.
    pub(super) fn required_text(&mut self, field: &'static str) -> Option<String> {
        let there = self.map.get(field).is_some_and(|value| !value.is_null());
        if !there {
            self.map.remove(field);
            self.fault(field, "is required");
        }
        self.text(field)
    }

    /// A parsed string; `None` if absent or null.
    pub(super) fn parsed<T: FromStr>(&mut self, field: &'static str) -> Option<T>
    where
        T::Err: Display,
    {
        let text = self.text(field)?;
        text.parse().map_err(|error: T::Err| self.fault(field, error)).ok()
    }

    /// A parsed string that is required.
    pub(super) fn required<T: FromStr>(&mut self, field: &'static str) -> Option<T>
    where
        T::Err: Display,
    {
        let text = self.required_text(field)?;
        text.parse().map_err(|error: T::Err| self.fault(field, error)).ok()
    }

    /// For PATCH: absent is `None`, null is `Some(None)`.
    pub(super) fn change<T: FromStr>(&mut self, field: &'static str) -> Option<Option<T>>
    where
        T::Err: Display,
    {
        match self.map.get(field) {
            Some(Value::Null) => self.take(field).map(|_| None),
            _ => self.parsed(field).map(Some),
        }
    }

    /// A boolean; `None` if absent or null.
    pub(super) fn flag(&mut self, field: &'static str) -> Option<bool> {
        let value = self.take(field).filter(|value| !value.is_null())?;
        value.as_bool().or_else(|| {
            self.fault(field, "must be true or false");
            None
        })
    }

    /// A whole number; `None` if absent or null.
    pub(super) fn number(&mut self, field: &'static str) -> Option<u64> {
        match self.take(field)? {
            Value::Null => None,
            value => value.as_u64().or_else(|| {
                self.fault(field, "must be a whole number");
                None
            }),
        }
    }

    /// A list; empty if absent or null. With `one`, a single value is a list of one.
    pub(super) fn list(&mut self, field: &'static str, one: bool) -> Vec<Value> {
        match self.take(field) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => list,
            Some(value) if one => vec![value],
            Some(_) => {
                self.fault(field, "must be an array");
                Vec::new()
            }
        }
    }

    /// A list; `None` if absent or null.
    pub(super) fn optional_list(&mut self, field: &'static str) -> Option<Vec<Value>> {
        let is_there = self.map.get(field).is_some_and(|value| !value.is_null());
        let list = self.list(field, false);
        is_there.then_some(list)
    }

    /// A nested object; empty if absent or null.
    pub(super) fn object(&mut self, field: &'static str) -> Map<String, Value> {
        match self.take(field) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(map)) => map,
            Some(_) => {
                self.fault(field, "must be an object");
                Map::new()
            }
        }
    }

    /// Reads an object inside a list with `read`; its errors are prefixed with `at`.
    pub(super) fn within<T>(&mut self, at: &str, value: Value, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let Value::Object(map) = value else {
            self.fault(at, "must be an object");
            return None;
        };
        let mut inner = Self { prefix: format!("{}{at}.", self.prefix), ..Self::of(map) };
        let found = read(&mut inner);
        inner.refuse_rest();
        self.errors.append(&mut inner.errors);
        self.has_unknown |= inner.has_unknown;
        found
    }

    fn refuse_rest(&mut self) {
        let rest: Vec<_> = std::mem::take(&mut self.map).into_iter().map(|(name, _)| name).collect();
        let message = unknown("is unknown", &mut self.known);
        self.has_unknown |= !rest.is_empty();
        for name in rest {
            // The name is untrusted and becomes part of the response.
            let shown: String = name.chars().take(100).collect();
            self.fault(&shown, &message);
        }
    }

    /// All errors, including unknown fields.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        self.refuse_rest();
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }

    /// The same, where the published contract names 400 for an invalid value. An unknown field is 422 everywhere.
    pub(super) fn finish_as_bad_request(mut self) -> Result<(), Problem> {
        self.refuse_rest();
        let status = if self.has_unknown { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        self.finish().map_err(|problem| problem.with_status(status))
    }
}

/// The message for what is unknown, with what is known.
pub(super) fn unknown(what: &str, known: &mut Vec<&'static str>) -> String {
    known.sort_unstable();
    known.dedup();
    format!("{what}; known: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })
}

/// Counts the values of a body: one octet of JSON can cost a hundred in memory and a hundred in the response.
fn values(json: &[u8]) -> usize {
    let (mut count, mut in_text, mut escaped) = (0, false, false);
    for octet in json {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b':' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::resources::spool::Spool;

    #[test]
    fn a_body_with_too_many_values_is_rejected() {
        let list = |count: usize| format!("{{\"to\": [{}1]}}", "1,".repeat(count)).into_bytes();
        assert!(Fields::parse(&list(MAX_VALUES)).is_err());
        let mut fields = Fields::parse(&list(MAX_VALUES / 2)).unwrap();
        for at in 0..fields.list("to", false).len() {
            fields.fault(&format!("to[{at}]"), "is wrong");
        }
        assert_eq!(fields.errors.len(), MAX_ERRORS);
        assert_eq!(values(br#"{"text": "a,b:[{ \" , \\", "n": 1}"#), 4);
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let body = br#"{"name": 5, "flag": "yes", "extra": {}, "list": [{"a": 1, "b": 2}], "when": null}"#;
        let mut fields = Fields::parse(body).unwrap();
        assert_eq!(fields.required_text("name"), None);
        assert_eq!(fields.required_text("missing"), None);
        assert_eq!(fields.flag("flag"), None);
        assert_eq!(fields.change::<String>("when"), Some(None));
        let list = fields.list("list", false);
        fields.within("list[0]", list[0].clone(), |inner| inner.text("a"));
        let problem = fields.finish().unwrap_err();
        let named = format!("{problem:?}");
        for field in ["\"name\"", "\"missing\"", "\"flag\"", "\"extra\"", "\"list[0].a\"", "\"list[0].b\""] {
            assert!(named.contains(field), "{field} in {named}");
        }
    }

    #[test]
    fn a_body_may_be_wrapped_in_its_resource() {
        let read = |body: &str| {
            let mut fields = Fields::parse(body.as_bytes()).unwrap().unwrapped("inbox");
            (fields.text("name"), fields.finish().map_err(|problem| format!("{problem:?}")))
        };
        for body in [r#"{"name": "a"}"#, r#"{"inbox": {"name": "a"}}"#, r#"{"name": "a", "inbox": {"name": "a"}}"#] {
            assert_eq!(read(body), (Some("a".into()), Ok(())), "{body}");
        }
        for (body, field) in [
            (r#"{"inbox": {"nmae": "a"}}"#, "\"nmae\""),
            (r#"{"inbox": {}, "nmae": "a"}"#, "\"nmae\""),
            (r#"{"inbox": {"name": "a"}, "name": "b"}"#, "\"name\""),
            (r#"{"inbox": "a"}"#, "\"inbox\""),
            (r#"{"inbox": {"inbox": {"name": "a"}}}"#, "\"inbox\""),
        ] {
            let problem = read(body).1.unwrap_err();
            assert!(problem.contains(field), "{body}: {problem}");
        }
    }

    #[tokio::test]
    async fn an_empty_optional_body_may_have_any_content_type() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), &Limits::default()).unwrap().client([192, 0, 2, 1].into());
        for media_type in [None, Some("application/json"), Some("text/plain")] {
            let headers = || media_type.map(|t| (header::CONTENT_TYPE, t.parse().unwrap())).into_iter().collect();
            let body = |body| JsonBody { headers: headers(), body };
            let fields = body(Body::empty()).optional(&spool).await;
            assert!(fields.is_ok_and(|fields| fields.finish().is_ok()), "{media_type:?}");
            let fields = body(Body::from("{\"a\": 1}")).optional(&spool).await;
            assert_eq!(fields.is_ok(), media_type == Some("application/json"), "{media_type:?}");
        }
    }

    #[test]
    fn a_body_that_is_not_an_object_is_malformed() {
        for body in ["", "[]", "nul", "{\"a\":", "{\"a\": \"\u{1}\"}", "\"text\""] {
            let problem = format!("{:?}", Fields::parse(body.as_bytes()).unwrap_err());
            assert!(problem.contains("malformed_request"), "{body}");
        }
        assert!(Fields::parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
