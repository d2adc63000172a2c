//! The version of a resource: `ETag` in its answers, and `If-Match` on a change of it (RFC 9110 §8.8.3, §13.1.1).

use super::problem::Problem;
use super::reply::put;
use crate::clock::Timestamp;
use crate::store::version::Versions;
use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::convert::Infallible;

/// 200 with a resource and its version, which is later with each change.
#[derive(Debug)]
pub(super) struct Versioned<T> {
    pub(super) body: T,
    pub(super) version: Timestamp,
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        put(&mut response, header::ETAG, &etag(self.version));
        response
    }
}

pub(super) fn etag(version: Timestamp) -> String {
    format!("\"{:x}\"", version.millis())
}

/// The versions that a change is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IfMatch(pub(super) Versions);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let lines: Vec<&str> =
            parts.headers.get_all(header::IF_MATCH).iter().map(|line| line.to_str().unwrap_or_default()).collect();
        Ok(read(&lines))
    }
}

/// A tag that is not one of ours matches nothing, nor does a weak one.
fn read(lines: &[&str]) -> IfMatch {
    let tags = || lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    if lines.is_empty() || tags().any(|tag| tag == "*") {
        return IfMatch(Versions::default());
    }
    let version = |tag: &str| {
        let hex = tag.strip_prefix('"')?.strip_suffix('"')?;
        i64::from_str_radix(hex, 16).ok().map(Timestamp::from_millis)
    };
    IfMatch(Versions::of(tags().filter_map(version).collect()))
}

/// 412: the resource has another version.
pub(super) fn changed_since() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "precondition_failed",
        "The resource has changed",
        "The resource has another version than If-Match names.",
        "Get it again, and send the change with its `ETag`.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_names_versions() {
        let at = Timestamp::from_millis;
        for (lines, versions) in [
            (&[][..], None),
            (&["*"], None),
            (&["\"1f\""], Some(vec![at(31)])),
            (&["\"1f\", \"a\"", "\"b\""], Some(vec![at(31), at(10), at(11)])),
            (&["W/\"1f\", 1f, \"x\""], Some(vec![])),
            (&[""], Some(vec![])),
        ] {
            let versions = versions.map_or_else(Versions::default, Versions::of);
            assert_eq!(read(lines), IfMatch(versions), "{lines:?}");
        }
        assert_eq!(read(&[&etag(at(1_764_000_000_000))]), IfMatch(Versions::of(vec![at(1_764_000_000_000)])));
    }
}
