//! Query parameters and pagination. Invariant: an unknown parameter is an error that names it; a page has at most
//! [`MAX_ENTRIES`] entries.

use super::fields::{MAX_ERRORS, unknown};
use super::problem::{FieldError, Problem};
use super::reply::put;
use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use utoipa::ToSchema;

const MAX_ENTRIES: u32 = 100;
/// Entries of a page by default.
const DEFAULT_ENTRIES: u32 = 50;

/// Query parameters, taken out one by one.
#[derive(Debug)]
pub(super) struct Parameters {
    path: String,
    /// As it was sent.
    query: String,
    pairs: Vec<(String, String)>,
    /// The parameters that were asked for.
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) = read.map_err(|_| Problem::malformed("The query is not URL-encoded UTF-8."))?;
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
        Ok(Self { path, query, pairs, known: Vec::new(), errors: Vec::new() })
    }
}

impl Parameters {
    pub(super) fn fault(&mut self, field: &str, message: impl Display) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(FieldError { field: field.to_owned(), message: message.to_string() });
        }
    }

    pub(super) fn take<T: FromStr>(&mut self, name: &'static str) -> Option<T>
    where
        T::Err: Display,
    {
        self.known.push(name);
        let at = self.pairs.iter().position(|(key, _)| key == name)?;
        let (_, text) = self.pairs.swap_remove(at);
        text.parse().map_err(|error: T::Err| self.fault(name, error)).ok()
    }

    /// A number in a range. `unit` follows the range in the error.
    pub(super) fn number<T: FromStr + PartialOrd + Display>(
        &mut self,
        name: &'static str,
        range: RangeInclusive<T>,
        unit: &str,
    ) -> Option<T> {
        let text: String = self.take(name)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(name, format!("must be {} to {}{unit}", range.start(), range.end()));
        }
        number
    }

    /// The request's target up to `cursor=`, for a link to the next page.
    pub(super) fn target(&self) -> String {
        self.target_up_to("cursor")
    }

    /// The request's target with the parameter `name` at its end, up to its value.
    pub(super) fn target_up_to(&self, name: &str) -> String {
        let kept = self.query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name));
        let query: String = kept.map(|pair| format!("{pair}&")).collect();
        format!("{}?{query}{name}=", self.path)
    }

    /// `per_page` and `cursor`.
    pub(super) fn page<Id: FromStr>(&mut self) -> Page<Id> {
        let limit = self.number("per_page", 1..=MAX_ENTRIES, "").unwrap_or(DEFAULT_ENTRIES);
        let cursor: Option<String> = self.take("cursor");
        let after = cursor.and_then(|cursor| {
            cursor.parse().map_err(|_| self.fault("cursor", "must be the cursor of a page of this list")).ok()
        });
        Page { limit, after, target: self.target() }
    }

    /// All errors, including unknown parameters.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        let message = unknown("is unknown, or given twice", &mut self.known);
        for (name, _) in std::mem::take(&mut self.pairs) {
            let shown: String = name.chars().take(100).collect();
            self.fault(&shown, &message);
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

/// The requested part of a list. The cursor is the id of the last entry of the previous page.
#[derive(Debug)]
pub(super) struct Page<Id> {
    limit: u32,
    pub(super) after: Option<Id>,
    target: String,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    pub(super) meta: Meta,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Meta {
    /// `cursor` of the next page, if there is one.
    pub(super) next_cursor: Option<String>,
}

/// An answer with a link to its next page, if there is one (RFC 8288 §3).
#[derive(Debug)]
pub(super) struct Linked<B> {
    body: B,
    next: Option<String>,
}

impl<Id> Page<Id> {
    /// Rows to request from the store: one more than shown, to see whether there is a next page.
    pub(super) fn rows(&self) -> u32 {
        self.limit.saturating_add(1)
    }

    /// Makes a page of the rows returned by the store. An id must be safe in a URL.
    pub(super) fn list<R, T>(
        &self,
        mut rows: Vec<R>,
        id: impl Fn(&R) -> String,
        show: impl FnMut(R) -> T,
    ) -> Linked<List<T>> {
        let more = rows.len() > self.limit as usize;
        rows.truncate(self.limit as usize);
        let next_cursor = rows.last().filter(|_| more).map(id);
        let data = rows.into_iter().map(show).collect();
        let next = next_cursor.as_ref().map(|cursor| format!("{}{cursor}", self.target));
        Linked { body: List { data, meta: Meta { next_cursor } }, next }
    }
}

impl<B> Linked<B> {
    /// `target` is the request's, up to `cursor=`.
    pub(super) fn new(body: B, target: &str, cursor: Option<&impl Display>) -> Self {
        Self { body, next: cursor.map(|cursor| format!("{target}{cursor}")) }
    }
}

impl<T> Linked<List<T>> {
    /// The same as an array; the link alone leads to the next page.
    pub(super) fn array(self) -> Linked<Vec<T>> {
        Linked { body: self.body.data, next: self.next }
    }
}

impl<B: Serialize> IntoResponse for Linked<B> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        if let Some(next) = self.next {
            put(&mut response, header::LINK, &format!("<{next}>; rel=\"next\""));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    async fn page(target: &str) -> Page<u32> {
        let (mut parts, ()) = Request::builder().uri(target).body(()).unwrap().into_parts();
        Parameters::from_request_parts(&mut parts, &()).await.unwrap().page()
    }

    #[tokio::test]
    async fn the_link_to_the_next_page_keeps_the_other_parameters() {
        for (target, next) in [
            ("/list", None),
            ("/list?per_page=2", Some("</list?per_page=2&cursor=2>; rel=\"next\"")),
            ("/list?cursor=1&a=%20b&per_page=2&", Some("</list?a=%20b&per_page=2&cursor=2>; rel=\"next\"")),
        ] {
            let page = page(target).await;
            let list = || page.list(vec![1, 2, 3], u32::to_string, |number| number);
            for response in [list().into_response(), list().array().into_response()] {
                let link = response.headers().get(header::LINK).map(|link| link.to_str().unwrap());
                assert_eq!(link, next, "{target}");
            }
        }
    }
}
